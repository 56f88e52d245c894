//! Vouchers and what they pay (rules 3, 4, 5, 7 and 8).

use super::*;

impl Account {
    pub(super) fn submit(&mut self, amount: u128, then: Spend) -> Result<Word, No> {
        if let Some(receipt) = self.paid_before(&then)? {
            return Ok(Word::Replayed(receipt));
        }
        self.check_in_service()?;
        if amount > self.deposit {
            return Err(No::AboveDeposit);
        }
        if amount < self.accepted {
            return Err(No::Lower);
        }
        let asks = then != Spend::Nothing;
        if self.is_public(amount) && (amount > self.accepted || asks) {
            return Err(No::Public);
        }
        if amount == self.accepted {
            return self.pay(then).map(|()| Word::Done);
        }
        self.accepted = amount;
        self.keep(amount);
        self.touch();
        Ok(match self.pay(then) {
            Ok(()) => Word::Done,
            Err(no) => Word::KeptOnly(no),
        })
    }

    pub(super) fn spend(&mut self, spend: Spend) -> Result<Word, No> {
        if let Some(receipt) = self.paid_before(&spend)? {
            return Ok(Word::Replayed(receipt));
        }
        self.check_in_service()?;
        if spend == Spend::Nothing {
            return Ok(Word::Done);
        }
        self.check_payable(&spend)?;
        if self.is_public(self.accepted) {
            return Err(No::Public);
        }
        self.pay(spend).map(|()| Word::Done)
    }

    pub(super) fn capture(
        &mut self,
        key: [u8; 16],
        amount: u128,
        units: u64,
        finish: bool,
    ) -> Result<Word, No> {
        match self.stage {
            Stage::Over { .. } => return Err(No::Over),
            Stage::Closing { .. } => return Err(No::Closing),
            Stage::Open => {}
        }
        let Some(place) = self.running.iter().position(|request| request.key == key) else {
            return Err(No::NotRunning);
        };
        let left = self.running[place].left;
        if amount > left {
            self.check_in_service()?;
            if amount - left > self.free() {
                return Err(No::Short { available: self.free() + left });
            }
        }
        self.charge(amount, units);
        let request = &mut self.running[place];
        request.left = left.saturating_sub(amount);
        request.taken += amount;
        request.units += units;
        if finish {
            self.end(place, true, self.now);
        }
        self.touch();
        Ok(Word::Done)
    }

    pub(super) fn release(&mut self, key: [u8; 16]) -> Result<Word, No> {
        let place = self.running.iter().position(|request| request.key == key).ok_or(No::NotRunning)?;
        self.end(place, false, self.now);
        Ok(Word::Done)
    }

    /// Ends everything that runs, as of `at`.
    pub(super) fn end_all(&mut self, at: u64) {
        while !self.running.is_empty() {
            self.end(0, false, at);
        }
    }

    /// A request that got something has a receipt; one that got nothing may be tried again.
    fn end(&mut self, place: usize, finished: bool, at: u64) {
        let Running { key, taken: charged, units, .. } = self.running.remove(place);
        if finished || charged > 0 || units > 0 {
            self.receipt(key, charged, units, at);
        }
    }

    fn receipt(&mut self, key: [u8; 16], charged: u128, units: u64, at: u64) {
        self.ended.retain(|receipt| receipt.key != key);
        if self.ended.len() == OUTCOMES_MAX {
            self.ended.pop_front();
        }
        // A clock that stands in the past does not make it old.
        let at = at.max(self.active);
        self.ended.push_back(Receipt { key, charged, units, accepted: self.accepted, spent: self.spent, at });
        self.ended_count += 1;
    }

    fn paid_before(&self, spend: &Spend) -> Result<Option<Receipt>, No> {
        let Some(key) = spend.key() else { return Ok(None) };
        if let Some(receipt) = self.ended.iter().find(|receipt| receipt.key == key.0)
            && self.now.saturating_sub(receipt.at) <= OUTCOME_AGE_S_MAX
        {
            return Ok(Some(*receipt));
        }
        if self.running.iter().any(|request| request.key == key.0) { Err(No::Running) } else { Ok(None) }
    }

    fn check_in_service(&self) -> Result<(), No> {
        match self.stage {
            Stage::Over { .. } => Err(No::Over),
            _ if self.asked_at.is_some() => Err(No::CloseAsked),
            Stage::Closing { .. } => Err(No::Closing),
            Stage::Open => Ok(()),
        }
    }

    fn check_payable(&self, spend: &Spend) -> Result<(), No> {
        let price = match spend {
            Spend::Nothing => return Ok(()),
            Spend::Reserve { .. } if self.running.len() == RESERVATIONS_MAX => {
                return Err(No::TooManyRunning);
            }
            Spend::Charge { amount, .. } | Spend::Reserve { amount, .. } => amount.get(),
        };
        if price > self.free() { Err(No::Short { available: self.free() }) } else { Ok(()) }
    }

    fn pay(&mut self, spend: Spend) -> Result<(), No> {
        self.check_payable(&spend)?;
        match spend {
            Spend::Nothing => {}
            Spend::Charge { key, amount, units } => {
                self.charge(amount.get(), units);
                if let Some(key) = key {
                    self.receipt(key.0, amount.get(), units, self.now);
                }
                self.touch();
            }
            Spend::Reserve { key, amount } => {
                self.touch();
                self.ended.retain(|receipt| receipt.key != key.0);
                self.running.push(Running { key: key.0, left: amount.get(), taken: 0, units: 0 });
            }
        }
        Ok(())
    }

    fn charge(&mut self, amount: u128, units: u64) {
        self.spent += amount;
        self.units += units;
        self.forget_below();
    }

    /// Notes that the payer or the service did something.
    pub(super) fn touch(&mut self) {
        self.active = self.active.max(self.now);
    }

    pub(super) fn reserved(&self) -> u128 {
        self.running.iter().map(|request| request.left).sum()
    }

    fn free(&self) -> u128 {
        self.accepted.saturating_sub(self.spent).saturating_sub(self.reserved())
    }

    /// Rule 4: what a settlement has shown to everybody.
    pub fn is_public(&self, amount: u128) -> bool {
        self.settled > 0 && amount <= self.settled
    }

    /// Keeps a voucher's amount. When there are too many, the one goes without which a claim would fall by the
    /// least, and never the highest, nor the highest that is already spent.
    pub(super) fn keep(&mut self, amount: u128) {
        if !self.vouchers.contains(&amount) {
            self.vouchers.push(amount);
            self.vouchers.sort_unstable();
        }
        self.forget_below();
        while self.vouchers.len() > KEPT_VOUCHERS_MAX {
            let protected = usize::from(self.vouchers[0] <= self.spent);
            let fall = |place: usize| match place {
                0 => self.vouchers[0].saturating_sub(self.settled),
                _ => self.vouchers[place] - self.vouchers[place - 1],
            };
            let mut cheapest = protected;
            for place in protected..self.vouchers.len() - 1 {
                if fall(place) < fall(cheapest) {
                    cheapest = place;
                }
            }
            self.vouchers.remove(cheapest);
        }
    }

    /// Of the vouchers that are spent, only the highest can still be used.
    fn forget_below(&mut self) {
        while self.vouchers.len() > 1 && self.vouchers[1] <= self.spent {
            self.vouchers.remove(0);
        }
    }
}

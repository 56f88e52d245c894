//! How a channel ends, and with which voucher (rules 2, 4 and 7).

use super::*;

impl Account {
    /// The client's wish: honoured with a voucher that covers what is owed, when nothing runs.
    pub(super) fn close(&mut self, amount: u128) -> Result<Word, No> {
        match self.stage {
            Stage::Over { .. } => return Err(No::Over),
            Stage::Closing { .. } => return Err(No::Closing),
            Stage::Open => {}
        }
        if amount > self.deposit {
            return Err(No::AboveDeposit);
        }
        if !self.running.is_empty() {
            return Err(No::StillRunning);
        }
        let is_last_and_settled = amount == self.settled && amount == self.accepted;
        if self.is_public(amount) && !is_last_and_settled {
            return Err(No::Public);
        }
        if amount < self.spent.max(self.settled) {
            return Err(No::BelowOwed);
        }
        let mut kept = self.clone();
        if amount > kept.accepted {
            kept.accepted = amount;
            kept.keep(amount);
            kept.touch();
        } else if amount > kept.settled && !kept.vouchers.contains(&amount) {
            kept.keep(amount);
            kept.touch();
        }
        // A v1 close pays whole vouchers, so one of exactly the spent amount must be there.
        let owes = kept.spent > kept.settled;
        if self.version == ProtocolVersion::V1 && owes && !kept.vouchers.contains(&kept.spent) {
            return Err(No::NotExact);
        }
        *self = kept;
        Ok(self.begin_close())
    }

    pub(super) fn close_forced(&mut self) -> Result<Word, No> {
        match self.stage {
            Stage::Over { .. } => Err(No::Over),
            Stage::Closing { .. } => Ok(self.claim()),
            Stage::Open => Ok(self.begin_close()),
        }
    }

    pub(super) fn abort(&mut self) -> Result<Word, No> {
        match self.stage {
            Stage::Over { .. } => Err(No::Over),
            Stage::Open => Err(No::NotClosing),
            Stage::Closing { .. } => {
                self.stage = Stage::Open;
                Ok(Word::Done)
            }
        }
    }

    pub(super) fn plan_settle(&self) -> Result<Word, No> {
        match self.stage {
            Stage::Over { .. } => Err(No::Over),
            Stage::Closing { .. } => Err(No::Closing),
            Stage::Open => {
                let cumulative = self.settleable().ok_or(No::NothingToSettle)?;
                Ok(Word::Settle { cumulative })
            }
        }
    }

    /// The highest voucher that is wholly spent and pays something.
    pub(super) fn settleable(&self) -> Option<u128> {
        if self.stage != Stage::Open {
            return None;
        }
        self.spent_voucher().filter(|amount| *amount > self.settled)
    }

    fn begin_close(&mut self) -> Word {
        let claim = self.claim();
        self.end_all(self.active);
        if let Word::Close { capture, .. } = claim {
            self.stage = Stage::Closing { capture };
        }
        claim
    }

    /// v2 captures exactly what was spent; v1 the highest voucher that is not above it. Nothing beyond what is
    /// settled needs no signature.
    fn claim(&self) -> Word {
        let (voucher, capture) = match self.version {
            ProtocolVersion::V1 => (self.spent_voucher(), self.spent_voucher()),
            ProtocolVersion::V2 => {
                (self.vouchers.iter().copied().find(|amount| *amount >= self.spent), Some(self.spent))
            }
        };
        match (voucher, capture) {
            (Some(cumulative), Some(capture)) if cumulative > self.settled && self.spent > self.settled => {
                Word::Close { cumulative, capture, signed: true }
            }
            _ => Word::Close { cumulative: self.settled, capture: self.settled, signed: false },
        }
    }

    fn spent_voucher(&self) -> Option<u128> {
        self.vouchers.iter().copied().filter(|amount| *amount <= self.spent).max()
    }
}

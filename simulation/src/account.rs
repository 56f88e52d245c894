//! One channel once more, in plain integers: an independent reading of the money rules.
//!
//! Both parts compare with it. The world asks it the same as the server, in the same order, and the two must
//! say the same. Histories of the real engine are searched for an order in which it would have said the same.
//! It is written from the rules, shares no code with `channel::decide`, keeps no signature and knows no disk.

use std::collections::VecDeque;

use farebox_core::channel::{KEPT_VOUCHERS_MAX, OUTCOMES_MAX, RESERVATIONS_MAX, Spend, State};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::Step;

use crate::said::{Balance, No, Receipt, Said, Stage, Word};
use crate::server::OUTCOME_AGE_S_MAX;

mod closing;
mod paying;

/// What can be asked of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Enter the books with what the chain says.
    Open {
        /// What the escrow holds.
        deposit: u128,
        /// What it paid out.
        settled: u128,
        /// Where the chain said so.
        position: (u64, u32),
    },
    /// A voucher, and what it is to pay.
    Submit {
        /// Its amount.
        amount: u128,
        /// Whether the channel's signer signed it.
        genuine: bool,
        /// What it is to pay.
        then: Spend,
    },
    /// A wish to close.
    Close {
        /// The voucher's amount.
        amount: u128,
        /// Whether the channel's signer signed it.
        genuine: bool,
    },
    /// Anything that needs no signature.
    Step(Step),
    /// What do the books hold?
    Read,
    /// The process was started anew: whatever ran has nobody left to deliver to.
    Restart,
}

/// The account of one channel. Amounts are base units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    version: ProtocolVersion,
    /// The time at which it is asked.
    pub now: u64,
    /// When something was last paid or promised.
    pub active: u64,
    /// Whether the books know the channel.
    pub known: bool,
    /// What the escrow holds.
    pub deposit: u128,
    /// What the escrow paid out.
    pub settled: u128,
    /// The highest voucher.
    pub accepted: u128,
    /// What was charged.
    pub spent: u128,
    /// Units delivered.
    pub units: u64,
    /// Amounts of the vouchers that are kept, rising.
    pub vouchers: Vec<u128>,
    /// Requests that run, oldest first.
    pub running: Vec<Running>,
    /// Requests that ended, oldest first.
    pub ended: VecDeque<Receipt>,
    /// How many ever ended.
    pub ended_count: u64,
    /// When the payer asked to close.
    pub asked_at: Option<u64>,
    /// The newest word of the chain about that.
    pub asked_position: (u64, u32),
    /// Where in its life the channel is.
    pub stage: Stage,
}

/// A request that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub key: [u8; 16],
    /// What is still set aside for it.
    pub left: u128,
    /// What it was charged.
    pub taken: u128,
    /// What was delivered to it.
    pub units: u64,
}

impl Account {
    /// A channel that the books do not know.
    pub fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            now: 0,
            active: 0,
            known: false,
            deposit: 0,
            settled: 0,
            accepted: 0,
            spent: 0,
            units: 0,
            vouchers: Vec::new(),
            running: Vec::new(),
            ended: VecDeque::new(),
            ended_count: 0,
            asked_at: None,
            asked_position: (0, 0),
            stage: Stage::Open,
        }
    }

    /// The same account, when it is asked at this time.
    pub fn at(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    /// Does an operation, and says what the books must say.
    pub fn ask(&mut self, op: &Op) -> Said {
        if let Op::Restart = op {
            self.end_all(self.now);
            return Said::Read(self.read());
        }
        if let Op::Read = op {
            return Said::Read(self.read());
        }
        if let Op::Open { deposit, settled, position } = *op {
            return self.open(deposit, settled, position);
        }
        if !self.known {
            return Said::Refused(No::NotFound);
        }
        let done = match op {
            Op::Submit { genuine: false, .. } | Op::Close { genuine: false, .. } => Err(No::Forged),
            Op::Submit { amount, then, .. } => self.submit(*amount, *then),
            Op::Close { amount, .. } => self.close(*amount),
            Op::Step(step) => self.step(*step),
            Op::Open { .. } | Op::Read | Op::Restart => unreachable!("answered above"),
        };
        match done {
            Ok(word) => Said::Done(word, self.balance()),
            Err(no) => Said::Refused(no),
        }
    }

    /// What the books hold, as an answer shows it.
    pub fn balance(&self) -> Balance {
        Balance {
            stage: self.stage,
            deposit: self.deposit,
            settled: self.settled,
            accepted: self.accepted,
            spent: self.spent,
            reserved: self.reserved(),
            settleable: self.settleable().unwrap_or(0),
            units: self.units,
            asked_at: self.asked_at,
        }
    }

    fn read(&self) -> Option<Balance> {
        self.known.then(|| self.balance())
    }

    /// Rule 6: a channel enters once.
    fn open(&mut self, deposit: u128, settled: u128, position: (u64, u32)) -> Said {
        if self.known {
            return Said::Done(Word::Done, self.balance());
        }
        if deposit > self.bound() {
            return Said::Refused(No::TooLarge);
        }
        if settled > deposit {
            return Said::Refused(No::Unfit);
        }
        // What was settled before is paid for and used up.
        *self = Self {
            known: true,
            deposit,
            settled,
            accepted: settled,
            spent: settled,
            now: self.now,
            active: self.now,
            ..Self::new(self.version)
        };
        self.asked_position = position;
        Said::Done(Word::Done, self.balance())
    }

    fn step(&mut self, step: Step) -> Result<Word, No> {
        match step {
            Step::Spend(spend) => self.spend(spend),
            Step::Capture { key, amount, units, finish } => self.capture(key.0, amount.get(), units, finish),
            Step::Release { key } => self.release(key.0),
            Step::BeginCloseForced => self.close_forced(),
            Step::AbortClose => self.abort(),
            Step::PlanSettle => self.plan_settle(),
            Step::Read => Ok(Word::Done),
            fact if self.is_over() => {
                debug_assert!(is_fact(&fact), "{fact:?}");
                Ok(Word::Done)
            }
            fact => self.hear(fact),
        }
    }

    /// What the chain says. Totals: the larger one counts. Close requests: the later one counts.
    fn hear(&mut self, fact: Step) -> Result<Word, No> {
        match fact {
            Step::ToppedUp { deposit, position, cancels_close } => {
                self.deposit_at_least(deposit.get())?;
                if cancels_close {
                    self.hear_of_request((position.block, position.log_index), None);
                }
            }
            Step::CloseRequested { at, position } => {
                self.hear_of_request((position.block, position.log_index), Some(at.0));
            }
            Step::CloseRequestCancelled { position } => {
                self.hear_of_request((position.block, position.log_index), None);
            }
            Step::Settled { settled, .. } if settled.get() > self.settled => {
                self.deposit_at_least(settled.get())?;
                self.settled = settled.get();
            }
            Step::Settled { .. } => {}
            Step::Closed { captured, refunded, .. } => {
                let (captured, refunded) = (captured.get(), refunded.get());
                self.deposit_at_least(captured.checked_add(refunded).ok_or(No::TooLarge)?)?;
                self.end_all(self.active);
                self.settled = self.settled.max(captured);
                let lost = self.spent.saturating_sub(captured);
                self.stage = Stage::Over { captured, refunded, lost };
            }
            other => unreachable!("{other:?} is no fact"),
        }
        Ok(Word::Done)
    }

    fn hear_of_request(&mut self, position: (u64, u32), asked_at: Option<u64>) {
        if position > self.asked_position {
            (self.asked_position, self.asked_at) = (position, asked_at);
        }
    }

    fn deposit_at_least(&mut self, deposit: u128) -> Result<(), No> {
        if deposit > self.bound() {
            return Err(No::TooLarge);
        }
        self.deposit = self.deposit.max(deposit);
        Ok(())
    }

    /// The largest amount that the escrow's integers hold.
    const fn bound(&self) -> u128 {
        match self.version {
            ProtocolVersion::V1 => u128::MAX,
            ProtocolVersion::V2 => (1 << 96) - 1,
        }
    }

    /// Whether the channel is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. })
    }

    /// Finds where real books differ.
    ///
    /// # Errors
    ///
    /// What differs.
    pub fn compare(&self, state: &State) -> Result<(), String> {
        let found = Self {
            version: state.protocol,
            now: self.now,
            active: state.active_at.0,
            known: true,
            deposit: state.deposit.get(),
            settled: state.settled.get(),
            accepted: state.accepted.get(),
            spent: state.spent.get(),
            units: state.units,
            vouchers: state.kept.iter().map(|kept| kept.amount.get()).collect(),
            running: state
                .reservations
                .iter()
                .map(|held| Running {
                    key: held.key.0,
                    left: held.amount.get(),
                    taken: held.captured.get(),
                    units: held.units,
                })
                .collect(),
            ended: state.outcomes.iter().map(Receipt::from).collect(),
            ended_count: self.ended_count,
            asked_at: state.close_requested_at.map(|at| at.0),
            asked_position: (state.close_position.block, state.close_position.log_index),
            stage: Stage::from(state.phase),
        };
        if found == *self { Ok(()) } else { Err(format!("the books hold {found:?}, expected {self:?}")) }
    }
}

fn is_fact(step: &Step) -> bool {
    matches!(
        step,
        Step::ToppedUp { .. }
            | Step::CloseRequested { .. }
            | Step::CloseRequestCancelled { .. }
            | Step::Settled { .. }
            | Step::Closed { .. }
    )
}

#[cfg(test)]
mod tests;

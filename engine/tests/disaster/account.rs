//! What one channel has to hold: a plain account that the parent and the child keep apart from the engine.
//!
//! The steps of a channel follow from the seed, the channel's number and the steps before. So the parent, which only hears
//! how many of them were answered, knows what the books must say, and what they say if a step was done that nobody heard of.

use std::collections::VecDeque;
use std::fmt::Write;

use farebox_core::channel::{Outcome, Phase, Snapshot};
use farebox_core::units::Amount;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::ledger::StoredChannel;

use crate::seed::Dice;
use crate::support::{DEPOSIT, Payer, key};

/// Finished requests that an account remembers: fewer than the books do.
const OUTCOMES_KEPT: usize = 8;
/// Requests that run at the same time on one channel.
const RUNNING_MAX: usize = 3;
/// By how much a voucher raises at most.
const DELTA_MAX: u64 = 200;
/// The number of the channel that follows a finished one.
const SUCCESSOR: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub number: u32,
    /// How many steps were done; the next one's request is named after it.
    pub step: u64,
    stage: Stage,
    deposit: u128,
    settled: u128,
    accepted: u128,
    spent: u128,
    units: u64,
    running: Vec<Running>,
    outcomes: VecDeque<Finished>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Open,
    Closing,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    key: u64,
    amount: u128,
    captured: u128,
    units: u64,
}

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    pub key: u64,
    charged: u128,
    units: u64,
    accepted: u128,
    spent: u128,
}

/// One step. All amounts are what the engine is asked for, totals where it takes totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Open,
    /// A higher voucher alone.
    Raise {
        to: u128,
    },
    /// A higher voucher, and a charge.
    Pay {
        to: u128,
        price: u128,
    },
    /// The same without a name: nobody can repeat it.
    PayUnnamed {
        to: u128,
        price: u128,
    },
    /// A higher voucher, and a reservation.
    Stream {
        to: u128,
        reserve: u128,
    },
    /// A charge without a voucher.
    Charge {
        price: u128,
    },
    /// A charge that nobody can pay.
    Overcharge {
        price: u128,
    },
    /// A finished request once more.
    Repeat(Finished),
    Capture {
        key: u64,
        amount: u128,
        finish: bool,
    },
    Release {
        key: u64,
    },
    TopUp {
        to: u128,
    },
    Settled {
        to: u128,
    },
    BeginClose {
        voucher: u128,
    },
    AbortClose,
    Closed {
        captured: u128,
        refunded: u128,
    },
}

impl Step {
    /// With which voucher, and what it pays for, when this step is a voucher.
    pub fn is_voucher(&self) -> bool {
        matches!(
            self,
            Self::Raise { .. }
                | Self::Pay { .. }
                | Self::PayUnnamed { .. }
                | Self::Stream { .. }
                | Self::Repeat(_)
        )
    }
}

impl Account {
    pub fn new(number: u32) -> Self {
        Self {
            number,
            step: 0,
            stage: Stage::New,
            deposit: 0,
            settled: 0,
            accepted: 0,
            spent: 0,
            units: 0,
            running: Vec::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// The channel that takes the place of this one.
    pub fn successor(&self) -> Self {
        Self::new(self.number + SUCCESSOR)
    }

    pub fn protocol(&self) -> ProtocolVersion {
        if self.number.is_multiple_of(2) { ProtocolVersion::V1 } else { ProtocolVersion::V2 }
    }

    pub fn payer(&self) -> Payer {
        Payer::new(self.number, self.protocol())
    }

    pub fn accepted(&self) -> u128 {
        self.accepted
    }

    pub fn spent(&self) -> u128 {
        self.spent
    }

    pub fn is_new(&self) -> bool {
        self.stage == Stage::New
    }

    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn reserved(&self) -> u128 {
        self.running.iter().map(|running| running.amount).sum()
    }

    /// The next step.
    pub fn next(&self, seed: u64) -> Step {
        let mut dice = Dice::of(seed, &[u64::from(self.number), self.step]);
        match self.stage {
            Stage::New => return Step::Open,
            // An escrow of v1 pays whole vouchers; its closes are begun and given up here.
            Stage::Closing if self.protocol() == ProtocolVersion::V1 || dice.once_in(2) => {
                return Step::AbortClose;
            }
            Stage::Closing => {
                return Step::Closed { captured: self.spent, refunded: self.deposit - self.spent };
            }
            Stage::Open => {}
            Stage::Over => panic!("channel {} is over", self.number),
        }
        if self.accepted + u128::from(2 * DELTA_MAX) > self.deposit {
            return Step::TopUp { to: self.deposit * 2 };
        }
        if !self.running.is_empty() && dice.below(5) < 3 {
            let running = *dice.pick(&self.running);
            if running.amount == 0 || dice.once_in(5) {
                return Step::Release { key: running.key };
            }
            let amount = 1 + u128::from(dice.next()) % running.amount;
            return Step::Capture { key: running.key, amount, finish: dice.once_in(3) };
        }
        self.next_new(&mut dice)
    }

    fn next_new(&self, dice: &mut Dice) -> Step {
        let available = self.accepted - self.spent - self.reserved();
        let delta = 1 + u128::from(dice.below(DELTA_MAX));
        let to = self.accepted + delta;
        let part = |dice: &mut Dice, of: u128| 1 + u128::from(dice.next()) % of;
        match dice.below(100) {
            0..10 => Step::Raise { to },
            10..30 if self.running.len() < RUNNING_MAX => {
                Step::Stream { to, reserve: part(dice, available + delta) }
            }
            30..45 if available > 0 => Step::Charge { price: part(dice, available) },
            45..50 => Step::Overcharge { price: available + 1 },
            50..64 if !self.outcomes.is_empty() => {
                Step::Repeat(self.outcomes[dice.below(self.outcomes.len() as u64) as usize])
            }
            64..67 => Step::TopUp { to: self.deposit + 1 },
            67..70 if self.spent > self.settled && self.accepted > self.spent => {
                Step::Settled { to: self.settled + part(dice, self.spent - self.settled) }
            }
            70..72 if self.running.is_empty() && self.spent > 0 => {
                Step::BeginClose { voucher: self.accepted }
            }
            72..80 => Step::PayUnnamed { to, price: part(dice, available + delta) },
            _ => Step::Pay { to, price: part(dice, available + delta) },
        }
    }

    /// Does a step.
    pub fn apply(&mut self, step: Step) {
        let request = self.step + 1;
        match step {
            Step::Open => {
                self.stage = Stage::Open;
                self.deposit = DEPOSIT.get();
            }
            Step::Raise { to } => self.accepted = to,
            Step::Pay { to, price } => {
                self.accepted = to;
                self.charge(request, price);
            }
            Step::Stream { to, reserve } => {
                self.accepted = to;
                self.running.push(Running { key: request, amount: reserve, captured: 0, units: 0 });
            }
            Step::PayUnnamed { to, price } => {
                self.accepted = to;
                self.spent += price;
                self.units += 1;
            }
            Step::Charge { price } => self.charge(request, price),
            Step::Overcharge { .. } | Step::Repeat(_) => {}
            Step::Capture { key, amount, finish } => self.capture(key, amount, finish),
            Step::Release { key } => self.end(key, false),
            Step::TopUp { to } => self.deposit = to,
            Step::Settled { to } => self.settled = to,
            Step::BeginClose { .. } => self.stage = Stage::Closing,
            Step::AbortClose => self.stage = Stage::Open,
            Step::Closed { captured, .. } => {
                self.stage = Stage::Over;
                self.settled = self.settled.max(captured);
            }
        }
        self.step += 1;
    }

    /// What a start does: requests that a former process left running end.
    pub fn restart(&mut self) {
        while let Some(oldest) = self.running.first() {
            self.end(oldest.key, false);
        }
    }

    fn charge(&mut self, key: u64, price: u128) {
        self.spent += price;
        self.units += 1;
        self.finish(key, price, 1);
    }

    fn capture(&mut self, key: u64, amount: u128, finish: bool) {
        self.spent += amount;
        self.units += 1;
        let running = self.running.iter_mut().find(|running| running.key == key).expect("it runs");
        running.amount -= amount;
        running.captured += amount;
        running.units += 1;
        if finish {
            self.end(key, true);
        }
    }

    fn end(&mut self, key: u64, finished: bool) {
        let place = self.running.iter().position(|running| running.key == key).expect("it runs");
        let ended = self.running.remove(place);
        if finished || ended.units > 0 {
            self.finish(key, ended.captured, ended.units);
        }
    }

    fn finish(&mut self, key: u64, charged: u128, units: u64) {
        let Self { accepted, spent, .. } = *self;
        self.outcomes.push_back(Finished { key, charged, units, accepted, spent });
        if self.outcomes.len() > OUTCOMES_KEPT {
            self.outcomes.pop_front();
        }
    }

    /// What is wrong with a snapshot.
    pub fn differs(&self, shown: &Snapshot) -> Option<String> {
        let stage = match shown.phase {
            Phase::Open => Stage::Open,
            Phase::Closing { .. } => Stage::Closing,
            Phase::Closed(_) => Stage::Over,
        };
        let [deposit, settled] = [shown.deposit, shown.settled].map(Amount::get);
        let [accepted, spent, reserved] = [shown.accepted, shown.spent, shown.reserved].map(Amount::get);
        let found = (stage, deposit, settled, accepted, spent, reserved, shown.units);
        let expected =
            (self.stage, self.deposit, self.settled, self.accepted, self.spent, self.reserved(), self.units);
        (found != expected).then(|| format!("found {found:?}, expected {expected:?}"))
    }

    /// What is wrong with the books of this channel, down to every running and every finished request.
    pub fn differs_from_stored(&self, stored: Option<&StoredChannel>) -> Option<String> {
        let Some(StoredChannel { state, .. }) = stored else {
            return (!self.is_new()).then(|| "the channel is missing".into());
        };
        if let Some(difference) = self.differs(&Snapshot::from(state)) {
            return Some(difference);
        }
        let running: Vec<_> = state.reservations.iter().map(|held| held.key).collect();
        let expected: Vec<_> = self.running.iter().map(|running| key(running.key)).collect();
        if running != expected {
            return Some(format!("running are {running:?}, expected {expected:?}"));
        }
        if let Some(lost) = self.outcomes.iter().find(|finished| {
            let kept = state.outcomes.get(&key(finished.key));
            kept.is_none_or(|kept| !finished.is(kept))
        }) {
            return Some(format!("the outcome {lost:?} is lost"));
        }
        if self.accepted > 0 && !self.is_over() && state.kept.exact(state.accepted).is_none() {
            return Some(format!("the voucher of {} is lost", self.accepted));
        }
        None
    }

    /// One line for the child.
    pub fn to_line(&self) -> String {
        let Self { number, step, stage, deposit, settled, accepted, spent, units, .. } = self;
        let mut line =
            format!("account {number} {step} {stage:?} {deposit} {settled} {accepted} {spent} {units}");
        for Finished { key, charged, units, accepted, spent } in &self.outcomes {
            write!(line, " {key} {charged} {units} {accepted} {spent}").expect("memory takes it");
        }
        line
    }

    /// The words behind `account`.
    pub fn from_words(words: &[&str]) -> Self {
        let number = |at: usize| words[at].parse::<u128>().expect("a number");
        let stage = match words[2] {
            "New" => Stage::New,
            "Open" => Stage::Open,
            "Closing" => Stage::Closing,
            "Over" => Stage::Over,
            other => panic!("stage {other}"),
        };
        let outcomes = (8..words.len()).step_by(5).map(|at| Finished {
            key: number(at) as u64,
            charged: number(at + 1),
            units: number(at + 2) as u64,
            accepted: number(at + 3),
            spent: number(at + 4),
        });
        Self {
            number: number(0) as u32,
            step: number(1) as u64,
            stage,
            deposit: number(3),
            settled: number(4),
            accepted: number(5),
            spent: number(6),
            units: number(7) as u64,
            running: Vec::new(),
            outcomes: outcomes.collect(),
        }
    }
}

impl Finished {
    /// Whether the books remember it like this.
    pub fn is(&self, kept: &Outcome) -> bool {
        let Self { key: name, charged, units, accepted, spent } = *self;
        let found = (kept.charged.get(), kept.units, kept.accepted.get(), kept.spent.get());
        kept.key == key(name) && found == (charged, units, accepted, spent)
    }
}

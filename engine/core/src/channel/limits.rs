//! What the operator risks at most: with one channel, one payer, and all of them.
//!
//! [`decide`](super::decide) says what is right; the limits say what is too much. The caller asks them after a
//! decision and before its events are in force: a refused step changes nothing. Only steps that buy something are
//! ever refused: chain facts, closes, settlements, releases, and captures of what is set aside go on whatever the
//! limits say, and so does the answer to a retry.
//!
//! Pure: what is known of a channel, and the time, are arguments. Sums over channels are the caller's; it moves them by
//! the [`Exposure`] that is given here.

use super::access::{Access, Party};
use super::command::Command;
use super::event::Event;
use super::rate::{Bucket, Rate, UnixMicros};
use super::rejection::Rejection;
use super::state::{Phase, State};
use crate::units::{Amount, UnixSeconds};

/// The operator's limits. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The least deposit of a channel when it enters the books.
    pub deposit_min: Amount,
    /// How often a channel may hand in a higher voucher.
    pub rate: Option<Rate>,
    /// What counts as unsettled.
    pub basis: UnsettledBasis,
    /// The most unsettled value of one payer, over all channels.
    pub unsettled_payer_max: Option<Amount>,
    /// The most unsettled value of all payers together.
    pub unsettled_total_max: Option<Amount>,
    /// How many seconds spent value may wait for its settlement before the channel buys no more.
    pub unsettled_age_s_max: Option<u64>,
    /// Who may pay.
    pub access: Access,
}

/// What counts as unsettled value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsettledBasis {
    /// What was charged or set aside and is not settled: what the payee would lose.
    #[default]
    Spent,
    /// What vouchers promise and is not settled: never less than the above.
    Accepted,
}

/// Which limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// The minimum deposit.
    DepositMin,
    /// The minimum rise of a voucher.
    DeltaMin,
    /// Vouchers a second.
    Rate,
    /// Unsettled value of the payer.
    UnsettledPayer,
    /// Unsettled value in total.
    UnsettledTotal,
    /// Age of unsettled value.
    UnsettledAge,
    /// The deny list.
    Denied,
    /// The allow list.
    NotAllowed,
}

impl Limit {
    /// All of them, in the order of [`Limit::index`].
    pub const ALL: [Self; 8] = [
        Self::DepositMin,
        Self::DeltaMin,
        Self::Rate,
        Self::UnsettledPayer,
        Self::UnsettledTotal,
        Self::UnsettledAge,
        Self::Denied,
        Self::NotAllowed,
    ];

    /// Its place in [`Limit::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DepositMin => "deposit_min",
            Self::DeltaMin => "delta_min",
            Self::Rate => "rate",
            Self::UnsettledPayer => "unsettled_payer",
            Self::UnsettledTotal => "unsettled_total",
            Self::UnsettledAge => "unsettled_age",
            Self::Denied => "denied",
            Self::NotAllowed => "not_allowed",
        }
    }
}

/// The unsettled value of a channel before and after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Before.
    pub before: Amount,
    /// After.
    pub after: Amount,
}

impl Command {
    /// Whether the step may buy something, so that limits are asked.
    pub const fn may_buy(&self) -> bool {
        match self {
            Self::Accept { .. } | Self::Spend(_) | Self::Capture { .. } => true,
            Self::Release { .. }
            | Self::ReleaseAll
            | Self::ToppedUp { .. }
            | Self::CloseRequested { .. }
            | Self::CloseRequestCancelled { .. }
            | Self::Settled { .. }
            | Self::Closed { .. }
            | Self::Retire { .. }
            | Self::BeginClose(_)
            | Self::AbortClose
            | Self::PlanSettle
            | Self::Read => false,
        }
    }
}

impl Limits {
    /// Whether sums over channels are needed.
    pub const fn has_sums(&self) -> bool {
        self.unsettled_payer_max.is_some() || self.unsettled_total_max.is_some()
    }

    /// Whether a step of a channel in the books can be refused at all.
    pub fn is_off(&self) -> bool {
        self.rate.is_none() && !self.has_sums() && self.unsettled_age_s_max.is_none() && self.access.is_open()
    }

    /// Refuses a new channel with too little. The lists are not asked: a channel that is funded belongs into the books,
    /// so that it can be closed; it buys nothing there.
    ///
    /// # Errors
    ///
    /// [`Rejection::DepositTooSmall`].
    pub fn check_deposit(&self, deposit: Amount) -> Result<(), Rejection> {
        let minimum = self.deposit_min;
        if deposit < minimum { Err(Rejection::DepositTooSmall { deposit, minimum }) } else { Ok(()) }
    }

    /// Refuses, before any cryptography, a voucher that [`Limits::check`] would surely refuse. `accepted` is the
    /// channel's highest amount, `amount` the voucher's. Whoever asks has proved nothing: the refusal shows no amount.
    pub fn foretell(
        &self,
        party: Party,
        accepted: Amount,
        amount: Amount,
        bucket: Bucket,
        now: UnixMicros,
    ) -> Option<Rejection> {
        if amount <= accepted {
            return None;
        }
        let refused = self.access.check(party, seconds(now)).err();
        refused.or_else(|| self.take(bucket, now).err())
    }

    /// Asks the limits of one channel about the events of a step that [may buy](Command::may_buy) something: access,
    /// rate and age, in this order. The new bucket is in force only if the step is.
    ///
    /// # Errors
    ///
    /// [`Rejection::Denied`], [`Rejection::NotAllowed`], [`Rejection::RateLimited`] and
    /// [`Rejection::UnsettledTooOld`]. Nothing changes.
    pub fn check(
        &self,
        state: &State,
        party: Party,
        events: &[Event],
        bucket: Bucket,
        now: UnixMicros,
    ) -> Result<Bucket, Rejection> {
        let (mut buys, mut rises) = (false, false);
        for event in events {
            match event {
                Event::Accepted { .. } => (buys, rises) = (true, true),
                Event::Charged { .. } | Event::Reserved { .. } => buys = true,
                Event::Captured { key, amount, .. } => {
                    buys |= *amount > state.reservation(key).map_or(Amount::ZERO, |held| held.amount);
                }
                _ => {}
            }
        }
        if !buys {
            return Ok(bucket);
        }
        self.access.check(party, seconds(now))?;
        let taken = if rises { self.take(bucket, now)? } else { bucket };
        self.check_age(state, seconds(now))?;
        Ok(taken)
    }

    /// The unsettled value of a channel.
    pub fn exposure(&self, state: &State) -> Amount {
        Standing::of(state).exposure(self.basis)
    }

    /// By how much the events of one decision move the unsettled value, before they are in force.
    pub fn foresee(&self, state: &State, events: &[Event]) -> Exposure {
        let mut standing = Standing::of(state);
        let before = standing.exposure(self.basis);
        events.iter().for_each(|event| standing.follow(state, event));
        Exposure { before, after: standing.exposure(self.basis) }
    }

    fn take(&self, bucket: Bucket, now: UnixMicros) -> Result<Bucket, Rejection> {
        let Some(rate) = self.rate else { return Ok(bucket) };
        bucket.take(rate, now).map_err(|retry_after_ms| Rejection::RateLimited { retry_after_ms })
    }

    fn check_age(&self, state: &State, now: UnixSeconds) -> Result<(), Rejection> {
        let (Some(age_s_max), Some(since)) = (self.unsettled_age_s_max, state.unsettled_since) else {
            return Ok(());
        };
        if now.0.saturating_sub(since.0) > age_s_max {
            return Err(Rejection::UnsettledTooOld { age_s_max });
        }
        Ok(())
    }
}

/// The numbers of a state that unsettled value is made of.
struct Standing {
    settled: Amount,
    accepted: Amount,
    spent: Amount,
    reserved: Amount,
    is_over: bool,
}

impl Standing {
    fn of(state: &State) -> Self {
        Self {
            settled: state.settled,
            accepted: state.accepted,
            spent: state.spent,
            reserved: state.reserved(),
            is_over: matches!(state.phase, Phase::Closed(_)),
        }
    }

    fn exposure(&self, basis: UnsettledBasis) -> Amount {
        if self.is_over {
            return Amount::ZERO;
        }
        let value = match basis {
            UnsettledBasis::Spent => saturating_add(self.spent, self.reserved),
            UnsettledBasis::Accepted => self.accepted,
        };
        value.saturating_sub(self.settled)
    }

    /// What [`State::evolve`] does to these numbers. `state` is from before the decision: none begins a request and
    /// charges or ends it at once.
    fn follow(&mut self, state: &State, event: &Event) {
        let held = |key| state.reservation(key).map_or(Amount::ZERO, |held| held.amount);
        match event {
            Event::Accepted { amount, .. } => self.accepted = self.accepted.max(*amount),
            Event::Charged { amount, .. } => self.spent = saturating_add(self.spent, *amount),
            Event::Reserved { amount, .. } => self.reserved = saturating_add(self.reserved, *amount),
            Event::Captured { key, amount, finished, .. } => {
                self.spent = saturating_add(self.spent, *amount);
                let held = held(key);
                self.reserved =
                    self.reserved.saturating_sub(if *finished { held } else { held.min(*amount) });
            }
            Event::Released { key, .. } => self.reserved = self.reserved.saturating_sub(held(key)),
            Event::Settled { settled } => self.settled = self.settled.max(*settled),
            Event::CloseStarted { .. } => self.reserved = Amount::ZERO,
            Event::Closed { .. } => self.is_over = true,
            Event::Opened { .. }
            | Event::VoucherKept { .. }
            | Event::ToppedUp { .. }
            | Event::CloseRequested { .. }
            | Event::CloseRequestCancelled { .. }
            | Event::CloseAborted
            | Event::Retired { .. } => {}
        }
    }
}

impl Rejection {
    /// The limit that refused, if one did.
    pub const fn limit(&self) -> Option<Limit> {
        match self {
            Self::DepositTooSmall { .. } => Some(Limit::DepositMin),
            Self::DeltaTooSmall { .. } => Some(Limit::DeltaMin),
            Self::RateLimited { .. } => Some(Limit::Rate),
            Self::UnsettledPayer => Some(Limit::UnsettledPayer),
            Self::UnsettledTotal => Some(Limit::UnsettledTotal),
            Self::UnsettledTooOld { .. } => Some(Limit::UnsettledAge),
            Self::Denied { .. } => Some(Limit::Denied),
            Self::NotAllowed => Some(Limit::NotAllowed),
            _ => None,
        }
    }
}

const fn seconds(now: UnixMicros) -> UnixSeconds {
    UnixSeconds(now.0 / 1_000_000)
}

fn saturating_add(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).unwrap_or(Amount::MAX)
}

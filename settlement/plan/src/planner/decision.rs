//! Claim a channel's value or leave it, and why: one channel, without the others.
//!
//! A close request and a close that began are claimed whatever they bring: the payer waits, and what is not claimed
//! within the grace period is lost. Everything else has to bring more than it costs.

use core::fmt;

use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;

use super::account::{Account, Hold, Standing};
use super::policy::{Market, Policy};
use crate::deadline::CloseDeadlines;

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `settle` with the kept voucher of this amount, which is not above `spent`; the channel goes on.
    Settle {
        /// The voucher's amount.
        amount: Amount,
    },
    /// `close`, which pays the payee up to this total and refunds the rest.
    Close {
        /// What is captured.
        capture: Amount,
    },
}

/// What to do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Claim.
    Claim {
        /// What.
        action: Action,
        /// Why.
        why: Why,
    },
    /// Leave it alone.
    Leave {
        /// Why.
        why: Left,
        /// When that may change by time alone.
        look_at: Option<UnixSeconds>,
    },
}

/// Why a channel is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its payer asked on chain to close it.
    CloseAsked {
        /// When.
        at: UnixSeconds,
        /// Until when the claim should be confirmed: the first third of the grace period.
        claim_by: UnixSeconds,
    },
    /// Its close began in the books, with its client or before a restart.
    CloseBegan,
    /// Nobody used it for long.
    Idle {
        /// Since when.
        since: UnixSeconds,
    },
    /// Enough waits.
    Amount {
        /// How much.
        waits: Amount,
        /// What is enough.
        min: Amount,
    },
    /// It waits for long enough.
    Age {
        /// Since when.
        since: UnixSeconds,
        /// How long is enough, in seconds.
        max_s: u64,
    },
    /// Enough units wait.
    Units {
        /// How many.
        wait: u64,
        /// How many are enough.
        max: u64,
    },
    /// Too much waits in all channels together, and this is one of those with most.
    Exposure {
        /// How much waits here.
        waits: Amount,
    },
}

/// Why a channel is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Over,
    /// Something holds it.
    Held(Hold),
    /// No key here may claim it.
    NoKey,
    /// Nothing waits.
    NothingWaits,
    /// Something waits, but no kept voucher is at or below what was spent: only a close can claim it.
    NoVoucher {
        /// What waits.
        waits: Amount,
    },
    /// Something waits, and no policy asks for it yet.
    NotYet {
        /// What waits.
        waits: Amount,
    },
    /// It would cost too much for what it brings.
    Dust {
        /// What it brings.
        gain: Amount,
        /// What it costs.
        fee: Amount,
    },
    /// A v1 close of this idle channel would lose what no kept voucher states exactly.
    WouldLose {
        /// What would be lost.
        loss: Amount,
    },
    /// Its call alone exceeds the gas of a transaction.
    TooMuchGas,
}

impl Action {
    /// What it pays the payee beyond `settled`.
    pub const fn gain(&self, settled: Amount) -> Amount {
        match self {
            Self::Settle { amount } => amount.saturating_sub(settled),
            Self::Close { capture } => capture.saturating_sub(settled),
        }
    }
}

impl Left {
    /// The reason in one word, for counting.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Held(Hold::InFlight) => "in_flight",
            Self::Held(Hold::Until(_)) => "waits",
            Self::Held(Hold::Quarantined) => "quarantined",
            Self::NoKey => "no_key",
            Self::NothingWaits => "nothing_waits",
            Self::NoVoucher { .. } => "no_voucher",
            Self::NotYet { .. } => "not_yet",
            Self::Dust { .. } => "dust",
            Self::WouldLose { .. } => "would_lose",
            Self::TooMuchGas => "too_much_gas",
        }
    }
}

impl Why {
    /// Whether it has to go out, whatever it brings.
    pub const fn is_demanded(&self) -> bool {
        matches!(self, Self::CloseAsked { .. } | Self::CloseBegan)
    }
}

/// Decides about one channel. `too_exposed` says that it is among the largest while too much waits in all channels.
pub fn decide(account: &Account, policy: &Policy, market: &Market, too_exposed: bool) -> Decision {
    let leave = |why, look_at| Decision::Leave { why, look_at };
    if account.standing == Standing::Over {
        return leave(Left::Over, None);
    }
    match account.hold {
        Some(hold @ Hold::Until(at)) if at > market.now => return leave(Left::Held(hold), Some(at)),
        Some(hold @ (Hold::InFlight | Hold::Quarantined)) => return leave(Left::Held(hold), None),
        Some(Hold::Until(_)) | None => {}
    }
    if account.sender.is_none() {
        return leave(Left::NoKey, None);
    }
    let close = Action::Close { capture: account.capture() };
    match account.standing {
        Standing::CloseAsked { at } | Standing::Closing { asked_at: Some(at), .. } => {
            let claim_by = CloseDeadlines::of(at).confirm_by;
            Decision::Claim { action: close, why: Why::CloseAsked { at, claim_by } }
        }
        Standing::Closing { asked_at: None, .. } => Decision::Claim { action: close, why: Why::CloseBegan },
        Standing::Open | Standing::Over => decide_open(account, policy, market, too_exposed),
    }
}

fn decide_open(account: &Account, policy: &Policy, market: &Market, too_exposed: bool) -> Decision {
    let now = market.now;
    let idle_at = after(account.active_at, policy.idle_s_max);
    let is_idle = idle_at.is_some_and(|at| at <= now);
    // What cannot be had by waiting for it is looked at again when dust is.
    let later = Some(now.saturating_add(policy.dust_look_s));
    let mut idle_left = None;
    if is_idle {
        match idle_close(account, policy, market) {
            Ok(claim) => return claim,
            Err(left) => idle_left = Some(left),
        }
    }
    // Prices may fall by themselves; a channel without anything to claim needs a change, which the books tell.
    let idle_look = match idle_left {
        None => idle_at,
        Some(Left::Dust { .. }) => later,
        Some(_) => None,
    };
    let waits = account.settle_gain();
    let leave = |why, look_at| Decision::Leave { why: idle_left.unwrap_or(why), look_at };
    if waits.is_zero() {
        let unsettled = account.unsettled();
        let why = if unsettled.is_zero() { Left::NothingWaits } else { Left::NoVoucher { waits: unsettled } };
        return leave(why, idle_look);
    }
    let age_at = account.unsettled_since.and_then(|since| after(since, policy.age_s_max));
    let Some(why) = reason(account, policy, market, too_exposed) else {
        return leave(Left::NotYet { waits }, earliest(age_at, idle_look));
    };
    let action = Action::Settle { amount: account.settleable };
    match check_profit(action, account, policy, market) {
        Ok(()) => Decision::Claim { action, why },
        Err(dust) => leave(dust, earliest(later, idle_at.filter(|at| *at > now))),
    }
}

/// Closing what nobody uses: it pays for itself, and loses nothing.
fn idle_close(account: &Account, policy: &Policy, market: &Market) -> Result<Decision, Left> {
    let capture = account.capture();
    let loss = account.spent.saturating_sub(capture);
    if account.protocol == ProtocolVersion::V1 && !loss.is_zero() {
        return Err(Left::WouldLose { loss });
    }
    let action = Action::Close { capture };
    if action.gain(account.settled).is_zero() {
        return Err(Left::NothingWaits);
    }
    check_profit(action, account, policy, market)?;
    Ok(Decision::Claim { action, why: Why::Idle { since: account.active_at } })
}

/// Why an open channel's value is settled now.
fn reason(account: &Account, policy: &Policy, market: &Market, too_exposed: bool) -> Option<Why> {
    let waits = account.settle_gain();
    if !policy.amount_min.is_zero() && waits >= policy.amount_min {
        return Some(Why::Amount { waits, min: policy.amount_min });
    }
    if let Some(since) = account.unsettled_since
        && after(since, policy.age_s_max).is_some_and(|at| at <= market.now)
    {
        return Some(Why::Age { since, max_s: policy.age_s_max });
    }
    let units = account.units_unsettled();
    if policy.units_max > 0 && units >= policy.units_max {
        return Some(Why::Units { wait: units, max: policy.units_max });
    }
    too_exposed.then_some(Why::Exposure { waits })
}

/// The call's own share of the fee, in a full transaction; whether the transaction as a whole pays is asked again
/// when its calls are known.
fn check_profit(action: Action, account: &Account, policy: &Policy, market: &Market) -> Result<(), Left> {
    let gas = match action {
        Action::Settle { .. } => market.call_gas.settle,
        Action::Close { .. } => market.call_gas.close,
    };
    let (gain, fee) = (action.gain(account.settled), gas.fee(market.gas_price));
    if pays(gain, fee, policy) { Ok(()) } else { Err(Left::Dust { gain, fee }) }
}

/// Whether a gain is worth a fee.
pub(super) const fn pays(gain: Amount, fee: Amount, policy: &Policy) -> bool {
    gain.get().saturating_mul(100) >= fee.get().saturating_mul(policy.profit_percent_min as u128)
        && gain.get() > 0
}

/// A time so many seconds later; none when the policy is off.
fn after(since: UnixSeconds, seconds: u64) -> Option<UnixSeconds> {
    (seconds > 0).then(|| since.saturating_add(seconds))
}

fn earliest(one: Option<UnixSeconds>, other: Option<UnixSeconds>) -> Option<UnixSeconds> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settle { amount } => write!(f, "settle {amount}"),
            Self::Close { capture } => write!(f, "close and capture {capture}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseAsked { at, claim_by } => {
                write!(f, "its payer asked at {} to close it; to be claimed by {}", at.0, claim_by.0)
            }
            Self::CloseBegan => f.write_str("its close began"),
            Self::Idle { since } => write!(f, "nobody used it since {}", since.0),
            Self::Amount { waits, min } => write!(f, "{waits} wait, {min} are enough"),
            Self::Age { since, max_s } => {
                write!(f, "something waits since {}, {max_s} s are enough", since.0)
            }
            Self::Units { wait, max } => write!(f, "{wait} units wait, {max} are enough"),
            Self::Exposure { waits } => write!(f, "too much waits in all channels, {waits} of it here"),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over => f.write_str("it is over"),
            Self::Held(hold) => hold.fmt(f),
            Self::NoKey => f.write_str("no key here may claim it"),
            Self::NothingWaits => f.write_str("nothing waits"),
            Self::NoVoucher { waits } => {
                write!(
                    f,
                    "{waits} wait, but no kept voucher is at or below what was spent; a close claims it"
                )
            }
            Self::NotYet { waits } => write!(f, "{waits} wait, and no policy asks for them yet"),
            Self::Dust { gain, fee } => write!(f, "it brings {gain} and costs {fee}"),
            Self::WouldLose { loss } => write!(f, "it is idle, but a close would lose {loss}"),
            Self::TooMuchGas => f.write_str("its call exceeds the gas of a transaction"),
        }
    }
}

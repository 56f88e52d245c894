//! Answers of the engine without what no rule speaks of (clock readings, sequence numbers, the next voucher's
//! advice), so that an answer can be compared with what the plain model says.

use farebox_core::channel::{Answer, Claim, Outcome, Phase, Rejection, Snapshot};
use farebox_engine::{Refusal, Reply, Verdict};

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was done.
    Done(Word, Balance),
    /// It was refused.
    Refused(No),
    /// The books hold this, or do not know the channel.
    Read(Option<Balance>),
    /// The queue was full, and nothing was done.
    Busy,
}

/// What "done" means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Just that.
    Done,
    /// Paid before.
    Replayed(Receipt),
    /// The voucher is kept, what it was to pay is refused.
    KeptOnly(No),
    /// A close may go to the chain.
    Close {
        /// The voucher's amount.
        cumulative: u128,
        /// What is captured.
        capture: u128,
        /// Whether a signature goes with it.
        signed: bool,
    },
    /// A settlement may go to the chain.
    Settle {
        /// The voucher's amount.
        cumulative: u128,
    },
}

/// How a paid request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its name.
    pub key: [u8; 16],
    /// What it cost.
    pub charged: u128,
    /// What was delivered to it.
    pub units: u64,
    /// `accepted` when it ended.
    pub accepted: u128,
    /// `spent` when it ended.
    pub spent: u128,
    /// When it ended.
    pub at: u64,
}

/// What the books hold of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Where in its life the channel is.
    pub stage: Stage,
    /// What the escrow holds.
    pub deposit: u128,
    /// What the escrow paid out.
    pub settled: u128,
    /// The highest accepted amount.
    pub accepted: u128,
    /// What was charged.
    pub spent: u128,
    /// What is set aside.
    pub reserved: u128,
    /// What a settlement would pay up to; zero for nothing.
    pub settleable: u128,
    /// Units delivered.
    pub units: u64,
    /// The pending close request.
    pub asked_at: Option<u64>,
}

/// Where in its life a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In service.
    Open,
    /// A close is on its way.
    Closing {
        /// What it captures.
        capture: u128,
    },
    /// Over.
    Over {
        /// What the payee got.
        captured: u128,
        /// What the payer got back.
        refunded: u128,
        /// What was spent and not captured.
        lost: u128,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// The channel is not in the books.
    NotFound,
    /// The voucher is not this channel's signer's.
    Forged,
    /// The channel is over.
    Over,
    /// The payer asked to close.
    CloseAsked,
    /// A close is on its way.
    Closing,
    /// The voucher is below the highest.
    Lower,
    /// The voucher is public knowledge.
    Public,
    /// The voucher exceeds the deposit.
    AboveDeposit,
    /// The voucher raises by too little.
    TooSmallARise,
    /// The money is short.
    Short {
        /// What there is.
        available: u128,
    },
    /// The same request is running.
    Running,
    /// Too many requests are running.
    TooManyRunning,
    /// No such request is running.
    NotRunning,
    /// Requests are running.
    StillRunning,
    /// The close voucher is below what is owed.
    BelowOwed,
    /// A v1 close needs a voucher of exactly what was spent.
    NotExact,
    /// The amount fits no escrow.
    TooLarge,
    /// The terms or facts of an open do not fit.
    Unfit,
    /// No voucher to settle with.
    NothingToSettle,
    /// No close to abort.
    NotClosing,
    /// Something that the model does not know.
    Other(String),
}

impl From<&Verdict> for Said {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accepted(Reply { answer, snapshot }) => {
                Self::Done(Word::from(answer), Balance::from(snapshot))
            }
            Verdict::Rejected(refusal) => Self::Refused(No::from(refusal)),
        }
    }
}

impl From<&Answer> for Word {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Done => Self::Done,
            Answer::Replayed(outcome) => Self::Replayed(Receipt::from(outcome)),
            Answer::AcceptedOnly(rejection) => Self::KeptOnly(No::from(rejection)),
            Answer::Close(Claim { cumulative, capture, signature }) => Self::Close {
                cumulative: cumulative.get(),
                capture: capture.get(),
                signed: signature.is_some(),
            },
            Answer::Settle(claim) => Self::Settle { cumulative: claim.cumulative.get() },
        }
    }
}

impl From<&Outcome> for Receipt {
    fn from(outcome: &Outcome) -> Self {
        Self {
            key: outcome.key.0,
            charged: outcome.charged.get(),
            units: outcome.units,
            accepted: outcome.accepted.get(),
            spent: outcome.spent.get(),
            at: outcome.at.0,
        }
    }
}

impl From<&Snapshot> for Balance {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            stage: Stage::from(snapshot.phase),
            deposit: snapshot.deposit.get(),
            settled: snapshot.settled.get(),
            accepted: snapshot.accepted.get(),
            spent: snapshot.spent.get(),
            reserved: snapshot.reserved.get(),
            settleable: snapshot.settleable.get(),
            units: snapshot.units,
            asked_at: snapshot.close_requested_at.map(|at| at.0),
        }
    }
}

impl From<Phase> for Stage {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Open => Self::Open,
            Phase::Closing { capture } => Self::Closing { capture: capture.get() },
            Phase::Closed(closure) => Self::Over {
                captured: closure.captured.get(),
                refunded: closure.refunded.get(),
                lost: closure.lost.get(),
            },
        }
    }
}

impl From<&Refusal> for No {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Channel(rejection) => Self::from(rejection),
            Refusal::Voucher(_) => Self::Forged,
            #[allow(unreachable_patterns, reason = "the engine may learn to refuse for more reasons")]
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<&Rejection> for No {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::ChannelNotFound => Self::NotFound,
            Rejection::WrongChannel { .. } | Rejection::WrongSigner { .. } => Self::Forged,
            Rejection::ChannelFinalized => Self::Over,
            Rejection::ClosePending { .. } => Self::CloseAsked,
            Rejection::CloseInFlight => Self::Closing,
            Rejection::AmountNotIncreasing => Self::Lower,
            Rejection::VoucherPublic => Self::Public,
            Rejection::AmountExceedsDeposit { .. } => Self::AboveDeposit,
            Rejection::DeltaTooSmall { .. } => Self::TooSmallARise,
            Rejection::InsufficientBalance { available, .. } => Self::Short { available: available.get() },
            Rejection::RequestInFlight => Self::Running,
            Rejection::TooManyReservations { .. } => Self::TooManyRunning,
            Rejection::ReservationNotFound => Self::NotRunning,
            Rejection::ReservationsActive { .. } => Self::StillRunning,
            Rejection::CloseBelowOwed { .. } => Self::BelowOwed,
            Rejection::CloseNotExact { .. } => Self::NotExact,
            Rejection::AmountTooLarge => Self::TooLarge,
            Rejection::TermMismatch { .. } | Rejection::OpenMismatch { .. } => Self::Unfit,
            Rejection::NothingToSettle => Self::NothingToSettle,
            Rejection::NotClosing => Self::NotClosing,
            #[allow(unreachable_patterns, reason = "the rules may learn to refuse for more reasons")]
            other => Self::Other(other.to_string()),
        }
    }
}

//! A channel as planning sees it.

use core::fmt;

use farebox_core::channel::{Phase, Snapshot};
use farebox_core::units::{Address, Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;

/// One channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub channel: ChannelId,
    /// The account that sends its claims: the payee or the operator, if its key is here.
    pub sender: Option<Address>,
    /// In which token the fee of its claims is paid.
    pub fee_token: Address,
    /// The protocol of its escrow.
    pub protocol: ProtocolVersion,
    /// Where in its life it is.
    pub standing: Standing,
    /// What the escrow paid out.
    pub settled: Amount,
    /// What was charged for delivered service.
    pub spent: Amount,
    /// The amount with which a `settle` would pay something; zero when none would.
    pub settleable: Amount,
    /// Units delivered in all.
    pub units: u64,
    /// Since when something waits for its settlement.
    pub unsettled_since: Option<UnixSeconds>,
    /// When a voucher or a charge was last taken.
    pub active_at: UnixSeconds,
    /// The calldata of its longest call, in bytes.
    pub calldata_bytes: u32,
    /// Why it must not be claimed just now.
    pub hold: Option<Hold>,
}

/// Where in its life a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Open,
    /// Its payer asked on chain to close it.
    CloseAsked {
        /// When, by the chain's clock.
        at: UnixSeconds,
    },
    /// The books fixed what its close captures.
    Closing {
        /// What that is.
        capture: Amount,
        /// When the payer asked on chain, if that is why.
        asked_at: Option<UnixSeconds>,
    },
    /// It is over.
    Over,
}

/// Why a channel waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A claim of it is on its way.
    InFlight,
    /// A claim of it failed; the next try is due then.
    Until(UnixSeconds),
    /// Its claims fail for a reason that no repetition cures; a fact from the chain ends this.
    Quarantined,
}

impl Standing {
    /// Where the books say that a channel is.
    pub const fn of(snapshot: &Snapshot) -> Self {
        match (snapshot.phase, snapshot.close_requested_at) {
            (Phase::Closed(_), _) => Self::Over,
            (Phase::Closing { capture }, asked_at) => Self::Closing { capture, asked_at },
            (Phase::Open, Some(at)) => Self::CloseAsked { at },
            (Phase::Open, None) => Self::Open,
        }
    }
}

impl Account {
    /// What a close would capture: `max(spent, settled)`, in v1 the highest kept voucher not above `spent`.
    pub fn capture(&self) -> Amount {
        match (self.standing, self.protocol) {
            (Standing::Closing { capture, .. }, _) => capture,
            (_, ProtocolVersion::V1) => self.settleable.max(self.settled),
            (_, ProtocolVersion::V2) => self.spent.max(self.settled),
        }
    }

    /// What was spent and not settled.
    pub const fn unsettled(&self) -> Amount {
        self.spent.saturating_sub(self.settled)
    }

    /// What a `settle` would pay now.
    pub const fn settle_gain(&self) -> Amount {
        self.settleable.saturating_sub(self.settled)
    }

    /// The units that the unsettled value paid for, at the channel's average price.
    pub const fn units_unsettled(&self) -> u64 {
        let (unsettled, spent) = (self.unsettled().get(), self.spent.get());
        if spent == 0 {
            return 0;
        }
        // Amounts beyond 2^64 base units lose their low bits in both, and nothing that a policy could notice.
        let shift = (u128::BITS - spent.leading_zeros()).saturating_sub(u64::BITS);
        let part = (self.units as u128) * (unsettled >> shift) / (spent >> shift);
        // `unsettled <= spent`, so the part is not above `units`.
        part as u64
    }

    /// When its payer asked on chain to close it.
    pub const fn close_asked_at(&self) -> Option<UnixSeconds> {
        match self.standing {
            Standing::CloseAsked { at } => Some(at),
            Standing::Closing { asked_at, .. } => asked_at,
            Standing::Open | Standing::Over => None,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFlight => f.write_str("a claim of it is on its way"),
            Self::Until(at) => write!(f, "its last claim failed, the next try is due at {}", at.0),
            Self::Quarantined => {
                f.write_str("it is quarantined: its claims fail, and repeating them does not help")
            }
        }
    }
}

//! Why fees are not paid.

use farebox_core::units::{Address, Amount, UnixSeconds};

/// Why the sponsor does not sign. Nothing was broadcast; the client may pay its fees itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sponsor's own account sends it.
    #[error("the sender is the sponsor itself")]
    OwnTransaction,
    /// An access key signed it.
    #[error("an access key signed it, expected the account's own key")]
    AccessKey,
    /// It authorizes an access key.
    #[error("it authorizes an access key, which is not sponsored")]
    KeyAuthorization,
    /// Its nonce is not an expiring one.
    #[error("its nonce is not an expiring one (nonceKey 2^256-1, nonce 0, validBefore set)")]
    NonceNotExpiring,
    /// It approves more than it deposits.
    #[error("its approval differs from its deposit")]
    ApprovalNotExact,
    /// It names another fee token.
    #[error("it names the fee token {found}, expected none or {expected}")]
    FeeToken {
        /// What it names.
        found: Address,
        /// The sponsor's.
        expected: Address,
    },
    /// It may use too much gas.
    #[error("its gas limit is {found}, at most {max} is sponsored")]
    Gas {
        /// Its limit.
        found: u64,
        /// The most.
        max: u64,
    },
    /// It would run out of gas.
    #[error("its gas limit is {found}, a dry run used {needed}")]
    GasTooLow {
        /// Its limit.
        found: u64,
        /// What it needs.
        needed: u64,
    },
    /// It offers too much for a unit of gas.
    #[error("it offers {found} for a unit of gas, at most {max} is sponsored")]
    GasPrice {
        /// What it offers, in 10^-18 dollars.
        found: u128,
        /// The most.
        max: u128,
    },
    /// It may cost too much.
    #[error("it may cost {found} base units, at most {max} is sponsored")]
    Fee {
        /// What it may cost.
        found: Amount,
        /// The most.
        max: Amount,
    },
    /// It never ends.
    #[error("it has no validBefore")]
    NoExpiry,
    /// It is over.
    #[error("it expired at {}, it is {} now; sign a new one", valid_before.0, now.0)]
    Expired {
        /// When.
        valid_before: UnixSeconds,
        /// The server's time.
        now: UnixSeconds,
    },
    /// It ends too late.
    #[error("it is valid until {}, expected {} at the latest", valid_before.0, latest.0)]
    ExpiresLate {
        /// When it ends.
        valid_before: UnixSeconds,
        /// When it must end.
        latest: UnixSeconds,
    },
    /// It has not begun.
    #[error("it is valid from {} on, it is {} now", valid_after.0, now.0)]
    NotYetValid {
        /// When it begins.
        valid_after: UnixSeconds,
        /// The server's time.
        now: UnixSeconds,
    },
    /// A dry run failed.
    #[error("a dry run of it failed: {what}")]
    WouldRevert {
        /// What the node said.
        what: String,
    },
    /// This payer used up its hour.
    #[error("the fees of this payer reached their limit of the hour; pay them yourself, or come later")]
    PayerBudget {
        /// When something becomes free.
        retry_after_s: u64,
    },
    /// All payers together used up the hour.
    #[error("the fees of all payers reached their limit of the hour; pay them yourself, or come later")]
    Budget {
        /// When something becomes free.
        retry_after_s: u64,
    },
    /// The sponsor's account does not hold enough.
    #[error("the sponsor cannot pay now; pay the fees yourself, or come later")]
    Empty,
}

impl Refusal {
    /// Its name in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OwnTransaction => "own_transaction",
            Self::AccessKey | Self::KeyAuthorization => "access_key",
            Self::NonceNotExpiring => "nonce",
            Self::ApprovalNotExact => "approval",
            Self::FeeToken { .. } => "fee_token",
            Self::Gas { .. } | Self::GasTooLow { .. } => "gas",
            Self::GasPrice { .. } => "gas_price",
            Self::Fee { .. } => "fee",
            Self::NoExpiry | Self::Expired { .. } | Self::ExpiresLate { .. } | Self::NotYetValid { .. } => {
                "validity"
            }
            Self::WouldRevert { .. } => "dry_run",
            Self::PayerBudget { .. } => "payer_budget",
            Self::Budget { .. } => "budget",
            Self::Empty => "empty",
        }
    }
}

//! Expected refusals, as values. They carry what an answer may say; whether a stranger may hear it
//! is decided where answers are made (a refusal before cryptography reveals no amounts, rule 3).

use super::access::SubjectKind;
use crate::units::{Address, Amount, ChannelId, UnixSeconds};

/// Why a channel refused a step. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The books do not know the channel.
    #[error("no such channel")]
    ChannelNotFound,
    /// The voucher is for another channel.
    #[error("the voucher is for channel {found}, expected {expected}")]
    WrongChannel {
        /// The voucher's channel.
        found: ChannelId,
        /// The channel that was asked.
        expected: ChannelId,
    },
    /// The voucher was signed by somebody whose vouchers do not count (rule 9).
    #[error("the voucher is signed by {found}, expected {expected}")]
    WrongSigner {
        /// Who signed.
        found: Address,
        /// The authorized signer of the channel's terms, or its payer.
        expected: Address,
    },
    /// The channel is over; a new one needs a new id (rule 6).
    #[error("the channel is closed; open a new one")]
    ChannelFinalized,
    /// The payer asked on chain to close (rule 7).
    #[error("a close was requested on chain at {}; top up to cancel it, or open a new channel", requested_at.0)]
    ClosePending {
        /// The block's timestamp.
        requested_at: UnixSeconds,
    },
    /// A close is on its way to the chain.
    #[error("the channel is being closed")]
    CloseInFlight,
    /// The voucher's amount is below the accepted one (rule 3).
    #[error("the voucher's cumulative amount is below the highest accepted one")]
    AmountNotIncreasing,
    /// The voucher is not above what was settled on chain, so everybody knows it: it pays for
    /// nothing (rule 4).
    #[error("the voucher is already settled on chain; sign a higher one")]
    VoucherPublic,
    /// The voucher promises more than the escrow holds.
    #[error("the voucher's cumulative amount {amount} exceeds the deposit {deposit}; top up first")]
    AmountExceedsDeposit {
        /// The voucher's amount.
        amount: Amount,
        /// What the escrow holds.
        deposit: Amount,
    },
    /// The voucher raises the accepted amount by less than the minimum.
    #[error("the voucher raises the amount by {delta}, the minimum is {minimum}")]
    DeltaTooSmall {
        /// By how much it raises.
        delta: Amount,
        /// The minimum.
        minimum: Amount,
    },
    /// What is available does not pay the price.
    #[error("the price is {cost}, available are {available}")]
    InsufficientBalance {
        /// The price.
        cost: Amount,
        /// What is available to this request, its own reservation included.
        available: Amount,
        /// The cumulative amount that the next voucher must reach to pay it and to be taken.
        required_cumulative: Amount,
    },
    /// The same paid request is running (rule 8).
    #[error("this request is already being served")]
    RequestInFlight,
    /// Too many running requests on one channel.
    #[error("too many running requests on this channel (at most {maximum})")]
    TooManyReservations {
        /// The limit.
        maximum: usize,
    },
    /// There is no such running request.
    #[error("no such running request")]
    ReservationNotFound,
    /// The channel has running requests, so it cannot be closed cooperatively yet.
    #[error("the channel has {count} running requests; close it when they are over")]
    ReservationsActive {
        /// How many.
        count: usize,
    },
    /// The close voucher is below what is owed.
    #[error("the close voucher's amount {amount} is below {owed}, which is owed")]
    CloseBelowOwed {
        /// The voucher's amount.
        amount: Amount,
        /// `max(spent, settled)`.
        owed: Amount,
    },
    /// A v1 close pays the whole voucher, and none is kept for exactly what was spent (rule 2).
    #[error("a v1 close pays a voucher's whole amount; sign one of exactly {spent}")]
    CloseNotExact {
        /// What was spent.
        spent: Amount,
    },
    /// The amount does not fit the protocol's bound, or a sum overflows it.
    #[error("the amount does not fit the protocol's bound")]
    AmountTooLarge,
    /// The channel's terms differ from what the server advertised.
    #[error("the channel's {term} is {found}, expected {expected}")]
    TermMismatch {
        /// Which term.
        term: &'static str,
        /// What the channel has.
        found: Address,
        /// What was advertised.
        expected: Address,
    },
    /// A channel with this id is in the books with other terms or cannot be opened with these facts.
    #[error("the facts of the open do not fit: {what}")]
    OpenMismatch {
        /// What does not fit.
        what: &'static str,
    },
    /// No kept voucher above `settled` is covered by what was spent.
    #[error("no kept voucher between the settled and the spent amount")]
    NothingToSettle,
    /// The step needs a close on its way, and there is none.
    #[error("no close is on its way")]
    NotClosing,
    /// The channel holds less than the operator asks of a new one.
    #[error("the deposit {deposit} is below the minimum of {minimum}; open a channel with more")]
    DepositTooSmall {
        /// What the escrow holds.
        deposit: Amount,
        /// The minimum.
        minimum: Amount,
    },
    /// The channel hands in higher vouchers too often.
    #[error("too many vouchers on this channel; the next one is taken in {retry_after_ms} ms")]
    RateLimited {
        /// When there is room again.
        retry_after_ms: u64,
    },
    /// The payer would owe more than the operator risks with one payer.
    #[error("the payer's unsettled value is at its limit; try again when more is settled")]
    UnsettledPayer,
    /// All payers would owe more than the operator risks.
    #[error("the unsettled value of all channels is at its limit; try again when more is settled")]
    UnsettledTotal,
    /// What the channel spent waits too long for its settlement.
    #[error(
        "the channel's spent value is unsettled for more than {age_s_max} s; try again when it is settled"
    )]
    UnsettledTooOld {
        /// The limit.
        age_s_max: u64,
    },
    /// The operator's deny list.
    #[error("this {who} may not pay here")]
    Denied {
        /// Who is listed.
        who: SubjectKind,
        /// In how many seconds the entry ends; `None` when it does not.
        ends_in_s: Option<u64>,
    },
    /// The operator's allow list.
    #[error("neither the payer nor the signer nor the channel is on the allow list")]
    NotAllowed,
}

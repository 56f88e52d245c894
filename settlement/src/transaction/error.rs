//! What can be wrong with a client's transaction: what was found, and what is expected.

use alloy::primitives::{Address, B256, U256};
use farebox_core::units::{Amount, ChainId, ChannelId, UnixSeconds};

/// Why a client's transaction is refused. Nothing was broadcast.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The text is not hex.
    #[error("the transaction is not hex with the prefix 0x")]
    NotHex,
    /// There is nothing.
    #[error("the transaction is empty")]
    Empty,
    /// More bytes than an honest client needs.
    #[error("the transaction has {found_bytes} bytes, at most {max_bytes} are read")]
    TooLong {
        /// How many there are.
        found_bytes: usize,
        /// How many are read.
        max_bytes: usize,
    },
    /// Not a Tempo transaction.
    #[error("the transaction has type {found:#04x}, expected 0x76 (a Tempo transaction)")]
    UnknownType {
        /// The first byte.
        found: u8,
    },
    /// The encoding is broken.
    #[error("the transaction cannot be decoded: {cause}")]
    Malformed {
        /// What the decoder said.
        cause: alloy_rlp::Error,
    },
    /// Bytes behind the end.
    #[error("{count} bytes follow the end of the transaction")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// No key made this signature.
    #[error("the sender's signature is not valid")]
    BadSignature,
    /// The envelope names another sender than the signature.
    #[error("the envelope names the sender {claimed}, the signature is by {recovered}")]
    SenderMismatch {
        /// Who the envelope names.
        claimed: Address,
        /// Who signed.
        recovered: Address,
    },
    /// The nonce is not an expiring one.
    #[error("the transaction has no expiring nonce (nonceKey 2^256-1, nonce 0, validBefore set)")]
    NonceNotExpiring,
    /// An access list.
    #[error("the transaction has an access list of {count} entries, expected none")]
    AccessList {
        /// How many entries.
        count: usize,
    },
    /// An authorization list.
    #[error("the transaction has an authorization list of {count} entries, expected none")]
    AuthorizationList {
        /// How many entries.
        count: usize,
    },
    /// Too few or too many calls.
    #[error("the transaction has {found} calls, expected {expected}")]
    CallCount {
        /// How many.
        found: usize,
        /// What is expected.
        expected: &'static str,
    },
    /// A call creates a contract.
    #[error("call {index} creates a contract")]
    CreatesContract {
        /// Which call, from zero.
        index: usize,
    },
    /// A call sends native value.
    #[error("call {index} sends a value of {value}, expected 0")]
    ValueNotZero {
        /// Which call, from zero.
        index: usize,
        /// How much.
        value: U256,
    },
    /// A call is not what it must be.
    #[error("call {index} does not call {expected}")]
    WrongFunction {
        /// Which call, from zero.
        index: usize,
        /// What is expected.
        expected: &'static str,
    },
    /// The arguments are not the canonical encoding of the function's.
    #[error("the arguments of call {index} ({function}) are malformed")]
    BadArguments {
        /// Which call, from zero.
        index: usize,
        /// The function.
        function: &'static str,
    },
    /// The approval is for somebody else.
    #[error("the approval is for {found}, expected the escrow {expected}")]
    ApproveSpender {
        /// Who it is for.
        found: Address,
        /// Who it must be for.
        expected: Address,
    },
    /// The approval is too small.
    #[error("the approval of {found} is below the deposit of {expected}")]
    ApproveAmount {
        /// What is approved.
        found: U256,
        /// What is needed.
        expected: Amount,
    },
    /// A channel needs a deposit.
    #[error("the deposit is zero")]
    ZeroDeposit,
    /// The transaction waits for somebody to pay its fees.
    #[error(
        "the transaction asks for fee sponsorship, which this server does not offer; pay the fees yourself"
    )]
    SponsorshipNotOffered,
    /// Another chain.
    #[error("the transaction is for chain {found}, expected {expected}")]
    WrongChain {
        /// The transaction's.
        found: ChainId,
        /// The server's.
        expected: ChainId,
    },
    /// Too late.
    #[error("the transaction expired at {}, it is {} now; sign a new one", valid_before.0, now.0)]
    Expired {
        /// When it expired.
        valid_before: UnixSeconds,
        /// The server's time.
        now: UnixSeconds,
    },
    /// Too early.
    #[error("the transaction is valid from {} on, it is {} now", valid_after.0, now.0)]
    NotYetValid {
        /// When it becomes valid.
        valid_after: UnixSeconds,
        /// The server's time.
        now: UnixSeconds,
    },
    /// The wrong session protocol.
    #[error("the transaction opens a {found} channel, expected {expected}")]
    WrongProtocol {
        /// What it speaks.
        found: farebox_core::voucher::ProtocolVersion,
        /// What was asked for.
        expected: farebox_core::voucher::ProtocolVersion,
    },
    /// An address is not the one that was asked for.
    #[error("the {field} is {found}, expected {expected}")]
    WrongAddress {
        /// Which address: `escrow`, `payee`, `token`, `operator`, `sender`, …
        field: &'static str,
        /// What it is.
        found: Address,
        /// What it must be.
        expected: Address,
    },
    /// A word of the descriptor is not that of the transaction.
    #[error("the descriptor's {field} is {found}, the transaction's is {expected}")]
    WrongWord {
        /// Which one: `salt` or `expiringNonceHash`.
        field: &'static str,
        /// What the descriptor says.
        found: B256,
        /// What the transaction says.
        expected: B256,
    },
    /// The claimed channel id is not that of the transaction.
    #[error("the channel id is {found}, the transaction's is {expected}")]
    WrongChannel {
        /// What is claimed.
        found: ChannelId,
        /// What the transaction hashes to.
        expected: ChannelId,
    },
    /// Not enough for the first request, or for the operator.
    #[error("the deposit of {found} is below the minimum of {expected}")]
    DepositTooSmall {
        /// What is deposited.
        found: Amount,
        /// What is needed.
        expected: Amount,
    },
    /// A transfer is of another amount.
    #[error("the transaction transfers {found}, expected {expected}")]
    WrongTransfer {
        /// The transaction's.
        found: U256,
        /// The challenge's.
        expected: Amount,
    },
    /// A transfer is for another challenge.
    #[error("the transfer's memo is {found}, expected the challenge's, {expected}")]
    WrongMemo {
        /// The transaction's.
        found: B256,
        /// The challenge's.
        expected: B256,
    },
    /// A transaction outlives its challenge.
    #[error("the transaction is valid until {}, expected no later than the challenge, {}", valid_before.0, expires.0)]
    OutlivesChallenge {
        /// When it ends.
        valid_before: UnixSeconds,
        /// When the challenge ends.
        expires: UnixSeconds,
    },
    /// The operator's lists.
    #[error("the account {payer} may not pay here")]
    NotAllowed {
        /// Who signed.
        payer: Address,
    },
    /// The top-up is not by what the client says.
    #[error("the transaction tops up by {found}, the credential says {expected}")]
    WrongAmount {
        /// The transaction's.
        found: Amount,
        /// The credential's.
        expected: Amount,
    },
}

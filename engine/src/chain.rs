//! The port through which the door talks to the chain.
//!
//! `farebox-settlement` implements it; tests have a double. It is a port and not a call, so that a
//! service that only keeps books links no RPC client. Nothing on a voucher's way uses it: only
//! `open`, `topUp` and `close` do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use farebox_core::channel::{ChainPosition, Claim, Identity};
use farebox_core::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use farebox_core::voucher::v2;
use farebox_crypto::keccak256;

use crate::sponsor;

/// A boxed future, so that the port is a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the chain does for the door.
pub trait Chain: Send + Sync + 'static {
    /// Checks the client's signed open transaction against what was promised, broadcasts it, waits
    /// for its receipt and reads the channel. The answer's identity comes from the transaction and
    /// the chain, never from the payload alone.
    fn open(&self, request: OpenRequest) -> BoxFuture<'_, Result<OpenedOnChain, ChainRefusal>>;

    /// The same for a top-up of a channel that the books know.
    fn top_up(&self, request: TopUpRequest) -> BoxFuture<'_, Result<ToppedUpOnChain, ChainRefusal>>;

    /// Checks that a client's signed transaction is one transfer as ordered and nothing else, gets it into a block, and
    /// gives its hash when it was executed.
    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, Result<B256, ChainRefusal>> {
        drop(order);
        let what = "charges are not taken here".to_owned();
        Box::pin(async { Err(ChainRefusal::Unavailable { what }) })
    }

    /// Closes a channel with a claim that the books decided, and waits for the receipt.
    fn close(
        &self,
        channel: ChannelId,
        identity: Arc<Identity>,
        claim: Claim,
    ) -> BoxFuture<'_, Result<ClosedOnChain, CloseFailure>>;
}

/// A transfer that pays for one request.
#[derive(Clone)]
pub struct ChargeOrder {
    /// The signed transaction, as the client sent it.
    pub transaction: Vec<u8>,
    /// The token.
    pub token: Address,
    /// Who gets it.
    pub payee: Address,
    /// How much, exactly.
    pub amount: Amount,
    /// What the transfer must carry: it binds it to one challenge.
    pub memo: B256,
    /// What it may carry instead: the memo that a client makes from a challenge by itself.
    pub attribution: Attribution,
    /// When the challenge ends; the transaction must end before.
    pub expires: UnixSeconds,
    /// Whether the challenge promised to pay the fees.
    pub is_sponsored: bool,
    /// Whether the operator lets an account pay. Asked before anything is broadcast.
    pub may_pay: Arc<dyn Fn(Address) -> bool + Send + Sync>,
}

/// The memo that clients of the TypeScript SDK make (its `Attribution`, version 1), whatever the challenge says: `mpp`'s
/// hash (4 bytes), the version (1), the realm's hash (10), the client's own (10), the challenge id's hash (7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    head: [u8; 15],
    tail: [u8; 7],
}

impl Attribution {
    /// Of a challenge of a realm.
    pub fn new(realm: &str, challenge_id: &str) -> Self {
        let (tag, server, challenge) =
            (keccak256(b"mpp"), keccak256(realm.as_bytes()), keccak256(challenge_id.as_bytes()));
        let mut head = [0; 15];
        head[..4].copy_from_slice(&tag[..4]);
        head[4] = 1;
        head[5..].copy_from_slice(&server[..10]);
        let mut tail = [0; 7];
        tail.copy_from_slice(&challenge[..7]);
        Self { head, tail }
    }

    /// Whether a memo says it, of any client.
    pub fn is_in(&self, memo: &B256) -> bool {
        memo[..15] == self.head && memo[25..] == self.tail
    }
}

impl std::fmt::Debug for ChargeOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChargeOrder({} of {} to {}, ..)", self.amount, self.token, self.payee)
    }
}

/// A client's wish to open a channel.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The signed transaction, as the client sent it.
    pub transaction: Vec<u8>,
    /// The channel id that the client claims.
    pub channel: ChannelId,
    /// What the client says the channel's terms are.
    pub terms: ClaimedTerms,
    /// The escrow that the challenge named.
    pub escrow: Address,
    /// The payee that the challenge named.
    pub payee: Address,
    /// The token that the challenge named.
    pub token: Address,
    /// The operator that the challenge advertised; zero when none (rule 11).
    pub operator: Address,
    /// What the channel must at least hold beyond what is settled: the price of the first request, its voucher, and what
    /// the operator asks of every channel.
    pub deposit_min: Amount,
    /// Whether the challenge promised to pay the fees.
    pub is_sponsored: bool,
}

/// The terms as the payload states them: to be compared, never to be believed.
#[derive(Clone, Debug)]
pub enum ClaimedTerms {
    /// The legacy escrow: the terms are in the transaction; the payload may repeat the signer.
    V1 {
        /// `authorizedSigner` of the payload, if it was sent.
        authorized_signer: Option<Address>,
    },
    /// The channel reserve: a whole descriptor.
    V2(v2::Descriptor),
}

/// A channel that the chain knows.
#[derive(Clone, Debug)]
pub struct OpenedOnChain {
    /// Its terms.
    pub identity: Identity,
    /// What the escrow holds.
    pub deposit: Amount,
    /// What the escrow paid out (zero for a new channel).
    pub settled: Amount,
    /// Where the chain says so.
    pub position: ChainPosition,
    /// The open transaction.
    pub tx_hash: B256,
}

/// A client's wish to top up a channel.
#[derive(Clone, Debug)]
pub struct TopUpRequest {
    /// The signed transaction, as the client sent it.
    pub transaction: Vec<u8>,
    /// The channel.
    pub channel: ChannelId,
    /// Its terms, from the books.
    pub identity: Arc<Identity>,
    /// By how much the client says that it tops up.
    pub additional_deposit: Amount,
    /// Whether the challenge promised to pay the fees.
    pub is_sponsored: bool,
}

/// A top-up that the chain knows.
#[derive(Clone, Copy, Debug)]
pub struct ToppedUpOnChain {
    /// The new total.
    pub deposit: Amount,
    /// Whether it cancelled a close request.
    pub cancels_close: bool,
    /// Where the chain says so.
    pub position: ChainPosition,
    /// The transaction.
    pub tx_hash: B256,
}

/// A close that the chain knows.
#[derive(Clone, Copy, Debug)]
pub struct ClosedOnChain {
    /// What the payee got over the channel's whole life.
    pub captured: Amount,
    /// What the payer got back.
    pub refunded: Amount,
    /// Where the chain says so.
    pub position: ChainPosition,
    /// The transaction.
    pub tx_hash: B256,
}

/// Why an open or a top-up did not happen, or may not have happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChainRefusal {
    /// The client's transaction is not what it must be; it was not broadcast.
    #[error("the transaction is refused: {what}")]
    BadTransaction {
        /// What is wrong, what was found and what is expected.
        what: String,
    },
    /// The client's transaction deposits too little; it was not broadcast.
    #[error("the deposit of {deposit} is below the minimum of {minimum}")]
    DepositTooSmall {
        /// What it deposits.
        deposit: Amount,
        /// [`OpenRequest::deposit_min`].
        minimum: Amount,
    },
    /// It asks for a fee payer, and its fees are not paid; it was not broadcast.
    #[error("the fees of the transaction are not paid: {0}")]
    NotSponsored(#[from] sponsor::Refusal),
    /// The chain executed it and it failed.
    #[error("transaction {tx_hash:#x} reverted")]
    Reverted {
        /// The transaction.
        tx_hash: B256,
    },
    /// No RPC endpoint answered; nothing was broadcast. Not a "no": try again.
    #[error("the chain cannot be reached: {what}")]
    Unavailable {
        /// What failed.
        what: String,
    },
    /// It was broadcast, and no receipt came in time: it may still happen (rule 10).
    #[error("transaction {tx_hash:#x} was broadcast, its receipt is not known yet")]
    Unknown {
        /// The transaction.
        tx_hash: B256,
    },
}

/// Why a close did not happen, or may not have happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseFailure {
    /// It was surely not broadcast.
    #[error("the close was not sent: {what}")]
    NotSent {
        /// Why.
        what: String,
    },
    /// The chain executed it and it failed: nothing was paid.
    #[error("close transaction {tx_hash:#x} reverted")]
    Reverted {
        /// The transaction.
        tx_hash: B256,
    },
    /// It was broadcast, and no receipt came in time: it may still happen (rule 10).
    #[error("close transaction {tx_hash:#x} was broadcast, its receipt is not known yet")]
    Unknown {
        /// The transaction.
        tx_hash: B256,
    },
}

impl CloseFailure {
    /// The same for those who did not send the close: what came of it they learn from the chain alone.
    pub fn perhaps(self) -> Self {
        match self {
            Self::NotSent { .. } => Self::Unknown { tx_hash: B256::ZERO },
            Self::Reverted { tx_hash } | Self::Unknown { tx_hash } => Self::Unknown { tx_hash },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribution_names_realm_and_challenge_and_leaves_the_client_free() {
        // Made by mppx 0.11.
        let mut memo = MEMO;
        let made = Attribution::new("demo.farebox.local", "WEP4YaHLVst-AqqLguDGTnkUsfGAVzbzC0yWNQUiBXE");
        assert!(made.is_in(&memo));
        memo.0[20] = 7;
        assert!(made.is_in(&memo), "another client");
        assert!(!Attribution::new("demo.farebox.local", "another").is_in(&memo));
        assert!(!Attribution::new("another", "WEP4YaHLVst-AqqLguDGTnkUsfGAVzbzC0yWNQUiBXE").is_in(&memo));
        memo.0[4] = 2;
        assert!(!made.is_in(&memo), "another version");
    }

    const MEMO: B256 = B256::new([
        0xef, 0x1e, 0xd7, 0x12, 0x01, 0x18, 0x23, 0x87, 0x6b, 0xc9, 0x5d, 0x3b, 0x3e, 0x80, 0x9f, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0x7f, 0x85, 0xec, 0x18, 0xe1, 0xba, 0xec,
    ]);
}

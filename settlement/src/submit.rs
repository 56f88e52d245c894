//! Broadcasting a client's transaction, and waiting for what came of it.

use std::time::Duration;

use farebox_core::units::{B256, UnixSeconds};
use farebox_engine::chain::ChainRefusal;

use crate::client::{Broadcast, Client, Fate, Head, Receipt};
use crate::transaction::{ClientTransaction, TransactionError};

/// What nodes say when they are busy, as opposed to when a transaction is bad.
const BUSY_PHRASES: [&str; 7] = [
    "rate limit",
    "too many requests",
    "limit exceeded",
    "pool is full",
    "overloaded",
    "unavailable",
    "syncing",
];

impl From<TransactionError> for ChainRefusal {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::DepositTooSmall { found, expected } => {
                Self::DepositTooSmall { deposit: found, minimum: expected }
            }
            error => Self::BadTransaction { what: error.to_string() },
        }
    }
}

/// What came of a client's transaction.
pub(crate) enum Submitted {
    /// It is in a block, executed or reverted.
    Mined(Receipt),
    /// Its validity ended and no receipt was seen, as of this head.
    Expired {
        /// The head.
        head: Head,
        /// The transaction.
        tx_hash: B256,
    },
}

/// Gets a client's transaction into a block, or finds it there: a client that got no answer sends it again.
pub(crate) async fn submit(
    client: &Client,
    transaction: &ClientTransaction,
    now: UnixSeconds,
) -> Result<Submitted, ChainRefusal> {
    // A transaction without a hash waits for a fee payer; the checks before have refused it.
    let tx_hash = transaction.tx_hash.ok_or(TransactionError::SponsorshipNotOffered)?;
    match client.receipt(tx_hash).await {
        Ok(Some(receipt)) => return Ok(Submitted::Mined(receipt)),
        Ok(None) => {}
        Err(error) => return Err(ChainRefusal::Unavailable { what: error.to_string() }),
    }
    check_validity(transaction, now)?;
    let wait = Duration::from_millis(client.config().receipt_wait_ms);
    let expires_at = transaction.valid_before.map(expiry);
    match client.broadcast(&transaction.encoded(), tx_hash).await {
        Broadcast::Taken | Broadcast::Unclear => match client.await_fate(tx_hash, expires_at, wait).await {
            Fate::Mined(receipt) => Ok(Submitted::Mined(receipt)),
            Fate::Absent(head) => Ok(Submitted::Expired { head, tx_hash }),
            Fate::Unknown => Err(ChainRefusal::Unknown { tx_hash }),
        },
        Broadcast::Refused { code, message } => match find_refused(client, tx_hash).await {
            Some(receipt) => Ok(Submitted::Mined(receipt)),
            None if is_busy(&message) => Err(ChainRefusal::Unavailable { what: message }),
            None => Err(ChainRefusal::BadTransaction {
                what: format!("the chain's nodes do not take it: {message} ({code})"),
            }),
        },
        Broadcast::Unreachable { what } => Err(ChainRefusal::Unavailable { what }),
    }
}

/// The refusal of a transaction that surely never happened.
pub(crate) fn expired() -> ChainRefusal {
    let what = "it expired before a block took it; sign a new one".to_owned();
    ChainRefusal::BadTransaction { what }
}

/// Looks for the receipt of a transaction that the nodes refused: "nonce too low" and the like may mean
/// that it is in a block already.
pub(crate) async fn find_refused(client: &Client, tx_hash: B256) -> Option<Receipt> {
    for _ in 0..client.config().refused_looks_max {
        if let Ok(Some(receipt)) = client.receipt(tx_hash).await {
            return Some(receipt);
        }
        tokio::time::sleep(Duration::from_millis(client.config().retry_pause_ms)).await;
    }
    None
}

/// From which chain time on a missing receipt means "never".
fn expiry(valid_before: UnixSeconds) -> UnixSeconds {
    valid_before.saturating_add(farebox_settlement_plan::attempt::EXPIRY_MARGIN_SECONDS)
}

fn check_validity(transaction: &ClientTransaction, now: UnixSeconds) -> Result<(), TransactionError> {
    match (transaction.valid_after, transaction.valid_before) {
        (_, Some(valid_before)) if valid_before <= now => {
            Err(TransactionError::Expired { valid_before, now })
        }
        (Some(valid_after), _) if valid_after > now => {
            Err(TransactionError::NotYetValid { valid_after, now })
        }
        _ => Ok(()),
    }
}

fn is_busy(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    BUSY_PHRASES.iter().any(|phrase| message.contains(phrase))
}

//! Handing a signed transaction to the nodes.

use alloy::primitives::{B256, Bytes};

use super::Client;
use super::endpoint::Failure;

/// What came of a broadcast. Only a receipt says what came of the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// A node took it, or has it already.
    Taken,
    /// At least one node may have it: it got no answer through, or a strange one.
    Unclear,
    /// Every node that answered refused it, and none can have it from us. It may still be on chain,
    /// when it was sent before: look for its receipt before saying no.
    Refused {
        /// The JSON-RPC error code.
        code: i64,
        /// What the node said.
        message: String,
    },
    /// No node was reached. It was surely not sent.
    Unreachable {
        /// What went wrong.
        what: String,
    },
}

/// What nodes say of a transaction that they hold. (`nonce too low` is not among these: it may be another
/// transaction that used the nonce.)
const KNOWN_PHRASES: [&str; 4] = ["already known", "known transaction", "already imported", "already in"];

impl Client {
    /// Hands the bytes to the first node that takes them; to all of them where a quorum is asked for, because one that
    /// says that it took them may have dropped them. Handing the same bytes to several nodes is safe:
    /// the chain executes a transaction once.
    pub async fn broadcast(&self, bytes: &[u8], tx_hash: B256) -> Broadcast {
        let bytes = Bytes::copy_from_slice(bytes);
        let (mut is_unclear, mut is_taken) = (false, false);
        let is_first_enough = self.quorum() == 1;
        let mut outcome = Broadcast::Unreachable { what: "no endpoint".to_owned() };
        for endpoint in self.endpoints() {
            let sent: Result<B256, Failure> =
                endpoint.request("eth_sendRawTransaction", (bytes.clone(),)).await;
            match sent {
                Ok(found) if found == tx_hash => is_taken = true,
                Ok(found) => {
                    tracing::error!(endpoint = endpoint.name(), %found, %tx_hash, "node names another hash");
                    is_unclear = true;
                }
                Err(Failure::Node { message, .. }) if is_known(&message) => is_taken = true,
                Err(Failure::Node { code, message }) => outcome = Broadcast::Refused { code, message },
                Err(Failure::NoAnswer { .. } | Failure::BadAnswer { .. }) => is_unclear = true,
                Err(failure @ (Failure::NotSent { .. } | Failure::WrongChain { .. })) => {
                    if matches!(outcome, Broadcast::Unreachable { .. }) {
                        let what = failure.into_error(endpoint.name()).to_string();
                        outcome = Broadcast::Unreachable { what };
                    }
                }
            }
            if is_taken && is_first_enough {
                break;
            }
        }
        match (is_taken, is_unclear) {
            (true, _) => Broadcast::Taken,
            (false, true) => Broadcast::Unclear,
            (false, false) => outcome,
        }
    }
}

fn is_known(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    KNOWN_PHRASES.iter().any(|phrase| message.contains(phrase))
}

//! Logs of the escrows, by range of blocks.

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};

use super::endpoint::Failure;
use super::quorum::LogsVote;
use super::{Client, ClientError};

/// Which logs are wanted.
#[derive(Clone, Debug)]
pub struct LogFilter {
    /// The contracts.
    pub addresses: Vec<Address>,
    /// The events, by the hash of their signature.
    pub events: Vec<B256>,
    /// The channel (first indexed word), if only one matters.
    pub channel: Option<B256>,
    /// The payee (third indexed word), if only one matters.
    pub payee: Option<Address>,
}

impl LogFilter {
    fn on(&self, from: u64, to: u64) -> Filter {
        let filter = Filter::new()
            .address(self.addresses.clone())
            .event_signature(self.events.clone())
            .from_block(from)
            .to_block(to);
        let filter = match self.channel {
            Some(channel) => filter.topic1(channel),
            None => filter,
        };
        match self.payee {
            Some(payee) => filter.topic3(payee.into_word()),
            None => filter,
        }
    }
}

impl Client {
    /// The logs of the blocks `from..=to`, in the chain's order.
    ///
    /// A node that is behind answers with what it has, and calls it complete. So the same endpoint must
    /// show a head at or above `to` first; one that does not is skipped.
    pub async fn logs(&self, filter: &LogFilter, from: u64, to: u64) -> Result<Vec<Log>, ClientError> {
        let agreed = self.agree("the escrows' events", |endpoint| async move {
            let failed = |failure: Failure| failure.into_error(endpoint.name());
            let head = endpoint.head().await.map_err(failed)?;
            if head.number < to {
                return Err(ClientError::Behind { wanted: to, found: head.number });
            }
            let logs: Vec<Log> =
                endpoint.request("eth_getLogs", (filter.on(from, to),)).await.map_err(failed)?;
            Ok(LogsVote(in_order(logs, from, to)))
        });
        agreed.await.map(|LogsVote(logs)| logs)
    }
}

/// Final logs of the range alone: whatever a node adds to it, pending logs and logs of blocks that were
/// dropped say nothing about the chain.
fn in_order(mut logs: Vec<Log>, from: u64, to: u64) -> Vec<Log> {
    logs.retain(|log| {
        let in_range = log.block_number.is_some_and(|block| (from..=to).contains(&block));
        in_range && log.log_index.is_some() && !log.removed
    });
    logs.sort_by_key(|log| (log.block_number, log.log_index));
    logs
}

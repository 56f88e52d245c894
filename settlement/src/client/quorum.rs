//! What decides money is believed when enough endpoints say the same.
//!
//! With a quorum of one the first answer counts, as before. With more, endpoints are asked until that many agree. One
//! that says something else than the majority is set aside for a while, with an alarm: it lies, or it is broken. When
//! there is no majority nobody is believed: nothing is claimed, nothing is booked, and the operator hears of it.

use std::sync::Arc;

use alloy::rpc::types::Log;
use farebox_core::units::UnixSeconds;

use super::endpoint::Endpoint;
use super::reads::Head;
use super::receipt::Receipt;
use super::{Client, ClientError};

/// How far an endpoint may be behind the others before it is said, in blocks.
const LAG_BLOCKS_MAX: u64 = 20;

impl Client {
    /// How many endpoints must agree.
    pub(super) fn quorum(&self) -> usize {
        self.config().quorum.max(1)
    }

    /// Asks endpoints until a quorum of them gives the same answer.
    pub(super) async fn agree<T, F>(
        &self,
        question: &'static str,
        ask: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<T, ClientError>
    where
        T: PartialEq,
        F: Future<Output = Result<T, ClientError>>,
    {
        let wanted = self.quorum();
        let mut votes: Vec<(T, Vec<Arc<Endpoint>>)> = Vec::new();
        let mut last = ClientError::NoEndpoint;
        for endpoint in self.endpoints() {
            let answer = match ask(Arc::clone(&endpoint)).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let place = votes.iter().position(|(known, _)| *known == answer).unwrap_or_else(|| {
                votes.push((answer, Vec::new()));
                votes.len() - 1
            });
            votes[place].1.push(endpoint);
            if votes[place].1.len() >= wanted {
                let (answer, _) = votes.swap_remove(place);
                votes.iter().flat_map(|(_, liars)| liars).for_each(|liar| liar.set_aside(question));
                return Ok(answer);
            }
        }
        let answers: usize = votes.iter().map(|(_, by)| by.len()).sum();
        match votes.len() {
            0 => Err(last),
            1 => Err(ClientError::NoQuorum { question, answers, wanted }),
            different => {
                metrics::counter!("farebox_rpc_undecided_total").increment(1);
                tracing::error!(
                    question,
                    answers,
                    different,
                    wanted,
                    "ALARM: RPC endpoints disagree, and none is believed"
                );
                Err(ClientError::Disagreement { question, answers, different, wanted })
            }
        }
    }

    /// The newest block that a quorum has, by the clock of the one of them that is furthest behind.
    pub(super) async fn agreed_head(&self) -> Result<Head, ClientError> {
        let wanted = self.quorum();
        let mut heads: Vec<(Head, Arc<Endpoint>)> = Vec::new();
        let mut last = ClientError::NoEndpoint;
        for endpoint in self.endpoints() {
            match endpoint.head().await {
                Ok(head) => heads.push((head, endpoint)),
                Err(failure) => last = failure.into_error(endpoint.name()),
            }
        }
        heads.sort_by_key(|(head, _)| std::cmp::Reverse(head.number));
        let Some((agreed, _)) = heads.get(wanted - 1) else {
            let question = "the newest block";
            let answers = heads.len();
            return Err(if answers == 0 {
                last
            } else {
                ClientError::NoQuorum { question, answers, wanted }
            });
        };
        // A head that nobody else comes near to says nothing about who is behind.
        for (head, endpoint) in &heads {
            let lag = agreed.number.saturating_sub(head.number);
            metrics::gauge!("farebox_rpc_lag_blocks", "endpoint" => endpoint.name().to_owned())
                .set(lag as f64);
            if lag > LAG_BLOCKS_MAX {
                tracing::warn!(endpoint = endpoint.name(), lag, "an RPC endpoint is behind the others");
            }
        }
        let timestamps = heads.iter().take(wanted).map(|(head, _)| head.timestamp);
        let timestamp = timestamps.min().unwrap_or(UnixSeconds(0));
        Ok(Head { timestamp, ..*agreed })
    }
}

/// A receipt, as far as endpoints must agree on it.
#[derive(Debug)]
pub(super) struct ReceiptVote(pub(super) Receipt);

impl PartialEq for ReceiptVote {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        one.tx_hash == other.tx_hash
            && one.block == other.block
            && one.success == other.success
            && same_logs(&one.logs, &other.logs)
    }
}

/// Logs, as far as endpoints must agree on them.
#[derive(Debug)]
pub(super) struct LogsVote(pub(super) Vec<Log>);

impl PartialEq for LogsVote {
    fn eq(&self, other: &Self) -> bool {
        same_logs(&self.0, &other.0)
    }
}

/// Some nodes add a block's time, others do not: what an event says counts, and where it stands.
fn same_logs(one: &[Log], other: &[Log]) -> bool {
    let same = |(one, other): (&Log, &Log)| {
        one.inner == other.inner
            && one.block_number == other.block_number
            && one.log_index == other.log_index
            && one.transaction_hash == other.transaction_hash
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

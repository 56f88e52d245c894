//! Receipts: the only word about what a transaction did.

use std::time::Duration;

use alloy::primitives::{B256, U64, U128};
use alloy::rpc::types::Log;
use farebox_core::units::UnixSeconds;
use serde::Deserialize;
use tokio::time::Instant;

use super::quorum::ReceiptVote;
use super::reads::Head;
use super::{Client, ClientError};

/// How often the chain's clock is looked at while a transaction is awaited.
const HEAD_POLL_MS: u64 = 1_000;

/// What a transaction did.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The transaction.
    pub tx_hash: B256,
    /// The block that holds it.
    pub block: u64,
    /// True when it executed without revert.
    pub success: bool,
    /// What its calls logged, in order.
    pub logs: Vec<Log>,
    /// What it used; for the accounting.
    pub gas_used: u64,
    /// What a unit of gas cost; for the accounting.
    pub gas_price: u128,
}

/// How the wait for a transaction ended.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is in a block.
    Mined(Receipt),
    /// It is in no block, and the chain's clock is past its validity, as seen at this head.
    Absent(Head),
    /// Nobody knows yet.
    Unknown,
}

/// A receipt as nodes write it; fields that no decision needs are left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    transaction_hash: B256,
    block_number: Option<U64>,
    status: Option<U64>,
    logs: Vec<Log>,
    #[serde(default)]
    gas_used: Option<U64>,
    #[serde(default)]
    effective_gas_price: Option<U128>,
}

impl RawReceipt {
    /// `None` while the transaction is pending.
    fn read(self, tx_hash: B256, endpoint: &str) -> Result<Option<Receipt>, ClientError> {
        let bad = |what| ClientError::BadAnswer { endpoint: endpoint.to_owned(), what };
        if self.transaction_hash != tx_hash {
            return Err(bad("the receipt of another transaction"));
        }
        let Some(block) = self.block_number else { return Ok(None) };
        // A receipt without a status says nothing about what happened: never taken for success.
        let status = self.status.ok_or_else(|| bad("a receipt without a status"))?;
        let success = status == U64::from(1);
        let gas_used = self.gas_used.unwrap_or_default().to();
        let gas_price = self.effective_gas_price.unwrap_or_default().to();
        Ok(Some(Receipt { tx_hash, block: block.to(), success, logs: self.logs, gas_used, gas_price }))
    }
}

impl Client {
    /// The receipt of a transaction, if a node has it.
    pub async fn receipt(&self, tx_hash: B256) -> Result<Option<Receipt>, ClientError> {
        if self.quorum() > 1 {
            return self.agreed_receipt(tx_hash).await;
        }
        let mut answer = Err(ClientError::NoEndpoint);
        for endpoint in self.endpoints() {
            // With an answer in hand, an endpoint that lately failed is not worth its time limit.
            if answer.is_ok() && endpoint.is_cooling() {
                break;
            }
            let found: Result<Option<RawReceipt>, _> =
                endpoint.request("eth_getTransactionReceipt", (tx_hash,)).await;
            match found {
                Ok(Some(raw)) => match raw.read(tx_hash, endpoint.name()) {
                    Ok(Some(receipt)) => {
                        endpoint.saw_block(receipt.block);
                        return Ok(Some(receipt));
                    }
                    Ok(None) => answer = Ok(None),
                    Err(error) => {
                        tracing::warn!(%error, %tx_hash, "receipt is not usable");
                        answer = answer.or(Err(error));
                    }
                },
                // Another node may be further.
                Ok(None) => answer = Ok(None),
                // What another node said before counts more than this one's silence.
                Err(failure) => answer = answer.map_err(|_| failure.into_error(endpoint.name())),
            }
        }
        answer
    }

    /// The receipt on which a quorum agrees. That some nodes do not have it yet is no disagreement.
    async fn agreed_receipt(&self, tx_hash: B256) -> Result<Option<Receipt>, ClientError> {
        let agreed = self.agree("the receipt of a transaction", |endpoint| async move {
            let found: Option<RawReceipt> = endpoint
                .request("eth_getTransactionReceipt", (tx_hash,))
                .await
                .map_err(|failure| failure.into_error(endpoint.name()))?;
            let read = found.map(|raw| raw.read(tx_hash, endpoint.name())).transpose()?.flatten();
            let behind = || ClientError::Behind { wanted: 0, found: endpoint.newest_block() };
            let receipt = read.ok_or_else(behind)?;
            endpoint.saw_block(receipt.block);
            Ok(ReceiptVote(receipt))
        });
        match agreed.await {
            Ok(ReceiptVote(receipt)) => Ok(Some(receipt)),
            Err(ClientError::Behind { .. } | ClientError::NoQuorum { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks for a receipt until it is there, until the chain's clock has passed `expires_at`, or until
    /// `wait` is over. Nodes that do not answer prolong the wait, and end nothing.
    pub async fn await_fate(&self, tx_hash: B256, expires_at: Option<UnixSeconds>, wait: Duration) -> Fate {
        let deadline = Instant::now() + wait;
        let mut pause = Duration::from_millis(self.config().receipt_poll_ms);
        let pause_max = Duration::from_millis(self.config().retry_pause_ms);
        let mut next_head_poll = Instant::now() + Duration::from_millis(HEAD_POLL_MS);
        loop {
            if let Ok(Some(receipt)) = self.receipt(tx_hash).await {
                return Fate::Mined(receipt);
            }
            if let Some(expires_at) = expires_at
                && Instant::now() >= next_head_poll
            {
                next_head_poll = Instant::now() + Duration::from_millis(HEAD_POLL_MS);
                if let Some(fate) = self.fate_at_head(tx_hash, expires_at).await {
                    return fate;
                }
            }
            if Instant::now() >= deadline {
                return Fate::Unknown;
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    /// The fate of a transaction as nodes see it whose clock is past `expires_at`: the head first, the receipt after
    /// that, so that a node that is behind cannot say "absent". A quorum must say it; one receipt is an objection.
    async fn fate_at_head(&self, tx_hash: B256, expires_at: UnixSeconds) -> Option<Fate> {
        let (mut absent, mut oldest): (usize, Option<Head>) = (0, None);
        for endpoint in self.endpoints() {
            let Ok(head) = endpoint.head().await else { continue };
            if head.timestamp < expires_at {
                continue;
            }
            let found: Result<Option<RawReceipt>, _> =
                endpoint.request("eth_getTransactionReceipt", (tx_hash,)).await;
            match found {
                Ok(None) => {
                    absent += 1;
                    oldest = oldest.filter(|oldest| oldest.number <= head.number).or(Some(head));
                    if absent >= self.quorum() {
                        return oldest.map(Fate::Absent);
                    }
                }
                Ok(Some(raw)) => {
                    if let Ok(Some(receipt)) = raw.read(tx_hash, endpoint.name()) {
                        let is_enough = self.quorum() == 1;
                        return is_enough.then_some(Fate::Mined(receipt));
                    }
                }
                Err(_) => {}
            }
        }
        None
    }
}

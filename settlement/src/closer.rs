//! Closing a channel: one transaction, from the claim to a fate that is sure.
//!
//! The claim is the books' decision, and it is not changed here. What this module adds is doubt: it never
//! says "failed" of a transaction that may still happen, and never "paid" without the escrow's own event.

mod call;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{Claim, Identity};
use farebox_core::units::{Amount, B256, ChannelId, UnixSeconds};
use farebox_engine::chain::{CloseFailure, ClosedOnChain};
use farebox_engine::{Clock, Engine};
use farebox_settlement_plan::{Attempt, ClaimCall, Observation, plan_close};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::call::encode;
use crate::client::{Broadcast, ChannelOnChain, Client, Fate, Head, LogFilter, Receipt};
use crate::config::Config;
use crate::fact::{Fact, FactKind, closed_event};
use crate::signer::{Order, PayeeSigner, Signed};
use crate::submit::find_refused;

/// Gas beyond the estimate, in percent: state may change between the estimate and the block.
const GAS_MARGIN_PERCENT: u64 = 25;
/// Gas that an estimate of the bare call leaves out: the expiring nonce (13,000, TIP-1009) and the fee.
const GAS_ENVELOPE: u64 = 60_000;
/// How many ranges of blocks are searched for the event that ended a channel.
const SEARCH_RANGES_MAX: u64 = 64;

/// Closes channels, one close a channel at a time.
pub(crate) struct Closer {
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) signer: PayeeSigner,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Engine,
    /// Channels whose close is running, each with its lock.
    pub(crate) running: Mutex<HashMap<ChannelId, Running>>,
    /// Tells the worker of a close whose fate is unknown.
    pub(crate) unresolved: mpsc::Sender<ChannelId>,
}

/// The closes of one channel that run or wait.
#[derive(Default)]
pub(crate) struct Running {
    lock: Arc<tokio::sync::Mutex<()>>,
    waiting: usize,
}

/// A close's place in the queue of its channel. Given back also when the close is dropped half-way.
struct Turn<'a> {
    closer: &'a Closer,
    channel: ChannelId,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut running = self.closer.running.lock();
        let Some(place) = running.get_mut(&self.channel) else { return };
        place.waiting -= 1;
        if place.waiting == 0 {
            running.remove(&self.channel);
        }
    }
}

/// What the chain holds of a channel right now.
struct OnChain {
    deposit: Amount,
    settled: Amount,
}

impl Closer {
    /// True while a close of the channel runs in this process.
    pub(crate) fn is_running(&self, channel: ChannelId) -> bool {
        self.running.lock().contains_key(&channel)
    }

    /// See [`farebox_engine::chain::Chain::close`]. A second close of the same channel waits for the first,
    /// and then finds what that one did.
    pub(crate) async fn close(
        &self,
        channel: ChannelId,
        identity: Arc<Identity>,
        claim: Claim,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let turn = self.queue_up(channel);
        let outcome = {
            let _alone = turn.lock.lock().await;
            self.close_alone(channel, &identity, &claim).await
        };
        drop(turn);
        let result = match &outcome {
            Ok(_) => "closed",
            Err(CloseFailure::NotSent { .. }) => "not_sent",
            Err(CloseFailure::Reverted { .. }) => "reverted",
            Err(CloseFailure::Unknown { .. }) => {
                // Full only when the worker is far behind; its next look through the books finds it.
                let _ = self.unresolved.try_send(channel);
                "unknown"
            }
        };
        metrics::counter!("farebox_closes_total", "result" => result).increment(1);
        outcome
    }

    fn queue_up(&self, channel: ChannelId) -> Turn<'_> {
        let mut running = self.running.lock();
        let place = running.entry(channel).or_default();
        place.waiting += 1;
        Turn { closer: self, channel, lock: Arc::clone(&place.lock) }
    }

    async fn close_alone(
        &self,
        channel: ChannelId,
        identity: &Identity,
        claim: &Claim,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let call = plan_close(identity, claim).map_err(|error| not_sent(&error))?;
        self.check_authority(identity)?;
        let on_chain = match self.read(identity, channel).await? {
            ChannelOnChain::Open { deposit, settled, .. } => OnChain { deposit, settled },
            ChannelOnChain::Absent | ChannelOnChain::Finalized => {
                return self.find_closed(channel, identity, B256::ZERO).await;
            }
        };
        check_claim(&call, &on_chain)?;
        let (signed, attempt) = self.prepare(&call, identity).await?;
        tracing::info!(%channel, tx_hash = %signed.tx_hash, capture = %call.capture, "closing");
        let attempt = attempt.observe(Observation::Sending);
        self.send(&signed, attempt, &call, identity, &on_chain).await
    }

    /// The escrow lets only the payee and the operator close.
    fn check_authority(&self, identity: &Identity) -> Result<(), CloseFailure> {
        let signer = self.signer.address();
        if signer == identity.payee() || signer == identity.operator() {
            return Ok(());
        }
        let payee = identity.payee();
        Err(not_sent(&format!("the key of {signer} may not close a channel of payee {payee}")))
    }

    async fn read(&self, identity: &Identity, channel: ChannelId) -> Result<ChannelOnChain, CloseFailure> {
        let read = self.client.channel(identity.protocol(), identity.escrow, channel, 0).await;
        read.map(|(state, _)| state).map_err(|error| not_sent(&error))
    }

    /// Signs the close. Its gas is estimated, which also runs it: a close that would revert is not sent.
    async fn prepare(
        &self,
        call: &ClaimCall,
        identity: &Identity,
    ) -> Result<(Signed, Attempt), CloseFailure> {
        let close = &self.config.close;
        let input = encode(call);
        let estimate = self.client.estimate_gas(self.signer.address(), call.escrow, input.clone()).await;
        let gas = estimate.map_err(|error| not_sent(&error))?;
        let gas_limit = gas.saturating_add(gas / 100 * GAS_MARGIN_PERCENT).saturating_add(GAS_ENVELOPE);
        if gas_limit > close.gas_limit_max {
            let maximum = close.gas_limit_max;
            return Err(not_sent(&format!("it needs {gas_limit} gas, at most {maximum} is allowed")));
        }
        let head = self.client.head().await.map_err(|error| not_sent(&error))?;
        let max_fee_per_gas = head.base_fee.saturating_mul(2).saturating_add(close.priority_fee_per_gas);
        if max_fee_per_gas > close.max_fee_per_gas_max {
            let maximum = close.max_fee_per_gas_max;
            return Err(not_sent(&format!("gas costs {max_fee_per_gas}, at most {maximum} is allowed")));
        }
        let valid_before = self.chain_time(head).saturating_add(close.validity_seconds);
        let order = Order {
            chain_id: self.config.chain_id,
            to: call.escrow,
            input,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas: close.priority_fee_per_gas,
            fee_token: close.fee_token.unwrap_or_else(|| identity.token()),
            valid_before,
        };
        let signed = self.signer.sign(order).ok_or_else(|| not_sent(&"the key does not sign"))?;
        let attempt = Attempt::new(signed.tx_hash, valid_before);
        Ok((signed, attempt))
    }

    /// Our time, unless the chain's is too far from it: the chain judges by its own.
    fn chain_time(&self, head: Head) -> UnixSeconds {
        let now = self.clock.now();
        let skew = now.0.abs_diff(head.timestamp.0);
        if skew <= self.config.close.clock_skew_seconds_max {
            return now;
        }
        tracing::warn!(skew_seconds = skew, "our clock and the chain's differ; using the chain's");
        head.timestamp
    }

    async fn send(
        &self,
        signed: &Signed,
        attempt: Attempt,
        call: &ClaimCall,
        identity: &Identity,
        on_chain: &OnChain,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let tx_hash = signed.tx_hash;
        let attempt = match self.client.broadcast(&signed.bytes, tx_hash).await {
            Broadcast::Taken | Broadcast::Unclear => attempt.observe(Observation::Sent),
            Broadcast::Refused { code, message } => match find_refused(&self.client, tx_hash).await {
                Some(receipt) => return self.conclude(receipt, attempt, call, identity, on_chain).await,
                None => return Err(not_sent(&format!("the chain's nodes refuse it: {message} ({code})"))),
            },
            Broadcast::Unreachable { what } => return Err(not_sent(&what)),
        };
        let wait = Duration::from_millis(self.config.close.receipt_wait_ms);
        match self.client.await_fate(tx_hash, Some(attempt.expires_at()), wait).await {
            Fate::Mined(receipt) => self.conclude(receipt, attempt, call, identity, on_chain).await,
            Fate::Absent(head) => self.conclude_absent(head, attempt, call, identity).await,
            Fate::Unknown => {
                let attempt = attempt.observe(Observation::WaitOver);
                tracing::error!(channel = %call.channel, ?attempt, "the fate of a close is not known");
                Err(CloseFailure::Unknown { tx_hash })
            }
        }
    }

    /// The validity ended without a receipt. The channel's state in that very block has the last word: a
    /// receipt may be hidden by a node that is behind, an open channel cannot.
    async fn conclude_absent(
        &self,
        head: Head,
        attempt: Attempt,
        call: &ClaimCall,
        identity: &Identity,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let tx_hash = attempt.tx_hash;
        let attempt = attempt.observe(Observation::Absent { chain_time: head.timestamp });
        let protocol = identity.protocol();
        match self.client.channel_at(protocol, call.escrow, call.channel, head.number).await {
            Ok(ChannelOnChain::Open { .. }) if attempt.surely_failed() => {
                Err(not_sent(&"it expired before a block took it"))
            }
            Ok(ChannelOnChain::Absent | ChannelOnChain::Finalized) => {
                self.find_closed(call.channel, identity, tx_hash).await
            }
            Ok(ChannelOnChain::Open { .. }) | Err(_) => Err(CloseFailure::Unknown { tx_hash }),
        }
    }

    /// Reads what the close did from its receipt.
    async fn conclude(
        &self,
        receipt: Receipt,
        attempt: Attempt,
        call: &ClaimCall,
        identity: &Identity,
        on_chain: &OnChain,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let tx_hash = receipt.tx_hash;
        let attempt = attempt.observe(Observation::Receipt { success: receipt.success });
        if attempt.surely_failed() {
            return self.conclude_reverted(&receipt, call, identity).await;
        }
        let facts = Fact::of_channel(&receipt.logs, identity.protocol(), call.escrow, call.channel);
        let Some(closed) = facts.iter().find_map(|fact| closed_by(fact, tx_hash)) else {
            tracing::error!(channel = %call.channel, %tx_hash, "a close succeeded without its event");
            return self.find_closed(call.channel, identity, tx_hash).await;
        };
        check_payout(call, on_chain, &closed);
        Ok(closed)
    }

    /// A close that reverted because the channel was over before it: the other end is the answer.
    async fn conclude_reverted(
        &self,
        receipt: &Receipt,
        call: &ClaimCall,
        identity: &Identity,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let tx_hash = receipt.tx_hash;
        tracing::warn!(channel = %call.channel, %tx_hash, "a close reverted");
        let protocol = identity.protocol();
        match self.client.channel(protocol, call.escrow, call.channel, receipt.block).await {
            Ok((ChannelOnChain::Open { .. }, _)) => Err(CloseFailure::Reverted { tx_hash }),
            Ok((ChannelOnChain::Absent | ChannelOnChain::Finalized, _)) => {
                self.find_closed(call.channel, identity, tx_hash).await
            }
            // Whether the channel lives is not known: saying "reverted" would let service go on.
            Err(_) => Err(CloseFailure::Unknown { tx_hash }),
        }
    }

    /// Finds the event that ended a channel, searching back from the newest block to the last one whose
    /// facts the books have. Without it the channel stays closing, and the watcher brings the event.
    async fn find_closed(
        &self,
        channel: ChannelId,
        identity: &Identity,
        tx_hash: B256,
    ) -> Result<ClosedOnChain, CloseFailure> {
        let unknown = CloseFailure::Unknown { tx_hash };
        let filter = LogFilter {
            addresses: vec![identity.escrow],
            events: vec![closed_event(identity.protocol())],
            channel: Some(channel.0),
            payee: None,
        };
        let overlap = self.config.watch.overlap_blocks;
        let followed = self.engine.cursor().map_or(0, |cursor| cursor.next_block.0);
        let oldest = followed.saturating_sub(overlap);
        let mut to = self.client.newest_block();
        for _ in 0..SEARCH_RANGES_MAX {
            let from = to.saturating_sub(self.config.watch.range_blocks_max - 1).max(oldest);
            let logs = self.client.logs(&filter, from, to).await.map_err(|error| {
                tracing::warn!(%channel, %error, "the end of a channel cannot be read");
                unknown.clone()
            })?;
            let facts = Fact::of_channel(&logs, identity.protocol(), identity.escrow, channel);
            let by = logs.last().and_then(|log| log.transaction_hash).unwrap_or(tx_hash);
            if let Some(closed) = facts.iter().rev().find_map(|fact| closed_by(fact, by)) {
                return Ok(closed);
            }
            if from <= oldest {
                break;
            }
            to = from - 1;
        }
        Err(unknown)
    }
}

fn not_sent(cause: &dyn std::fmt::Display) -> CloseFailure {
    CloseFailure::NotSent { what: cause.to_string() }
}

/// The claim must fit what the escrow holds now. When somebody else settled more, the watcher tells the
/// books, and the next claim takes it in.
fn check_claim(call: &ClaimCall, on_chain: &OnChain) -> Result<(), CloseFailure> {
    let (capture, settled, deposit) = (call.capture, on_chain.settled, on_chain.deposit);
    if capture < settled {
        return Err(not_sent(&format!("it captures {capture}, but {settled} is settled on chain")));
    }
    if capture > deposit {
        return Err(not_sent(&format!("it captures {capture}, but the escrow holds {deposit}")));
    }
    Ok(())
}

/// The escrow's words about the end, in ours.
fn closed_by(fact: &Fact, tx_hash: B256) -> Option<ClosedOnChain> {
    match fact.kind {
        FactKind::Closed { captured, refunded } => {
            Some(ClosedOnChain { captured, refunded, position: fact.position, tx_hash })
        }
        _ => None,
    }
}

/// Compares what the escrow paid with what it should have paid. A top-up between our look and the close
/// explains a larger refund; nothing explains a smaller one, or another capture.
fn check_payout(call: &ClaimCall, on_chain: &OnChain, closed: &ClosedOnChain) {
    let paid_out = closed.captured.checked_add(closed.refunded);
    let is_complete = paid_out.is_some_and(|paid_out| paid_out >= on_chain.deposit);
    if closed.captured == call.capture && is_complete {
        return;
    }
    metrics::counter!("farebox_close_mismatch_total").increment(1);
    tracing::error!(
        channel = %call.channel,
        tx_hash = %closed.tx_hash,
        expected_capture = %call.capture,
        captured = %closed.captured,
        deposit = %on_chain.deposit,
        refunded = %closed.refunded,
        "ALARM: the escrow paid out something else than it should"
    );
}

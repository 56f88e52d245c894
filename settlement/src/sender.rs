//! Claims in one transaction: simulated, written down, sent, and awaited to a fate that is sure.
//!
//! A claim that the chain would refuse is found before anything is sent, by halving, and the others go without it.
//! Every transaction has an expiring nonce (TIP-1009): none waits for another one, and the fate of each is sure within
//! seconds. So a transaction that no block takes is replaced when its validity is over, by one that offers more.
//!
//! This module never says "failed" of a transaction that may still happen, and never "paid" without the escrow's own
//! words.

mod conclude;
mod simulate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use farebox_core::units::{Address, ChannelId, UnixSeconds};
use farebox_engine::{Clock, Engine, Step, Verdict};
use farebox_settlement_plan::attempt::EXPIRY_MARGIN_SECONDS;
use farebox_settlement_plan::gas::{FeePolicy, GasPrice, Offer, Pressure};
use farebox_settlement_plan::{Attempt, Observation};
use tracing::Instrument as _;

use self::conclude::Concluded;
use self::simulate::Simulated;
use crate::claim::{Claimed, Claiming, Failure, Paid};
use crate::client::{Broadcast, Client, Fate, Head};
use crate::config::Config;
use crate::fail_points::{FailPoint, reach};
use crate::history::{History, SentFate, SentTransaction};
use crate::intent::{IntendedCall, Intent, retry_busy};
use crate::signer::{Order, PayeeSigner};
use crate::submit::find_refused;
use crate::trace;

/// Gas beyond the estimate, in percent: state may change between the estimate and the block.
const GAS_MARGIN_PERCENT: u64 = 25;
/// How long an open transaction is awaited at a time, by the task that follows it.
const FOLLOW_WAIT_MS: u64 = 10_000;
/// Gas that an estimate of the bare calls leaves out: the expiring nonce (13,000, TIP-1009) and the fee.
const GAS_ENVELOPE: u64 = 60_000;

/// Sends claims.
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) signer: PayeeSigner,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Engine,
    pub(crate) history: History,
}

/// What came of claims, and the transaction that may still happen.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) claimed: Vec<Claimed>,
    /// Those whose fate is not known yet: their claims are [`Failure::Unknown`].
    pub(crate) open: Vec<Intent>,
}

impl Sender {
    /// Claims in as few transactions as the chain takes: one, unless one reverts, whose halves are then tried apart.
    pub(crate) async fn send(&self, claims: Vec<Claiming>, fee_token: Address, tries: u32) -> Sent {
        let mut sent = Sent::default();
        let mut parts = vec![claims];
        while let Some(part) = parts.pop() {
            let Simulated { mut good, gas, refused } = self.simulate(part).await;
            sent.claimed.extend(refused);
            if good.is_empty() {
                continue;
            }
            reach(FailPoint::Simulated);
            if self.gas_limit(gas) > self.config.close.gas_limit_max && good.len() > 1 {
                // The plan's figures were too low: what does not go together goes apart.
                let second = good.split_off(good.len() / 2);
                parts.extend([second, good]);
                continue;
            }
            if let Err(Reverted { mut left }) = self.send_one(good, gas, fee_token, tries, &mut sent).await {
                // Alone it would have been named; together one of them has to be found.
                let second = left.split_off(left.len().div_ceil(2));
                parts.extend([second, left].into_iter().filter(|part| !part.is_empty()));
            }
        }
        sent
    }

    /// One transaction, to its fate. [`Reverted`] when it holds several claims and reverted as a whole.
    async fn send_one(
        &self,
        claims: Vec<Claiming>,
        gas: u64,
        fee_token: Address,
        tries: u32,
        sent: &mut Sent,
    ) -> Result<(), Reverted> {
        let all = |failure: Failure| -> Vec<Claimed> {
            claims.iter().map(|claim| (claim.channel(), Err(failure.clone()))).collect()
        };
        let intent = match self.prepare(&claims, gas, fee_token, tries).await {
            Ok(intent) => intent,
            Err(failure) => {
                sent.claimed.extend(all(failure));
                return Ok(());
            }
        };
        reach(FailPoint::Signed);
        // From here on a crash finds it.
        if let Err(error) = intent.keep(&self.engine).await {
            sent.claimed.extend(all(Failure::unavailable(&error)));
            return Ok(());
        }
        reach(FailPoint::IntentKept);
        let (tx_hash, calls) = (intent.tx_hash, claims.len());
        tracing::info!(%tx_hash, calls, tries, "claiming");
        metrics::counter!("farebox_claim_transactions_total").increment(1);
        let fate = match self.hand_over(&intent).await {
            Ok(fate) => fate,
            Err(failure) => {
                self.file(&intent, Some(SentFate::NeverMined)).await;
                sent.claimed.extend(all(failure));
                return Ok(());
            }
        };
        reach(FailPoint::FateKnown);
        let seen = SentFate::of(&fate);
        match self.conclude(&intent, fate).await {
            Some(Concluded { claimed, is_reverted }) => {
                reach(FailPoint::Concluded);
                self.tell(&intent, seen, &claimed).await;
                if !is_reverted || calls == 1 {
                    sent.claimed.extend(claimed);
                    return Ok(());
                }
                let (paid, failed): (Vec<_>, Vec<_>) =
                    claimed.into_iter().partition(|(_, result)| result.is_ok());
                sent.claimed.extend(paid);
                let failed: BTreeSet<ChannelId> = failed.into_iter().map(|(channel, _)| channel).collect();
                let left = claims.into_iter().filter(|claim| failed.contains(&claim.channel())).collect();
                Err(Reverted { left })
            }
            None => {
                tracing::error!(%tx_hash, calls, "the fate of claims is not known yet");
                sent.claimed.extend(all(Failure::Unknown { tx_hash }));
                sent.open.push(intent);
                Ok(())
            }
        }
    }

    /// Follows a transaction that a crash or an outage left open to its fate, and tells the books. It ends only when
    /// the fate is sure.
    pub(crate) async fn resolve(&self, intent: &Intent) -> Vec<Claimed> {
        // The same bytes are the same transaction: handing them over again does no harm, and may save the wait.
        let is_valid = self.clock.now() < intent.valid_before;
        let mut fate = if is_valid { self.hand_over(intent).await.ok() } else { None };
        loop {
            let seen = match fate.take() {
                Some(seen) => seen,
                None => self.await_fate(intent, FOLLOW_WAIT_MS).await,
            };
            let known = SentFate::of(&seen);
            if let Some(Concluded { claimed, .. }) = self.conclude(intent, seen).await {
                self.tell(intent, known, &claimed).await;
                return claimed;
            }
            tokio::time::sleep(Duration::from_millis(self.client.config().retry_pause_ms)).await;
        }
    }

    /// Signs the claims, for the fee that their tries and deadlines ask for.
    async fn prepare(
        &self,
        claims: &[Claiming],
        gas: u64,
        fee_token: Address,
        tries: u32,
    ) -> Result<Intent, Failure> {
        let close = &self.config.close;
        let gas_limit = self.gas_limit(gas);
        if gas_limit > close.gas_limit_max {
            let what = format!("it needs {gas_limit} gas, at most {} is allowed", close.gas_limit_max);
            return Err(Failure::Unavailable { what });
        }
        // First: the time from here to the signature is the transaction's.
        self.signer.ready().await.map_err(|error| Failure::unavailable(&error))?;
        let head = self.client.head().await.map_err(|error| Failure::unavailable(&error))?;
        let now = self.chain_time(head);
        let close_asked_at = claims.iter().filter_map(|claim| claim.close_asked_at).min();
        let policy = FeePolicy {
            priority: GasPrice(close.priority_fee_per_gas),
            max: GasPrice(close.max_fee_per_gas_max),
        };
        let pressure = Pressure { tries, close_asked_at };
        let Offer { max_fee, priority } = policy
            .offer(GasPrice(head.base_fee), pressure, now)
            .map_err(|error| Failure::unavailable(&error))?;
        let order = Order {
            chain_id: self.config.chain_id,
            calls: claims
                .iter()
                .map(|claim| (claim.call.escrow, crate::claim::call::encode(&claim.call)))
                .collect(),
            gas_limit,
            max_fee_per_gas: max_fee.0,
            max_priority_fee_per_gas: priority.0,
            fee_token,
            valid_before: now.saturating_add(close.validity_seconds),
        };
        let valid_before = order.valid_before;
        let signing = async {
            let begun = Instant::now();
            let signed = self.signer.sign(order).await;
            metrics::histogram!("farebox_sign_seconds").record(begun.elapsed());
            signed
        };
        let signed = signing.instrument(trace::sign()).await.map_err(|error| Failure::unavailable(&error))?;
        trace::note_transaction(signed.tx_hash);
        Ok(Intent {
            tx_hash: signed.tx_hash,
            sender: self.signer.address(),
            fee_token,
            nonce_lane: U256::MAX,
            valid_before,
            max_fee_per_gas: max_fee.0,
            max_priority_fee_per_gas: priority.0,
            gas_limit,
            signed_at: self.clock.now(),
            tries,
            calls: claims.iter().map(intended).collect(),
            bytes: signed.bytes,
        })
    }

    /// The gas to allow for what a simulation used.
    fn gas_limit(&self, gas: u64) -> u64 {
        let margin = (gas / 100).saturating_mul(GAS_MARGIN_PERCENT);
        gas.saturating_add(margin).saturating_add(GAS_ENVELOPE)
    }

    /// Hands a transaction to the nodes and waits for its fate. A failure means that it surely did not happen and
    /// never will.
    async fn hand_over(&self, intent: &Intent) -> Result<Fate, Failure> {
        let tx_hash = intent.tx_hash;
        match self.client.broadcast(&intent.bytes, tx_hash).await {
            Broadcast::Taken | Broadcast::Unclear => {
                reach(FailPoint::Broadcast);
                Ok(self.await_fate(intent, self.config.close.receipt_wait_ms).await)
            }
            Broadcast::Refused { code, message } => match find_refused(&self.client, tx_hash).await {
                Some(receipt) => Ok(Fate::Mined(receipt)),
                None => {
                    let what = format!("the chain's nodes refuse it: {message} ({code})");
                    Err(Failure::Unavailable { what })
                }
            },
            Broadcast::Unreachable { what } => Err(Failure::Unavailable { what }),
        }
    }

    async fn await_fate(&self, intent: &Intent, wait_ms: u64) -> Fate {
        let expires_at = intent.valid_before.saturating_add(EXPIRY_MARGIN_SECONDS);
        let wait = Duration::from_millis(wait_ms);
        self.client.await_fate(intent.tx_hash, Some(expires_at), wait).await
    }

    /// Tells the books what claims did, and then forgets the intent. When the books cannot be told, it stays, and the
    /// next start tells them.
    async fn tell(&self, intent: &Intent, fate: Option<SentFate>, claimed: &[Claimed]) {
        let tx_hash = intent.tx_hash;
        for (channel, result) in claimed {
            let Ok(paid) = result else { continue };
            if let Err(error) = self.tell_end(*channel, paid).await {
                tracing::error!(%channel, %tx_hash, %error, "the books could not be told what a claim did");
                return;
            }
            reach(FailPoint::BooksTold);
        }
        reach(FailPoint::BeforeForget);
        self.file(intent, fate).await;
        reach(FailPoint::Forgotten);
    }

    /// Tells the books what a claim did.
    pub(crate) async fn tell_end(
        &self,
        channel: ChannelId,
        paid: &Paid,
    ) -> Result<(), farebox_engine::EngineError> {
        let step = match *paid {
            Paid::Closed(closed) => Step::Closed {
                captured: closed.captured,
                refunded: closed.refunded,
                position: closed.position,
            },
            Paid::Settled { settled, position, .. } => Step::Settled { settled, position },
        };
        match retry_busy(|| self.engine.apply(channel, step)).await? {
            Verdict::Accepted(_) => {}
            Verdict::Rejected(refusal) => {
                metrics::counter!("farebox_watcher_refused_facts_total").increment(1);
                tracing::error!(%channel, ?paid, %refusal, "ALARM: the books refuse what the chain says");
            }
        }
        Ok(())
    }

    /// Puts an intent whose end the books know into the history, and forgets it. One that stays is looked up again at
    /// the next start, and does nothing then.
    async fn file(&self, intent: &Intent, fate: Option<SentFate>) {
        let tx_hash = intent.tx_hash;
        if let Some(fate) = fate {
            let intent = Intent { bytes: Vec::new(), ..intent.clone() };
            let sent = SentTransaction { intent, fate, ended_at: self.clock.now() };
            if let Err(error) = self.history.keep(&sent, &self.engine).await {
                tracing::warn!(%tx_hash, %error, "what became of a transaction could not be written down");
                return;
            }
        }
        if let Err(error) = Intent::forget(tx_hash, &self.engine).await {
            tracing::warn!(%tx_hash, %error, "a finished intent could not be removed");
        }
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
}

/// A transaction with several claims reverted: one of them is the reason, and none did anything.
struct Reverted {
    /// Those that are still to be claimed.
    left: Vec<Claiming>,
}

fn intended(claim: &Claiming) -> IntendedCall {
    IntendedCall {
        channel: claim.channel(),
        escrow: claim.call.escrow,
        protocol: claim.protocol(),
        is_close: claim.call.is_close(),
        capture: claim.call.capture,
        deposit: claim.deposit,
        close_asked_at: claim.close_asked_at,
    }
}

/// What is known of a transaction after its fate was looked for.
fn attempt(intent: &Intent, observation: Observation) -> Attempt {
    let attempt = Attempt::new(intent.tx_hash, intent.valid_before);
    attempt.observe(Observation::Sending).observe(Observation::Sent).observe(observation)
}

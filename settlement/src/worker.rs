//! Drives closes to their end: those that payers ask for on chain, and those that a crash or an outage
//! left half done.
//!
//! The books are its memory: at the start, and then from time to time, it looks through them for channels
//! whose payer asked to close and for channels that are closing with nobody at it. So no timer is lost in
//! a restart. The watcher and the closer wake it in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{Answer, Phase};
use farebox_core::units::{ChannelId, UnixSeconds};
use farebox_engine::chain::CloseFailure;
use farebox_engine::{Channel, Clock, Engine, EngineError, Reply, Step, Verdict};
use farebox_settlement_plan::attempt::EXPIRY_MARGIN_SECONDS;
use farebox_settlement_plan::{CloseDeadlines, Urgency};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{ChannelOnChain, Client};
use crate::closer::Closer;
use crate::config::Config;

/// Channels of one page when the books are looked through.
const PAGE_CHANNELS: usize = 1_024;
/// The most channels that are driven at once; what is beyond is found by a later look.
const JOBS_MAX: usize = 65_536;
/// The longest that the loop sleeps when nothing is due.
const IDLE_MS: u64 = 1_000;

/// What a try needs.
pub(crate) struct Tools {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) closer: Arc<Closer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<Config>,
}

/// Drives closes.
pub(crate) struct Worker {
    tools: Arc<Tools>,
    wake: mpsc::Receiver<ChannelId>,
    jobs: BTreeMap<ChannelId, Job>,
    running: JoinSet<(ChannelId, Outcome)>,
}

/// A channel that is to be closed.
struct Job {
    failures: u32,
    due: Instant,
    is_running: bool,
    doubt: Doubt,
}

/// Whether a close that was sent before may still happen. While it may, the channel must stay closing:
/// service that went on would not be in that close's claim (rule 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Nothing was sent, or its fate is sure.
    None,
    /// Something may have been sent, by now.
    Some,
    /// Something may have been sent; it is dead when the chain's clock shows this.
    Until(UnixSeconds),
}

/// What came of a try.
enum Outcome {
    /// The channel needs nobody any more.
    Done,
    /// It needs another try.
    Again { doubt: Doubt, close_requested_at: Option<UnixSeconds> },
}

impl Worker {
    pub(crate) fn new(tools: Arc<Tools>, wake: mpsc::Receiver<ChannelId>) -> Self {
        Self { tools, wake, jobs: BTreeMap::new(), running: JoinSet::new() }
    }

    /// Drives closes until told to stop; then gives those that are under way a moment to finish.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let work = self.tools.config.work;
        // Nobody else was at work before the start: what is closing was left behind.
        let mut rest = Duration::ZERO;
        let mut next_scan = Instant::now();
        loop {
            if Instant::now() >= next_scan {
                let is_complete = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    scanned = self.scan(rest) => scanned.is_ok(),
                };
                let pause_ms = if is_complete { work.scan_ms } else { IDLE_MS };
                if is_complete {
                    rest = Duration::from_millis(work.closing_rest_ms);
                }
                next_scan = Instant::now() + Duration::from_millis(pause_ms);
            }
            self.start_due();
            let idle = Instant::now() + Duration::from_millis(IDLE_MS);
            let until = self.next_due().unwrap_or(idle).min(next_scan).min(idle);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(channel) = self.wake.recv() => self.add(channel, Instant::now(), Doubt::None),
                Some(joined) = self.running.join_next() => self.note(joined),
                () = tokio::time::sleep_until(until) => {}
            }
        }
        self.finish().await;
    }

    /// Looks through the books for channels that need closing.
    async fn scan(&mut self, rest: Duration) -> Result<(), EngineError> {
        let mut after = None;
        let (mut requested, mut closing) = (0_u64, 0_u64);
        loop {
            let page = self.tools.engine.channels_page(after, PAGE_CHANNELS).await?;
            for channel in &page {
                match channel.snapshot.phase {
                    Phase::Closing { .. } => {
                        closing += 1;
                        if !self.tools.closer.is_running(channel.id) {
                            self.add(channel.id, Instant::now() + rest, Doubt::Some);
                        }
                    }
                    Phase::Open if channel.snapshot.close_requested_at.is_some() => {
                        requested += 1;
                        self.add(channel.id, Instant::now(), Doubt::None);
                    }
                    Phase::Open | Phase::Closed(_) => {}
                }
            }
            after = page.last().map(|channel| channel.id);
            if page.len() < PAGE_CHANNELS {
                break;
            }
        }
        metrics::gauge!("farebox_channels_close_requested").set(requested as f64);
        metrics::gauge!("farebox_channels_closing").set(closing as f64);
        Ok(())
    }

    fn add(&mut self, channel: ChannelId, due: Instant, doubt: Doubt) {
        if self.jobs.len() < JOBS_MAX {
            self.jobs.entry(channel).or_insert(Job { failures: 0, due, is_running: false, doubt });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if self.running.len() >= self.tools.config.work.closes_in_flight_max {
            return None;
        }
        self.jobs.values().filter(|job| !job.is_running).map(|job| job.due).min()
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let free = self.tools.config.work.closes_in_flight_max.saturating_sub(self.running.len());
        let is_due = |job: &Job| !job.is_running && job.due <= now;
        let mut due: Vec<_> = self
            .jobs
            .iter_mut()
            .filter(|(_, job)| is_due(job))
            .map(|(channel, job)| (*channel, job))
            .collect();
        // Who waits longest comes first, so that nobody waits for ever.
        due.sort_by_key(|(_, job)| job.due);
        for (channel, job) in due.into_iter().take(free) {
            job.is_running = true;
            let (tools, doubt) = (Arc::clone(&self.tools), job.doubt);
            self.running.spawn(async move { (channel, tools.attempt(channel, doubt).await) });
        }
    }

    /// Remembers what came of a try, and plans the next.
    fn note(&mut self, joined: Result<(ChannelId, Outcome), tokio::task::JoinError>) {
        let (channel, outcome) = match joined {
            Ok(done) => done,
            Err(error) => {
                // Which one it was is not told: all are taken up again, in doubt, by the next look.
                tracing::error!(%error, "a task that closes a channel ended early");
                self.jobs.retain(|_, job| !job.is_running);
                return;
            }
        };
        let Outcome::Again { doubt, close_requested_at } = outcome else {
            self.jobs.remove(&channel);
            return;
        };
        let Some(job) = self.jobs.get_mut(&channel) else { return };
        let now = self.tools.clock.now();
        let deadlines = close_requested_at.map(CloseDeadlines::of);
        job.failures = job.failures.saturating_add(1);
        job.is_running = false;
        job.doubt = doubt;
        let remaining_ms = deadlines.map_or(0, |deadlines| deadlines.remaining_ms(now));
        let pause_ms = self.tools.config.work.backoff.delay_before_deadline_ms(job.failures, remaining_ms);
        job.due = Instant::now() + Duration::from_millis(pause_ms);
        let urgency = deadlines.map_or(Urgency::OnTime, |deadlines| deadlines.urgency(now));
        if urgency > Urgency::OnTime {
            metrics::counter!("farebox_close_requests_late_total").increment(1);
            let failures = job.failures;
            tracing::error!(%channel, ?urgency, failures, "ALARM: a close request is not answered yet");
        }
    }

    /// Waits for closes that are under way, within a bound.
    async fn finish(mut self) {
        let wait = Duration::from_millis(self.tools.config.work.stop_wait_ms);
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(wait, all).await.is_err() {
            tracing::warn!("closes are still under way; the next start takes them up");
        }
    }
}

impl Tools {
    /// One try to bring a channel to its end.
    async fn attempt(&self, channel: ChannelId, doubt: Doubt) -> Outcome {
        match self.try_close(channel, doubt).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(%channel, %error, "a close waits for the books");
                Outcome::Again { doubt, close_requested_at: None }
            }
        }
    }

    async fn try_close(&self, channel: ChannelId, doubt: Doubt) -> Result<Outcome, EngineError> {
        let Some(found) = self.engine.read(channel).await? else { return Ok(Outcome::Done) };
        let close_requested_at = found.snapshot.close_requested_at;
        let doubt = match found.snapshot.phase {
            Phase::Closed(_) => return Ok(Outcome::Done),
            Phase::Open if close_requested_at.is_none() => return Ok(Outcome::Done),
            // The watcher is about to tell the books, and then nothing is left to do.
            Phase::Open if self.is_taken_back(&found).await => {
                return Ok(Outcome::Again { doubt: Doubt::None, close_requested_at });
            }
            Phase::Open => Doubt::None,
            Phase::Closing { .. } if self.closer.is_running(channel) => {
                return Ok(Outcome::Again { doubt: Doubt::Some, close_requested_at });
            }
            Phase::Closing { .. } => self.bound(doubt).await,
        };
        let claim = match self.engine.apply(channel, Step::BeginCloseForced).await? {
            Verdict::Accepted(Reply { answer: Answer::Close(claim), .. }) => claim,
            Verdict::Accepted(_) => return Ok(Outcome::Done),
            Verdict::Rejected(refusal) => {
                tracing::warn!(%channel, %refusal, "the books refuse to close");
                return Ok(Outcome::Again { doubt, close_requested_at });
            }
        };
        let Channel { identity, .. } = found;
        match self.closer.close(channel, identity, claim).await {
            Ok(closed) => {
                let (captured, refunded, position) = (closed.captured, closed.refunded, closed.position);
                self.engine.apply(channel, Step::Closed { captured, refunded, position }).await?;
                tracing::info!(%channel, %captured, %refunded, tx_hash = %closed.tx_hash, "closed");
                Ok(Outcome::Done)
            }
            Err(failure @ CloseFailure::Unknown { .. }) => {
                tracing::warn!(%channel, %failure, "a close is in doubt");
                Ok(Outcome::Again { doubt: self.bound(Doubt::Some).await, close_requested_at })
            }
            Err(failure) => {
                tracing::warn!(%channel, %failure, "a close did not come through");
                self.abort(channel, doubt, close_requested_at).await
            }
        }
    }

    /// Whether the chain knows of no close request any more: the books may lag behind it, most of all after a
    /// restart, and a claim that began would end a channel that goes on (rule 7). No answer is not a "no";
    /// then the close goes its way.
    async fn is_taken_back(&self, channel: &Channel) -> bool {
        let Channel { id, identity, .. } = channel;
        let read = self.client.channel(identity.protocol(), identity.escrow, *id, 0).await;
        matches!(read, Ok((ChannelOnChain::Open { close_requested_at: None, .. }, _)))
    }

    /// A try surely failed. Unless an earlier one may still happen, the books are told, so that a payer who
    /// takes the request back gets service again.
    async fn abort(
        &self,
        channel: ChannelId,
        doubt: Doubt,
        close_requested_at: Option<UnixSeconds>,
    ) -> Result<Outcome, EngineError> {
        if !self.is_over(doubt).await {
            return Ok(Outcome::Again { doubt, close_requested_at });
        }
        match self.engine.apply(channel, Step::AbortClose).await? {
            Verdict::Accepted(Reply { snapshot, .. }) if snapshot.close_requested_at.is_none() => {
                Ok(Outcome::Done)
            }
            Verdict::Accepted(Reply { snapshot, .. }) => {
                let close_requested_at = snapshot.close_requested_at;
                Ok(Outcome::Again { doubt: Doubt::None, close_requested_at })
            }
            // The watcher was faster: it is closed, or not closing any more. The next try sees.
            Verdict::Rejected(_) => Ok(Outcome::Again { doubt: Doubt::None, close_requested_at }),
        }
    }

    /// Gives a doubt its end, by the chain's clock: every close of ours is valid for seconds.
    async fn bound(&self, doubt: Doubt) -> Doubt {
        if let Doubt::Until(_) = doubt {
            return doubt;
        }
        let close = &self.config.close;
        let validity = close.validity_seconds + close.clock_skew_seconds_max + EXPIRY_MARGIN_SECONDS;
        match self.client.head().await {
            Ok(head) => Doubt::Until(head.timestamp.saturating_add(validity)),
            Err(_) => Doubt::Some,
        }
    }

    /// True when nothing that was sent before can still happen.
    async fn is_over(&self, doubt: Doubt) -> bool {
        match doubt {
            Doubt::None => true,
            Doubt::Some => false,
            Doubt::Until(end) => self.client.head().await.is_ok_and(|head| head.timestamp >= end),
        }
    }
}

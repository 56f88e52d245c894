//! The handle that a service holds: requests in, durable answers out.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use farebox_core::channel::{ChainPosition, Identity, Limits, Phase, Rejection, Snapshot, Spend};
use farebox_core::journal::Cursor;
use farebox_core::units::{Amount, ChannelId};
use farebox_core::voucher::{AnySignedVoucher, Verifier};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::batch::{Shares, VoucherBatch};
use super::live_limits::LimitsFixed;
use super::message::{Change, ReplyTo, Request};
use super::pending::{Asking, Submission};
use super::shared::{Shared, shard_of};
use super::slot::When;
use super::threads::{self, Threads};
use super::{Channel, Config, EngineError, Health, Refusal, Step, Verdict, Waited};
use crate::clock::Clock;
use crate::ledger::{CHANNELS_PAGE_MAX, Ledger};

/// Keeps the books of all channels: verifies vouchers, applies the rules, answers what is on disk.
///
/// Clones share one engine. When the last one is dropped, the threads finish what is queued, write a
/// checkpoint and end; [`Engine::shutdown`] does the same and waits for it.
///
/// Requests of one channel are on their way, in the order of their calls, when the calls return; what is awaited is the
/// durable answer. A future of this type may be dropped at any time: the request is then done or not done, and a retry
/// with the same request key finds out.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the clones share. The threads hold none of it, so that dropping the last handle ends them.
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) threads: Threads,
    /// Batches of one that wait for their next voucher.
    singles: Mutex<Vec<Shares>>,
    /// The threads close it when they end.
    ledger: Weak<dyn Ledger>,
}

/// The most batches of one that are kept: callers that wait at the same time, in most services.
const SINGLES_KEPT_MAX: usize = 1_024;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Recovers the books from the ledger, ends requests that a former process left running, and starts
    /// the threads. It blocks while it reads.
    pub fn start(config: Config, ledger: impl Ledger, clock: impl Clock) -> Result<Self, EngineError> {
        config.check()?;
        let ledger: Arc<dyn Ledger> = Arc::new(ledger);
        let weak = Arc::downgrade(&ledger);
        let (shared, threads) = threads::start(config, ledger, Arc::new(clock))?;
        Ok(Self { inner: Arc::new(Inner { shared, threads, singles: Mutex::default(), ledger: weak }) })
    }

    /// The verifier of all shards, for vouchers of channels that the books do not know yet.
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.inner.shared.verifier)
    }

    /// Enters a channel that the chain knows. A channel that the books know already is answered with what
    /// they hold; nothing is reset (rule 6).
    pub fn open(
        &self,
        identity: Identity,
        deposit: Amount,
        settled: Amount,
        position: ChainPosition,
    ) -> impl Future<Output = Result<Verdict, EngineError>> + Send + use<> {
        let channel = identity.channel_id();
        let change = Change::Open { identity: Arc::new(identity), deposit, settled, position };
        self.verdict(channel, change)
    }

    /// Verifies a voucher against the signer that the books know, takes it, and pays for a request in the
    /// same step. It is a [batch](Self::batch) of one, on its way when this returns.
    pub fn submit(&self, channel: ChannelId, voucher: AnySignedVoucher, then: Spend) -> Submission {
        self.hand_in(channel, voucher, then, When::Durable)
    }

    /// [`Engine::submit`] for who does one more step of the same channel before anything is delivered, and waits for that
    /// one: a voucher that is taken and pays is answered before it is on disk. The journal holds the steps of a channel in
    /// their order, so when the later one is on disk, this one is. Everything else than a yes is answered when it is on
    /// disk: it may be told to the client at once.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "the door is the only caller"))]
    pub(crate) fn submit_ahead(
        &self,
        channel: ChannelId,
        voucher: AnySignedVoucher,
        then: Spend,
    ) -> Submission {
        self.hand_in(channel, voucher, then, When::Applied)
    }

    fn hand_in(&self, channel: ChannelId, voucher: AnySignedVoucher, then: Spend, when: When) -> Submission {
        match other_channel(channel, &voucher) {
            Some(refusal) => Submission::refused(Ok(Verdict::Rejected(refusal))),
            None => Submission::begin(&self.inner, voucher, then, when),
        }
    }

    /// The operator's limits.
    pub fn limits(&self) -> Arc<Limits> {
        self.inner.shared.limits.get()
    }

    /// Exchanges the operator's limits: they are in force for the next batch of every shard.
    ///
    /// # Errors
    ///
    /// [`LimitsFixed`] when one of the sums over channels differs, which are fixed at the start; nothing changes then.
    pub fn set_limits(&self, limits: Limits) -> Result<(), LimitsFixed> {
        self.inner.shared.limits.set(limits)
    }

    /// A batch for vouchers that are handed in together; to be kept and filled again and again.
    pub fn batch(&self) -> VoucherBatch {
        VoucherBatch::new(self.clone())
    }

    /// Does a step that needs no signature. It is on its way when this returns.
    pub fn apply(
        &self,
        channel: ChannelId,
        step: Step,
    ) -> impl Future<Output = Result<Verdict, EngineError>> + Send + use<> {
        let ends_service = step.ends_service().then(|| Arc::clone(&self.inner));
        let verdict = self.verdict(channel, Change::Step(step));
        async move {
            let verdict = verdict.await?;
            if let (Some(engine), Verdict::Accepted(_)) = (ends_service, &verdict) {
                // Without receivers nobody has to know.
                drop(engine.shared.endings.send(channel));
            }
            Ok(verdict)
        }
    }

    /// Begins the close that a client asks for: verifies its voucher and fixes what is claimed.
    pub fn begin_close(
        &self,
        channel: ChannelId,
        voucher: AnySignedVoucher,
    ) -> impl Future<Output = Result<Verdict, EngineError>> + Send + use<> {
        match other_channel(channel, &voucher) {
            Some(refusal) => Asking::refused(Ok(Verdict::Rejected(refusal))),
            None => self.verdict(channel, Change::Close { voucher }),
        }
    }

    /// What the books hold of one channel.
    pub fn read(
        &self,
        channel: ChannelId,
    ) -> impl Future<Output = Result<Option<Channel>, EngineError>> + Send + use<> {
        self.ask(self.shard_of(channel), false, |reply| Request::Read { channel, reply })
    }

    /// The terms of a channel.
    pub async fn identity(&self, channel: ChannelId) -> Result<Option<Arc<Identity>>, EngineError> {
        Ok(self.read(channel).await?.map(|found| found.identity))
    }

    /// Channels by rising id, from the one behind `after`, at most `max` (and at most 1,024). Fewer means
    /// the end. Each is durable; they are not all from one instant.
    pub async fn channels_page(
        &self,
        after: Option<ChannelId>,
        max: usize,
    ) -> Result<Vec<Channel>, EngineError> {
        let max = max.min(CHANNELS_PAGE_MAX);
        let mut page = Vec::new();
        for shard in 0..self.inner.threads.shard_count() {
            page.extend(self.ask(shard, false, |reply| Request::List { after, max, reply }).await?);
        }
        page.sort_unstable_by_key(|channel| channel.id);
        page.truncate(max);
        Ok(page)
    }

    /// All channels, closed ones too, by rising id. For reports: a server with many channels reads
    /// [`Engine::channels_page`].
    pub async fn channels(&self) -> Result<Vec<Channel>, EngineError> {
        let mut all: Vec<Channel> = Vec::new();
        loop {
            let page = self.channels_page(all.last().map(|channel| channel.id), CHANNELS_PAGE_MAX).await?;
            let is_last = page.len() < CHANNELS_PAGE_MAX;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The ids of channels that changed, each after the change is durable. A receiver that lags more than
    /// `changes_max` behind is told how many it missed, and reads what it needs.
    pub fn subscribe(&self) -> broadcast::Receiver<ChannelId> {
        self.inner.shared.changes.subscribe()
    }

    /// The ids of channels that stopped to serve, each after that is durable: the payer asked on chain to close,
    /// we began to close, or the channel is over. A receiver that lags is told how many it missed.
    pub fn subscribe_endings(&self) -> broadcast::Receiver<ChannelId> {
        self.inner.shared.endings.subscribe()
    }

    /// Waits until a voucher above `accepted_above` is durable, the channel stops taking vouchers, or
    /// `timeout` is over. A stream that ran out of money waits here. Needs tokio's timer.
    pub async fn wait_above(
        &self,
        channel: ChannelId,
        accepted_above: Amount,
        timeout: Duration,
    ) -> Result<Waited, EngineError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let waiter = self.inner.shared.waiters.register(channel);
        let mut health = self.inner.shared.subscribe_health();
        loop {
            // Armed before the books are read, so that a change in between wakes us.
            let changed = waiter.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let snapshot = match self.read(channel).await {
                Ok(Some(found)) => found.snapshot,
                Ok(None) => return Ok(Waited::NotFound),
                // A stream that waits anyway does not end because the queue is full for a moment.
                Err(EngineError::Busy { retry_after_ms }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(retry_after_ms)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if snapshot.accepted > accepted_above {
                return Ok(Waited::Above(snapshot));
            }
            if !takes_vouchers(&snapshot) {
                return Ok(Waited::Ended(snapshot));
            }
            tokio::select! {
                () = &mut changed => {}
                _ = health.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(Waited::TimedOut(snapshot)),
            }
        }
    }

    /// Notes how far the chain was read. It becomes durable with the next frame, so it must be set only
    /// after the facts before it were applied. A lost cursor costs a second look at some blocks, no more.
    pub fn set_cursor(&self, cursor: Cursor) {
        self.inner.shared.cursor.set(cursor);
        if self.inner.shared.cursor.is_overdue() {
            self.inner.threads.wake_committer();
        }
    }

    /// How far the chain was read: what was set last, or what the ledger kept.
    pub fn cursor(&self) -> Option<Cursor> {
        self.inner.shared.cursor.get()
    }

    /// Whether requests are taken.
    pub fn health(&self) -> Health {
        self.inner.shared.health()
    }

    /// Stops taking requests, finishes what is queued, writes a checkpoint and closes the ledger. Every
    /// handle may call it; all calls return when it is done.
    pub async fn shutdown(&self) -> Result<(), EngineError> {
        self.inner.shared.begin_stop();
        self.inner.threads.stop();
        self.inner.threads.join().await;
        match self.health() {
            Health::Poisoned { cause } => Err(EngineError::Poisoned { cause }),
            Health::Running | Health::Stopping | Health::Stopped => Ok(()),
        }
    }

    pub(super) fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.inner.ledger.upgrade()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    fn verdict(&self, channel: ChannelId, change: Change) -> Asking<Verdict> {
        let new_work = change.is_new_work();
        self.ask(self.shard_of(channel), new_work, |reply| Request::Change { channel, change, reply })
    }

    fn shard_of(&self, channel: ChannelId) -> usize {
        shard_of(channel, self.inner.threads.shard_count())
    }

    /// Puts a request into a shard's queue.
    fn ask<T>(
        &self,
        shard: usize,
        is_new_work: bool,
        request: impl FnOnce(ReplyTo<T>) -> Request,
    ) -> Asking<T> {
        Asking::begin(&self.inner, shard, is_new_work, request)
    }
}

impl Inner {
    /// A batch of one.
    pub(super) fn take_single(&self) -> Shares {
        let kept = self.singles.lock().pop();
        kept.unwrap_or_else(|| Shares::new(self))
    }

    /// Keeps a batch of one for the next caller.
    pub(super) fn keep_single(&self, mut single: Shares) {
        single.clear();
        let mut singles = self.singles.lock();
        if singles.len() < SINGLES_KEPT_MAX {
            singles.push(single);
        }
    }
}

/// The refusal of a voucher that names another channel than the one that was asked for.
fn other_channel(expected: ChannelId, voucher: &AnySignedVoucher) -> Option<Refusal> {
    let found = voucher.voucher().channel_id;
    (found != expected).then_some(Refusal::Channel(Rejection::WrongChannel { found, expected }))
}

/// Whether a channel may still take a voucher.
fn takes_vouchers(snapshot: &Snapshot) -> bool {
    snapshot.phase == Phase::Open && snapshot.close_requested_at.is_none()
}

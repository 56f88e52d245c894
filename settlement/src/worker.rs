//! Claims what is due: finds it, has it planned, and drives every claim to its end.
//!
//! Three things name a channel that needs work: the chain (a close request), the door (a client's close) and time (an
//! age, an idle month). The books are the memory behind all of it: at the start they are looked through once, and after
//! that their changes are followed, so that no timer is lost in a restart and nothing is scanned for. Transactions
//! that a former process left open are followed to their fate first.
//!
//! | part | what it does |
//! |---|---|
//! | `job` | what is remembered of a channel that needs work |
//! | `look` | from the books to jobs and to the index of what is due |
//! | `batch` | one planned transaction: the books fix its claims, the sender sends it |

mod batch;
mod job;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{Claim, Identity};
use farebox_core::units::{Amount, ChannelId};
use farebox_engine::chain::{CloseFailure, ClosedOnChain};
use farebox_engine::{Clock, Engine};
use farebox_settlement_plan::gas::GasPrice;
use farebox_settlement_plan::planner::{Account, Action, Batch, DueIndex, Market, Policy, plan};
use farebox_settlement_plan::{CloseDeadlines, Urgency};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::batch::{Done, Ended, Order};
use self::job::Job;
use self::look::{Asks, Scan};
use crate::claim::{Failure, Paid};
use crate::client::Client;
use crate::config::Config;
use crate::feed::Feed;
use crate::intent::Intent;
use crate::quarantine::{self, Quarantine};
use crate::sender::Sender;

/// The longest that the loop sleeps when nothing is due.
const IDLE_MS: u64 = 1_000;
/// The most channels that are planned at once; what is beyond comes next.
const DUE_MAX: usize = 1_024;

/// What claims need.
pub(crate) struct Tools {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) sender: Sender,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<Config>,
}

/// The door asks for a close that its client wants.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) channel: ChannelId,
    pub(crate) identity: Arc<Identity>,
    pub(crate) claim: Claim,
    pub(crate) reply: Reply,
}

/// Where the door waits.
pub(crate) type Reply = oneshot::Sender<Result<ClosedOnChain, CloseFailure>>;

/// Finds what is due and claims it.
pub(crate) struct Worker {
    tools: Arc<Tools>,
    asks: mpsc::Receiver<Ask>,
    feed: Arc<Feed>,
    index: DueIndex,
    jobs: BTreeMap<ChannelId, Job>,
    running: JoinSet<Done>,
    /// Transactions whose fate is not known, each followed by a task.
    following: JoinSet<Done>,
    scan: Scan,
    /// What the operator wants settled, whatever the policy says.
    wanted: BTreeSet<ChannelId>,
    /// What gas cost when it was asked last.
    gas_price: GasPrice,
    /// Until when claims gather, so that those that come together go together.
    gather_until: Option<Instant>,
    next_follow: Instant,
}

impl Worker {
    pub(crate) fn new(tools: Arc<Tools>, asks: mpsc::Receiver<Ask>, feed: Arc<Feed>) -> Self {
        Self {
            tools,
            asks,
            feed,
            index: DueIndex::new(),
            jobs: BTreeMap::new(),
            running: JoinSet::new(),
            following: JoinSet::new(),
            scan: Scan::at_start(),
            wanted: BTreeSet::new(),
            gas_price: GasPrice::default(),
            gather_until: None,
            next_follow: Instant::now(),
        }
    }

    /// Takes up what a former process left open. Nothing may be sent before this succeeded.
    pub(crate) fn take_up(&mut self, open: Vec<Intent>, stuck: Vec<Quarantine>) {
        for quarantine in stuck {
            let due = Instant::now();
            let job = self.jobs.entry(quarantine.channel).or_insert_with(|| Job::new(due));
            job.stuck = Some(quarantine);
        }
        let channels = || open.iter().flat_map(|intent| intent.calls.iter().map(|call| call.channel));
        let distinct: BTreeSet<ChannelId> = channels().collect();
        if distinct.len() == channels().count() {
            open.into_iter().for_each(|intent| self.follow(vec![intent]));
        } else {
            // An intent that is over could not be removed, and its channels were claimed again: only all of them
            // together say what became of a channel.
            self.follow(open);
        }
    }

    /// Claims until told to stop; then gives what is under way a moment to finish.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.work() => {}
            }
            let until = self.wake_at();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(joined) = self.running.join_next() => if !self.note_joined(joined) { break },
                Some(joined) = self.following.join_next() => if !self.note_joined(joined) { break },
                Some(ask) = self.asks.recv() => self.ask(ask),
                () = self.feed.told() => self.gather(),
                () = tokio::time::sleep_until(until) => {}
            }
        }
        self.finish().await;
    }

    /// Looks at what changed, and sends what is due. Whatever is dropped half-way is found again.
    async fn work(&mut self) {
        while let Ok(ask) = self.asks.try_recv() {
            self.ask(ask);
        }
        self.look_at_changes().await;
        if self.gather_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.gather_until = None;
        if self.running.len() < self.tools.config.work.batches_in_flight_max {
            self.plan_due().await;
        }
        self.report();
    }

    fn gather(&mut self) {
        let wait = Duration::from_millis(self.tools.config.work.gather_ms);
        self.gather_until.get_or_insert_with(|| Instant::now() + wait);
    }

    /// The door asks. A claim of the channel that is under way answers it, too.
    fn ask(&mut self, Ask { channel, identity, claim, reply }: Ask) {
        if self.tools.sender_of(&identity).is_none() {
            let (signer, payee) = (self.tools.sender.signer.address(), identity.payee());
            let what = format!("the key of {signer} may not close a channel of payee {payee}");
            // Who no longer waits misses it.
            drop(reply.send(Err(CloseFailure::NotSent { what })));
            return;
        }
        let job = self.jobs.entry(channel).or_insert_with(|| Job::new(Instant::now()));
        job.waiting.push(reply);
        if !job.is_running || job.is_settling {
            job.due = Instant::now();
            job.asked = Some((identity, claim));
        }
        self.gather();
    }

    /// When something is due without anybody telling.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        if self.scan.is_running() {
            return now;
        }
        let idle = now + Duration::from_millis(IDLE_MS);
        let mut at = self.gather_until.unwrap_or(idle).min(self.next_follow).min(idle);
        if self.running.len() < self.tools.config.work.batches_in_flight_max {
            let due = self.jobs.values().filter(|job| job.is_ready()).map(|job| job.due).min();
            at = at
                .min(due.unwrap_or(idle).max(now + Duration::from_millis(self.tools.config.work.gather_ms)));
        }
        at
    }

    /// Plans the channels that are due and starts their transactions, as many as may be under way.
    async fn plan_due(&mut self) {
        let (accounts, asks) = self.due_accounts().await;
        if accounts.is_empty() {
            return;
        }
        let work = self.tools.config.work;
        let market = self.market().await;
        let exposed = self.index.exposed(work.policy.exposure_max, DUE_MAX);
        // What the chain refused before goes by itself, so that nobody else has to wait while it is told apart again.
        let is_stuck =
            |account: &Account| self.jobs.get(&account.channel).is_some_and(|job| job.stuck.is_some());
        let (stuck, sound): (Vec<_>, Vec<_>) = accounts.into_iter().partition(is_stuck);
        let (wanted, sound): (Vec<_>, Vec<_>) =
            sound.into_iter().partition(|account| self.wanted.remove(&account.channel));
        let at_any_price = Policy { amount_min: Amount::new(1), profit_percent_min: 0, ..work.policy };
        let mut asks = asks;
        for (accounts, policy) in [(sound, work.policy), (wanted, at_any_price), (stuck, work.policy)] {
            let plan = plan(&accounts, &policy, &work.limits, &market, &exposed);
            self.note_decisions(&accounts, &plan.decisions);
            for batch in plan.batches {
                if batch.round == 0 && self.running.len() < work.batches_in_flight_max {
                    self.start(batch, &mut asks);
                } else if policy == at_any_price {
                    // What the operator wants waits for its turn; everything else is found again by itself.
                    self.wanted.extend(batch.calls.iter().map(|call| call.channel));
                }
            }
        }
    }

    /// Starts a planned transaction.
    fn start(&mut self, batch: Batch, asks: &mut Asks) {
        let mut order = Order::new(batch);
        for call in &order.batch.calls {
            let job = self.jobs.entry(call.channel).or_insert_with(|| Job::new(Instant::now()));
            order.tries = order.tries.max(job.failures);
            job.is_settling = matches!(call.action, Action::Settle { .. });
            if let Some(asked) = asks.remove(&call.channel) {
                order.asks.insert(call.channel, asked);
            } else if job.wants_settle() {
                order.settles_first.insert(call.channel);
                job.is_settling = true;
            }
            job.is_running = true;
            job.asked = None;
            self.index.forget(call.channel);
        }
        let tools = Arc::clone(&self.tools);
        self.running.spawn(async move { tools.claim(order).await });
    }

    /// The time and the price of gas; the last one known when the chain cannot be asked now.
    async fn market(&mut self) -> Market {
        if let Ok(head) = self.tools.client.head().await {
            let priority = self.tools.config.close.priority_fee_per_gas;
            self.gas_price = GasPrice(head.base_fee.saturating_add(priority));
        }
        self.market_now()
    }

    fn market_now(&self) -> Market {
        let call_gas = self.tools.config.work.call_gas;
        Market { now: self.tools.clock.now(), gas_price: self.gas_price, call_gas }
    }

    /// Follows transactions to their fate, in a task of their own.
    fn follow(&mut self, open: Vec<Intent>) {
        for call in open.iter().flat_map(|intent| &intent.calls) {
            self.jobs.entry(call.channel).or_insert_with(|| Job::new(Instant::now())).is_running = true;
            self.index.forget(call.channel);
        }
        let tools = Arc::clone(&self.tools);
        self.following.spawn(async move { tools.follow(open).await });
    }

    /// False when a task broke: what it left open is in the intents, and the next start takes it up. To go on without
    /// knowing which claims it had would be to guess.
    fn note_joined(&mut self, joined: Result<Done, tokio::task::JoinError>) -> bool {
        match joined {
            Ok(done) => {
                self.note(done);
                true
            }
            Err(error) => {
                tracing::error!(%error, "ALARM: a task that claims ended early; restart the server");
                false
            }
        }
    }

    /// Remembers what came of claims, and when to try again.
    fn note(&mut self, Done { claimed, open }: Done) {
        let unknown: Vec<ChannelId> =
            open.iter().flat_map(|intent| intent.calls.iter().map(|call| call.channel)).collect();
        open.into_iter().for_each(|intent| self.follow(vec![intent]));
        for ended in claimed {
            match &ended.result {
                Ok(paid) => self.note_paid(ended.channel, paid),
                Err(failure) => self.note_failure(&ended, failure, unknown.contains(&ended.channel)),
            }
        }
    }

    fn note_paid(&mut self, channel: ChannelId, paid: &Paid) {
        let Some(mut job) = self.jobs.remove(&channel) else { return };
        if job.stuck.take().is_some() {
            self.lift(channel);
        }
        if matches!(paid, Paid::Settled { .. }) && job.goes_on() {
            job.failures = 0;
            self.jobs.insert(channel, job);
            return;
        }
        match paid {
            Paid::Closed(closed) => {
                let (captured, refunded, tx_hash) = (closed.captured, closed.refunded, closed.tx_hash);
                tracing::info!(%channel, %captured, %refunded, %tx_hash, "closed");
                for reply in job.waiting {
                    drop(reply.send(Ok(*closed)));
                }
            }
            Paid::Settled { settled, tx_hash, .. } => {
                tracing::info!(%channel, %settled, %tx_hash, "settled");
            }
        }
        self.feed.fact(channel);
    }

    fn note_failure(&mut self, ended: &Ended, failure: &Failure, is_open: bool) {
        let channel = ended.channel;
        let now = self.tools.clock.now();
        let Some(job) = self.jobs.get_mut(&channel) else { return };
        if !is_open && job.goes_on() {
            return;
        }
        job.asked = None;
        job.answer_failure(&failure.close_failure(), ended.is_asked);
        if is_open {
            // Its task follows it; until then nothing else may be sent for the channel.
            return;
        }
        let deadlines = ended.close_asked_at.map(CloseDeadlines::of);
        match failure {
            Failure::NothingToDo => {
                self.jobs.remove(&channel);
                self.feed.fact(channel);
                return;
            }
            Failure::Unknown { .. } => job.pause(&self.tools.config.work.backoff, deadlines, now),
            _ if ended.is_asked => {
                // The door is about to tell the books; if it does not, the close is taken up after a rest.
                let rest = Duration::from_millis(self.tools.config.work.closing_rest_ms);
                *job = Job::new(Instant::now() + rest);
            }
            failure if failure.is_poison() => {
                job.failures = job.failures.saturating_add(1);
                let quarantine = job.refuse(channel, now, failure.to_string());
                self.set_apart(quarantine);
            }
            _ => job.pause(&self.tools.config.work.backoff, deadlines, now),
        }
        tracing::warn!(%channel, %failure, "a claim did not come through");
        let urgency = deadlines.map_or(Urgency::OnTime, |deadlines| deadlines.urgency(now));
        if urgency > Urgency::OnTime {
            metrics::counter!("farebox_close_requests_late_total").increment(1);
            tracing::error!(%channel, ?urgency, "ALARM: a close request is not answered yet");
        }
    }

    /// Writes down that a channel is set apart, and why.
    fn set_apart(&mut self, quarantine: Quarantine) {
        metrics::counter!("farebox_claims_refused_total").increment(1);
        let (channel, reason, tries) = (quarantine.channel, quarantine.reason.clone(), quarantine.tries);
        let is_final = quarantine.is_final();
        tracing::error!(%channel, reason, tries, is_final, "ALARM: the chain refuses a claim; the channel is set apart");
        let engine = self.tools.engine.clone();
        tokio::spawn(async move {
            if let Err(error) = quarantine.keep(&engine).await {
                tracing::error!(%channel, %error, "why a channel is set apart could not be written down");
            }
        });
    }

    fn lift(&self, channel: ChannelId) {
        let engine = self.tools.engine.clone();
        tokio::spawn(async move {
            if let Err(error) = Quarantine::lift(channel, &engine).await {
                tracing::warn!(%channel, %error, "the mark of a channel that was set apart could not be removed");
            }
        });
    }

    fn report(&self) {
        let count = |is: fn(&Job) -> bool| self.jobs.values().filter(|job| is(job)).count() as f64;
        metrics::gauge!("farebox_channels_due").set(count(Job::is_ready));
        metrics::gauge!("farebox_channels_claiming").set(count(|job| job.is_running));
        metrics::gauge!("farebox_channels_set_apart").set(count(|job| job.stuck.is_some()));
        metrics::gauge!("farebox_unsettled").set(self.index.waits_total().get() as f64);
    }

    /// Waits for what is under way, within a bound.
    async fn finish(mut self) {
        let wait = Duration::from_millis(self.tools.config.work.stop_wait_ms);
        let deadline = Instant::now() + wait;
        while let Ok(Some(joined)) = tokio::time::timeout_at(deadline, self.running.join_next()).await {
            if !self.note_joined(joined) {
                break;
            }
        }
        if !self.running.is_empty() || !self.following.is_empty() {
            tracing::warn!("claims are still under way; the next start takes them up");
        }
    }
}

/// The pauses between tries of a channel that is set apart.
const REFUSED_PAUSES: farebox_settlement_plan::Backoff = quarantine::PAUSES;

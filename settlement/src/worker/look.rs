//! From the books to what needs work: pressing channels become jobs, the others wait in the index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{Claim, Identity};
use farebox_core::units::{Address, Amount, ChannelId};
use farebox_engine::Channel;
use farebox_engine::chain::CloseFailure;
use farebox_settlement_plan::planner::{Account, Decision, Left, Standing};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::job::Job;
use super::{DUE_MAX, Tools, Worker};
use crate::account;

/// Channels of one page when the books are looked through.
const PAGE_CHANNELS: usize = 1_024;
/// Channels that are read at the same time.
const READS_IN_FLIGHT_MAX: usize = 64;
/// The most jobs; what is beyond waits in the index.
const JOBS_MAX: usize = 65_536;
/// How long what found no place among the jobs waits, in seconds.
const NO_PLACE_S: u64 = 10;
/// The claims that the door wants, by channel.
pub(super) type Asks = BTreeMap<ChannelId, (Arc<Identity>, Claim)>;

/// A look through all books: at the start, and when changes were missed.
#[derive(Debug)]
pub(super) struct Scan {
    /// Behind which channel the next page begins; none when no look is under way.
    after: Option<Option<ChannelId>>,
    /// Nobody was at work before the start: what is closing was left behind.
    is_first: bool,
    /// When the next one may begin at the earliest.
    next: Option<Instant>,
}

impl Scan {
    pub(super) fn at_start() -> Self {
        Self { after: Some(None), is_first: true, next: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.after.is_some()
    }
}

impl Tools {
    /// The account that claims a channel's value, if its key is here.
    pub(super) fn sender_of(&self, identity: &Identity) -> Option<Address> {
        account::sender_of(self.sender.signer.address(), identity)
    }

    /// A channel as planning sees it.
    pub(super) fn account(&self, channel: &Channel) -> Account {
        account::account(&self.config, self.sender.signer.address(), channel)
    }
}

impl Worker {
    /// Looks at the channels that changed, and at a page of the books when they are looked through.
    pub(super) async fn look_at_changes(&mut self) {
        let work = self.tools.config.work;
        let facts = self.feed.take_facts(DUE_MAX);
        for channel in &facts {
            // The chain said something: whatever made its claims fail may be over.
            if let Some(job) = self.jobs.get_mut(channel)
                && job.stuck.as_ref().is_some_and(|stuck| stuck.is_final())
            {
                job.stuck = None;
                job.due = Instant::now();
                self.lift(*channel);
            }
        }
        self.look_at(facts).await;
        if self.wanted.len() < DUE_MAX {
            self.wanted.extend(self.feed.take_wanted(DUE_MAX));
        }
        if Instant::now() >= self.next_follow {
            self.next_follow = Instant::now() + Duration::from_millis(work.follow_ms);
            let changes = self.feed.take_changes(DUE_MAX);
            self.look_at(changes).await;
            let (now, sender) = (self.tools.clock.now(), &self.tools.sender);
            if let Err(error) = sender.history.trim(now, &self.tools.engine).await {
                tracing::warn!(%error, "old notes of what was sent could not be removed");
            }
            if self.feed.take_incomplete() && !self.scan.is_running() {
                let next = Instant::now() + Duration::from_secs(work.rescan_s);
                self.scan.next.get_or_insert(next);
            }
            if self.scan.next.is_some_and(|next| Instant::now() >= next) {
                self.scan = Scan { after: Some(None), is_first: false, next: None };
            }
        }
        self.scan_page().await;
    }

    async fn look_at(&mut self, channels: Vec<ChannelId>) {
        let rest = Duration::from_millis(self.tools.config.work.closing_rest_ms);
        for channel in read_all(&self.tools, channels).await {
            self.look(&channel, rest);
        }
    }

    /// One page of the books.
    async fn scan_page(&mut self) {
        let Some(after) = self.scan.after else { return };
        // When the books cannot be read, the same page is asked for again.
        let Ok(page) = self.tools.engine.channels_page(after, PAGE_CHANNELS).await else {
            tokio::time::sleep(Duration::from_millis(self.tools.config.work.gather_ms)).await;
            return;
        };
        let rest_ms = if self.scan.is_first { 0 } else { self.tools.config.work.closing_rest_ms };
        for channel in &page {
            self.look(channel, Duration::from_millis(rest_ms));
        }
        self.scan.after = (page.len() == PAGE_CHANNELS).then(|| page.last().map(|channel| channel.id));
    }

    /// Sorts one channel in. One that is closing rests first: the door is about to ask for its claim.
    fn look(&mut self, channel: &Channel, rest: Duration) {
        let account = self.tools.account(channel);
        let id = account.channel;
        if self.jobs.get(&id).is_some_and(|job| job.is_running || job.asked.is_some()) {
            return;
        }
        let now = Instant::now();
        let due = match account.standing {
            Standing::CloseAsked { at, .. } => {
                let rest_s = self.tools.config.work.close_request_rest_s;
                let left_s = at.saturating_add(rest_s).0.saturating_sub(self.tools.clock.now().0);
                now + Duration::from_secs(if rest_s == 0 { 0 } else { left_s })
            }
            Standing::Closing { .. } => now + rest,
            Standing::Open | Standing::Over => {
                let is_over = account.standing == Standing::Over;
                if let Some(job) = self.jobs.remove(&id) {
                    if !is_over && job.failures > 0 {
                        // What failed keeps its pause.
                        self.index.forget(id);
                        self.jobs.insert(id, job);
                        return;
                    }
                    if job.stuck.is_some() {
                        self.lift(id);
                    }
                }
                let market = self.market_now();
                self.index.note(&account, &self.tools.config.work.policy, &market);
                return;
            }
        };
        self.index.forget(id);
        if self.jobs.len() < JOBS_MAX {
            let job = self.jobs.entry(id).or_insert_with(|| Job::new(due));
            job.close_asked_at = account.close_asked_at();
        } else {
            let at = self.tools.clock.now().saturating_add(NO_PLACE_S);
            self.index.put(id, Some(at), Amount::ZERO);
        }
    }

    /// The channels that are due, as they are now, and what the door wants of them.
    pub(super) async fn due_accounts(&mut self) -> (Vec<Account>, Asks) {
        let now = Instant::now();
        let due = self.jobs.iter().filter(|(_, job)| job.is_ready() && job.due <= now);
        let mut due: Vec<_> = due.map(|(id, job)| (job.urgency(), *id)).collect();
        // When there are more than one round takes, those whose time runs out go first.
        due.sort_unstable();
        let mut ids: BTreeSet<ChannelId> = due.into_iter().map(|(_, id)| id).take(DUE_MAX).collect();
        ids.extend(self.index.due(self.tools.clock.now(), DUE_MAX));
        ids.extend(self.index.exposed(self.tools.config.work.policy.exposure_max, DUE_MAX));
        ids.extend(self.wanted.iter().take(DUE_MAX));
        ids.retain(|id| self.jobs.get(id).is_none_or(|job| job.is_ready() && job.due <= now));
        if ids.is_empty() {
            return (Vec::new(), Asks::new());
        }
        let asks = ids.iter().filter_map(|id| Some((*id, self.jobs.get(id)?.asked.clone()?))).collect();
        let found = read_all(&self.tools, ids.into_iter().collect()).await;
        // What is not there, or cannot be read, is not waited for.
        self.wanted.retain(|wanted| {
            found.iter().any(|channel| channel.id == *wanted)
                || self.jobs.get(wanted).is_some_and(|job| !job.is_ready() || job.due > now)
        });
        (found.iter().map(|channel| self.tools.account(channel)).collect(), asks)
    }

    /// Remembers when those that are left alone are to be looked at again.
    pub(super) fn note_decisions(&mut self, accounts: &[Account], decisions: &[(ChannelId, Decision)]) {
        for (account, (channel, decision)) in accounts.iter().zip(decisions) {
            let Decision::Leave { why, look_at } = decision else { continue };
            if matches!(why, Left::NoKey | Left::TooMuchGas) && account.close_asked_at().is_some() {
                metrics::counter!("farebox_close_requests_unanswerable_total").increment(1);
                tracing::error!(%channel, %why, "ALARM: a close request cannot be answered");
            }
            if let Some(mut job) = self.jobs.remove(channel) {
                // Nothing of it is claimed, so nothing of it can be refused.
                if job.stuck.is_some() {
                    self.lift(*channel);
                }
                let what = format!("nothing is claimed: {why}");
                let is_asked = job.asked.is_some();
                job.answer_failure(&CloseFailure::NotSent { what }, is_asked);
            }
            self.index.put(*channel, *look_at, account.settle_gain());
        }
    }
}

/// What the books hold of these channels. One that cannot be read now is left out: it is due again.
async fn read_all(tools: &Arc<Tools>, channels: Vec<ChannelId>) -> Vec<Channel> {
    let mut waiting = channels.into_iter();
    let mut reading = JoinSet::new();
    let mut found = Vec::new();
    loop {
        while reading.len() < READS_IN_FLIGHT_MAX
            && let Some(channel) = waiting.next()
        {
            let engine = tools.engine.clone();
            reading.spawn(async move { crate::intent::retry_busy(|| engine.read(channel)).await });
        }
        match reading.join_next().await {
            Some(Ok(Ok(channel))) => found.extend(channel),
            Some(Ok(Err(error))) => tracing::warn!(%error, "a channel cannot be read"),
            Some(Err(error)) => tracing::error!(%error, "a task that reads the books ended early"),
            None => {
                found.sort_unstable_by_key(|channel| channel.id);
                return found;
            }
        }
    }
}

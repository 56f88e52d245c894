//! What the dashboard shows, made once a second for all who look: sums of the books, the process's own metrics, how
//! settlement stands, and what is wrong.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::core::units::{ChannelId, UnixSeconds};
use farebox_engine::{Engine, EngineError};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Probe;
use super::alarms;
use super::figures::{Figures, label};
use super::history::{COLUMNS, History, Point, Span};
use super::tally::{Money, Stage, Tally};
use super::window::Window;
use crate::measure::{Format, Measures};

/// How often changes are collected.
const COLLECT_EVERY: Duration = Duration::from_millis(50);
/// How often a point is made.
const POINT_EVERY: Duration = Duration::from_secs(1);
/// Changed channels that wait to be read. Beyond it the books are looked through again.
const CHANGED_MAX: usize = 1 << 16;
/// Channels that are read for one point: what is beyond waits for the next.
const READS_MAX: usize = 2_048;
/// Channels of one page when the books are looked through, and pages for one point.
const PAGE_CHANNELS: usize = 1_024;
const PAGES_MAX: usize = 16;
/// The pause between two looks through all books.
const RESCAN_EVERY: Duration = Duration::from_secs(60);
/// Rows of a list.
const LIST_MAX: usize = 10;
/// Rows of the settlement queue.
const QUEUE_MAX: usize = 50;
/// The grace period of both escrows, and the part of it in which a claim should be confirmed, in seconds.
const GRACE_S: u64 = 900;
const CLAIM_WITHIN_S: u64 = GRACE_S / 3;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The protection space.
    pub realm: String,
    /// The chain.
    pub chain_id: u64,
    /// The token, in hex.
    pub token: String,
    /// Where people look at the chain.
    pub explorer: Option<String>,
    /// When the process started.
    pub started_at: UnixSeconds,
    /// Which code verifies.
    pub backend: &'static str,
    /// After how many seconds something spent is claimed at the latest; zero: by no age.
    pub settle_age_s: u64,
}

/// The last overview and the history, for everybody who asks.
#[derive(Clone)]
pub struct Overview {
    inner: Arc<Mutex<Latest>>,
}

struct Latest {
    overview: Value,
    history: History,
}

impl Overview {
    /// An empty one.
    pub fn new() -> Self {
        Self { inner: Arc::new(Mutex::new(Latest { overview: Value::Null, history: History::default() })) }
    }

    /// The overview, with the points behind a moment.
    pub fn read(&self, span: Span, after: f64) -> Value {
        let latest = self.lock();
        let mut answer = latest.overview.clone();
        answer["history"] = json!({
            "columns": COLUMNS,
            "points": latest.history.after(span, after).collect::<Vec<_>>(),
        });
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the books until told to stop.
    pub async fn run(self, mut source: Source, mut stop: watch::Receiver<bool>) {
        let mut changes = source.engine.subscribe();
        let mut ticks = interval(COLLECT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_point = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            source.collect(&mut changes);
            if Instant::now() >= next_point {
                next_point = Instant::now() + POINT_EVERY;
                source.catch_up().await;
                let (overview, point) = source.make();
                let mut latest = self.lock();
                latest.overview = overview;
                latest.history.push(point);
            }
        }
    }
}

/// What an overview is made of.
pub struct Source {
    engine: Engine,
    metrics: Measures,
    probe: Arc<dyn Probe>,
    facts: Facts,
    tally: Tally,
    changed: HashSet<ChannelId>,
    /// Behind which channel the next page of a look through all books begins.
    scan: Option<Option<ChannelId>>,
    scan_is_due: bool,
    scan_not_before: Instant,
    /// The reading before, and when it was made.
    before: Option<(Figures, Instant)>,
    /// The syncs of the last minute.
    commits: Window,
}

impl Source {
    /// Looks through all books first.
    pub fn new(engine: Engine, metrics: Measures, probe: Arc<dyn Probe>, facts: Facts) -> Self {
        Self {
            engine,
            metrics,
            probe,
            facts,
            tally: Tally::default(),
            changed: HashSet::new(),
            scan: Some(None),
            scan_is_due: false,
            scan_not_before: Instant::now(),
            before: None,
            commits: Window::of("farebox_commit_seconds"),
        }
    }

    /// Takes the ids of channels that changed.
    fn collect(&mut self, changes: &mut Receiver<ChannelId>) {
        loop {
            match changes.try_recv() {
                Ok(channel) if self.changed.len() < CHANGED_MAX => {
                    self.changed.insert(channel);
                }
                Ok(_) | Err(TryRecvError::Lagged(_)) => self.scan_is_due = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Reads what changed, and goes on with the look through all books.
    async fn catch_up(&mut self) {
        let batch: Vec<ChannelId> = self.changed.iter().copied().take(READS_MAX).collect();
        for channel in batch {
            match self.engine.read(channel).await {
                Ok(Some(found)) => self.tally.put(&found),
                Ok(None) => self.tally.retire(channel),
                // It stays among the changed.
                Err(EngineError::Busy { .. }) => break,
                Err(_) => {}
            }
            self.changed.remove(&channel);
        }
        if self.scan_is_due && self.scan.is_none() && Instant::now() >= self.scan_not_before {
            (self.scan, self.scan_is_due) = (Some(None), false);
        }
        for _ in 0..PAGES_MAX {
            let Some(after) = self.scan else { return };
            let Ok(page) = self.engine.channels_page(after, PAGE_CHANNELS).await else { return };
            page.iter().for_each(|channel| self.tally.put(channel));
            self.scan = (page.len() == PAGE_CHANNELS).then(|| page.last().map(|channel| channel.id));
            if self.scan.is_none() {
                self.scan_not_before = Instant::now() + RESCAN_EVERY;
            }
        }
    }

    /// One overview and one point.
    fn make(&mut self) -> (Value, Point) {
        let now = SystemClock.now();
        let figures = Figures::parse(&self.metrics.render(Format::Text));
        let point = self.point(now, &figures);
        let (queue, waiting) = self.queue(now);
        let settlement = self.probe.settlement();
        let mut answer = json!({
            "now": now.0,
            "version": env!("CARGO_PKG_VERSION"),
            "realm": self.facts.realm,
            "chainId": self.facts.chain_id,
            "token": self.facts.token,
            "explorer": self.facts.explorer,
            "startedAt": self.facts.started_at.0,
            "backend": self.facts.backend,
            "isComplete": self.scan.is_none() && !self.tally.is_partial() && !self.scan_is_due,
            "channels": {
                "open": self.tally.counts().open,
                "closing": self.tally.counts().closing,
                "closed": self.tally.counts().closed,
            },
            "totals": money(self.tally.money()),
            "oldestUnsettledSeconds": self.tally.oldest_s(now),
            "queue": { "waiting": waiting, "first": queue },
            "settlement": {
                "due": figures.get("farebox_channels_due"),
                "claiming": figures.get("farebox_channels_claiming"),
                "setApart": figures.get("farebox_channels_set_apart"),
                "transactions": figures.sum("farebox_claim_transactions_total"),
                "paid": figures.get("farebox_claims_total{result=\"paid\"}"),
                "refused": figures.sum("farebox_claims_refused_total"),
            },
            "nodes": nodes(&figures),
            "limited": limited(&figures),
        });
        answer["watcher"] = settlement.map_or(Value::Null, |health| {
            json!({
                "nextBlock": health.watcher.next_block,
                "failures": health.watcher.failures,
                "lastError": health.watcher.last_error,
                "isFollowing": health.watcher.is_following,
                "isRunning": health.is_running,
                "keyFailures": health.key.failures,
                "keyError": health.key.last_error.map(|error| error.to_string()),
            })
        });
        answer["topChannels"] = self.top_channels();
        answer["topPayers"] = self.top_payers();
        answer["alarms"] = alarms::of(&figures, &self.engine.health(), &self.probe.probe());
        (answer, point)
    }

    fn point(&mut self, now: UnixSeconds, figures: &Figures) -> Point {
        let (before, seconds) = match &self.before {
            Some((before, at)) => (before.clone(), at.elapsed().as_secs_f64().max(0.001)),
            None => (figures.clone(), 1.0),
        };
        let change = |read: &dyn Fn(&Figures) -> f64| (read(figures) - read(&before)).max(0.0);
        let vouchers = |verdict: &str| {
            let series = format!("farebox_vouchers_total{{verdict=\"{verdict}\"}}");
            change(&|figures| figures.get(&series)) / seconds
        };
        let taken = vouchers("accepted") + vouchers("replayed") + vouchers("underpaid");
        let refused = vouchers("rejected") + vouchers("invalid");
        let requests = change(&|figures| figures.sum("farebox_requests_total")) / seconds;
        let frames = change(&|figures| figures.get("farebox_frames_total")) / seconds;
        let verified = change(&|figures| figures.get("farebox_verified_vouchers_total"));
        let verifying = change(&|figures| figures.get("farebox_verify_seconds_sum"));
        let batches = change(&|figures| figures.get("farebox_batch_vouchers_count"));
        self.commits.push(figures);
        let money = self.tally.money();
        let point = [
            now.0 as f64,
            taken,
            refused,
            requests,
            money.accepted as f64,
            money.spent as f64,
            money.settled as f64,
            money.refunded as f64,
            money.exposure as f64,
            self.tally.oldest_s(now) as f64,
            if batches > 0.0 {
                change(&|figures| figures.get("farebox_batch_vouchers_sum")) / batches
            } else {
                0.0
            },
            self.commits.quantile(0.5) * 1e6,
            self.commits.quantile(0.99) * 1e6,
            if verified > 0.0 { verifying * 1e6 / verified } else { 0.0 },
            self.tally.counts().open as f64,
            frames,
        ];
        self.before = Some((figures.clone(), Instant::now()));
        point
    }

    /// What waits for the chain, the most urgent first.
    fn queue(&self, now: UnixSeconds) -> (Vec<Value>, usize) {
        let (first, waiting) = self.tally.queue(QUEUE_MAX);
        let age_s = self.facts.settle_age_s;
        let rows = first.into_iter().map(|(id, row)| {
            let by_age = row.unsettled_since.filter(|_| age_s > 0).map(|since| since.saturating_add(age_s));
            let (why, deadline, last) = match (row.close_asked_at, row.stage) {
                (Some(at), _) => {
                    let last = at.saturating_add(GRACE_S);
                    ("the payer asked to close", Some(at.saturating_add(CLAIM_WITHIN_S)), Some(last))
                }
                (None, Stage::Closing) => ("a close began", None, None),
                _ => ("spent and not settled", by_age, by_age),
            };
            json!({
                "channelId": id.to_string(),
                "why": why,
                "stage": row.stage.name(),
                "amount": row.money.exposure.to_string(),
                "since": row.close_asked_at.or(row.unsettled_since).map(|at| at.0),
                "claimBy": deadline.map(|at| at.0),
                "lastMoment": last.map(|at| at.0),
                "isLate": deadline.is_some_and(|at| now > at),
            })
        });
        (rows.collect(), waiting)
    }

    fn top_channels(&self) -> Value {
        let rows = self.tally.top_channels(LIST_MAX).into_iter().map(|(id, row)| {
            let mut one = money(&row.money);
            one["channelId"] = id.to_string().into();
            one["payer"] = format!("{:#x}", row.payer).into();
            one["stage"] = row.stage.name().into();
            one["activeAt"] = row.active_at.0.into();
            one
        });
        rows.collect()
    }

    fn top_payers(&self) -> Value {
        let rows = self.tally.top_payers(LIST_MAX).into_iter().map(|(payer, sums, channels)| {
            let mut one = money(&sums);
            one["payer"] = format!("{payer:#x}").into();
            one["channels"] = channels.into();
            one
        });
        rows.collect()
    }
}

/// Amounts are strings of base units: JSON numbers lose digits.
fn money(money: &Money) -> Value {
    json!({
        "deposit": money.deposit.to_string(),
        "accepted": money.accepted.to_string(),
        "spent": money.spent.to_string(),
        "settled": money.settled.to_string(),
        "refunded": money.refunded.to_string(),
        "lost": money.lost.to_string(),
        "exposure": money.exposure.to_string(),
    })
}

/// What failed at which node, since the start.
fn nodes(figures: &Figures) -> Value {
    let failures: BTreeSet<(String, String, u64)> = figures
        .series("farebox_rpc_failures_total")
        .map(|(labels, count)| {
            let text = |name| label(labels, name).unwrap_or_default().to_owned();
            (text("endpoint"), text("kind"), count as u64)
        })
        .collect();
    let rows = failures
        .into_iter()
        .map(|(endpoint, kind, count)| json!({ "endpoint": endpoint, "kind": kind, "failures": count }));
    rows.collect()
}

/// What the operator's limits refused, since the start.
fn limited(figures: &Figures) -> Value {
    let reasons: BTreeSet<(String, u64)> = figures
        .series("farebox_limited_total")
        .map(|(labels, count)| (label(labels, "reason").unwrap_or_default().to_owned(), count as u64))
        .collect();
    reasons.into_iter().map(|(reason, count)| json!({ "reason": reason, "count": count })).collect()
}

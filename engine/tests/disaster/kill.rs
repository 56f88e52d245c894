//! Kills at random and at every fail point, again and again on the same store.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use farebox_engine::RocksLedger;
use farebox_engine::fail_points::{ALL, FailPoint};
use farebox_engine::ledger::{Ledger, LedgerRead, Standing, recover};
use tempfile::TempDir;

use crate::child::Orders;
use crate::seed::{Dice, number, seed};
use crate::watch::{Plan, Watch};

/// How many kills.
const KILLS: &str = "FAREBOX_KILLS";
const KILLS_DEFAULT: u64 = 110;
/// Kills of one store; then there is a new one, so that none takes ever longer to check.
const STORE_KILLS: u64 = 200;
/// Stores whose servers are killed at the same time.
const STORES_AT_ONCE: u64 = 2;
/// Lives in which a fail point is waited for.
const TRIES_MAX: u64 = 30;
/// Answers after which a life ends by itself.
const LIFE_ANSWERS: u64 = 250;
/// A child is killed while it opens its books within this time.
const OPENING: Duration = Duration::from_millis(120);

/// Points that need a store of their own: the tests below have one.
const PREPARED: [FailPoint; 3] = [FailPoint::BeforeCut, FailPoint::AfterCut, FailPoint::Migrated];

pub fn orders(dice: &mut Dice) -> Orders {
    Orders {
        seed: 0,
        answers: LIFE_ANSWERS,
        checkpoint_frames: 2 + dice.below(30),
        journal_keep_frames: dice.below(20),
        snapshots: dice.once_in(3),
        die_at: None,
        accounts: Vec::new(),
    }
}

#[test]
fn a_killed_server_has_everything_that_it_answered() {
    let (seed, kills) = (seed("kills"), number(KILLS).unwrap_or(KILLS_DEFAULT));
    let (began, next_store) = (Instant::now(), AtomicU64::new(0));
    let (done, answers) = (AtomicU64::new(0), AtomicU64::new(0));
    let stores = kills.div_ceil(STORE_KILLS);
    let work = || {
        loop {
            let store = next_store.fetch_add(1, Ordering::SeqCst);
            if store >= stores {
                return;
            }
            let mut story = Story::new(seed, store);
            story.kill_often(STORE_KILLS.min(kills - store * STORE_KILLS));
            done.fetch_add(story.kills, Ordering::SeqCst);
            answers.fetch_add(story.answers, Ordering::SeqCst);
        }
    };
    // While one store waits for its disk, the other works.
    std::thread::scope(|scope| {
        for _ in 0..stores.min(STORES_AT_ONCE) {
            scope.spawn(work);
        }
    });
    let (seconds, [done, answers]) = (began.elapsed().as_secs(), [done, answers].map(AtomicU64::into_inner));
    println!("{done} kills in {seconds} s: everything that was answered is there, {answers} answers in all");
}

/// A torn tail, as a power loss leaves one: a last frame that makes no sense.
#[test]
fn a_server_that_dies_while_it_cuts_a_torn_tail_has_everything_that_it_answered() {
    let mut story = Story::new(seed("torn tails"), 0);
    story.serve();
    for point in [FailPoint::BeforeCut, FailPoint::AfterCut, FailPoint::AfterCut] {
        {
            let ledger = RocksLedger::open(story.folder.path()).unwrap();
            let Standing { last_frame, .. } = ledger.standing().unwrap();
            if recover(&ledger).unwrap().torn_tail.is_none() {
                ledger.append(b"no frame", last_frame + 1).unwrap();
            }
        }
        story.kill_at(point);
    }
    story.serve();
}

/// What the first version of the store left is indexed at the first start. A start that dies begins anew.
#[test]
fn a_server_that_dies_while_it_migrates_has_everything_that_it_answered() {
    let mut story = Story::new(seed("migrations"), 0);
    for point in [FailPoint::Migrated, FailPoint::HeadWritten, FailPoint::EpochRaised] {
        story.serve();
        let orders = orders(&mut story.dice);
        story.live(orders, Plan::AfterAnswers(LIFE_ANSWERS / 2, Duration::ZERO));
        make_first_version(story.folder.path());
        story.kill_at(point);
    }
    story.serve();
}

fn make_first_version(folder: &Path) {
    let columns = ["journal", "balances", "channels", "meta"];
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), folder, columns).unwrap();
    let meta = db.cf_handle("meta").unwrap();
    db.put_cf(meta, "store_version", 1_u32.to_le_bytes()).unwrap();
    db.delete_range_cf(meta, "running", "runninh").unwrap();
}

/// One store, and its many servers.
struct Story {
    seed: u64,
    folder: TempDir,
    watch: Watch,
    dice: Dice,
    /// Where any server may be killed.
    points: Vec<FailPoint>,
    kills: u64,
    answers: u64,
}

impl Story {
    fn new(seed: u64, store: u64) -> Self {
        let dice = Dice::of(seed, &[store]);
        let watch = Watch::new(dice.clone().next());
        let points = ALL.into_iter().filter(|point| !PREPARED.contains(point)).collect();
        Self { seed, folder: TempDir::new().expect("a folder"), watch, dice, points, kills: 0, answers: 0 }
    }

    /// Kills at every fail point first, then at random.
    fn kill_often(&mut self, kills: u64) {
        for point in self.points.clone().into_iter().take(kills as usize) {
            self.kill_at(point);
        }
        while self.kills < kills {
            self.kill_somehow();
        }
    }

    /// Kills at a fail point, at its first pass.
    fn kill_at(&mut self, point: FailPoint) {
        for _ in 0..TRIES_MAX {
            let mut orders = orders(&mut self.dice);
            orders.snapshots |= matches!(
                point,
                FailPoint::BeforeSnapshot | FailPoint::SnapshotTaken | FailPoint::SnapshotMarked
            );
            orders.die_at = Some((point.name(), 1));
            if self.live(orders, Plan::Never) {
                return;
            }
        }
        panic!("{point:?} was not reached in {TRIES_MAX} lives, seed {}", self.seed);
    }

    /// A life that ends by itself.
    fn serve(&mut self) {
        let orders = orders(&mut self.dice);
        assert!(!self.live(orders, Plan::Never), "nobody killed it");
    }

    fn kill_somehow(&mut self) {
        let mut orders = orders(&mut self.dice);
        let plan = match self.dice.below(4) {
            0 => Plan::AfterTime(OPENING.mul_f64(self.dice.below(1_000) as f64 / 1_000.0)),
            1 => {
                let moment = Duration::from_micros(self.dice.below(3_000));
                Plan::AfterAnswers(self.dice.below(LIFE_ANSWERS), moment)
            }
            _ => {
                let point = *self.dice.pick(&self.points);
                orders.die_at = Some((point.name(), 1 + self.dice.below(12)));
                Plan::Never
            }
        };
        self.live(orders, plan);
    }

    /// One life; true when it was killed.
    fn live(&mut self, orders: Orders, plan: Plan) -> bool {
        let told = format!("{orders:?}, {plan:?}");
        let life = self.watch.live(self.folder.path(), orders, plan);
        let failed =
            |what: String| -> ! { panic!("seed {}, kill {}, {told}: {what}", self.seed, self.kills) };
        if let Some(cause) = life.refused.or(life.down) {
            failed(cause);
        }
        if let Err(what) = self.watch.verify(self.folder.path()) {
            failed(what);
        }
        self.answers += life.answers;
        let was_killed = !life.has_ended;
        self.kills += u64::from(was_killed);
        was_killed
    }
}

//! Power losses: the disk stops at a random change, and what was not synced is lost, kept, torn or reordered.
//!
//! A store is refused in one case: the last record of RocksDB's list of files (`MANIFEST`) was under way, the disk kept its
//! length but not its content, and RocksDB takes that for damage. File systems that write content before length never do that.

use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use crate::child::Orders;
use crate::disk::Disk;
use crate::kill::orders;
use crate::seed::{Dice, number, seed};
use crate::watch::{Plan, Watch};

/// How many power losses.
const LOSSES: &str = "FAREBOX_POWER_LOSSES";
const LOSSES_DEFAULT: u64 = 20;
/// Losses of one store.
const STORE_LOSSES: u64 = 20;
/// Where the store is on the disk: the folder itself has to survive, too.
const STORE: &str = "books/store";
const DISK_BYTES: u64 = 1 << 30;
/// The power goes within so many changes of the disk: while the books are opened, soon after, or late.
const CHANGES_MAX: [u64; 3] = [150, 600, 2_500];

/// Stores that may be refused: one in so many.
const REFUSED_ONE_IN: u64 = 100;
/// What a refusal tells: which file, and what to do.
const REFUSAL: [&str; 3] = ["MANIFEST-", "farebox check", "farebox restore"];

#[test]
fn a_server_that_loses_its_power_has_everything_that_it_answered() {
    let (seed, losses) = (seed("power losses"), number(LOSSES).unwrap_or(LOSSES_DEFAULT));
    let (began, mut answers, mut frozen, mut refused) = (Instant::now(), 0, 0, 0);
    let mut story = Story::new(seed, 0);
    for loss in 0..losses {
        if loss > 0 && loss % STORE_LOSSES == 0 {
            story = Story::new(seed, loss);
        }
        let (answered, was_frozen, was_refused) = story.lose_power(loss);
        answers += answered;
        frozen += u64::from(was_frozen);
        if was_refused {
            refused += 1;
            story = Story::new(seed, losses + loss);
        }
    }
    assert!(refused <= 1 + losses / REFUSED_ONE_IN, "{refused} of {losses} stores were refused");
    let seconds = began.elapsed().as_secs();
    println!(
        "{losses} power losses in {seconds} s, {frozen} of them at work: everything that was answered is there, \
         {answers} answers in all; {refused} stores were refused for the end of their MANIFEST"
    );
}

struct Story {
    seed: u64,
    dice: Dice,
    disk: Disk,
    watch: Watch,
}

impl Story {
    fn new(seed: u64, store: u64) -> Self {
        let dice = Dice::of(seed, &[store]);
        let watch = Watch::new(dice.clone().next());
        Self { seed, dice, disk: Disk::new(DISK_BYTES), watch }
    }

    /// One life and its end. Gives the answers, whether the power went while it worked, and whether the store is refused since.
    fn lose_power(&mut self, loss: u64) -> (u64, bool, bool) {
        let mut orders = orders(&mut self.dice);
        // Slower than on a disk without a kernel in between.
        orders.snapshots = self.dice.once_in(8);
        let within = *self.dice.pick(&CHANGES_MAX);
        let (changes, after) = (self.dice.below(within), self.dice.once_in(2));
        let told = format!("seed {}, loss {loss}, change {changes}, {after}, {orders:?}", self.seed);
        self.disk.freeze_in(changes, after);
        let (answers, trouble) = self.live(orders);
        let was_frozen = self.disk.is_frozen();
        if let Some(trouble) = trouble
            && !was_frozen
        {
            panic!("{told}: {trouble}");
        }
        self.disk.lose_power(&mut self.dice);
        let left = TempDir::new().expect("a folder");
        self.disk.copy_to(left.path());
        if let Err(what) = self.watch.verify(&left.path().join(STORE)) {
            if was_frozen && REFUSAL.iter().all(|word| what.contains(word)) {
                return (answers, true, true);
            }
            panic!("{told}: {what}; the disk is in {}", left.keep().display());
        }
        (answers, was_frozen, false)
    }

    /// Serves on the disk until the power goes, or longer. Gives the answers, and why it ended early.
    fn live(&mut self, orders: Orders) -> (u64, Option<String>) {
        let at = TempDir::new().expect("a folder");
        let mounted = self.disk.mount(at.path());
        let life = self.watch.live(&store(at.path()), orders, Plan::WhenFrozen(self.disk.clone()));
        drop(mounted);
        (life.answers, life.refused.or(life.down))
    }
}

fn store(at: &Path) -> std::path::PathBuf {
    at.join(STORE)
}

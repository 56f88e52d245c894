//! One flipped bit in any file of a store: it is recovered without loss, or refused. Never another balance.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farebox_core::units::ChannelId;
use farebox_engine::ledger::{Ledger, StoredChannel, recover};
use farebox_engine::{LedgerError, RocksLedger};
use tempfile::TempDir;

use crate::kill::orders;
use crate::seed::{Dice, number, seed};
use crate::watch::{Plan, Watch, all};

/// How many flips in each file, besides those at its head, its middle and its tail; given, all files are flipped.
const FLIPS: &str = "FAREBOX_FLIPS";
const FLIPS_DEFAULT: u64 = 1;
/// Files of one kind, the newest ones, for each of these.
const FILES_DEFAULT: usize = 3;
/// Servers that wrote the store before.
const LIVES: u64 = 3;

type Books = BTreeMap<ChannelId, StoredChannel>;

#[test]
fn a_flipped_bit_in_a_closed_store_is_recovered_or_refused() {
    let seed = seed("flips, closed");
    let (folder, _) = served(seed, Plan::Never);
    let kinds = flip_everywhere(seed, folder.path());
    for kind in [
        "balances",
        "channels",
        "meta",
        "journal",
        "MANIFEST",
        "CURRENT",
        "IDENTITY",
        "OPTIONS",
        "farebox.pid",
    ] {
        assert!(kinds.contains_key(kind), "no flip in {kind}: {kinds:?}");
    }
}

#[test]
fn a_flipped_bit_in_the_store_of_a_killed_server_is_recovered_or_refused() {
    let seed = seed("flips, killed");
    let (folder, _) = served(seed, Plan::AfterAnswers(60, Duration::from_millis(1)));
    let kinds = flip_everywhere(seed, folder.path());
    for kind in ["log", "MANIFEST", "CURRENT", "IDENTITY", "OPTIONS", "farebox.pid"] {
        assert!(kinds.contains_key(kind), "no flip in {kind}: {kinds:?}");
    }
}

/// A file that is gone is found missing, too.
#[test]
fn a_lost_file_is_found_missing_or_not_needed() {
    let seed = seed("lost files");
    let (folder, _) = served(seed, Plan::Never);
    let whole = Whole::read(folder.path());
    for name in whole.files.keys() {
        let copy = whole.copy();
        fs::remove_file(copy.path().join(name)).unwrap();
        let told = format!("seed {seed}, without {}", name.display());
        match whole.judge(copy.path()) {
            Outcome::Recovered | Outcome::Refused(_) => {}
            Outcome::LastFrameLost => panic!("{told}: the last frame is lost"),
            Outcome::Wrong(what) => panic!("{told}: {what}"),
        }
    }
}

/// A store that servers wrote, and how the last one ended.
fn served(seed: u64, end: Plan) -> (TempDir, Watch) {
    let (folder, mut watch, mut dice) = (TempDir::new().unwrap(), Watch::new(seed), Dice::of(seed, &[]));
    for life in 1..=LIVES {
        let plan = if life == LIVES { end.clone() } else { Plan::Never };
        let mut orders = orders(&mut dice);
        orders.snapshots = false;
        watch.live(folder.path(), orders, plan);
        watch.verify(folder.path()).unwrap();
    }
    (folder, watch)
}

/// What became of a store.
enum Outcome {
    Recovered,
    Refused(String),
    /// The last frame is gone, and nothing else: a flip in it cannot be told from a torn write.
    LastFrameLost,
    /// Other books.
    Wrong(String),
}

/// Flips bits in files of every kind; gives the kinds, with how many files there were of each.
fn flip_everywhere(seed: u64, folder: &Path) -> HashMap<String, usize> {
    let whole = Whole::read(folder);
    let (flips, files_max) =
        number(FLIPS).map_or((FLIPS_DEFAULT, FILES_DEFAULT), |flips| (flips, usize::MAX));
    let mut dice = Dice::of(seed, &[2]);
    let mut messages: BTreeMap<String, u64> = BTreeMap::new();
    let (mut recovered, mut last_lost) = (0, 0);
    let mut files_by_kind: HashMap<String, usize> = HashMap::new();
    // The newest first.
    for (name, bytes) in whole.files.iter().rev().filter(|(_, bytes)| !bytes.is_empty()) {
        let files = files_by_kind.entry(whole.kind(name)).or_default();
        if *files == files_max {
            continue;
        }
        *files += 1;
        let last = bytes.len() - 1;
        let random = (0..flips).map(|_| dice.below(bytes.len() as u64) as usize);
        let mut places: Vec<_> = [0, last / 2, last].into_iter().chain(random).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let bit = 1 << dice.below(8);
            let copy = whole.copy();
            let mut flipped = bytes.clone();
            flipped[place] ^= bit;
            fs::write(copy.path().join(name), flipped).unwrap();
            let told =
                format!("seed {seed}, {} byte {place} bit {bit:#x} of {}", name.display(), bytes.len());
            match whole.judge(copy.path()) {
                Outcome::Recovered => recovered += 1,
                Outcome::Refused(message) => *messages.entry(message).or_default() += 1,
                Outcome::LastFrameLost if is_log(name) => last_lost += 1,
                Outcome::LastFrameLost => panic!("{told}: the last frame is lost"),
                Outcome::Wrong(what) => panic!("{told}: {what}"),
            }
        }
    }
    let refused: u64 = messages.values().sum();
    println!("{recovered} flips recovered, {refused} refused, {last_lost} in the last frame that cost it");
    for (message, count) in messages {
        println!("{count:4}  {message}");
    }
    files_by_kind
}

fn is_log(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "log")
}

/// A store as its files, and what its books say.
struct Whole {
    files: BTreeMap<PathBuf, Vec<u8>>,
    books: Books,
    without_last_frame: Books,
    /// The column family of each table file.
    columns: HashMap<String, String>,
}

impl Whole {
    fn read(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        // Folders hold what is under way; a start empties them.
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let files = files.map(|entry| (entry.file_name().into(), fs::read(entry.path()).unwrap())).collect();
        let mut whole =
            Self { files, books: Books::new(), without_last_frame: Books::new(), columns: HashMap::new() };
        let copy = whole.copy();
        let ledger = RocksLedger::open(copy.path()).unwrap();
        whole.books = all(&ledger).unwrap();
        let books = recover(&ledger).unwrap();
        if books.head.sequence > books.mark.sequence {
            ledger.cut_tail(books.head.sequence - 1).unwrap();
        }
        whole.without_last_frame = all(&ledger).unwrap();
        drop(ledger);
        whole.columns = columns(whole.copy().path());
        whole
    }

    fn copy(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        for (name, bytes) in &self.files {
            fs::write(copy.path().join(name), bytes).unwrap();
        }
        copy
    }

    fn judge(&self, folder: &Path) -> Outcome {
        match RocksLedger::open(folder).and_then(|ledger| all(&ledger)) {
            Ok(books) if books == self.books => Outcome::Recovered,
            Ok(books) if books == self.without_last_frame => Outcome::LastFrameLost,
            Ok(books) => Outcome::Wrong(difference(&self.books, &books)),
            Err(error) => Outcome::Refused(anonymous(&error, folder)),
        }
    }

    /// A column family, or the first part of a file's name.
    fn kind(&self, name: &Path) -> String {
        let name = name.to_str().unwrap();
        match self.columns.get(name) {
            Some(column) => column.clone(),
            None if name.ends_with(".log") => "log".into(),
            None => name.split('-').next().unwrap().into(),
        }
    }
}

/// A refusal without what is different each time.
fn anonymous(error: &LedgerError, folder: &Path) -> String {
    let text = error.to_string().replace(&folder.display().to_string(), "…");
    let digits = |part: &str| part.chars().any(|letter| letter.is_ascii_digit());
    text.split(' ').map(|word| if digits(word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

fn difference(expected: &Books, found: &Books) -> String {
    let differs = |channel: &&ChannelId| expected.get(*channel) != found.get(*channel);
    let channel = expected.keys().chain(found.keys()).find(differs).expect("they differ");
    format!("expected {:?}, found {:?}", expected.get(channel), found.get(channel))
}

fn columns(folder: &Path) -> HashMap<String, String> {
    let names = ["journal", "balances", "channels", "meta"];
    let db = rocksdb::DB::open_cf_for_read_only(&rocksdb::Options::default(), folder, names, false).unwrap();
    let files = db.live_files().unwrap();
    files
        .into_iter()
        .map(|file| (file.name.trim_start_matches('/').into(), file.column_family_name))
        .collect()
}

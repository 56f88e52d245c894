//! How long a server is away after it was killed: many channels on disk, a part of them with vouchers that no checkpoint
//! covers.
//!
//! Three processes, one after the other: this one fills a store with images; a child takes vouchers until each has its
//! durable answer, and is killed; another child opens the store, starts an engine, and says how long that took, what
//! memory it has, and what was spent.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use farebox_core::channel::{Event, State};
use farebox_core::journal::Head;
use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::Signature;
use farebox_engine::ledger::{CHANNELS_PAGE_MAX, StoredChannel, recover};
use farebox_engine::{Config, Engine, Ledger, RocksLedger, SystemClock};
use tempfile::TempDir;

use crate::books::{Books, DEPOSIT, POSITION, disk};
use crate::crowd::Crowd;
use crate::load::{Vouchers, batches};
use crate::meter::rss_bytes;
use crate::report::{Opening, Report};

/// The first argument of the child that is killed, and of the one after it.
const SERVE: &str = "reopen-serve";
const OPEN: &str = "reopen-open";

/// Images that are made at once.
const IMAGES: usize = 1 << 17;

/// Signers that share the channels.
const SIGNERS: usize = 10_000;

/// Shards of the server that is killed.
const SHARDS: usize = 2;

/// Batches and callers of the load before the kill.
const BATCH: usize = 512;
const CALLERS: usize = 32;

/// What a child does, if this process is one.
pub fn child(arguments: &[String]) -> Option<Result<(), String>> {
    let [role, folder, numbers @ ..] = arguments else { return None };
    let numbers: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    match (role.as_str(), &numbers[..]) {
        (SERVE, [channels, vouchers]) => Some(serve(Path::new(folder), *channels, *vouchers)),
        (OPEN, []) => Some(open(Path::new(folder))),
        _ => None,
    }
}

/// Measures one size.
pub fn run(channels: usize, vouchers: usize, report: &mut Report) -> Result<(), String> {
    let folder = TempDir::new_in(disk()?).map_err(|error| format!("no folder for the books: {error}"))?;
    let store = folder.path().join("books");
    fill(&RocksLedger::open(&store).map_err(|error| error.to_string())?, &Crowd::new(channels, SIGNERS))?;
    let numbers = [channels.to_string(), vouchers.to_string()];
    let (mut server, line) = spawn(SERVE, &store, &numbers)?;
    // SIGKILL: no destructor runs, nothing is flushed.
    server.kill().and_then(|()| server.wait()).map_err(|error| format!("cannot kill: {error}"))?;
    if line != "served" {
        return Err(format!("the server that was to be killed said: {line}"));
    }
    let (mut opener, line) = spawn(OPEN, &store, &[])?;
    opener.wait().map_err(|error| format!("cannot wait: {error}"))?;
    let figures: Vec<f64> = line.split(' ').filter_map(|figure| figure.parse().ok()).collect();
    let [open_s, start_s, rss_bytes, spent] = figures[..] else {
        return Err(format!("the opened store said: {line}"));
    };
    if spent as usize != vouchers {
        return Err(format!("{vouchers} vouchers were acknowledged before the kill, {spent} are there"));
    }
    report.push_opening(Opening { channels, vouchers, open_s, start_s, rss_bytes });
    Ok(())
}

/// Runs this program as another process, and reads the line that it says when it has done its work.
pub fn spawn(role: &str, store: &Path, numbers: &[String]) -> Result<(Child, String), String> {
    let failed = |error: std::io::Error| format!("cannot run a second process: {error}");
    let program: PathBuf = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    let mut child =
        command.arg(role).arg(store).args(numbers).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut line = String::new();
    let out = child.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line).map_err(failed)?;
    Ok((child, line.trim_end().to_owned()))
}

/// Stores channels that each took a voucher.
pub fn fill(ledger: &RocksLedger, crowd: &Crowd) -> Result<(), String> {
    let places: Vec<usize> = (0..crowd.channels.len()).collect();
    for part in places.chunks(IMAGES) {
        let images: Vec<_> = part.iter().map(|place| image(crowd, *place)).collect();
        ledger.store_images(&images).map_err(|error| error.to_string())?;
    }
    ledger.set_mark(&Head::GENESIS).map_err(|error| error.to_string())
}

/// Channel number `place` after its first voucher.
pub fn image(crowd: &Crowd, place: usize) -> StoredChannel {
    let (identity, at) = (crowd.identity(place), UnixSeconds(1_800_000_000));
    let (deposit, settled, position) = (DEPOSIT, Amount::ZERO, POSITION);
    let opened = Event::Opened { identity: Box::new(identity.clone()), deposit, settled, at, position };
    let mut state = State::from_opened(&opened).expect("it is opened");
    let mut rsv = [27; 65];
    rsv[..32].copy_from_slice(state.channel_id.0.as_slice());
    let signature = Signature::restore(&rsv).expect("65 bytes are a signature");
    state.evolve(&Event::Accepted { amount: Amount::new(1), signature, at });
    StoredChannel { channel: state.channel_id, identity: Arc::new(identity), state }
}

/// The child that is killed: takes vouchers on an existing store, says so, and waits.
fn serve(store: &Path, channels: usize, vouchers: usize) -> Result<(), String> {
    let books = Books::on(store, Crowd::new(channels, SIGNERS), SHARDS)?;
    // The first round of all channels is in the images.
    let signed = books.crowd.vouchers(channels, vouchers);
    batches(&books, Vouchers::new(signed, 0), BATCH, CALLERS)?;
    println!("served");
    loop {
        std::thread::park();
    }
}

/// The child after it.
fn open(store: &Path) -> Result<(), String> {
    let began = Instant::now();
    let ledger = RocksLedger::open(store).map_err(|error| error.to_string())?;
    let opened = began.elapsed();
    let engine = Engine::start(Config::default(), ledger, SystemClock).map_err(|error| error.to_string())?;
    let started = began.elapsed();
    let rss = rss_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime
        .map_err(|error| error.to_string())?
        .block_on(engine.shutdown())
        .map_err(|error| error.to_string())?;
    drop(engine);
    let spent = spent(store)?;
    println!("{} {} {rss} {spent}", opened.as_secs_f64(), started.as_secs_f64());
    Ok(())
}

/// What all channels spent, from disk.
pub fn spent(store: &Path) -> Result<u128, String> {
    let view = RocksLedger::open_read_only(store).map_err(|error| error.to_string())?;
    let books = recover(&view).map_err(|error| error.to_string())?;
    let (mut spent, mut after) = (0, None);
    loop {
        let page = books.page(&view, after, CHANNELS_PAGE_MAX).map_err(|error| error.to_string())?;
        spent += page.iter().map(|stored| stored.state.spent.get()).sum::<u128>();
        match page.last() {
            Some(last) => after = Some(last.channel),
            None => return Ok(spent),
        }
    }
}

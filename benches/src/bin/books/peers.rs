//! What others do: a sync for each voucher, or none at all.
//!
//! None of them verifies a signature here, so each does less than Farebox for a voucher: it reads a channel's balance, raises
//! what was accepted and spent, and stores it with the signature, in a value of the same size as a database would.

mod mpp_store;
mod rocks;
mod sqlite;

use std::path::Path;

use tempfile::TempDir;

use crate::books::disk;
use crate::load::Load;
use crate::meter::{Histogram, Meter, rss_bytes, sync_us};
use crate::options::Options;
use crate::report::{Label, Report, Row};

/// Channels that take turns: their number makes no difference where each voucher has its own write.
const CHANNELS: usize = 10_000;

/// Vouchers with a sync each.
const SYNCED: usize = 1_500;

/// Vouchers without.
const UNSYNCED: usize = 20_000;

/// Bytes of a balance with its signature.
const VALUE_BYTES: usize = 256;

/// A store of balances: what happens to it for voucher number `number` of channel `channel`.
trait Store {
    fn charge(&mut self, channel: usize, number: u64) -> Result<(), String>;
}

/// All of them.
pub fn run(options: &Options, report: &mut Report) -> Result<(), String> {
    measure(options, report, "peer_rocksdb_sync_each", SYNCED, rocks::Rocks::open)?;
    measure(options, report, "peer_sqlite_wal_full", SYNCED, sqlite::Sqlite::open)?;
    measure(options, report, "peer_mpp_file_store", UNSYNCED / 4, mpp_store::file)?;
    measure(options, report, "peer_mpp_memory_store", UNSYNCED, mpp_store::memory)
}

fn measure<S: Store>(
    options: &Options,
    report: &mut Report,
    case: &str,
    vouchers: usize,
    open: impl FnOnce(&Path) -> Result<S, String>,
) -> Result<(), String> {
    let label = Label { case: case.into(), channels: CHANNELS, signers: 0, threads: 1, batch: 1 };
    if !options.wants(&label) {
        return Ok(());
    }
    let folder = TempDir::new_in(disk()?).map_err(|error| format!("no folder for {case}: {error}"))?;
    let mut store = open(folder.path())?;
    let sync = sync_us(folder.path()).map_err(|error| error.to_string())?;
    let Load { used, latency, vouchers, busy } = load(&mut store, vouchers)?;
    let row = Row {
        label,
        vouchers,
        used,
        latency,
        sync,
        frames: Histogram::default(),
        commits: vouchers,
        busy,
        rss_bytes: rss_bytes(),
        rss_bytes_per_channel: 0.0,
    };
    report.push(row);
    Ok(())
}

/// One caller, who waits for each: what these stores do on this thread is theirs, so it counts.
fn load(store: &mut impl Store, vouchers: usize) -> Result<Load, String> {
    let meter = Meter::start();
    let mut latency = Histogram::default();
    for number in 0..vouchers {
        let began = std::time::Instant::now();
        store.charge(number % CHANNELS, number as u64)?;
        latency.push(began.elapsed());
    }
    let mut used = meter.used();
    used.cpu_us += std::mem::take(&mut used.load_cpu_us);
    Ok(Load { used, latency, vouchers, busy: 0 })
}

/// A channel's name.
fn key(channel: usize) -> [u8; 32] {
    farebox_crypto::keccak256(&(channel as u64).to_le_bytes())
}

/// A balance after voucher number `number`.
fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0x5e; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

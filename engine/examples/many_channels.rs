//! What many channels cost: bytes of memory for each, and the time of a start.
//!
//! ```text
//! cargo run --release --example many_channels -- resident 1000000
//! cargo run --release --example many_channels -- start 10000000
//! ```
//!
//! `resident` opens channels in an engine on a new store and says what each adds to the process. `start` fills a store with
//! images, then starts an engine on it. The store is made below the temporary folder.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use farebox_engine::core::channel::{ChainPosition, Event, Identity, State, Terms};
use farebox_engine::core::journal::Head;
use farebox_engine::core::units::{Address, Amount, B256, ChainId, UnixSeconds};
use farebox_engine::core::voucher::{Signature, v2};
use farebox_engine::ledger::StoredChannel;
use farebox_engine::{Config, Engine, Ledger, RocksLedger, SystemClock};
use futures_util::future::join_all;

/// Opens that are under way together.
const OPENING_MAX: u64 = 4_096;
/// Frames between two checkpoints: most channels then are as idle ones are in a server that runs for long.
const CHECKPOINT_FRAMES: u64 = 256;
/// Images in one call.
const IMAGES_MAX: u64 = 4_096;
const DEPOSIT: Amount = Amount::new(1_000_000_000);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let channels = arguments.get(1).and_then(|number| number.parse().ok());
    let result = match (arguments.first().map(String::as_str), channels) {
        (Some("resident"), Some(channels)) => resident(channels),
        (Some("start"), Some(channels)) => start(channels),
        _ => Err("expected `resident CHANNELS` or `start CHANNELS`".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("many_channels: {error}");
            ExitCode::FAILURE
        }
    }
}

fn resident(channels: u64) -> Result<(), Failure> {
    let folder = tempfile::TempDir::new()?;
    let config = Config { checkpoint_frames: CHECKPOINT_FRAMES, ..Config::default() };
    let engine = Engine::start(config, RocksLedger::open(folder.path())?, SystemClock)?;
    let (before, mut half) = (rss_bytes()?, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let began = Instant::now();
    runtime.block_on(async {
        let mut number = 0;
        while number < channels {
            let until = channels.min(number + OPENING_MAX);
            let open = |number| engine.open(identity(number), DEPOSIT, Amount::ZERO, position());
            for verdict in join_all((number..until).map(open)).await {
                verdict?.accepted().map_err(|refusal| refusal.to_string())?;
            }
            if (number..until).contains(&(channels / 2)) {
                half = rss_bytes()?;
            }
            number = until;
        }
        Ok::<_, Failure>(())
    })?;
    let end = rss_bytes()?;
    let each = |from: u64, channels: u64| end.saturating_sub(from) / channels;
    println!(
        "{channels} channels opened in {:.1} s: {} bytes each, {} for each of the second half",
        began.elapsed().as_secs_f64(),
        each(before, channels),
        each(half, channels / 2)
    );
    Ok(())
}

fn start(channels: u64) -> Result<(), Failure> {
    let folder = tempfile::TempDir::new()?;
    let ledger = RocksLedger::open(folder.path())?;
    let began = Instant::now();
    let mut number = 0;
    while number < channels {
        let until = channels.min(number + IMAGES_MAX);
        let images: Vec<_> = (number..until).map(image).collect();
        ledger.store_images(&images)?;
        number = until;
    }
    ledger.set_mark(&Head::GENESIS)?;
    drop(ledger);
    println!("{channels} images stored in {:.1} s", began.elapsed().as_secs_f64());
    let before = rss_bytes()?;
    let began = Instant::now();
    let ledger = RocksLedger::open(folder.path())?;
    let opened = began.elapsed();
    let engine = Engine::start(Config::default(), ledger, SystemClock)?;
    let started = began.elapsed();
    let more = rss_bytes()?.saturating_sub(before) >> 20;
    println!(
        "started in {:.3} s, {:.3} s of it to open the store, with {more} MiB more",
        started.as_secs_f64(),
        opened.as_secs_f64()
    );
    drop(engine);
    Ok(())
}

/// Terms like those of real traffic: payer and salt differ, the rest does not.
fn identity(number: u64) -> Identity {
    let salt = farebox_crypto::keccak256(&number.to_le_bytes());
    let payer = farebox_crypto::keccak256(&salt);
    let payer = Address::from_slice(&payer[12..]);
    let descriptor = v2::Descriptor {
        payer,
        payee: Address::repeat_byte(2),
        operator: Address::ZERO,
        token: Address::repeat_byte(3),
        salt: B256::new(salt),
        authorized_signer: payer,
        expiring_nonce_hash: B256::new(farebox_crypto::keccak256(payer.as_slice())),
    };
    Identity { chain_id: ChainId(42_431), escrow: v2::CHANNEL_RESERVE, terms: Terms::V2(descriptor) }
}

/// A channel with one voucher.
fn image(number: u64) -> StoredChannel {
    let identity = identity(number);
    let (at, position) = (UnixSeconds(1_800_000_000), position());
    let (deposit, settled) = (DEPOSIT, Amount::ZERO);
    let opened = Event::Opened { identity: Box::new(identity.clone()), deposit, settled, at, position };
    let mut state = State::from_opened(&opened).expect("it is opened");
    let mut rsv = [27; 65];
    rsv[..32].copy_from_slice(state.channel_id.0.as_slice());
    let signature = Signature::restore(&rsv).expect("65 bytes are a signature");
    state.evolve(&Event::Accepted { amount: Amount::new(1_000), signature, at });
    StoredChannel { channel: state.channel_id, identity: Arc::new(identity), state }
}

const fn position() -> ChainPosition {
    ChainPosition { block: 1, log_index: 0 }
}

/// What the process has in memory.
fn rss_bytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes << 10)
}

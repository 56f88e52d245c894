//! `farebox bench`: what this machine does, in a few seconds: one core's verification, a sync of the disk, and both together in the
//! books. Nothing of a real server is touched; what it writes goes into a folder of its own, which is removed.
//!
//! It is a look, not a comparison: those are in `benches/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use farebox_core::channel::{ChainPosition, Identity, Spend, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::v2::Descriptor;
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Voucher};
use farebox_engine::verifier::{SIGNER_TABLES_BYTES_MAX, verifier_from_environment};
use farebox_engine::{
    BackendVariableError, Config, Engine, EngineError, LedgerError, RocksLedger, SystemClock, block_on,
};
use serde_json::json;

use super::{End, end_with};
use crate::doctor::sync_times;

/// Channels, each with a key of its own.
const CHANNELS: usize = 64;
/// Vouchers of each.
const VOUCHERS: usize = 128;
/// Vouchers that are handed in together.
const BATCH: usize = 2_048;
/// How often verification is timed; the median counts.
const ROUNDS: usize = 5;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Backend(#[from] BackendVariableError),
    #[error("{}: cannot be written: {cause}", path.display())]
    Folder { path: PathBuf, cause: io::Error },
    #[error("the books cannot be opened: {0}")]
    Ledger(#[from] LedgerError),
    #[error("the engine fails: {0}")]
    Engine(#[from] EngineError),
    #[error("a voucher of this program's own was refused: {what}")]
    Refused { what: String },
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    backend: &'static str,
    /// Each voucher, when the signers were never seen.
    verify_first_us: f64,
    /// Each voucher, when they are known.
    verify_us: f64,
    sync_us_p50: u64,
    sync_us_p99: u64,
    /// Durable, charged.
    books_per_s: f64,
}

/// Measures on the disk of a folder, and prints it.
pub fn run(folder: &Path, as_json: bool) -> End {
    match measure(folder) {
        Ok(measured) => {
            print(&measured, as_json);
            End::Done
        }
        Err(error @ BenchError::Backend(_)) => end_with(End::Refused, &error),
        Err(error @ BenchError::Folder { .. }) => end_with(End::Unusable, &error),
        Err(error) => end_with(End::CannotStart, &error),
    }
}

fn print(measured: &Measured, as_json: bool) {
    let Measured { backend, verify_first_us, verify_us, sync_us_p50, sync_us_p99, books_per_s } = *measured;
    let expected = expected_per_s(measured);
    if as_json {
        println!(
            "{}",
            json!({
                "backend": backend, "verifyFirstMicros": verify_first_us, "verifyMicros": verify_us,
                "syncMicrosP50": sync_us_p50, "syncMicrosP99": sync_us_p99,
                "booksVouchersPerSecond": books_per_s, "oneAtATimePerSecond": expected,
            })
        );
        return;
    }
    println!(
        "verification, one core, {backend}: {verify_us:.2} us a voucher of a known signer, {verify_first_us:.2} us of a new one"
    );
    println!("sync of the disk: {sync_us_p50} us (p50), {sync_us_p99} us (p99)");
    println!(
        "the books, batches of {BATCH}: {books_per_s:.0} vouchers a second, verified, charged and on disk"
    );
    println!(
        "one client that waits for each answer: {expected:.0} vouchers a second; others share its syncs"
    );
}

/// What one client gets that waits for each answer: a verification and a sync.
fn expected_per_s(measured: &Measured) -> f64 {
    1e6 / (measured.verify_us + measured.sync_us_p50 as f64)
}

struct Sample {
    domain: AnyDomain,
    identities: Vec<Identity>,
    /// By rising amount; each amount of all channels.
    vouchers: Vec<(AnySignedVoucher, Address)>,
}

fn measure(folder: &Path) -> Result<Measured, BenchError> {
    let failed = |cause| BenchError::Folder { path: folder.into(), cause };
    let scratch = Scratch::new(folder).map_err(failed)?;
    let mut syncs = sync_times(&scratch.0).map_err(failed)?;
    syncs.sort_unstable();
    let at = |percent: usize| {
        let place = (syncs.len() * percent / 100).min(syncs.len() - 1);
        u64::try_from(syncs[place].as_micros()).unwrap_or(u64::MAX)
    };
    let sample = sample()?;
    let verifier = verifier_from_environment(SIGNER_TABLES_BYTES_MAX)?;
    let mixed: Vec<_> =
        sample.vouchers.iter().map(|(voucher, signer)| (&sample.domain, voucher, *signer)).collect();
    let time = |some: &[(&AnyDomain, &AnySignedVoucher, Address)]| {
        let begin = Instant::now();
        let valid = verifier.verify_mixed(some).iter().filter(|verdict| verdict.is_ok()).count();
        if valid != some.len() {
            let what = format!("{valid} of {} hold", some.len());
            return Err(BenchError::Refused { what });
        }
        Ok(begin.elapsed().as_secs_f64() * 1e6 / some.len() as f64)
    };
    // One of each signer; then all of them once, which makes the tables.
    let verify_first_us = time(&mixed[..CHANNELS])?;
    time(&mixed)?;
    let mut again = (0..ROUNDS).map(|_| time(&mixed)).collect::<Result<Vec<_>, _>>()?;
    again.sort_by(f64::total_cmp);
    Ok(Measured {
        backend: verifier.backend().name(),
        verify_first_us,
        verify_us: again[ROUNDS / 2],
        sync_us_p50: at(50),
        sync_us_p99: at(99),
        books_per_s: books(&scratch.0.join("store"), &sample)?,
    })
}

/// Takes every voucher into books of its own, each with a charge.
fn books(store: &Path, sample: &Sample) -> Result<f64, BenchError> {
    let engine = Engine::start(Config::default(), RocksLedger::open(store)?, SystemClock)?;
    let measured = fill(&engine, sample);
    block_on(engine.shutdown())?;
    measured
}

fn fill(engine: &Engine, sample: &Sample) -> Result<f64, BenchError> {
    for identity in &sample.identities {
        let opened = engine.open(
            identity.clone(),
            Amount::new(VOUCHERS as u128),
            Amount::ZERO,
            ChainPosition::default(),
        );
        let opened = block_on(opened)?;
        if let Err(refusal) = opened.accepted() {
            return Err(BenchError::Refused { what: refusal.to_string() });
        }
    }
    let mut batch = engine.batch();
    let begin = Instant::now();
    for part in sample.vouchers.chunks(BATCH) {
        for (voucher, _) in part {
            batch.push(voucher.clone(), Spend::Charge { key: None, amount: Amount::new(1), units: 1 })?;
        }
        let verdicts = block_on(batch.submit())?;
        let paid =
            verdicts.iter().filter(|verdict| verdict.as_ref().is_ok_and(|verdict| verdict.is_paid())).count();
        if paid != part.len() {
            return Err(BenchError::Refused { what: format!("{paid} of {} are paid", part.len()) });
        }
    }
    Ok(sample.vouchers.len() as f64 / begin.elapsed().as_secs_f64())
}

/// Channels and vouchers that nobody else has.
fn sample() -> Result<Sample, BenchError> {
    let refused = |what: &dyn std::fmt::Display| BenchError::Refused { what: what.to_string() };
    let (chain_id, escrow) = (ChainId(1), Address::repeat_byte(0x11));
    let domain = AnyDomain::new(ProtocolVersion::V2, chain_id, escrow);
    let mut signers = Vec::with_capacity(CHANNELS);
    let mut identities = Vec::with_capacity(CHANNELS);
    for index in 0..CHANNELS {
        let mut secret = [0x42; 32];
        secret[31] = index as u8 + 1;
        let signer = PrivateKeySigner::from_slice(&secret).map_err(|error| refused(&error))?;
        let terms = Descriptor {
            payer: signer.address(),
            payee: Address::repeat_byte(2),
            operator: Address::ZERO,
            token: Address::repeat_byte(3),
            salt: B256::repeat_byte(index as u8),
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        identities.push(Identity { chain_id, escrow, terms: Terms::V2(terms) });
        signers.push(signer);
    }
    let ids: Vec<ChannelId> = identities.iter().map(Identity::channel_id).collect();
    let mut vouchers = Vec::with_capacity(CHANNELS * VOUCHERS);
    for amount in 1..=VOUCHERS as u128 {
        for (signer, channel_id) in signers.iter().zip(&ids) {
            let voucher = Voucher { channel_id: *channel_id, cumulative_amount: Amount::new(amount) };
            let digest = domain.digest(&voucher).map_err(|error| refused(&error))?;
            let signature = signer.sign_hash_sync(&digest).map_err(|error| refused(&error))?;
            let signed = domain.parse(voucher, &signature.as_bytes()).map_err(|error| refused(&error))?;
            vouchers.push((signed, signer.address()));
        }
    }
    Ok(Sample { domain, identities, vouchers })
}

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".farebox-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "the folder of the measurement stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_measured_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let measured = measure(folder.path()).unwrap();
        let Measured { verify_first_us, verify_us, sync_us_p50, sync_us_p99, books_per_s, .. } = measured;
        assert!(verify_first_us > 0.0 && verify_us > 0.0 && books_per_s > 0.0, "{measured:?}");
        assert!(sync_us_p50 <= sync_us_p99, "{measured:?}");
        assert!(expected_per_s(&measured) < 1e6 / verify_us, "a sync is waited for: {measured:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(matches!(measure(&folder.path().join("none")), Err(BenchError::Folder { .. })));
    }
}

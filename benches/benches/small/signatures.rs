//! Digests, Keccak and signatures.

use std::hint::black_box;

use criterion::Throughput;
use farebox_core::units::Address;
use farebox_core::voucher::{AnySignedVoucher, ProtocolVersion, Verifier};
use farebox_crypto::backend::Backend;
use farebox_crypto::keccak::keccak256_many;

use crate::Bench;
use crate::fixture::{PROTOCOL, Payer, domain};

/// Vouchers of a batch, each of another signer, and messages that are hashed at once.
const BATCH: u64 = 64;
/// Batches before the measured ones: after them every signer has its table.
const ROUNDS_WARM: usize = 8;
/// More than all tables take.
const TABLES_BYTES_MAX: usize = 256 << 20;
/// The longest message of a digest: a struct of three words.
const MESSAGE_BYTES: usize = 96;

pub fn run(bench: &mut Bench) {
    for (name, protocol) in [("digest/v1", ProtocolVersion::V1), ("digest/v2", ProtocolVersion::V2)] {
        let (domain, voucher) = (domain(protocol), Payer::new(0, protocol).voucher(1));
        bench.bench_function(name, |run| run.iter(|| domain.digest(black_box(&voucher))));
    }
    // A machine without AVX-512 has no such case, and its history none either.
    for backend in ["avx512", "portable"].into_iter().filter_map(|name| Backend::from_name(name).ok()) {
        keccak(bench, backend);
        verify(bench, backend);
    }
}

fn keccak(bench: &mut Bench, backend: Backend) {
    let messages: Vec<[u8; MESSAGE_BYTES]> = (0..BATCH as u8).map(|byte| [byte; MESSAGE_BYTES]).collect();
    let mut hashes = Vec::new();
    bench.bench_function(&format!("keccak/64 messages, {}", backend.name()), |run| {
        run.iter(|| {
            keccak256_many(backend, black_box(&messages), &mut hashes);
            black_box(&hashes);
        });
    });
}

fn verify(bench: &mut Bench, backend: Backend) {
    let verifier = Verifier::with(backend, TABLES_BYTES_MAX);
    let domain = domain(PROTOCOL);
    let payers = (0..BATCH).map(|index| Payer::new(index, PROTOCOL));
    let vouchers: Vec<(AnySignedVoucher, Address)> =
        payers.map(|payer| (payer.signed(1), payer.address)).collect();
    let claims: Vec<_> = vouchers.iter().map(|(voucher, signer)| (voucher, *signer)).collect();
    for _ in 0..ROUNDS_WARM {
        let verdicts = verifier.verify_batch(&domain, &claims);
        assert!(verdicts.iter().all(Result::is_ok), "every voucher is valid");
    }
    let mut group = bench.benchmark_group("verify");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function(format!("64 vouchers of known signers, {}", backend.name()), |run| {
        run.iter(|| verifier.verify_batch(&domain, black_box(&claims)));
    });
    group.throughput(Throughput::Elements(1));
    let (voucher, signer) = &vouchers[0];
    group.bench_function(format!("1 voucher of a known signer, {}", backend.name()), |run| {
        run.iter(|| verifier.verify_one(&domain, black_box(voucher), *signer));
    });
    group.finish();
}

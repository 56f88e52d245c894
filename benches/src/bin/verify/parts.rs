//! Parts of the work alone: digests, and the building of tables.

use std::hint::black_box;

use farebox_core::voucher::{Protocol, V1, Voucher};
use farebox_crypto::backend::{Backend, Lanes};
use farebox_crypto::field::PackedPoint;
use farebox_crypto::keccak::{keccak256, keccak256_many};
use farebox_crypto::table::{Build, Shape, Table};

use crate::hot::{SOME_SIGNERS, backends};
use crate::measure::{Bench, cpu_ns_each};
use crate::report::Label;
use crate::vouchers::{Payer, Recoverable, domain};

/// Digests of a batch.
pub const DIGESTS: usize = 256;

/// Digests that are computed at once, as `farebox_core::voucher` does.
const AT_ONCE: usize = 64;

/// Batches of a sample: some half a millisecond.
const DIGESTS_ROUNDS: usize = 16;

/// Tables that are built at once.
pub const TABLES: usize = 64;

/// The digests of a batch, from the fields of its vouchers on: two hashes each, in lanes.
pub fn digests(bench: &mut Bench) {
    let payers = Payer::crowd("crowd", SOME_SIGNERS);
    let vouchers: Vec<_> =
        payers.iter().cycle().take(DIGESTS).map(|payer| payer.voucher(1_000_000)).collect();
    let expected: Vec<_> =
        vouchers.iter().map(|voucher| domain().digest(voucher).expect("v1 takes every amount").0).collect();
    let type_hash = keccak256(V1::VOUCHER_TYPE.as_bytes());
    for backend in backends() {
        let label = Label {
            case: "digest",
            backend: backend.name(),
            batch: DIGESTS,
            signers: SOME_SIGNERS,
            threads: 1,
        };
        let (mut fields, mut messages, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        let mut sample = || {
            for (vouchers, expected) in black_box(&vouchers).chunks(AT_ONCE).zip(expected.chunks(AT_ONCE)) {
                fields.clear();
                fields.extend(vouchers.iter().map(|voucher| struct_fields(&type_hash, voucher)));
                keccak256_many(backend, &fields, &mut hashes);
                messages.clear();
                messages.extend(hashes.iter().map(message));
                keccak256_many(backend, &messages, &mut hashes);
                assert!(hashes == expected, "the digests are not those of the domain");
            }
        };
        bench.measure(label, || {
            cpu_ns_each(DIGESTS_ROUNDS * DIGESTS, || (0..DIGESTS_ROUNDS).for_each(|_| sample()))
        });
    }
}

/// What hashes to a voucher's struct hash.
fn struct_fields(type_hash: &[u8; 32], voucher: &Voucher) -> [u8; 96] {
    let mut fields = [0; 96];
    fields[..32].copy_from_slice(type_hash);
    fields[32..64].copy_from_slice(voucher.channel_id.0.as_slice());
    fields[80..].copy_from_slice(&voucher.cumulative_amount.get().to_be_bytes());
    fields
}

/// What hashes to the digest.
fn message(struct_hash: &[u8; 32]) -> [u8; 66] {
    let mut message = [0; 66];
    message[..2].copy_from_slice(&[0x19, 0x01]);
    message[2..34].copy_from_slice(domain().separator().as_slice());
    message[34..].copy_from_slice(struct_hash);
    message
}

/// Tables of every shape. The cost is that of a key.
pub fn tables(bench: &mut Bench) {
    let keys: Vec<_> =
        Recoverable::some(TABLES).iter().map(|signed| PackedPoint::from(&signed.key())).collect();
    let shapes = [
        ("table_16_kb", Shape::SIGNER_16_KB),
        ("table_25_kb", Shape::SIGNER_25_KB),
        ("table_41_kb", Shape::SIGNER_41_KB),
        ("table_136_kb", Shape::SIGNER_136_KB),
    ];
    for backend in backends() {
        for (case, shape) in shapes {
            let label = Label { case, backend: backend.name(), batch: TABLES, signers: TABLES, threads: 1 };
            bench.measure(label, || {
                // The memory is given back outside the measurement: tables are built to be kept.
                let mut built = Vec::new();
                let cost = cpu_ns_each(TABLES, || built = build(backend, &keys, shape));
                black_box(built);
                cost
            });
        }
    }
}

/// Builds tables.
pub fn build(backend: Backend, keys: &[PackedPoint], shape: Shape) -> Vec<Table> {
    match backend {
        Backend::Portable(lanes) => lanes.run(Build { keys, shape }),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512(lanes) => lanes.run(Build { keys, shape }),
    }
}

//! What a voucher costs, digest included, beside a recovery by libsecp256k1 in the same run.
//!
//! `cargo bench -p farebox-crypto --bench verify [-- FILTER]` prints a table and writes
//! `target/bench/verify.json`. Times are medians of thread CPU time. A case runs only if its name contains FILTER.

use std::fmt::Write as _;
use std::hint::black_box;

use farebox_crypto::backend::Backend;
use farebox_crypto::keccak::keccak256_many;
use farebox_crypto::{Job, Outcome, Signature, Verifier, keccak256, recover};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};

/// Vouchers of a case: each is met again only after all others.
const VOUCHERS: usize = 16_384;

/// Memory for tables: all signers of all cases have one.
const TABLES_BYTES_MAX: usize = 2 << 30;

/// Runs of a case; the median counts.
const RUNS: usize = 9;

/// Vouchers of a run, at least.
const RUN_VOUCHERS: usize = 4_096;

/// The same on the portable backend, which is slower.
const RUN_VOUCHERS_PORTABLE: usize = 512;

const SIGNERS: [usize; 4] = [1, 64, 4_096, 16_384];
const BATCHES: [usize; 6] = [1, 8, 64, 256, 1_024, 4_096];

/// A voucher as it arrives: what the struct hash covers, a signature, an address.
struct Voucher {
    fields: [u8; 96],
    signature: Signature,
    signer: [u8; 20],
}

/// One line of the result.
struct Line {
    case: &'static str,
    backend: &'static str,
    batch: usize,
    signers: usize,
    ns_per_voucher: f64,
}

/// CPU time of this thread, in nanoseconds.
fn cpu_ns() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// The median cost of one of the `per_run` things that a run does.
fn median_ns(per_run: usize, mut run: impl FnMut()) -> f64 {
    let mut costs: Vec<_> = (0..RUNS)
        .map(|_| {
            let start = cpu_ns();
            run();
            (cpu_ns() - start) / per_run as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    costs[RUNS / 2]
}

/// The EIP-712 digests of vouchers under one domain.
fn digests(backend: Backend, separator: &[u8; 32], vouchers: &[Voucher], digests: &mut Vec<[u8; 32]>) {
    let fields: Vec<_> = vouchers.iter().map(|voucher| voucher.fields).collect();
    let mut struct_hashes = Vec::new();
    keccak256_many(backend, &fields, &mut struct_hashes);
    let messages: Vec<_> = struct_hashes
        .iter()
        .map(|hash| {
            let mut message = [0; 66];
            message[..2].copy_from_slice(&[0x19, 0x01]);
            message[2..34].copy_from_slice(separator);
            message[34..].copy_from_slice(hash);
            message
        })
        .collect();
    keccak256_many(backend, &messages, digests);
}

fn vouchers(rng: &mut StdRng, signers: usize, separator: &[u8; 32]) -> Vec<Voucher> {
    let keys: Vec<_> = (0..signers)
        .map(|_| SecretKey::from_secret_bytes(rng.random()).expect("a random key is valid"))
        .collect();
    let addresses: Vec<[u8; 20]> = keys
        .iter()
        .map(|key| {
            keccak256(&key.public_key().serialize_uncompressed()[1..])[12..].try_into().expect("20 bytes")
        })
        .collect();
    (0..VOUCHERS)
        .map(|i| {
            let fields: [u8; 96] = std::array::from_fn(|_| rng.random());
            let mut message = [0x19, 0x01].to_vec();
            message.extend_from_slice(separator);
            message.extend_from_slice(&keccak256(&fields));
            let digest = Message::from_digest(keccak256(&message));
            let signature = RecoverableSignature::sign_ecdsa_recoverable(digest, &keys[i % signers]);
            let (id, rs) = signature.serialize_compact();
            let (r, s) = (rs[..32].try_into().expect("32 bytes"), rs[32..].try_into().expect("32 bytes"));
            let signature = Signature::new(r, s, id.to_u8() & 1 == 1).expect("signatures are low-s");
            Voucher { fields, signature, signer: addresses[i % signers] }
        })
        .collect()
}

/// Verifies `count` vouchers in batches, from `position` on and around.
fn verify(
    verifier: &Verifier,
    separator: &[u8; 32],
    vouchers: &[Voucher],
    batch: usize,
    count: usize,
    position: &mut usize,
) {
    let (mut hashes, mut jobs, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count / batch {
        if *position + batch > vouchers.len() {
            *position = 0;
        }
        let batch = &vouchers[*position..*position + batch];
        *position += batch.len();
        digests(verifier.backend(), separator, batch, &mut hashes);
        jobs.clear();
        jobs.extend(batch.iter().zip(&hashes).map(|(voucher, digest)| Job {
            digest: *digest,
            signature: voucher.signature,
            signer: voucher.signer,
        }));
        verifier.verify_batch(&jobs, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Valid));
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let mut rng = StdRng::seed_from_u64(0xfa2e);
    let separator = rng.random();
    let mut lines = Vec::new();
    let backends: &[&str] = &["avx512", "portable"];
    let one = vouchers(&mut rng, 1, &separator);
    let recover_ns = |rounds: usize| {
        median_ns(rounds, || {
            for voucher in &one[..rounds] {
                black_box(recover(&[7; 32], &voucher.signature));
            }
        })
    };
    let mut recovers = vec![recover_ns(256)];
    for signers in SIGNERS {
        let vouchers = vouchers(&mut rng, signers, &separator);
        for name in backends {
            let Ok(backend) = Backend::from_name(name) else {
                println!("the {name} backend does not run here");
                continue;
            };
            let run_vouchers = if *name == "portable" { RUN_VOUCHERS_PORTABLE } else { RUN_VOUCHERS };
            let verifier = Verifier::with(backend, TABLES_BYTES_MAX);
            let mut position = 0;
            // Every signer earns its table, and in the small cases a wide one.
            verify(&verifier, &separator, &vouchers, 4_096, 4 * VOUCHERS, &mut position);
            for batch in BATCHES {
                let case = format!("{name}/{signers}/{batch}");
                if !case.contains(&filter) {
                    continue;
                }
                let count = run_vouchers.max(batch);
                let ns_per_voucher = median_ns(count, || {
                    verify(&verifier, &separator, &vouchers, batch, count, &mut position);
                });
                lines.push(Line { case: "verify", backend: name, batch, signers, ns_per_voucher });
                recovers.push(recover_ns(32));
            }
        }
    }
    recovers.sort_by(f64::total_cmp);
    report(&lines, recovers[recovers.len() / 2]);
}

/// Prints the lines, and writes them as JSON.
fn report(lines: &[Line], recover_ns: f64) {
    println!("libsecp256k1 recover: {:.1} us", recover_ns / 1e3);
    println!("| backend | signers | batch | us a voucher | against recover |\n|---|---|---|---|---|");
    let mut json = String::new();
    for line in lines {
        let Line { case, backend, batch, signers, ns_per_voucher } = line;
        let ratio = recover_ns / ns_per_voucher;
        println!("| {backend} | {signers} | {batch} | {:.2} | {ratio:.1} |", ns_per_voucher / 1e3);
        let comma = if json.is_empty() { "" } else { ",\n" };
        write!(
            json,
            "{comma}{{\"case\":\"{case}\",\"backend\":\"{backend}\",\"batch\":{batch},\"signers\":{signers},\
             \"threads\":1,\"ns_per_voucher\":{ns_per_voucher:.1},\"libsecp_recover_ns\":{recover_ns:.1},\
             \"ratio\":{ratio:.2}}}"
        )
        .expect("strings take everything");
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let directory = std::path::Path::new(&target).join("bench");
    let written = std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(directory.join("verify.json"), format!("[\n{json}\n]\n")));
    if let Err(error) = written {
        eprintln!("verify.json was not written: {error}");
    }
}

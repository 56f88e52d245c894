//! The verifier against a second library (k256), on random and on provoked signatures.

use super::*;
use crate::keccak::keccak256;
use crate::recover::PublicKey;
use alloc::vec;
use k256::ecdsa::{RecoveryId, Signature as OracleSignature, SigningKey, VerifyingKey};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Every run draws the same keys and digests; change it to look elsewhere.
const SEED: u64 = 0xfa2e_b0c5;

fn random32(rng: &mut StdRng) -> [u8; 32] {
    rng.random()
}

fn random_key(rng: &mut StdRng) -> SigningKey {
    loop {
        if let Ok(key) = SigningKey::from_slice(&random32(rng)) {
            return key;
        }
    }
}

fn oracle_address(key: &VerifyingKey) -> [u8; 20] {
    let point = key.to_sec1_point(false);
    keccak256(&point.as_bytes()[1..])[12..].try_into().unwrap()
}

fn sign(key: &SigningKey, digest: [u8; 32]) -> Job {
    let (signature, id) = key.sign_prehash_recoverable(&digest);
    let bytes: [u8; 64] = signature.to_bytes().into();
    let r = bytes[..32].try_into().unwrap();
    let s = bytes[32..].try_into().unwrap();
    let signature = Signature::new(r, s, id.is_y_odd()).unwrap();
    Job { digest, signature, signer: oracle_address(key.verifying_key()) }
}

/// What a verifier knows of a job's signer.
fn known(verifier: &Verifier, job: &Job) -> Known {
    verifier.signers.lock().meet(core::slice::from_ref(job)).signers.remove(0).known
}

/// What `ecrecover` and a comparison say, by k256.
fn oracle(job: &Job) -> Outcome {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(job.signature.r());
    bytes[32..].copy_from_slice(job.signature.s());
    let signature = OracleSignature::from_slice(&bytes).unwrap();
    let id = RecoveryId::new(job.signature.parity(), false);
    match VerifyingKey::recover_from_prehash(&job.digest, &signature, id) {
        Ok(key) if oracle_address(&key) == job.signer => Outcome::Valid,
        _ => Outcome::Invalid,
    }
}

/// A job that is valid, or damaged in one of several ways.
fn random_job(rng: &mut StdRng, key: &SigningKey) -> Job {
    let mut job = sign(key, random32(rng));
    let parity = job.signature.parity();
    let (r, s) = (*job.signature.r(), *job.signature.s());
    match rng.random_range(0..8) {
        0 => job.digest[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8),
        1 => job.signer[rng.random_range(0..20)] ^= 1 << rng.random_range(0..8),
        2 => job.signature = Signature::new(r, s, !parity).unwrap(),
        3 => {
            // A random r: no x coordinate in half of the cases.
            if let Ok(signature) = Signature::new(random32(rng), s, parity) {
                job.signature = signature;
            }
        }
        4 => {
            let mut s = random32(rng);
            s[0] &= 0x7f;
            if let Ok(signature) = Signature::new(r, s, parity) {
                job.signature = signature;
            }
        }
        _ => {}
    }
    job
}

#[test]
fn agrees_with_a_second_library_and_with_itself_one_by_one() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let keys: Vec<_> = (0..16).map(|_| random_key(&mut rng)).collect();
    let verifier = Verifier::new();
    let mut outcomes = vec![Outcome::Valid; 3];
    let mut seen = [0_u32; 2];
    for size in [0, 1, 2, 7, 8, 9, 63, 64, 65, 400, 1000] {
        let jobs: Vec<_> = (0..size).map(|i| random_job(&mut rng, &keys[i % keys.len()])).collect();
        verifier.verify_batch(&jobs, &mut outcomes);
        assert_eq!(outcomes.len(), jobs.len());
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            assert_eq!(*outcome, oracle(job), "{job:?}");
            assert_eq!(*outcome, verifier.verify_one(job), "{job:?}");
            seen[match outcome {
                Outcome::Valid => 0,
                Outcome::Invalid => 1,
            }] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "every outcome must be met often: {seen:?}");
}

/// Batches of all sizes, again and again, so that signers earn tables, wide tables, and lose them.
fn agrees_with_tables(verifier: &Verifier, signers: usize, rounds: usize) {
    let mut rng = StdRng::seed_from_u64(SEED + 3);
    let keys: Vec<_> = (0..signers).map(|_| random_key(&mut rng)).collect();
    let mut outcomes = Vec::new();
    for round in 0..rounds {
        let size = [1, 8, 9, 64, 100, 257][round % 6];
        let jobs: Vec<_> = (0..size)
            .map(|_| {
                // A few signers are met all the time, the others rarely.
                let signer = if rng.random() { rng.random_range(0..2) } else { rng.random_range(0..signers) };
                random_job(&mut rng, &keys[signer])
            })
            .collect();
        verifier.verify_batch(&jobs, &mut outcomes);
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            assert_eq!(*outcome, oracle(job), "{job:?}");
        }
    }
}

#[test]
fn tables_change_no_outcome() {
    let verifier = Verifier::new();
    agrees_with_tables(&verifier, 20, 30);
    let bytes = verifier.signers.lock().bytes();
    assert!(bytes > WIDE_SHAPE.points() * 64, "signers that were met often have wide tables: {bytes} bytes");
}

#[test]
fn neither_does_forgetting_them() {
    for bytes_max in [0, 50_000, 300_000, 1_000_000] {
        let verifier = Verifier::with(Backend::detect(), bytes_max);
        agrees_with_tables(&verifier, 30, 12);
        assert!(verifier.signers.lock().bytes() <= bytes_max);
    }
}

#[test]
fn the_portable_backend_agrees_too() {
    let verifier = Verifier::with(Backend::Portable(Portable), SIGNER_TABLES_BYTES_MAX);
    agrees_with_tables(&verifier, 10, 12);
}

#[test]
fn threads_share_what_is_known() {
    let verifier = Verifier::with(Backend::detect(), 2_000_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| agrees_with_tables(&verifier, 40, 6));
        }
    });
}

#[test]
fn a_known_signer_is_not_recovered_again() {
    let mut rng = StdRng::seed_from_u64(SEED + 4);
    let key = random_key(&mut rng);
    let verifier = Verifier::new();
    let jobs: Vec<_> = (0..100).map(|_| sign(&key, random32(&mut rng))).collect();
    let mut outcomes = Vec::new();
    verifier.verify_batch(&jobs, &mut outcomes);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Valid));
    assert!(matches!(known(&verifier, &jobs[0]), Known::Table(_)));
}

#[test]
fn a_signer_is_known_from_its_first_valid_voucher_on() {
    let mut rng = StdRng::seed_from_u64(SEED + 5);
    let key = random_key(&mut rng);
    let mut jobs: Vec<_> = (0..20).map(|_| sign(&key, random32(&mut rng))).collect();
    for job in &mut jobs[..10] {
        job.digest[0] ^= 1;
    }
    let verifier = Verifier::new();
    let mut outcomes = Vec::new();
    verifier.verify_batch(&jobs, &mut outcomes);
    for (place, outcome) in outcomes.iter().enumerate() {
        assert_eq!(*outcome == Outcome::Valid, place >= 10, "{place}");
    }
    // The ten valid ones earned it a table within the batch.
    assert!(matches!(known(&verifier, &jobs[0]), Known::Table(_)));
}

#[test]
fn what_names_a_signer_falsely_earns_it_nothing() {
    let mut rng = StdRng::seed_from_u64(SEED + 6);
    let key = random_key(&mut rng);
    let mut jobs: Vec<_> = (0..20).map(|_| sign(&key, random32(&mut rng))).collect();
    for job in &mut jobs {
        job.signer = [7; 20];
    }
    let verifier = Verifier::new();
    let mut outcomes = Vec::new();
    verifier.verify_batch(&jobs, &mut outcomes);
    assert_eq!(outcomes, vec![Outcome::Invalid; 20]);
    assert!(matches!(known(&verifier, &jobs[0]), Known::Nothing));
}

#[test]
fn r_that_is_no_x_coordinate_is_invalid() {
    // x = 5 is the smallest positive integer that is no x coordinate of y^2 = x^3 + 7.
    let mut r = [0; 32];
    r[31] = 5;
    for parity in [false, true] {
        let signature = Signature::new(r, [1; 32], parity).unwrap();
        let job = Job { digest: [9; 32], signature, signer: [0; 20] };
        assert_eq!(Verifier::new().verify_one(&job), Outcome::Invalid);
        assert_eq!(recover(&job.digest, &job.signature), None);
    }
}

#[test]
fn a_key_at_infinity_is_invalid_and_not_the_zero_address() {
    // r = x(G), s = z = 1: Q = r^-1 (s R - z G) is infinity when R = G. G has an even y.
    let mut one = [0; 32];
    one[31] = 1;
    let generator = SigningKey::from_slice(&one).unwrap();
    let point = generator.verifying_key().to_sec1_point(false);
    let r: [u8; 32] = point.as_bytes()[1..33].try_into().unwrap();
    let signature = Signature::new(r, one, false).unwrap();
    let job = Job { digest: one, signature, signer: [0; 20] };
    assert_eq!(Verifier::new().verify_one(&job), Outcome::Invalid);
    assert_eq!(recover(&job.digest, &job.signature), None);
}

#[test]
fn a_digest_of_the_group_order_or_more_wraps_as_ecrecover_does() {
    let mut rng = StdRng::seed_from_u64(SEED + 1);
    let key = random_key(&mut rng);
    for digest in [[0; 32], [0xff; 32]] {
        let job = sign(&key, digest);
        assert_eq!(oracle(&job), Outcome::Valid);
        assert_eq!(Verifier::new().verify_one(&job), Outcome::Valid);
    }
}

#[test]
fn recovery_gives_the_whole_key() {
    let mut rng = StdRng::seed_from_u64(SEED + 2);
    let key = random_key(&mut rng);
    let job = sign(&key, random32(&mut rng));
    let found: PublicKey = recover(&job.digest, &job.signature).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    assert_eq!(found.x()[..], point.as_bytes()[1..33]);
    assert_eq!(found.y()[..], point.as_bytes()[33..]);
    assert_eq!(found.address(), job.signer);
}

#[test]
fn the_verifier_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Verifier>();
}

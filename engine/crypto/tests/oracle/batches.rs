//! Batches through [`Verifier`]: random signatures, valid and damaged, of all sizes, for few signers and for thousands, with
//! memory for all tables, for some, and for none.
//!
//! How often a signer was met decides which way its jobs take: recovery, key only, a first table, a wide one. Every
//! plan mixes signers that are met all the time with others that come rarely, so that every batch takes several ways.

use std::collections::HashMap;

use farebox_crypto::backend::Backend;
use farebox_crypto::verify::SIGNER_TABLES_BYTES_MAX;
use farebox_crypto::{Job, Outcome, Verifier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::judge::{agree, backends, verdict};
use crate::signer::{AboveTheOrder, Signer, above_the_order, damage, forge, random};
use crate::{seed, signatures};

/// The largest batch.
const BATCH_MAX: usize = 200;

/// Every so many batches, each job is also asked alone.
const ALONE_EVERY: usize = 24;

/// So many signers, and so many bytes for their tables.
const PLANS: [(usize, usize); 9] = [
    (1, SIGNER_TABLES_BYTES_MAX),
    (3, SIGNER_TABLES_BYTES_MAX),
    (80, 0),
    (80, 60_000),
    (80, 1_000_000),
    (80, SIGNER_TABLES_BYTES_MAX),
    (600, 8_000_000),
    (5_000, 2_000_000),
    (5_000, SIGNER_TABLES_BYTES_MAX),
];

/// A batch of one to [`BATCH_MAX`] jobs; a third of them damaged.
fn batch(rng: &mut StdRng, signers: &[Signer], valid_only: bool) -> Vec<Job> {
    let size = rng.random_range(1..=BATCH_MAX);
    let often = signers.len().min(4);
    let mut jobs: Vec<_> = (0..size)
        .map(|_| {
            let among = if rng.random() { often } else { signers.len() };
            signers[rng.random_range(0..among)].sign_any(rng)
        })
        .collect();
    for i in 0..size {
        if !valid_only && rng.random_range(0..3) == 0 {
            damage(rng, &mut jobs, i, signers);
        }
    }
    jobs
}

fn verify(verifier: &Verifier, jobs: &[Job]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    verifier.verify_batch(jobs, &mut outcomes);
    outcomes
}

/// Runs `count` signatures; returns how many were valid.
fn run(backend: Backend, signers: usize, bytes_max: usize, count: usize) -> usize {
    let circumstances = (backend.name(), signers, bytes_max, format!("seed {}", seed()));
    let mut rng = StdRng::seed_from_u64(seed() ^ (signers * 31 + bytes_max) as u64);
    let signers = Signer::many(&mut rng, signers);
    let verifier = Verifier::with(backend, bytes_max);
    let (mut done, mut valid, mut round) = (0, 0, 0);
    while done < count {
        let jobs = batch(&mut rng, &signers, round % 8 == 7);
        let verdicts: HashMap<_, _> = jobs.iter().map(|job| (key_of(job), verdict(job))).collect();
        let right = |job: &Job| verdicts[&key_of(job)];
        done += agree(&jobs, right, |jobs| verify(&verifier, jobs), &circumstances);
        valid += jobs.iter().filter(|job| right(job) == Outcome::Valid).count();
        if round % ALONE_EVERY == 0 {
            let one_by_one = |jobs: &[Job]| jobs.iter().map(|job| verifier.verify_one(job)).collect();
            agree(&jobs, right, one_by_one, (&circumstances, "one by one"));
        }
        round += 1;
    }
    assert!(
        (done / 2..done).contains(&valid),
        "{valid} of {done} are valid: too few or too many to prove much"
    );
    done
}

/// A job as a key of a map.
fn key_of(job: &Job) -> ([u8; 32], [u8; 65], [u8; 20]) {
    (job.digest, job.signature.to_rsv(), job.signer)
}

#[test]
fn batches_of_all_sizes_for_few_signers_and_many() {
    let mut done = 0;
    for backend in backends() {
        for (signers, bytes_max) in PLANS {
            done += run(backend, signers, bytes_max, signatures() / PLANS.len());
        }
    }
    println!("batches: {done} signatures, seed {}", seed());
}

#[test]
fn every_size_from_1_to_200() {
    for backend in backends() {
        let mut rng = StdRng::seed_from_u64(seed() ^ 1);
        let signers = Signer::many(&mut rng, 5);
        let verifier = Verifier::with(backend, SIGNER_TABLES_BYTES_MAX);
        // The same jobs again and again: new are only the places at which batches end.
        let mut jobs: Vec<_> = (0..BATCH_MAX).map(|i| signers[i % 5].sign_any(&mut rng)).collect();
        for i in (0..BATCH_MAX).step_by(5) {
            damage(&mut rng, &mut jobs, i, &signers);
        }
        let right: Vec<_> = jobs.iter().map(verdict).collect();
        for size in 1..=BATCH_MAX {
            let from = (size * 7) % (BATCH_MAX + 1 - size);
            let found = verify(&verifier, &jobs[from..from + size]);
            assert_eq!(found, right[from..from + size], "{}: {size} from {from}", backend.name());
        }
    }
}

#[test]
fn x_above_the_order_is_not_r() {
    let mut rng = StdRng::seed_from_u64(seed() ^ 2);
    let cases = above_the_order(&mut rng, 1..60);
    assert!(cases.len() > 10, "only {} points have an x above the order", cases.len());
    for backend in backends() {
        let verifier = Verifier::with(backend, SIGNER_TABLES_BYTES_MAX);
        for AboveTheOrder { key, jobs } in &cases {
            // The signer earns its table with signatures that hold.
            let mut batch: Vec<_> = std::iter::repeat_with(|| forge(key, random(&mut rng), random(&mut rng)))
                .flatten()
                .take(6)
                .collect();
            for _ in 0..3 {
                assert_eq!(
                    verify(&verifier, &batch),
                    vec![Outcome::Valid; batch.len()],
                    "{}",
                    backend.name()
                );
            }
            batch.splice(2..2, jobs.iter().copied());
            let right: Vec<_> = batch.iter().map(verdict).collect();
            assert_eq!(right.iter().filter(|outcome| **outcome == Outcome::Valid).count(), 6);
            assert_eq!(verify(&verifier, &batch), right, "{}", backend.name());
        }
    }
}

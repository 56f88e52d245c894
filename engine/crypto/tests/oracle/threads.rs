//! One verifier, many threads: each gets the answers that it would get alone, while all of them teach it keys, earn tables
//! and push each other's tables out.

use std::sync::Barrier;
use std::thread;

use farebox_crypto::verify::SIGNER_TABLES_BYTES_MAX;
use farebox_crypto::{Job, Outcome, Verifier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::judge::{backends, verdict};
use crate::seed;
use crate::signer::{Signer, damage};

const THREADS: usize = 6;
const SIGNERS: usize = 40;
const JOBS: usize = 600;
/// Batches that each thread asks.
const ROUNDS: usize = 12;

#[test]
fn threads_get_the_answers_that_each_would_get_alone() {
    let mut rng = StdRng::seed_from_u64(seed() ^ 5);
    let signers = Signer::many(&mut rng, SIGNERS);
    let mut jobs: Vec<Job> = (0..JOBS).map(|i| signers[i % i.clamp(1, SIGNERS)].sign_any(&mut rng)).collect();
    for i in (0..JOBS).step_by(4) {
        damage(&mut rng, &mut jobs, i, &signers);
    }
    let right: Vec<_> = jobs.iter().map(verdict).collect();
    for backend in backends() {
        // No table, a few tables that push each other out, all tables.
        for bytes_max in [0, 400_000, SIGNER_TABLES_BYTES_MAX] {
            let verifier = Verifier::with(backend, bytes_max);
            let start = Barrier::new(THREADS);
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (verifier, jobs, right, start) = (&verifier, &jobs, &right, &start);
                    scope.spawn(move || ask(thread, verifier, jobs, right, start));
                }
            });
            // And what they left behind answers as a fresh one does.
            for (job, right) in jobs.iter().zip(&right).step_by(7) {
                assert_eq!(
                    verifier.verify_one(job),
                    *right,
                    "{}, {bytes_max} bytes: {job:?}",
                    backend.name()
                );
            }
        }
    }
}

/// What one thread does: batches of its own sizes from its own places.
fn ask(thread: usize, verifier: &Verifier, jobs: &[Job], right: &[Outcome], start: &Barrier) {
    let mut rng = StdRng::seed_from_u64(thread as u64);
    let mut outcomes = Vec::new();
    start.wait();
    for _ in 0..ROUNDS {
        let from = rng.random_range(0..jobs.len());
        let to = rng.random_range(from + 1..=jobs.len()).min(from + 200);
        verifier.verify_batch(&jobs[from..to], &mut outcomes);
        assert_eq!(outcomes, right[from..to], "thread {thread}, jobs {from} to {to}");
    }
}

//! Every fuzz target, fed with random bytes and with some that are all alike: what libFuzzer does for hours, for a moment.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::fuzz::{TARGETS, run};
use crate::seed;

/// Runs of a target on random bytes. Those that build tables cost more.
fn runs(name: &str) -> usize {
    match (name, cfg!(feature = "verify")) {
        ("verify_batch" | "kernel_decide" | "cold_decide" | "table_build", false) => 40,
        ("verify_batch" | "kernel_decide" | "cold_decide" | "table_build", true) => 10,
        (_, false) => 400,
        (_, true) => 200,
    }
}

/// The longest input: enough for every target's choices.
const BYTES_MAX: usize = 2_000;

#[test]
fn every_target_takes_any_bytes() {
    let mut rng = StdRng::seed_from_u64(seed() ^ 6);
    for (name, _) in TARGETS {
        run(name, &[]);
        for byte in [0, 1, 0x55, 0x80, 0xff] {
            run(name, &[byte; BYTES_MAX]);
        }
        for i in 0..runs(name) {
            let mut bytes = vec![0; rng.random_range(0..BYTES_MAX)];
            rng.fill_bytes(&mut bytes);
            let found = std::panic::catch_unwind(|| run(name, &bytes));
            assert!(found.is_ok(), "{name} failed on run {i}, seed {}: {bytes:?}", seed());
        }
    }
}

#[test]
fn targets_have_names_of_their_own() {
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), TARGETS.len());
}

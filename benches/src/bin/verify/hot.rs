//! Signers with tables: few whose tables lie in a cache, and many whose tables lie in DRAM.

use std::hint::black_box;

use farebox_core::voucher::Verifier;
use farebox_crypto::backend::Backend;
use farebox_engine::verifier::verifier_with;

use crate::measure::{Bench, Effort, cpu_ns_each};
use crate::report::Label;
use crate::vouchers::{Claim, Payer, Rounds, claims, domain, vouchers};

/// The batches that are measured.
pub const BATCHES: [usize; 6] = [1, 8, 64, 256, 1_024, 4_096];

/// Signers of the cases that compare kinds of vouchers. Their wide tables fill the third-level cache by a quarter.
pub const SOME_SIGNERS: usize = 64;

/// Signers whose tables together (690 MB) lie in DRAM.
pub const MANY_SIGNERS: usize = 16_384;

/// Vouchers of a crowd: each comes again only after all others, so it is never at hand in a cache by chance.
pub const CROWD_VOUCHERS: usize = 16_384;

/// Vouchers of a sample, at least.
const SAMPLE_VOUCHERS: usize = 2_048;

/// The same on the portable backend, which is slower.
const SAMPLE_VOUCHERS_PORTABLE: usize = 512;

/// Memory for tables: all signers of every crowd have one.
const TABLES_BYTES_MAX: usize = 2 << 30;

/// How often every voucher is verified before the first sample: all signers earn their tables, those of small crowds
/// wide ones.
const WARM_ROUNDS: usize = 8;

/// The backends that this machine can run, the fastest first.
pub fn backends() -> Vec<Backend> {
    ["avx512", "portable"].into_iter().filter_map(|name| Backend::from_name(name).ok()).collect()
}

/// A verifier of that backend, with memory for everybody's table.
pub fn verifier(backend: Backend) -> Verifier {
    verifier_with(backend, TABLES_BYTES_MAX)
}

/// Verifies a batch, digests included. All its vouchers must be valid, or none.
pub fn verify(verifier: &Verifier, batch: &[Claim], valid: bool) {
    let answers = verifier.verify_batch(domain(), batch);
    assert_eq!(answers.len(), batch.len());
    assert!(answers.iter().all(|answer| answer.is_ok() == valid), "not every answer was valid = {valid}");
    black_box(answers);
}

/// Verifies everything a few times, so that every signer earns its table.
pub fn warm(verifier: &Verifier, claims: &[Claim]) {
    for _ in 0..WARM_ROUNDS {
        claims.chunks(4_096).for_each(|batch| verify(verifier, batch, true));
    }
}

/// All crowds, all backends, all batches.
pub fn run(bench: &mut Bench) {
    let crowds: &[_] = match bench.effort {
        Effort::Full => &[1, SOME_SIGNERS, 4_096, MANY_SIGNERS],
        Effort::Quick => &[SOME_SIGNERS, MANY_SIGNERS],
    };
    for &signers in crowds {
        let label = |backend: Backend, batch| Label {
            case: "verify",
            backend: backend.name(),
            batch,
            signers,
            threads: 1,
        };
        let mut wanted = backends();
        wanted.retain(|backend| BATCHES.iter().any(|batch| bench.wants(&label(*backend, *batch))));
        if wanted.is_empty() {
            continue;
        }
        let vouchers = vouchers(&Payer::crowd("crowd", signers), CROWD_VOUCHERS);
        let claims = claims(&vouchers);
        for backend in wanted {
            let verifier = verifier(backend);
            warm(&verifier, &claims);
            let mut rounds = Rounds::new(&claims, 0);
            for batch in BATCHES {
                let batches = sample_vouchers(backend).max(batch) / batch;
                bench.measure(label(backend, batch), || {
                    cpu_ns_each(batches * batch, || {
                        (0..batches).for_each(|_| verify(&verifier, rounds.batch(batch), true));
                    })
                });
            }
        }
    }
}

fn sample_vouchers(backend: Backend) -> usize {
    match backend.name() {
        "portable" => SAMPLE_VOUCHERS_PORTABLE,
        _ => SAMPLE_VOUCHERS,
    }
}

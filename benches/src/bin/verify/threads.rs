//! Two threads that share a verifier, beside one that does the same work.

use std::sync::Barrier;
use std::time::Instant;

use farebox_core::voucher::Verifier;
use farebox_crypto::backend::Backend;

use crate::hot::{CROWD_VOUCHERS, MANY_SIGNERS, SOME_SIGNERS, verifier, verify, warm};
use crate::measure::{Bench, cpu_ns, median};
use crate::report::{Label, Row};
use crate::vouchers::{Claim, Payer, Rounds, claims, vouchers};

/// Vouchers of a trial: some 50 ms of work, much more than it takes to start a thread.
const TRIAL_VOUCHERS: usize = 32_768;

/// The case of the wall clock. Its cost is that of the fastest trial: what else runs on the machine only ever adds.
pub const WALL: &str = "threads_wall";

/// The case of the CPU time of all threads. Threads that get in each other's way show here, whatever else runs.
pub const CPU: &str = "threads_cpu";

/// Crowds in caches and in DRAM, batches of 256 and 1,024, one and two threads.
pub fn run(bench: &mut Bench) {
    let backend = Backend::detect();
    for signers in [SOME_SIGNERS, MANY_SIGNERS] {
        let label = |case, batch, threads| Label { case, backend: backend.name(), batch, signers, threads };
        let mut batches = vec![256, 1_024];
        batches.retain(|batch| bench.wants(&label(WALL, *batch, 2)) || bench.wants(&label(CPU, *batch, 2)));
        if batches.is_empty() {
            continue;
        }
        let vouchers = vouchers(&Payer::crowd("crowd", signers), CROWD_VOUCHERS);
        let claims = claims(&vouchers);
        let verifier = verifier(backend);
        warm(&verifier, &claims);
        for batch in batches {
            let mut trials = [const { Vec::new() }; 2];
            let mut recoveries = Vec::new();
            for _ in 0..bench.samples() {
                for (threads, trials) in (1..).zip(&mut trials) {
                    trials.push(trial(&verifier, &claims, batch, threads));
                }
                recoveries.push(bench.recovery_ns());
            }
            let libsecp_recover_ns = median(recoveries);
            for (threads, trials) in (1..).zip(trials) {
                let fastest = trials.iter().map(|trial| trial.wall_ns).fold(f64::INFINITY, f64::min);
                let typical = median(trials.iter().map(|trial| trial.cpu_ns).collect());
                for (case, ns_per_voucher) in [(WALL, fastest), (CPU, typical)] {
                    let label = label(case, batch, threads);
                    bench.report.push(Row { label, ns_per_voucher, libsecp_recover_ns });
                }
            }
        }
    }
}

/// What a voucher took, in nanoseconds.
struct Trial {
    wall_ns: f64,
    cpu_ns: f64,
}

/// Some threads share a verifier and the work.
fn trial(verifier: &Verifier, claims: &[Claim], batch: usize, threads: usize) -> Trial {
    let batches = TRIAL_VOUCHERS / batch / threads;
    let all_are_there = Barrier::new(threads + 1);
    let work = |place: usize| {
        // Each begins elsewhere, as connections of other payers would.
        let mut rounds = Rounds::new(claims, place * claims.len() / threads);
        all_are_there.wait();
        let start = cpu_ns();
        (0..batches).for_each(|_| verify(verifier, rounds.batch(batch), true));
        cpu_ns() - start
    };
    std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (0..threads).map(|place| scope.spawn(move || work(place))).collect();
        all_are_there.wait();
        let start = Instant::now();
        let cpu: f64 = handles.into_iter().map(|handle| handle.join().expect("no batch fails")).sum();
        let wall = start.elapsed().as_nanos() as f64;
        let vouchers = (batches * batch * threads) as f64;
        Trial { wall_ns: wall / vouchers, cpu_ns: cpu / vouchers }
    })
}

//! Signers without a table: those that were never met, and those that were met once, so that their key is known.

use farebox_core::voucher::Verifier;
use farebox_crypto::backend::Backend;

use crate::hot::{BATCHES, backends, verifier, verify};
use crate::measure::{Bench, cpu_ns_each};
use crate::report::Label;
use crate::vouchers::{Claim, Payer, claims, vouchers};

/// Strangers that a verifier meets before it is replaced by a new one, which knows nobody.
pub const STRANGERS: usize = 4_096;

/// Vouchers of a sample, at least.
const SAMPLE_VOUCHERS: usize = 256;

/// Signers that a new verifier meets before the strangers, as a server that runs has met others before.
const EARLIER_SIGNERS: usize = 256;

/// How often it meets them: as strangers, with a known key, with a table.
const EARLIER_ROUNDS: usize = 8;

/// No two vouchers of a sample have the same signer.
pub fn run(bench: &mut Bench) {
    let label = |case, backend: Backend, batch| Label {
        case,
        backend: backend.name(),
        batch,
        signers: STRANGERS,
        threads: 1,
    };
    let earlier = vouchers(&Payer::crowd("earlier", EARLIER_SIGNERS), EARLIER_ROUNDS * EARLIER_SIGNERS);
    let vouchers = vouchers(&Payer::crowd("strangers", STRANGERS), 2 * STRANGERS);
    let (first, second) = vouchers.split_at(STRANGERS);
    let (earlier, first, second) = (claims(&earlier), claims(first), claims(second));
    for backend in backends() {
        for batch in BATCHES {
            let mut seen: Vec<_> = earlier.chunks(EARLIER_SIGNERS).collect();
            seen.push(&first);
            let mut strangers = Strangers { backend, batch, seen, vouchers: &second, now: None };
            bench.measure(label("cold", backend, batch), || strangers.sample());
        }
    }
    for batch in [1, 256] {
        let (backend, seen) = (Backend::detect(), earlier.chunks(EARLIER_SIGNERS).collect());
        let mut strangers = Strangers { backend, batch, seen, vouchers: &first, now: None };
        bench.measure(label("unknown", backend, batch), || strangers.sample());
    }
}

/// Vouchers of strangers, batch by batch.
struct Strangers<'a> {
    backend: Backend,
    batch: usize,
    /// The batches that a verifier has seen before.
    seen: Vec<&'a [Claim<'a>]>,
    vouchers: &'a [Claim<'a>],
    /// A verifier, and the vouchers that it has not seen.
    now: Option<(Verifier, &'a [Claim<'a>])>,
}

impl Strangers<'_> {
    /// What a voucher costs, in nanoseconds. To make a new verifier is not counted.
    fn sample(&mut self) -> f64 {
        let count = SAMPLE_VOUCHERS.max(self.batch);
        let (verifier, left) = match self.now.take() {
            Some(now) if now.1.len() >= count => now,
            _ => {
                let verifier = verifier(self.backend);
                self.seen.iter().for_each(|batch| verify(&verifier, batch, true));
                (verifier, self.vouchers)
            }
        };
        let (sample, left) = left.split_at(count);
        let cost = cpu_ns_each(count, || {
            sample.chunks(self.batch).for_each(|batch| verify(&verifier, batch, true));
        });
        self.now = Some((verifier, left));
        cost
    }
}

//! Batches in which every signature is an attack.
//!
//! Invalid signatures waste the verifier's work, and cost an attacker nothing. Exceptional ones ([`crate::craft`])
//! are valid, and make the kernel ask libsecp256k1. All name signers that have tables: what strangers cost is
//! measured in [`crate::strangers`].

use farebox_crypto::backend::Backend;

use crate::craft::craft;
use crate::hot::{SOME_SIGNERS, verifier, verify, warm};
use crate::measure::{Bench, Subject, cpu_ns_each};
use crate::report::Label;
use crate::vouchers::{Paid, Payer, claims, vouchers};

/// Vouchers of a batch.
pub const BATCH: usize = 256;

/// How often a sample verifies its batch.
const ROUNDS: usize = 8;

/// Valid vouchers of each crowd, with which its signers earn their tables.
const EARLIER_VOUCHERS: usize = 16_384;

/// The case without an attack, that the others are compared with.
pub const VALID: &str = "attack_none";

/// The cases of invalid signatures.
pub const INVALID: [&str; 3] = ["attack_wrong_s", "attack_wrong_v", "attack_wrong_signer"];

/// The case of exceptional additions.
pub const EXCEPTIONAL: &str = "attack_exceptional";

/// Valid, invalid and exceptional batches, in turns.
pub fn run(bench: &mut Bench) {
    let backend = Backend::detect();
    let label = |case, signers| Label { case, backend: backend.name(), batch: BATCH, signers, threads: 1 };
    let invalid = INVALID.map(|case| label(case, SOME_SIGNERS));
    let (valid, exceptional) = (label(VALID, SOME_SIGNERS), label(EXCEPTIONAL, 1));
    if !invalid.iter().chain([&valid, &exceptional]).any(|label| bench.wants(label)) {
        return;
    }
    let verifier = &verifier(backend);
    let earlier = vouchers(&Payer::crowd("crowd", SOME_SIGNERS), EARLIER_VOUCHERS);
    warm(verifier, &claims(&earlier));
    let vouchers_valid = &earlier[..BATCH];
    let crafted = if bench.wants(&exceptional) {
        let crafted = craft(backend, BATCH);
        warm(verifier, &claims(&vouchers(&[crafted.payer], EARLIER_VOUCHERS)));
        crafted.vouchers
    } else {
        Vec::new()
    };
    let [wrong_s, wrong_v, wrong_signer] = invalid;
    let cases = [
        (valid, vouchers_valid.to_vec(), true),
        (wrong_s, changed(vouchers_valid, |rsv| rsv[63] ^= 2), false),
        (wrong_v, changed(vouchers_valid, |rsv| rsv[64] = 27 + 28 - rsv[64]), false),
        (wrong_signer, exchanged(vouchers_valid), false),
        (exceptional, crafted, true),
    ];
    let subjects = cases.iter().map(|(label, vouchers, valid)| -> Subject {
        let claims = claims(vouchers);
        let sample = move || {
            cpu_ns_each(ROUNDS * BATCH, || (0..ROUNDS).for_each(|_| verify(verifier, &claims, *valid)))
        };
        (label.clone(), Box::new(sample))
    });
    bench.compare(bench.samples(), subjects.collect());
}

/// The same vouchers with something changed in their signatures.
fn changed(valid: &[Paid], change: impl Fn(&mut [u8; 65])) -> Vec<Paid> {
    let change = |paid: &Paid| {
        let mut rsv = paid.rsv();
        change(&mut rsv);
        Paid::new(*paid.signed.voucher(), &rsv, paid.signer)
    };
    valid.iter().map(change).collect()
}

/// The same vouchers, each held against the signer of the next.
fn exchanged(valid: &[Paid]) -> Vec<Paid> {
    let next = valid.iter().cycle().skip(1);
    valid.iter().zip(next).map(|(paid, next)| Paid { signer: next.signer, ..paid.clone() }).collect()
}

//! Signatures: their parsing against big integers, the kernel and the verifier against libsecp256k1.

use farebox_crypto::backend::Lanes;
use farebox_crypto::field::PackedPoint;
use farebox_crypto::kernel::Decision;
use farebox_crypto::scalar::N;
use farebox_crypto::table::{Build, Shape, Table};
use farebox_crypto::{Job, Outcome, Signature, SignatureError, Verifier};
use num_bigint::BigUint;
use rand::RngExt;

use super::field::on_all_backends;
use super::input::{Input, big};
use crate::judge::{backends, verdict};
use crate::kernel::{ColdKernel, Kernel, packed};
use crate::signer::{Signer, damage};

/// Memory of a verifier: nothing, one table, a few, all.
const BYTES_MAX: [usize; 4] = [0, 50_000, 200_000, 10_000_000];

pub fn parse(input: &mut Input) {
    let mut rsv: [u8; 65] = input.array();
    for half in 0..2 {
        for (bytes, word) in rsv[32 * half..][..32].chunks_mut(8).rev().zip(input.number()) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
    }
    rsv[64] = [27, 28, 0, 1, input.byte()][input.below(5)];
    let (r, s) = (BigUint::from_bytes_be(&rsv[..32]), BigUint::from_bytes_be(&rsv[32..64]));
    let (zero, n) = (BigUint::ZERO, big(&N));
    let expected = match rsv[64] {
        found if found != 27 && found != 28 => Err(SignatureError::BadV { found }),
        _ if r == zero => Err(SignatureError::ZeroR),
        _ if r >= n => Err(SignatureError::RNotInRange),
        _ if s == zero => Err(SignatureError::ZeroS),
        _ if s > n >> 1 => Err(SignatureError::HighS),
        _ => Ok(()),
    };
    let found = Signature::from_rsv(&rsv);
    assert_eq!(found.map(|_| ()), expected);
    if let Ok(signature) = found {
        assert_eq!(signature.to_rsv(), rsv);
        assert_eq!(Signature::from_eip2098(&signature.to_eip2098()), Ok(signature));
    }
    // Any 64 bytes are a signature that comes back, or are refused.
    let compact = rsv[..64].try_into().expect("64 bytes");
    if let Ok(signature) = Signature::from_eip2098(compact) {
        assert_eq!(signature.to_eip2098(), *compact);
    }
}

/// A batch as it may come: valid and damaged jobs of some signers.
fn batch(input: &mut Input, signers: &[Signer], size: usize) -> Vec<Job> {
    let mut jobs: Vec<_> = (0..size).map(|_| signers[input.below(signers.len())].sign_any(input)).collect();
    for i in 0..size {
        if input.below(3) == 0 {
            damage(input, &mut jobs, i, signers);
        }
    }
    jobs
}

fn signers(input: &mut Input) -> Vec<Signer> {
    let count = 1 + input.below(12);
    Signer::many(input, count)
}

pub fn kernel_decide(input: &mut Input) {
    on_all_backends!(input, kernel_decide_on);
}

fn kernel_decide_on<L: Lanes>(lanes: L, input: &mut Input) {
    let shape = Shape::SIGNERS[input.below(Shape::SIGNERS.len())];
    let signers = signers(input);
    let keys: Vec<_> = signers.iter().map(|signer| packed(&signer.key)).collect();
    let tables = lanes.run(Build { keys: &keys, shape });
    let mut kernel = Kernel::new(lanes);
    for _ in 0..1 + input.below(2) {
        let size = input.below(24);
        let jobs: Vec<(Job, &Table)> = batch(input, &signers, size)
            .into_iter()
            .filter_map(|job| {
                let place = signers.iter().position(|signer| signer.address == job.signer)?;
                Some((job, &tables[place]))
            })
            .collect();
        agree(&jobs, kernel.decide(shape, &jobs));
    }
}

pub fn cold_decide(input: &mut Input) {
    on_all_backends!(input, cold_decide_on);
}

fn cold_decide_on<L: Lanes>(lanes: L, input: &mut Input) {
    let signers = signers(input);
    let mut kernel = ColdKernel::new(lanes);
    for _ in 0..1 + input.below(2) {
        let size = input.below(40);
        let jobs: Vec<(Job, PackedPoint)> = batch(input, &signers, size)
            .into_iter()
            .filter_map(|job| {
                let signer = signers.iter().find(|signer| signer.address == job.signer)?;
                Some((job, packed(&signer.key)))
            })
            .collect();
        agree(&jobs, kernel.decide(&jobs));
    }
}

/// No decision is wrong.
fn agree<T>(jobs: &[(Job, T)], decisions: Vec<Decision>) {
    assert_eq!(decisions.len(), jobs.len());
    for ((job, _), decision) in jobs.iter().zip(decisions) {
        match decision {
            Decision::Match => assert_eq!(verdict(job), Outcome::Valid, "{job:x?}"),
            Decision::Mismatch => assert_eq!(verdict(job), Outcome::Invalid, "{job:x?}"),
            Decision::Undecided => {}
        }
    }
}

pub fn verify_batch(input: &mut Input) {
    let bytes_max = BYTES_MAX[input.below(BYTES_MAX.len())];
    let signers = signers(input);
    let verifiers: Vec<_> =
        backends().into_iter().map(|backend| Verifier::with(backend, bytes_max)).collect();
    let mut outcomes = vec![Outcome::Valid];
    for _ in 0..1 + input.below(4) {
        let size = input.below(24);
        let jobs = batch(input, &signers, size);
        let right: Vec<_> = jobs.iter().map(verdict).collect();
        for verifier in &verifiers {
            verifier.verify_batch(&jobs, &mut outcomes);
            assert_eq!(outcomes, right, "{}: {jobs:x?}", verifier.backend().name());
            if let Some(i) = (size > 0).then(|| input.clone().random_range(0..size)) {
                assert_eq!(verifier.verify_one(&jobs[i]), right[i], "alone: {:x?}", jobs[i]);
            }
        }
    }
}

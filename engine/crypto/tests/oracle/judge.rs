//! What is right: libsecp256k1's word, asked directly and not by way of the crate under test.

use std::fmt::Debug;

use farebox_crypto::backend::Backend;
use farebox_crypto::{Job, Outcome};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey};
use sha3::{Digest, Keccak256};

/// What a contract finds that calls `ecrecover` and compares.
pub fn verdict(job: &Job) -> Outcome {
    // Ids 2 and 3 are none of `ecrecover`'s.
    let id = if job.signature.parity() { RecoveryId::One } else { RecoveryId::Zero };
    match recover(job, id) {
        Some(key) if address(&key) == job.signer => Outcome::Valid,
        _ => Outcome::Invalid,
    }
}

/// Whether the job would hold if `r` stood for the x coordinate `r + n`: plain ECDSA takes that, `ecrecover` does not.
pub fn holds_above_the_order(job: &Job) -> bool {
    let id = if job.signature.parity() { RecoveryId::Three } else { RecoveryId::Two };
    recover(job, id).is_some_and(|key| address(&key) == job.signer)
}

fn recover(job: &Job, id: RecoveryId) -> Option<PublicKey> {
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(job.signature.r());
    compact[32..].copy_from_slice(job.signature.s());
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    signature.recover_ecdsa(Message::from_digest(job.digest)).ok()
}

/// A key's Ethereum address.
pub fn address(key: &PublicKey) -> [u8; 20] {
    let hash: [u8; 32] = Keccak256::digest(&key.serialize_uncompressed()[1..]).into();
    hash[12..].try_into().expect("20 of 32 bytes")
}

/// All backends of this machine.
pub fn backends() -> Vec<Backend> {
    let portable = Backend::from_name("portable").expect("runs everywhere");
    match Backend::from_name("avx512") {
        Ok(avx512) => vec![portable, avx512],
        Err(_) => vec![portable],
    }
}

/// The smallest part of `all` that still fails, found by leaving out ever smaller pieces: what a report should show.
pub fn smallest<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = all.to_vec();
    let mut piece = left.len().div_ceil(2);
    while piece > 0 {
        let mut from = 0;
        while from < left.len() && left.len() > 1 {
            let to = (from + piece).min(left.len());
            let without: Vec<_> = left[..from].iter().chain(&left[to..]).cloned().collect();
            if !without.is_empty() && fails(&without) {
                left = without;
            } else {
                from = to;
            }
        }
        piece /= 2;
    }
    left
}

/// Holds a batch of answers against the right ones. On a difference it looks for the smallest batch that shows one, and
/// panics with it and with what it takes to see it again.
pub fn agree<T: Clone + Debug, A: PartialEq + Debug>(
    batch: &[T],
    right: impl Fn(&T) -> A,
    mut answer: impl FnMut(&[T]) -> Vec<A>,
    circumstances: impl Debug,
) -> usize {
    let expected: Vec<_> = batch.iter().map(&right).collect();
    let found = answer(batch);
    if found == expected {
        return found.len();
    }
    let places: Vec<_> = (0..batch.len()).filter(|i| found.get(*i) != expected.get(*i)).collect();
    let smallest = smallest(batch, |part| answer(part) != part.iter().map(&right).collect::<Vec<_>>());
    let found = answer(&smallest);
    let expected: Vec<_> = smallest.iter().map(&right).collect();
    panic!(
        "{circumstances:?}: a batch of {} is wrong at {places:?}; of its parts, a batch of {} is:\n{smallest:#x?}\n\
         found {found:?}\nright {expected:?}",
        batch.len(),
        smallest.len(),
    );
}

#[test]
fn the_smallest_part_is_found() {
    let all: Vec<_> = (0..200).collect();
    assert_eq!(smallest(&all, |part| part.contains(&77)), [77]);
    assert_eq!(smallest(&all, |part| part.contains(&3) && part.contains(&198)), [3, 198]);
    assert_eq!(smallest(&all, |part| part.len() >= 9).len(), 9);
}

#[test]
#[should_panic(expected = "wrong at [5]; of its parts, a batch of 1 is")]
fn a_difference_is_reported() {
    agree(&[1, 2, 3, 4, 5, 6], |i| i % 7 < 7, |batch| batch.iter().map(|i| *i != 6).collect(), "seed 0");
}

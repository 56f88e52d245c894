//! Jobs in, outcomes out: whether a signature was made by the address that should have made it.
//!
//! The rule is that of a contract that calls `ecrecover` and compares: recover the key from digest,
//! `r`, `s` and parity, hash it to an address, compare. A batch gives the same outcomes as its jobs one
//! by one, in their order, whatever else is in it: one bad signature never spoils its neighbours.

use crate::ecdsa::Signature;
use crate::recover::recover;
use alloc::vec::Vec;

/// One question: did `signer` sign `digest`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The hash that was signed.
    pub digest: [u8; 32],
    /// The signature, in range and low-s.
    pub signature: Signature,
    /// The address that should have signed.
    pub signer: [u8; 20],
}

/// The answer to a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The signer signed the digest.
    Valid,
    /// Another key made this signature, or it was made over another digest.
    WrongSigner {
        /// The address that `ecrecover` returns.
        recovered: [u8; 20],
    },
    /// No key can have made this signature: `ecrecover` returns nothing.
    Unrecoverable,
}

/// Verifies signatures. Make one, keep it, share it between threads.
///
/// It has no settings and no memory yet. The place is kept for tables of signers' keys: they will change
/// the speed of an answer, never the answer.
#[derive(Debug, Default)]
pub struct Verifier {
    _tables: (),
}

impl Verifier {
    /// A verifier that knows no signer yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers one job.
    pub fn verify_one(&self, job: &Job) -> Outcome {
        match recover(&job.digest, &job.signature).map(|key| key.address()) {
            Some(recovered) if recovered == job.signer => Outcome::Valid,
            Some(recovered) => Outcome::WrongSigner { recovered },
            None => Outcome::Unrecoverable,
        }
    }

    /// Answers every job. `outcomes` is emptied first and then holds one outcome a job, in order: a caller
    /// can keep the vector and pay for its memory once.
    pub fn verify_batch(&self, jobs: &[Job], outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        outcomes.extend(jobs.iter().map(|job| self.verify_one(job)));
    }
}

#[cfg(test)]
mod tests;

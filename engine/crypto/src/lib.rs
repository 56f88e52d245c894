//! Verifies secp256k1 signatures exactly as `ecrecover` does, many at once, and hashes with Keccak-256.
//!
//! `farebox-core` is the caller: it turns vouchers into [`Job`]s and hands them over by the batch. This
//! crate knows nothing of vouchers, channels or money. It does no IO and keeps no books.
//!
//! | module | what it knows |
//! |---|---|
//! | [`ecdsa`] | a signature that is in range and low-s, by construction |
//! | [`verify`] | jobs in, outcomes out: the door behind which the work is done |
//! | [`recover`] | the public key that made a signature, by libsecp256k1 |
//! | [`keccak`] | Keccak-256 |
//! | [`backend`] | which instructions this machine has; the only door to SIMD code |
//! | [`kernel`] | signatures of known signers, a chunk at a time |
//! | [`cold`] | the same for signers without a table |
//! | [`field`], [`scalar`] | numbers modulo `p` and `n`, in lanes |
//! | [`memory`] | where tables lie |
//! | [`table`], [`sum`] | tables of odd multiples, and the tree that adds their points |
//!
//! # What stands behind the door
//!
//! A payer signs thousands of vouchers with one key. So the key is recovered once, a table of its multiples is
//! built, and from then on a signature is a sum of some fifty table entries: no doubling, no square root. The
//! sums of 64 signatures at a time share their inversions, and eight of them lie in the lanes of each register. It
//! takes a thirtieth of a recovery. libsecp256k1 stays: as the oracle of the tests, as the way to learn a key,
//! and as the judge of everything that the kernel does not accept.
//!
//! The computation is exact and deterministic: there is no random combination of signatures that a crafted batch
//! could slip through.
//!
//! # Variable time is right here
//!
//! Digests, signatures, keys and addresses are public: they travel in clear text and end up on a chain.
//! Nothing secret may enter this crate, and nothing in it signs. Its running time may depend on its input.
//!
//! # Features
//!
//! `std` lets a thread that waits for a lookup give its processor away. For whoever has threads.
//!
//! `verify` checks the bound of every limb at run time. It is for tests, and slow.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backend;
pub mod cold;
pub mod ecdsa;
pub mod field;
pub mod keccak;
pub mod kernel;
mod lock;
pub mod memory;
mod modinv;
pub mod recover;
pub mod scalar;
mod signed;
mod signers;
pub mod sum;
pub mod table;
pub mod verify;

pub use ecdsa::{Signature, SignatureError};
pub use keccak::keccak256;
pub use recover::{PublicKey, recover};
pub use verify::{Job, Outcome, Verifier};

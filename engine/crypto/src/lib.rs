//! Verifies secp256k1 signatures exactly as `ecrecover` does, many at once, and hashes with Keccak-256.
//!
//! `farebox-core` is the caller: it turns vouchers into [`Job`]s and hands them over by the batch. This
//! crate knows nothing of vouchers, channels or money. It does no IO and keeps no books.
//!
//! | module | what it knows |
//! |---|---|
//! | [`ecdsa`] | a signature that is in range and low-s, by construction |
//! | [`verify`] | jobs in, outcomes out: the door behind which the work is done |
//! | [`mod@recover`] | the public key that made a signature |
//! | [`keccak`] | Keccak-256 |
//!
//! # What stands behind the door
//!
//! libsecp256k1 recovers the key of every signature, one after the other. [`Verifier`] is the whole
//! interface, so that a faster kernel (tables for each signer's key, signatures summed in lanes) can take
//! its place without a change outside this crate. libsecp256k1 then stays as the oracle of the tests and
//! as the fallback for signers without a table.
//!
//! # Variable time is right here
//!
//! Digests, signatures, keys and addresses are public: they travel in clear text and end up on a chain.
//! Nothing secret may enter this crate, and nothing in it signs. Its running time may depend on its input.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod ecdsa;
pub mod keccak;
pub mod recover;
pub mod verify;

pub use ecdsa::{Signature, SignatureError};
pub use keccak::keccak256;
pub use recover::{PublicKey, recover};
pub use verify::{Job, Outcome, Verifier};

//! The functional core of Farebox: every rule about money, and nothing else.
//!
//! This crate decides; it never acts. Time, chain state and randomness come in as values, decisions
//! leave as values, so the whole system can be simulated from one seed. It does no IO, reads no
//! clock, starts no thread and logs nothing, and `no_std` keeps it honest.
//!
//! | module | what it knows |
//! |---|---|
//! | [`units`] | amounts, channel ids, times: the words everything else is made of |
//! | [`voucher`] | EIP-712 digests, channel ids, signature encodings; the only maker of `Verified` |
//! | [`channel`] | the state of one channel and every legal step it can take |
//! | [`journal`] | the frame that makes a batch of steps durable, and how it is read back |
//! | [`challenge`] | the words of HTTP 402: challenge, credential, receipt, problem types |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod challenge;
pub mod channel;
pub mod journal;
pub mod units;
pub mod voucher;

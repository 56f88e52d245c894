//! Rust bindings of the escrow contracts and of TIP-20 tokens: calls, events, errors, and their types.
//!
//! [`v2`] is the channel reserve of TIP-1034, [`v1`] the escrow contract of the older session protocol,
//! [`tip20`] the part of a token that payments need. With the feature `bytecode` there is also the compiled
//! code of both escrows, for a local chain.
//!
//! The Solidity sources and their tests live beside this crate. It only encodes and decodes: it never talks to
//! a chain, and it holds no rules about money.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate alloc;

#[cfg(feature = "bytecode")]
pub mod bytecode;
pub mod tip20;
pub mod v1;
pub mod v2;

#[cfg(test)]
mod tests;

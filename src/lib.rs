//! Takes machine payments at the speed of the machine.
//!
//! This library is a thin face of [`farebox_engine`], so that `cargo add farebox` is all that a service needs
//! to embed: start an [`Engine`] on a [`Ledger`], submit vouchers, and deliver when the answer comes. An
//! answer comes only when it is on disk. The program `farebox` (gateway, settlement) is the same engine with
//! an HTTP server around it.
#![forbid(unsafe_code)]

pub use farebox_engine::*;

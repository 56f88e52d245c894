//! libFuzzer's way into the checks of `engine/crypto/tests/oracle/fuzz` and of `engine/tests/http/parsers.rs`, which the
//! ordinary tests run on random bytes.
//!
//! Every target has the name of its binary. It panics if the code under test is wrong.

// The files are parts of the ordinary tests, which use more of them.
#![allow(dead_code)]

#[path = "../../engine/tests/http/parsers.rs"]
pub mod door;
#[path = "../../engine/crypto/tests/oracle/fuzz/mod.rs"]
mod fuzz;
#[path = "../../engine/crypto/tests/oracle/judge.rs"]
mod judge;
#[path = "../../engine/crypto/tests/oracle/kernel.rs"]
mod kernel;
#[path = "../../engine/crypto/tests/oracle/signer.rs"]
mod signer;

pub use fuzz::run;
pub use libfuzzer_sys;

/// The whole of a target's file.
#[macro_export]
macro_rules! target {
    () => {
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::run(env!("CARGO_BIN_NAME"), bytes));
    };
}

/// The whole of a target's file that checks a parser of the door.
#[macro_export]
macro_rules! door_target {
    () => {
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::door::run(env!("CARGO_BIN_NAME"), bytes));
    };
}

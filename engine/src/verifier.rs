//! The verifier as a process sets it up: one for all threads, on the backend that the environment names.
//!
//! A service that keeps its books elsewhere needs no more than this module: a [`Verifier`], asked from any number of
//! threads. `examples/verify_batch.rs` shows it whole.
//!
//! ```
//! use farebox_engine::core::units::{Address, ChainId};
//! use farebox_engine::core::voucher::{Domain, SignedVoucher, V2};
//! use farebox_engine::verifier::{Verifier, verifier_from_environment, SIGNER_TABLES_BYTES_MAX};
//!
//! /// Which vouchers hold. The signers are those that the channels' terms name.
//! fn valid(verifier: &Verifier, vouchers: &[(&SignedVoucher<V2>, Address)]) -> Vec<bool> {
//!     let domain = Domain::tempo(ChainId(4217));
//!     verifier.verify_batch(&domain, vouchers).iter().map(|answer| answer.is_ok()).collect()
//! }
//!
//! let verifier = verifier_from_environment(SIGNER_TABLES_BYTES_MAX)?;
//! assert!(valid(&verifier, &[]).is_empty());
//! # Ok::<(), farebox_engine::BackendVariableError>(())
//! ```
//!
//! The crates below know no environment. This module reads the one variable that there is, for the engine, the
//! program and the benchmarks alike.

use crate::pages;
use std::env;

pub use farebox_core::voucher::{Verification, Verified, Verifier};
pub use farebox_crypto::backend::{Backend, BackendError};

/// The environment variable that overrides the choice of a backend: `portable` or `avx512`.
pub const BACKEND_VARIABLE: &str = "FAREBOX_BACKEND";

/// Memory for signers' tables unless told otherwise, in bytes.
pub const SIGNER_TABLES_BYTES_MAX: usize = farebox_crypto::verify::SIGNER_TABLES_BYTES_MAX;

/// [`BACKEND_VARIABLE`] asks for what this machine cannot give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{BACKEND_VARIABLE} is {found:?}: {cause} (without the variable the fastest backend is taken)")]
pub struct BackendVariableError {
    /// What the variable holds.
    pub found: String,
    /// Why that does not work.
    pub cause: BackendError,
}

/// The backend that [`BACKEND_VARIABLE`] names, or the fastest one of this machine if it is unset or empty.
pub fn backend_from_environment() -> Result<Backend, BackendVariableError> {
    match env::var_os(BACKEND_VARIABLE) {
        Some(found) if !found.is_empty() => backend_named(&found.to_string_lossy()),
        _ => Ok(Backend::detect()),
    }
}

fn backend_named(name: &str) -> Result<Backend, BackendVariableError> {
    Backend::from_name(name).map_err(|cause| BackendVariableError { found: name.to_owned(), cause })
}

/// A verifier on the backend of [`backend_from_environment`] that keeps no more than so many bytes of tables. Share it:
/// every thread that has its own pays for its own tables. Tables lie in pages of 2 MB where the system has them.
pub fn verifier_from_environment(signer_tables_bytes_max: usize) -> Result<Verifier, BackendVariableError> {
    Ok(verifier_with(backend_from_environment()?, signer_tables_bytes_max))
}

/// The same on this backend.
pub fn verifier_with(backend: Backend, signer_tables_bytes_max: usize) -> Verifier {
    pages::offer_large_pages();
    Verifier::with(backend, signer_tables_bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_says_what_was_found_and_what_works() {
        let refused = backend_named("neon").expect_err("there is no such backend");
        let text = refused.to_string();
        assert!(text.contains("FAREBOX_BACKEND is \"neon\""), "{text}");
        assert!(text.contains("portable or avx512"), "{text}");
        assert!(backend_named("portable").is_ok());
    }
}

//! The verifier and its kernel against libsecp256k1, from outside: through the public API alone.
//!
//! `FAREBOX_ORACLE_SIGNATURES` says how many random signatures to try (`make test-long` tries more than a million), and
//! `FAREBOX_ORACLE_SEED` which. A difference is reported with the seed and the smallest batch that shows it.

mod batches;
mod exceptional;
mod fuzz;
mod judge;
mod kernel;
mod shapes;
mod signer;
mod targets;
mod threads;
mod wycheproof;

/// How many signatures to try unless told otherwise: on each backend through the verifier, and as many again through
/// the kernel.
const SIGNATURES: usize = if cfg!(feature = "verify") { 2_000 } else { 12_000 };

/// Every run tries the same unless told otherwise.
const SEED: u64 = 0xfa2e_b0c5;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, expected a number")))
}

/// How many signatures to try.
fn signatures() -> usize {
    from_environment("FAREBOX_ORACLE_SIGNATURES").map_or(SIGNATURES, |count| count as usize)
}

/// What random choices start from.
fn seed() -> u64 {
    from_environment("FAREBOX_ORACLE_SEED").unwrap_or(SEED)
}

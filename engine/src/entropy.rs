//! The only reader of randomness in this crate.
//!
//! Callers that need an id, a nonce or a key ask an [`Entropy`]; the functional core is handed bytes. The
//! books themselves use none.

use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};

/// Gives random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`, all of them or none.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The operating system gave no random bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes: {cause}")]
pub struct EntropyError {
    /// What it said.
    pub cause: String,
}

/// `N` random bytes.
pub fn bytes<const N: usize>(source: &(impl Entropy + ?Sized)) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    source.fill(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's generator, fit for keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        SysRng.try_fill_bytes(bytes).map_err(|error| EntropyError { cause: error.to_string() })
    }
}

/// The same bytes for the same seed, for tests and simulations. Never for keys.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// A generator that `seed` determines.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_bytes() {
        let draw = |seed| {
            let source = SeededEntropy::new(seed);
            (bytes::<32>(&source), bytes::<32>(&source))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let (first, second) = draw(1);
        assert_ne!(first, second);
    }

    #[test]
    fn the_system_does_not_repeat_itself() {
        assert_ne!(bytes::<32>(&SystemEntropy), bytes::<32>(&SystemEntropy));
    }
}

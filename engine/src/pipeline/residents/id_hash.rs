//! A quick hash for channel ids.
//!
//! A channel id is a Keccak hash already, but a payer chooses among many by choosing the salt. So what decides the place in
//! a table depends on a secret that is drawn anew in every process.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Bytes that are taken in at once.
const WORD_BYTES: usize = 8;

/// An odd number whose bits look random (2^64 divided by the golden ratio): spreads the last word as well.
const FINISH: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers with this process's secret.
#[derive(Clone, Debug)]
pub(super) struct IdHash {
    seed: u64,
    factor: u64,
}

impl Default for IdHash {
    fn default() -> Self {
        let random = RandomState::new();
        Self { seed: random.hash_one("seed"), factor: random.hash_one("factor") | 1 }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { state: self.seed, factor: self.factor }
    }
}

/// Folds words into its state with a secret factor.
pub(super) struct IdHasher {
    state: u64,
    factor: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(WORD_BYTES) {
            let mut word = [0; WORD_BYTES];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }

    fn write_usize(&mut self, number: usize) {
        // A length: those of ids are all the same, and nothing else is hashed.
        self.state ^= number as u64;
    }

    fn finish(&self) -> u64 {
        fold(self.state, FINISH)
    }
}

/// Both halves of a product, in one word.
fn fold(word: u64, factor: u64) -> u64 {
    let product = u128::from(word) * u128::from(factor);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_core::units::{B256, ChannelId};
    use std::collections::HashSet;

    fn id(number: u64, at: usize) -> ChannelId {
        let mut bytes = [7; 32];
        bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
        ChannelId(B256::new(bytes))
    }

    #[test]
    fn ids_that_differ_anywhere_spread_over_low_and_high_bits() {
        let build = IdHash::default();
        for at in [0, 8, 16, 24] {
            let hashes: Vec<u64> = (0..4_096).map(|number| build.hash_one(id(number, at))).collect();
            for shift in [0, 52] {
                let found: HashSet<u64> = hashes.iter().map(|hash| (hash >> shift) & 0xfff).collect();
                // Random ones fill 63 % of 4,096 places.
                assert!(found.len() > 2_200, "byte {at}, bits from {shift}: {} of 4096 places", found.len());
            }
        }
    }

    #[test]
    fn every_process_has_its_own_secret() {
        let (first, second) = (IdHash::default(), IdHash::default());
        assert_ne!(first.hash_one(id(1, 0)), second.hash_one(id(1, 0)));
        assert_eq!(first.hash_one(id(1, 0)), first.clone().hash_one(id(1, 0)));
    }
}

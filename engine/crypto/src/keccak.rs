//! Keccak-256, as Ethereum hashes: the original padding, not that of SHA-3.
//!
//! Callers are the digests, channel ids and addresses of this workspace. [`keccak256`] hashes one message of any length;
//! [`keccak256_many`] hashes many short messages of one length, eight or two at a time where the machine can.

use crate::backend::Backend;
#[cfg(target_arch = "x86_64")]
use crate::backend::Lanes;
use alloc::vec::Vec;
use sha3::Digest;

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod rounds;
// Targets for kernels and firmware leave these registers alone.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2;

/// Bytes that one permutation takes in.
const BLOCK_BYTES: usize = 136;

/// The Keccak-256 hash of `bytes`.
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    sha3::Keccak256::digest(bytes).into()
}

/// The Keccak-256 hashes of messages of `N` bytes, at most 135: what fits one block with its padding. `hashes` is
/// emptied first and then holds one hash a message, in order.
pub fn keccak256_many<const N: usize>(backend: Backend, messages: &[[u8; N]], hashes: &mut Vec<[u8; 32]>) {
    const { assert!(N < BLOCK_BYTES, "a message and its padding fit one block") };
    hashes.clear();
    match backend {
        Backend::Portable(_) => plain_many(messages, hashes),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512(lanes) => lanes.run(avx512::HashMany { messages, hashes }),
    }
}

/// Without AVX-512: two at a time on x86-64, else one by one.
fn plain_many<const N: usize>(messages: &[[u8; N]], hashes: &mut Vec<[u8; 32]>) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    let messages = {
        let (pairs, rest) = messages.as_chunks();
        hashes.extend(pairs.iter().flat_map(|[first, second]| sse2::hash_two([first, second])));
        rest
    };
    hashes.extend(messages.iter().map(|message| keccak256(message)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// The hash of nothing, known from every empty account's code hash.
    const EMPTY: [u8; 32] = [
        0xc5, 0xd2, 0x46, 0x01, 0x86, 0xf7, 0x23, 0x3c, 0x92, 0x7e, 0x7d, 0xb2, 0xdc, 0xc7, 0x03, 0xc0, 0xe5,
        0x00, 0xb6, 0x53, 0xca, 0x82, 0x27, 0x3b, 0x7b, 0xfa, 0xd8, 0x04, 0x5d, 0x85, 0xa4, 0x70,
    ];

    #[test]
    fn pads_as_ethereum_does() {
        assert_eq!(keccak256(b""), EMPTY);
        // The selector of `transfer(address,uint256)`.
        assert_eq!(keccak256(b"transfer(address,uint256)")[..4], [0xa9, 0x05, 0x9c, 0xbb]);
    }

    #[test]
    fn inputs_around_one_block_differ() {
        let hashes: [_; 4] = [135, 136, 137, 272].map(|len| keccak256(&alloc::vec![0x61; len]));
        for (i, one) in hashes.iter().enumerate() {
            assert!(hashes[i + 1..].iter().all(|other| other != one));
        }
    }

    /// All counts around the lanes, all bits at random.
    fn many_equal_one_by_one<const N: usize>() {
        let mut rng = StdRng::seed_from_u64(10 + N as u64);
        let mut hashes = alloc::vec![[0; 32]; 3];
        for backend in [Backend::detect(), Backend::from_name("portable").unwrap()] {
            for count in 0..35 {
                let messages: Vec<[u8; N]> =
                    (0..count).map(|_| core::array::from_fn(|_| rng.random())).collect();
                keccak256_many(backend, &messages, &mut hashes);
                assert_eq!(hashes.len(), count);
                for (message, hash) in messages.iter().zip(&hashes) {
                    assert_eq!(*hash, keccak256(message), "{N} bytes, {} backend", backend.name());
                }
            }
        }
    }

    #[test]
    fn many_at_once_are_hashed_like_each_alone() {
        many_equal_one_by_one::<0>();
        many_equal_one_by_one::<1>();
        many_equal_one_by_one::<7>();
        many_equal_one_by_one::<8>();
        many_equal_one_by_one::<64>();
        many_equal_one_by_one::<66>();
        many_equal_one_by_one::<96>();
        many_equal_one_by_one::<127>();
        many_equal_one_by_one::<128>();
        many_equal_one_by_one::<134>();
        many_equal_one_by_one::<135>();
    }
}

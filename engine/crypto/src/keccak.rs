//! Keccak-256, as Ethereum hashes: the original padding, not that of SHA-3.
//!
//! Callers are the digests, channel ids and addresses of this workspace. The function is a door: lanes
//! that hash eight digests at once can come behind it.

use sha3::Digest;

/// The Keccak-256 hash of `bytes`.
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    sha3::Keccak256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! Keccak-256 in lanes, against the crate `sha3`.

use farebox_crypto::keccak::{keccak256, keccak256_many};
use sha3::{Digest, Keccak256};

use super::input::Input;
use crate::judge::backends;

fn many<const N: usize>(input: &mut Input) {
    let count = input.below(20);
    let messages: Vec<[u8; N]> = (0..count).map(|_| input.array()).collect();
    let expected: Vec<[u8; 32]> = messages.iter().map(|message| Keccak256::digest(message).into()).collect();
    let mut hashes = vec![[1; 32]; 3];
    for backend in backends() {
        keccak256_many(backend, &messages, &mut hashes);
        assert_eq!(hashes, expected, "{N} bytes, {}", backend.name());
    }
    assert!(messages.iter().zip(&expected).all(|(message, hash)| keccak256(message) == *hash));
}

pub fn keccak_many(input: &mut Input) {
    const OF_EVERY_KIND: [fn(&mut Input); 10] = [
        many::<0>,
        many::<1>,
        many::<8>,
        many::<32>,
        many::<64>,
        many::<66>,
        many::<96>,
        many::<127>,
        many::<128>,
        many::<135>,
    ];
    OF_EVERY_KIND[input.below(OF_EVERY_KIND.len())](input);
}

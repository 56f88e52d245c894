//! Channels and their vouchers, signed beforehand by the million.
//!
//! A signer that knows its nonces beforehand signs in a microsecond: the nonces of all signers are the same few
//! thousand. That gives every secret away, so it is for measurements only; to a verifier such a signature is like any other.

use std::iter::successors;
use std::thread;

use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Voucher, v2};
use farebox_crypto::keccak256;
use k256::Scalar;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::scalar::IsHigh;
use secp256k1::{PublicKey, SecretKey};

/// The chain of all channels.
const CHAIN: ChainId = ChainId(42_431);

/// Nonces that all signatures share.
const NONCES: usize = 4_096;

/// The first secret of a signer; those of the others follow it.
const FIRST_SECRET: u64 = 1 << 40;

/// Threads that sign.
const SIGNING_THREADS: usize = 2;

/// A nonce, worked out.
struct Nonce {
    r: Scalar,
    r_bytes: [u8; 32],
    parity: bool,
    inverse: Scalar,
}

/// Somebody who signs.
#[derive(Clone, Copy)]
struct Signer {
    secret: Scalar,
    address: Address,
}

/// Channels that signers share evenly.
pub struct Crowd {
    domain: AnyDomain,
    signers: Vec<Signer>,
    nonces: Vec<Nonce>,
    /// The id of every channel.
    pub channels: Vec<ChannelId>,
}

impl Crowd {
    /// So many channels, of so many signers.
    pub fn new(channels: usize, signers: usize) -> Self {
        let mut crowd = Self {
            domain: AnyDomain::new(ProtocolVersion::V2, CHAIN, v2::CHANNEL_RESERVE),
            signers: signers_in_a_row(signers.min(channels)),
            nonces: nonces(),
            channels: Vec::new(),
        };
        crowd.channels = (0..channels).map(|channel| crowd.identity(channel).channel_id()).collect();
        crowd
    }

    /// The terms of a channel.
    pub fn identity(&self, channel: usize) -> Identity {
        let signer = self.signers[channel % self.signers.len()].address;
        let mut salt = B256::ZERO;
        salt[..8].copy_from_slice(&(channel as u64).to_le_bytes());
        let descriptor = v2::Descriptor {
            payer: signer,
            payee: Address::repeat_byte(2),
            operator: Address::ZERO,
            token: Address::repeat_byte(3),
            salt,
            authorized_signer: signer,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        Identity { chain_id: CHAIN, escrow: v2::CHANNEL_RESERVE, terms: Terms::V2(descriptor) }
    }

    /// Vouchers number `first` and up: channels take turns, and each round of all channels adds one to their amounts.
    pub fn vouchers(&self, first: usize, count: usize) -> Vec<AnySignedVoucher> {
        let part = count.div_ceil(SIGNING_THREADS).max(1);
        let places: Vec<usize> = (first..first + count).collect();
        let signed: Vec<Vec<_>> = thread::scope(|scope| {
            let threads: Vec<_> = places
                .chunks(part)
                .map(|places| scope.spawn(|| places.iter().map(|place| self.voucher(*place)).collect()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("signing does not panic")).collect()
        });
        signed.into_iter().flatten().collect()
    }

    fn voucher(&self, place: usize) -> AnySignedVoucher {
        let (round, channel) = (place / self.channels.len(), place % self.channels.len());
        let cumulative_amount = Amount::new(1 + round as u128);
        let voucher = Voucher { channel_id: self.channels[channel], cumulative_amount };
        let digest = self.domain.digest(&voucher).expect("the amounts fit");
        let signer = &self.signers[channel % self.signers.len()];
        let rsv = sign(signer, &self.nonces[place % NONCES], digest.0);
        self.domain.parse(voucher, &rsv).expect("signatures here are in range and low-s")
    }
}

/// Signs with a nonce that is worked out.
fn sign(signer: &Signer, nonce: &Nonce, digest: [u8; 32]) -> [u8; 65] {
    let s = nonce.inverse * (scalar(digest) + nonce.r * signer.secret);
    let is_high = bool::from(s.is_high());
    let s = if is_high { -s } else { s };
    let mut rsv = [0; 65];
    rsv[..32].copy_from_slice(&nonce.r_bytes);
    rsv[32..64].copy_from_slice(&s.to_repr());
    rsv[64] = 27 + u8::from(nonce.parity != is_high);
    rsv
}

fn nonces() -> Vec<Nonce> {
    let work_out = |i: usize| {
        let k = keccak256(&(i as u64).to_le_bytes());
        let point = SecretKey::from_secret_bytes(k).expect("in range").public_key().serialize_uncompressed();
        let r_bytes: [u8; 32] = point[1..33].try_into().expect("32 bytes");
        let inverse = scalar(k).invert().expect("not zero");
        Nonce { r: scalar(r_bytes), r_bytes, parity: point[64] & 1 == 1, inverse }
    };
    (0..NONCES).map(work_out).collect()
}

/// Signers whose secrets follow each other: each key is the one before plus the generator.
fn signers_in_a_row(count: usize) -> Vec<Signer> {
    let generator = key(1);
    let keys =
        successors(Some(key(FIRST_SECRET)), |key| Some(key.combine(&generator).expect("never at infinity")));
    let named = |(i, key): (usize, PublicKey)| {
        let hash = keccak256(&key.serialize_uncompressed()[1..]);
        Signer { secret: Scalar::from(FIRST_SECRET + i as u64), address: Address::from_slice(&hash[12..]) }
    };
    keys.take(count).enumerate().map(named).collect()
}

fn key(secret: u64) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&secret.to_be_bytes());
    SecretKey::from_secret_bytes(bytes).expect("in range").public_key()
}

/// The number that 32 big-endian bytes hold. It is below the order in all but one of 2^128 cases.
fn scalar(bytes: [u8; 32]) -> Scalar {
    Scalar::from_repr(bytes.into()).expect("a hash or coordinate is hardly ever above the order")
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_core::voucher::Verifier;

    #[test]
    fn signatures_hold_and_channels_take_turns() {
        let crowd = Crowd::new(5, 2);
        let vouchers = crowd.vouchers(10, 12);
        assert_eq!(vouchers.len(), 12);
        let signers: Vec<_> = (10..22).map(|place| crowd.identity(place % 5).expected_signer()).collect();
        let jobs: Vec<_> =
            vouchers.iter().zip(signers).map(|(voucher, signer)| (&crowd.domain, voucher, signer)).collect();
        assert!(Verifier::new().verify_mixed(&jobs).iter().all(Result::is_ok));
        let seventh = vouchers[7].voucher();
        assert_eq!((seventh.channel_id, seventh.cumulative_amount), (crowd.channels[2], Amount::new(4)));
    }
}

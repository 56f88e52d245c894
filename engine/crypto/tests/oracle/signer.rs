//! Signatures to try: valid ones of every kind, cheaply, and damaged ones.
//!
//! A signer that chooses its nonce `k` and even `s` needs no inversion: `z = s k - r d` is then the digest that the
//! signature `(r, s)` with `r = x(k G)` is valid for. It costs one multiplication of `G`, and reaches every valid signature:
//! for random `k` and `s`, the digest is random too. Digests that matter themselves are signed by libsecp256k1.

use std::iter::{repeat_with, successors};
use std::sync::OnceLock;

use farebox_crypto::{Job, Signature};
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::elliptic_curve::{Field, PrimeField};
use k256::{ProjectivePoint, Scalar};
use rand::{Rng, RngExt};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SecretKey};

use crate::judge::address;

/// `n`, big-endian.
pub const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
    0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// `lambda`: the endomorphism `(x, y) -> (beta x, y)` multiplies by it.
const LAMBDA: [u8; 32] = [
    0x53, 0x63, 0xad, 0x4c, 0xc0, 0x5c, 0x30, 0xe0, 0xa5, 0x26, 0x1c, 0x02, 0x88, 0x12, 0x64, 0x5a, 0x12,
    0x2e, 0x22, 0xea, 0x20, 0x81, 0x66, 0x78, 0xdf, 0x02, 0x96, 0x7c, 0x1b, 0x23, 0xbd, 0x72,
];

/// The number below `n` that 32 big-endian bytes hold.
pub fn scalar(bytes: [u8; 32]) -> Option<Scalar> {
    Scalar::from_repr(bytes.into()).into_option()
}

pub fn bytes(scalar: Scalar) -> [u8; 32] {
    scalar.to_repr().into()
}

pub fn lambda() -> Scalar {
    scalar(LAMBDA).expect("below n")
}

/// `n/2`, rounded down: the largest low `s`.
pub fn half_order() -> Scalar {
    -Scalar::TWO_INV
}

/// A random scalar that is not zero.
pub fn random(rng: &mut impl Rng) -> Scalar {
    loop {
        if let Some(scalar) = scalar(rng.random())
            && !bool::from(scalar.is_zero())
        {
            return scalar;
        }
    }
}

/// Scalars at the edges: 1, 2, n - 1, n - 2, lambda, its square, their opposites, n/2, powers of two.
pub fn edges() -> &'static [Scalar] {
    static EDGES: OnceLock<Vec<Scalar>> = OnceLock::new();
    EDGES.get_or_init(|| {
        let powers =
            successors(Some(Scalar::from(4_u64)), |power| Some(power.double())).take(254).step_by(11);
        let others = [Scalar::ONE, Scalar::from(2_u64), lambda(), lambda().square(), half_order()];
        others.into_iter().chain(powers).flat_map(|edge| [edge, -edge]).collect()
    })
}

/// `k G` for `k` that is not zero.
pub fn multiple_of_generator(k: Scalar) -> PublicKey {
    PublicKey::from_secret_key(&secret(k))
}

fn secret(k: Scalar) -> SecretKey {
    SecretKey::from_secret_bytes(bytes(k)).expect("a scalar that is not zero is a key")
}

/// Fewer signers than this are all random ones.
const EDGES_WORTH: usize = 8;

/// A key that can sign.
#[derive(Clone, Copy, Debug)]
pub struct Signer {
    /// The secret `d`.
    pub secret: Scalar,
    /// The key `d G`.
    pub key: PublicKey,
    /// Its address.
    pub address: [u8; 20],
}

impl Signer {
    pub fn new(secret: Scalar) -> Self {
        let key = multiple_of_generator(secret);
        Self { secret, key, address: address(&key) }
    }

    /// So many signers: those at the edges first, if there is room for them, then random ones.
    pub fn many(rng: &mut impl Rng, count: usize) -> Vec<Self> {
        let edges = if count < EDGES_WORTH { &[] } else { edges() };
        edges.iter().copied().chain(repeat_with(|| random(rng))).take(count).map(Self::new).collect()
    }

    /// The valid job with the nonce `k` and this `s`, if its `r` is below `n` and its `s` is low.
    pub fn sign_with(&self, k: Scalar, s: Scalar) -> Option<Job> {
        let point = multiple_of_generator(k).serialize_uncompressed();
        let r: [u8; 32] = point[1..33].try_into().expect("32 bytes");
        let digest = bytes(s * k - scalar(r)? * self.secret);
        let signature = Signature::new(r, bytes(s), point[64] & 1 == 1).ok()?;
        Some(Job { digest, signature, signer: self.address })
    }

    /// A valid job over this digest.
    pub fn sign_digest(&self, digest: [u8; 32]) -> Job {
        let signed =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest), &secret(self.secret));
        let (id, compact) = signed.serialize_compact();
        let (r, s) = compact.split_at(32);
        let signature =
            Signature::new(r.try_into().expect("32"), s.try_into().expect("32"), id.to_u8() & 1 == 1)
                .expect("libsecp256k1 gives a low s");
        Job { digest, signature, signer: self.address }
    }

    /// A number at an edge, one that the key is near to (`R = Q`, `-Q`, `2 Q`, `lambda Q`), or any.
    fn extreme(&self, rng: &mut impl Rng) -> Scalar {
        match rng.random_range(0..3) {
            0 => edges()[rng.random_range(0..edges().len())],
            1 => {
                let near = [self.secret, -self.secret, self.secret.double(), self.secret * lambda()];
                near[rng.random_range(0..near.len())]
            }
            _ => random(rng),
        }
    }

    /// A valid job: mostly any, often one with extreme numbers.
    pub fn sign_any(&self, rng: &mut impl Rng) -> Job {
        loop {
            match rng.random_range(0..16) {
                0 => return self.sign_digest(edge_digest(rng)),
                1 => return self.sign_digest(rng.random()),
                2 => {
                    let k = self.extreme(rng);
                    let s = [Scalar::ONE, half_order(), self.extreme(rng)][rng.random_range(0..3)];
                    if let Some(job) = self.sign_with(k, s) {
                        return job;
                    }
                }
                _ => {
                    let (k, s) = (random(rng), random(rng));
                    // One of s and n - s is low.
                    if let Some(job) = self.sign_with(k, s).or_else(|| self.sign_with(k, -s)) {
                        return job;
                    }
                }
            }
        }
    }
}

/// Digests that mean 0, 1, n - 1, n/2, or are not below n.
pub fn edge_digest(rng: &mut impl Rng) -> [u8; 32] {
    let mut above = ORDER;
    above[31] = above[31].wrapping_add(rng.random());
    let choices =
        [[0; 32], [0xff; 32], ORDER, above, bytes(Scalar::ONE), bytes(-Scalar::ONE), bytes(half_order())];
    choices[rng.random_range(0..choices.len())]
}

/// A valid job for a key whose secret nobody knows, with `z/s = u1` and `r/s = u2`, if `r` is below `n` and `s` is low: for
/// `R = u1 G + u2 Q` take `r = x(R)`, `s = r/u2`, `z = u1 s`.
pub fn forge(key: &PublicKey, u1: Scalar, u2: Scalar) -> Option<Job> {
    let tweak = |scalar| secp256k1::Scalar::from_be_bytes(bytes(scalar)).expect("below n");
    let sum = key.mul_tweak(&tweak(u2)).ok()?.add_exp_tweak(&tweak(u1)).ok()?.serialize_uncompressed();
    let r: [u8; 32] = sum[1..33].try_into().expect("32 bytes");
    let s = scalar(r)? * u2.invert().into_option()?;
    let signature = Signature::new(r, bytes(s), sum[64] & 1 == 1).ok()?;
    Some(Job { digest: bytes(u1 * s), signature, signer: address(key) })
}

/// Keys and jobs that a verifier would accept that compares `x` and `r` modulo `n`: `R` has the x coordinate `r + n`.
pub struct AboveTheOrder {
    pub key: PublicKey,
    /// Not valid: `ecrecover` takes `r` itself for x.
    pub jobs: Vec<Job>,
}

/// All of them with `r` in a range; there are none above `p - n`, some 2^128.
pub fn above_the_order(rng: &mut impl Rng, range: core::ops::Range<u64>) -> Vec<AboveTheOrder> {
    let mut found = Vec::new();
    for r in range {
        for tag in [2, 3] {
            let mut encoded = [tag; 33];
            encoded[1..].copy_from_slice(&ORDER);
            let low = u64::from_be_bytes(ORDER[24..].try_into().expect("8 bytes"));
            encoded[25..].copy_from_slice(&low.checked_add(r).expect("there is room").to_be_bytes());
            let Ok(point) = k256::PublicKey::from_sec1_bytes(&encoded) else { continue };
            // Q = (s R - z G) / r for any s and z.
            let (z, s) = (random(rng), Scalar::from(rng.random_range(1..u64::MAX)));
            let inverse = Scalar::from(r).invert().expect("r is not zero");
            let key = (point.to_projective() * s - ProjectivePoint::GENERATOR * z) * inverse;
            let key = PublicKey::from_slice(key.to_affine().to_sec1_point(false).as_bytes())
                .expect("a point of the curve");
            let job = |parity| Job {
                digest: bytes(z),
                signature: Signature::new(bytes(Scalar::from(r)), bytes(s), parity).expect("in range"),
                signer: address(&key),
            };
            found.push(AboveTheOrder { key, jobs: vec![job(false), job(true)] });
        }
    }
    found
}

fn flip_bit(rng: &mut impl Rng, bytes: &mut [u8]) {
    let place = rng.random_range(0..bytes.len());
    bytes[place] ^= 1 << rng.random_range(0..8);
}

/// How many kinds of damage there are.
const DAMAGES: u32 = 18;

/// Damages job `i` of a batch, in one of many ways, some of them together with its neighbour. Numbers that are no
/// signature any more never reach the verifier: then the job stays as it was.
pub fn damage(rng: &mut impl Rng, jobs: &mut [Job], i: usize, signers: &[Signer]) {
    let neighbour = (i + 1) % jobs.len();
    let other = signers[rng.random_range(0..signers.len())];
    let job = &mut jobs[i];
    let (mut r, mut s, parity) = (*job.signature.r(), *job.signature.s(), job.signature.parity());
    let changed = match rng.random_range(0..DAMAGES) {
        0 => {
            flip_bit(rng, &mut r);
            Signature::new(r, s, parity)
        }
        1 => {
            flip_bit(rng, &mut s);
            Signature::new(r, s, parity)
        }
        2 => Signature::new(r, s, !parity),
        3 => return flip_bit(rng, &mut job.digest),
        4 => return flip_bit(rng, &mut job.signer),
        5 => return job.signer = other.address,
        6 => return job.digest = edge_digest(rng),
        7 => {
            return (jobs[i].signature, jobs[neighbour].signature) =
                (jobs[neighbour].signature, jobs[i].signature);
        }
        8 => return (jobs[i].digest, jobs[neighbour].digest) = (jobs[neighbour].digest, jobs[i].digest),
        9 => return (jobs[i].signer, jobs[neighbour].signer) = (jobs[neighbour].signer, jobs[i].signer),
        10 => return jobs.swap(i, neighbour),
        11 => Signature::new(rng.random(), s, parity),
        12 => Signature::new(r, bytes(random(rng)), parity),
        13 => Signature::new(
            bytes([Scalar::ONE, -Scalar::ONE, other.secret][rng.random_range(0..3)]),
            s,
            parity,
        ),
        14 => Signature::new(r, bytes(Scalar::ONE), parity),
        15 => Signature::new(r, bytes(half_order()), parity),
        // The x of the signer's key as r.
        16 => {
            Signature::new(other.key.serialize_uncompressed()[1..33].try_into().expect("32 bytes"), s, parity)
        }
        _ => {
            // u1 G + u2 Q is infinity: z = -r d.
            job.signer = other.address;
            return job.digest = bytes(-scalar(r).expect("r is below n") * other.secret);
        }
    };
    job.signature = changed.unwrap_or(job.signature);
}

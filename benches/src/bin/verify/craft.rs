//! Valid vouchers that the kernel cannot decide.
//!
//! It adds points by a formula that fails for two points with the same x. Which points it adds, the payer chooses with key,
//! nonce and amount. With a power of two as key, points of the signer's table are points of the generator's as
//! well, and every few thousandth signature adds two equal ones. Signing is cheap and the search needs no skill:
//! here the kernel itself is asked which candidates it leaves undecided.

use farebox_crypto::Signature;
use farebox_crypto::backend::{Backend, Kernel, Lanes};
use farebox_crypto::field::PackedPoint;
use farebox_crypto::kernel::{Decide, Decision, Item, NewWorkspace};
use farebox_crypto::table::{GENERATOR_POINT, Shape, Table};
use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::scalar::IsHigh;
use k256::elliptic_curve::{Field, PrimeField};
use k256::{FieldBytes, ProjectivePoint, Scalar};

use crate::parts::build;
use crate::vouchers::{Paid, Payer, Recoverable, domain};

/// The shape of the tables of signers that are met often: the attacker is one.
const SHAPE: Shape = Shape::SIGNER_136_KB;

/// Nonces, used again for every amount: the attacker has no secret to protect.
const NONCES: u64 = 512;

/// Signatures that are tried for one that is found, at most. Beyond it another key is tried.
const TRIES_MAX: usize = 16_384;

/// Powers of two that are tried as keys, from the first up, each with its inverse.
const KEYS: u32 = 129;

/// Vouchers of one payer, each of which makes an addition exceptional.
pub struct Crafted {
    /// The attacker.
    pub payer: Payer,
    /// Valid vouchers.
    pub vouchers: Vec<Paid>,
}

/// Searches for so many vouchers.
pub fn craft(backend: Backend, count: usize) -> Crafted {
    let nonces: Vec<_> = (1..=NONCES).map(Nonce::new).collect();
    let generator = build(backend, &[GENERATOR_POINT], Shape::GENERATOR).remove(0);
    let powers = core::iter::successors(Some(Scalar::ONE), |key| Some(key.double()));
    let keys = powers.take(KEYS as usize).flat_map(|key| [key, key.invert().expect("it is not zero")]);
    for key in keys {
        let payer = Payer::new(key.to_repr().into());
        let table = build(backend, &[point(&payer)], SHAPE).remove(0);
        let mut vouchers = Vec::new();
        for (amount, tries) in (1..).zip((0..).step_by(nonces.len())) {
            if vouchers.len() >= count || tries > TRIES_MAX * (1 + vouchers.len()) {
                break;
            }
            let candidates = candidates(&payer, key, &nonces, amount);
            vouchers.extend(undecided(backend, candidates, &generator, &table));
        }
        if vouchers.len() >= count {
            vouchers.truncate(count);
            return Crafted { payer, vouchers };
        }
    }
    panic!("no power of two makes additions exceptional: a change of their order needs another search")
}

/// The payer's key, as tables are built of it.
fn point(payer: &Payer) -> PackedPoint {
    PackedPoint::from(&Recoverable::by(payer).key())
}

/// A voucher over this amount, signed with every nonce.
fn candidates(payer: &Payer, key: Scalar, nonces: &[Nonce], amount: u128) -> Vec<Paid> {
    let voucher = payer.voucher(amount);
    let digest = domain().digest(&voucher).expect("v1 takes every amount").0;
    nonces.iter().map(|nonce| Paid::new(voucher, &nonce.sign(key, &digest), payer.address)).collect()
}

/// The candidates that the kernel leaves undecided.
fn undecided(backend: Backend, candidates: Vec<Paid>, generator: &Table, table: &Table) -> Vec<Paid> {
    let digest_of = |paid: &Paid| domain().digest(paid.signed.voucher()).expect("v1 takes every amount").0;
    let read = |paid: &Paid| {
        let signature = Signature::from_rsv(&paid.rsv()).expect("it was parsed before");
        (digest_of(paid), signature)
    };
    let signed: Vec<_> = candidates.iter().map(read).collect();
    let items: Vec<_> = signed.iter().map(|(digest, signature)| Item { digest, signature, table }).collect();
    let ask = Ask { generator, items: &items };
    let decisions = match backend {
        Backend::Portable(lanes) => lanes.run(ask),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512(lanes) => lanes.run(ask),
    };
    let decided = candidates.into_iter().zip(decisions);
    decided.filter(|(_, decision)| *decision == Decision::Undecided).map(|(paid, _)| paid).collect()
}

/// Asks the kernel, with memory of its own.
struct Ask<'a> {
    generator: &'a Table,
    items: &'a [Item<'a>],
}

impl<L: Lanes> Kernel<L> for Ask<'_> {
    type Output = Vec<Decision>;

    #[inline(always)]
    fn run(self, lanes: L) -> Vec<Decision> {
        let workspace = &mut NewWorkspace.run(lanes);
        Decide { workspace, generator: self.generator, shape: SHAPE, items: self.items }.run(lanes)
    }
}

/// A nonce and the x of its point.
struct Nonce {
    inverse: Scalar,
    r: Scalar,
    odd_y: bool,
}

impl Nonce {
    /// The nonce is the number itself: any will do.
    fn new(nonce: u64) -> Self {
        let nonce = Scalar::from(nonce);
        let point = (ProjectivePoint::GENERATOR * nonce).to_affine();
        Self {
            inverse: nonce.invert().expect("nonces start at one"),
            r: Scalar::reduce(&point.x()),
            odd_y: point.y_is_odd().into(),
        }
    }

    /// The low-s signature of a digest: `r ‖ s ‖ v`.
    fn sign(&self, key: Scalar, digest: &[u8; 32]) -> [u8; 65] {
        let z = Scalar::reduce(&FieldBytes::from(*digest));
        let s = self.inverse * (z + self.r * key);
        let high = bool::from(s.is_high());
        let s = if high { -s } else { s };
        let mut rsv = [0; 65];
        rsv[..32].copy_from_slice(&self.r.to_repr());
        rsv[32..64].copy_from_slice(&s.to_repr());
        rsv[64] = 27 + u8::from(self.odd_y != high);
        rsv
    }
}

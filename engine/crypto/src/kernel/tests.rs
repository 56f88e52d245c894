//! The kernel against libsecp256k1 (behind [`recover`]): random, damaged, and provoked.

use super::*;
#[cfg(target_arch = "x86_64")]
use crate::backend::{Avx512, Backend};
use crate::field::number;
use crate::field::portable::Portable;
use crate::recover::recover;
use crate::scalar::Scalars;
use crate::table::{Build, GENERATOR_POINT};
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::elliptic_curve::{Field as _, PrimeField};
use k256::{ProjectivePoint, Scalar};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::OnceLock;

/// `lambda`: `lambda (x, y) = (beta x, y)`.
const LAMBDA: [u8; 32] = [
    0x53, 0x63, 0xad, 0x4c, 0xc0, 0x5c, 0x30, 0xe0, 0xa5, 0x26, 0x1c, 0x02, 0x88, 0x12, 0x64, 0x5a, 0x12,
    0x2e, 0x22, 0xea, 0x20, 0x81, 0x66, 0x78, 0xdf, 0x02, 0x96, 0x7c, 0x1b, 0x23, 0xbd, 0x72,
];

/// `n`, big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
    0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

fn scalar(bytes: [u8; 32]) -> Option<Scalar> {
    Scalar::from_repr(bytes.into()).into_option()
}

fn bytes(scalar: Scalar) -> [u8; 32] {
    scalar.to_repr().into()
}

fn random(rng: &mut StdRng) -> Scalar {
    loop {
        if let Some(scalar) = scalar(rng.random())
            && !bool::from(scalar.is_zero())
        {
            return scalar;
        }
    }
}

fn coordinates(point: ProjectivePoint) -> Option<([u8; 32], [u8; 32])> {
    let encoded = point.to_affine().to_sec1_point(false);
    let bytes = encoded.as_bytes();
    Some((bytes.get(1..33)?.try_into().ok()?, bytes.get(33..)?.try_into().ok()?))
}

fn packed(key: Scalar) -> PackedPoint {
    let (x, y) = coordinates(ProjectivePoint::GENERATOR * key).expect("no key is zero");
    PackedPoint { x: number(&x), y: number(&y) }
}

/// A digest and its signature by `key`, with `z/s = u1` and `r/s = u2`, if `s` happens to be low and `r < n`.
fn sign(key: Scalar, u1: Scalar, u2: Scalar) -> Option<([u8; 32], Signature)> {
    let (x, y) = coordinates(ProjectivePoint::GENERATOR * (u1 + key * u2))?;
    let s = scalar(x)? * u2.invert().into_option()?;
    let signature = Signature::new(x, bytes(s), y[31] & 1 == 1).ok()?;
    Some((bytes(u1 * s), signature))
}

fn random_signature(rng: &mut StdRng, key: Scalar) -> ([u8; 32], Signature) {
    loop {
        if let Some(signed) = sign(key, random(rng), random(rng)) {
            return signed;
        }
    }
}

fn generator() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Portable.run(Build { keys: &[GENERATOR_POINT], shape: Shape::GENERATOR }).remove(0))
}

/// What a test does on every backend of this machine.
trait Test {
    fn run<L: Lanes>(&self, lanes: L);
}

fn on_all_backends(test: impl Test) {
    test.run(Portable);
    #[cfg(target_arch = "x86_64")]
    match Avx512::detect() {
        Some(token) => test.run(token),
        None => std::eprintln!("no AVX-512 IFMA: {} only", Backend::detect().name()),
    }
}

fn decide<L: Lanes>(lanes: L, workspace: &mut Workspace<L>, shape: Shape, items: &[Item]) -> Vec<Decision> {
    lanes.run(Decide { workspace, generator: generator(), shape, items })
}

/// Holds the decisions against libsecp256k1; returns how many were undecided.
fn check(items: &[Item], keys: &[PackedPoint], decisions: &[Decision]) -> usize {
    assert_eq!(items.len(), decisions.len());
    let mut undecided = 0;
    for ((item, key), decision) in items.iter().zip(keys).zip(decisions) {
        let same =
            recover(item.digest, item.signature).is_some_and(|found| PackedPoint::from(&found) == *key);
        match decision {
            Decision::Match => assert!(same, "accepted: {item:?}"),
            Decision::Mismatch => assert!(!same, "refused: {item:?}"),
            Decision::Undecided => undecided += 1,
        }
    }
    undecided
}

/// Keys at the edges, and random ones.
fn keys(rng: &mut StdRng, count: usize) -> Vec<Scalar> {
    let lambda = scalar(LAMBDA).unwrap();
    let edges = [Scalar::ONE, -Scalar::ONE, lambda, -lambda, lambda.square(), Scalar::from(2_u64)];
    edges.into_iter().chain(core::iter::repeat_with(|| random(rng))).take(count).collect()
}

/// Damages a signature, or not.
fn damage(rng: &mut StdRng, digest: &mut [u8; 32], signature: &mut Signature) {
    let (r, s, parity) = (*signature.r(), *signature.s(), signature.parity());
    let one = bytes(Scalar::ONE);
    let half = bytes(-Scalar::from(2_u64).invert().unwrap());
    let changed = match rng.random_range(0..14) {
        0 => Signature::new(r, s, !parity),
        1 => Signature::new(rng.random(), s, parity),
        2 => Signature::new(r, bytes(random(rng)), parity),
        3 => Signature::new(one, s, parity),
        4 => Signature::new(bytes(-Scalar::ONE), s, parity),
        5 => Signature::new(r, one, parity),
        6 => Signature::new(r, half, parity),
        7 => {
            *digest = [[0; 32], [0xff; 32], ORDER, one][rng.random_range(0..4)];
            return;
        }
        8 => {
            digest[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
            return;
        }
        _ => return,
    };
    // A change that is no signature at all never reaches the kernel.
    *signature = changed.unwrap_or(*signature);
}

struct RandomAndDamaged;

impl Test for RandomAndDamaged {
    fn run<L: Lanes>(&self, lanes: L) {
        let mut rng = StdRng::seed_from_u64(7);
        // One workspace for all shapes and sizes: what was left by one use must not matter to the next.
        let mut workspace = lanes.run(NewWorkspace);
        let mut matches = 0;
        for shape in Shape::SIGNERS {
            let keys = keys(&mut rng, 12);
            let points: Vec<_> = keys.iter().map(|key| packed(*key)).collect();
            let tables = lanes.run(Build { keys: &points, shape });
            for size in [0, 1, 2, 7, 8, 9, 15, 17, 63, 64, 65, 129, 200] {
                let signed: Vec<_> = (0..size)
                    .map(|i| {
                        let (mut digest, mut signature) = random_signature(&mut rng, keys[i % keys.len()]);
                        damage(&mut rng, &mut digest, &mut signature);
                        (digest, signature)
                    })
                    .collect();
                let items: Vec<_> = signed
                    .iter()
                    .enumerate()
                    .map(|(i, (digest, signature))| Item {
                        digest,
                        signature,
                        table: &tables[i % keys.len()],
                    })
                    .collect();
                let expected: Vec<_> = (0..size).map(|i| points[i % keys.len()]).collect();
                let decisions = decide(lanes, &mut workspace, shape, &items);
                check(&items, &expected, &decisions);
                matches += decisions.iter().filter(|decision| **decision == Decision::Match).count();
            }
        }
        assert!(matches > 500, "only {matches} signatures were valid");
    }
}

#[test]
fn random_and_damaged_signatures() {
    on_all_backends(RandomAndDamaged);
}

/// What slot `i` of each half adds, as multiples of `G` and of `Q`.
fn contributions(u1: Scalar, u2: Scalar, shape: Shape) -> [Vec<(Scalar, Scalar)>; 2] {
    // R = 2^256 for the portable backend: u * R by a product with R^2.
    let split = |u: Scalar| {
        let radius = Portable.load_scalars(&[Portable::RADIUS_SQUARED]);
        let product = Portable.mul_mod_n(Portable.load_scalars(&[number(&bytes(u))]), radius);
        let plain = Portable.mul_mod_n(product, Portable.load_scalars(&[[1, 0, 0, 0]]));
        Portable.split(plain)
    };
    let (h1, h2) = (split(u1), split(u2));
    let digit = |half, window: Window| {
        let mut entry = [0];
        let negative = Portable.window(half, &window, &mut entry) == 1;
        let odd = Scalar::from(u64::from(entry[0] - window.first) * 2 + 1);
        let digit = (0..window.offset).fold(odd, |digit, _| digit.double());
        if negative { -digit } else { digit }
    };
    core::array::from_fn(|h| {
        let of_g = Shape::GENERATOR.windows().map(|window| (digit(h1[h], window), Scalar::ZERO));
        let of_q = shape.windows().map(|window| (Scalar::ZERO, digit(h2[h], window)));
        of_g.chain(of_q).collect()
    })
}

/// For every addition of the tree, the pairs of partial sums that it adds.
fn additions(slots: &[(Scalar, Scalar)]) -> Vec<[(Scalar, Scalar); 2]> {
    let mut slots = slots.to_vec();
    let mut additions = Vec::new();
    while slots.len() > 1 {
        let right = slots.len().div_ceil(2);
        for i in 0..slots.len() / 2 {
            additions.push([slots[i], slots[i + right]]);
            slots[i] = (slots[i].0 + slots[i + right].0, slots[i].1 + slots[i + right].1);
        }
        slots.truncate(right);
    }
    additions
}

/// The key for which `a` and `b` are equal points, or with `opposite` opposite ones; if there is one.
fn key_for(a: (Scalar, Scalar), b: (Scalar, Scalar), opposite: bool) -> Option<Scalar> {
    let b = if opposite { (-b.0, -b.1) } else { b };
    let key = (b.0 - a.0) * (a.1 - b.1).invert().into_option()?;
    (!bool::from(key.is_zero())).then_some(key)
}

/// A valid signature whose addition number `which` is exceptional.
struct Crafted {
    key: Scalar,
    digest: [u8; 32],
    signature: Signature,
}

fn craft(rng: &mut StdRng, shape: Shape, half: usize, which: usize, opposite: bool) -> Option<Crafted> {
    let lambda = scalar(LAMBDA).unwrap();
    // Half of all attempts fail for a high s.
    (0..64).find_map(|_| {
        let (u1, u2) = (random(rng), random(rng));
        let slots = contributions(u1, u2, shape);
        let additions = additions(&slots[half]);
        let [a, b] = match additions.get(which) {
            Some(addition) => *addition,
            // The last of all: A and lambda B.
            None => {
                let [a, b] = slots.map(|slots| {
                    slots
                        .iter()
                        .fold((Scalar::ZERO, Scalar::ZERO), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1))
                });
                [a, (b.0 * lambda, b.1 * lambda)]
            }
        };
        let key = key_for(a, b, opposite)?;
        let (digest, signature) = sign(key, u1, u2)?;
        Some(Crafted { key, digest, signature })
    })
}

struct ExceptionalAdditions;

impl Test for ExceptionalAdditions {
    fn run<L: Lanes>(&self, lanes: L) {
        let mut rng = StdRng::seed_from_u64(8);
        let mut workspace = lanes.run(NewWorkspace);
        for shape in [Shape::SIGNER_41_KB, Shape::SIGNER_136_KB] {
            let last = Shape::GENERATOR.window_count() + shape.window_count() - 1;
            let mut crafted = Vec::new();
            for which in 0..=last {
                for (half, opposite) in [(0, false), (0, true), (1, false), (1, true)] {
                    // Two windows of Q never meet, and A = -lambda B has no signature.
                    crafted.extend(craft(&mut rng, shape, half, which, opposite));
                }
            }
            assert!(crafted.len() > 3 * last, "only {} of {last} additions could be provoked", crafted.len());
            // Between honest neighbours.
            let honest = random(&mut rng);
            let (digest, signature) = random_signature(&mut rng, honest);
            let all: Vec<_> = crafted
                .into_iter()
                .flat_map(|crafted| [crafted, Crafted { key: honest, digest, signature }])
                .collect();
            let keys: Vec<_> = all.iter().map(|crafted| packed(crafted.key)).collect();
            let tables = lanes.run(Build { keys: &keys, shape });
            let items: Vec<_> = all
                .iter()
                .zip(&tables)
                .map(|(crafted, table)| Item {
                    digest: &crafted.digest,
                    signature: &crafted.signature,
                    table,
                })
                .collect();
            let decisions = decide(lanes, &mut workspace, shape, &items);
            check(&items, &keys, &decisions);
            for (i, decision) in decisions.iter().enumerate() {
                let expected = if i % 2 == 0 { Decision::Undecided } else { Decision::Match };
                assert_eq!(*decision, expected, "number {i}");
            }
        }
    }
}

#[test]
fn every_addition_can_be_exceptional_and_hurts_nobody_else() {
    on_all_backends(ExceptionalAdditions);
}

struct CoordinateAboveTheOrder;

impl Test for CoordinateAboveTheOrder {
    fn run<L: Lanes>(&self, lanes: L) {
        // The smallest r such that r + n is the x of a point: R has that x, and r = x mod n. A verifier that compares
        // modulo n accepts (r, s); ecrecover takes r itself for x, and finds another key or none.
        let mut rng = StdRng::seed_from_u64(9);
        let mut found = 0;
        for r in 1_u64..200 {
            let x = scalar_plus_order(r);
            for tag in [2, 3] {
                let Some(point) = decompress(tag, x) else { continue };
                found += 1;
                // Q = (s R - z G) / r for any s and z.
                let (z, s) = (random(&mut rng), Scalar::from(rng.random_range(1..u64::MAX)));
                let inverse = Scalar::from(r).invert().unwrap();
                let key = (point * s - ProjectivePoint::GENERATOR * z) * inverse;
                let (x, y) = coordinates(key).unwrap();
                let key = PackedPoint { x: number(&x), y: number(&y) };
                let shape = Shape::SIGNER_16_KB;
                let table = lanes.run(Build { keys: &[key], shape }).remove(0);
                for parity in [false, true] {
                    let signature = Signature::new(bytes(Scalar::from(r)), bytes(s), parity).unwrap();
                    let items = [Item { digest: &bytes(z), signature: &signature, table: &table }];
                    let mut workspace = lanes.run(NewWorkspace);
                    assert_eq!(decide(lanes, &mut workspace, shape, &items), [Decision::Mismatch]);
                    check(&items, &[key], &[Decision::Mismatch]);
                }
            }
        }
        assert!(found > 10, "only {found} points have an x above the order");
    }
}

/// `n + r`, big-endian.
fn scalar_plus_order(r: u64) -> [u8; 32] {
    let mut x = ORDER;
    let low = u64::from_be_bytes(x[24..].try_into().unwrap());
    x[24..].copy_from_slice(&low.checked_add(r).expect("the order's lowest word leaves room").to_be_bytes());
    x
}

fn decompress(tag: u8, x: [u8; 32]) -> Option<ProjectivePoint> {
    let mut encoded = [tag; 33];
    encoded[1..].copy_from_slice(&x);
    Some(k256::PublicKey::from_sec1_bytes(&encoded).ok()?.to_projective())
}

#[test]
fn x_above_the_order_is_not_r() {
    on_all_backends(CoordinateAboveTheOrder);
}

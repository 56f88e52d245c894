//! The cold path against libsecp256k1 (behind [`recover`]): random, damaged, and provoked.

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

/// The largest batch tried.
const BATCH_MAX: usize = 200;

fn scalar(bytes: [u8; 32]) -> Option<Scalar> {
    Scalar::from_repr(bytes.into()).into_option()
}

fn lambda() -> Scalar {
    scalar(LAMBDA).unwrap()
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

/// A question, and what libsecp256k1 says to it.
#[derive(Clone, Copy, Debug)]
struct Case {
    digest: [u8; 32],
    signature: Signature,
    key: PackedPoint,
    right: Decision,
    /// Whether an addition of the chain is exceptional.
    provoked: bool,
}

impl Case {
    fn new(digest: [u8; 32], signature: Signature, key: PackedPoint, provoked: bool) -> Self {
        let same = recover(&digest, &signature).is_some_and(|found| PackedPoint::from(&found) == key);
        let right = if same { Decision::Match } else { Decision::Mismatch };
        Self { digest, signature, key, right, provoked }
    }

    /// The valid signature with `z/s = u1` and `r/s = u2`, if `s` happens to be low and `r < n`.
    fn sign(key: Scalar, u1: Scalar, u2: Scalar, provoked: bool) -> Option<Self> {
        let (x, y) = coordinates(ProjectivePoint::GENERATOR * (u1 + key * u2))?;
        let s = scalar(x)? * u2.invert().into_option()?;
        let signature = Signature::new(x, bytes(s), y[31] & 1 == 1).ok()?;
        Some(Self::new(bytes(u1 * s), signature, packed(key), provoked))
    }

    /// A signature with these numbers that is valid for no key.
    fn pretend(rng: &mut StdRng, key: Scalar, u1: Scalar, u2: Scalar) -> Option<Self> {
        let s = random(rng);
        let signature = Signature::new(bytes(u2 * s), bytes(s), rng.random()).ok()?;
        Some(Self::new(bytes(u1 * s), signature, packed(key), true))
    }

    fn random(rng: &mut StdRng, key: Scalar) -> Self {
        loop {
            if let Some(case) = Self::sign(key, random(rng), random(rng), false) {
                return case;
            }
        }
    }

    /// Damages it, or not. A change that is no signature at all leaves it as it is.
    fn damaged(mut self, rng: &mut StdRng) -> Self {
        let (r, s, parity) = (*self.signature.r(), *self.signature.s(), self.signature.parity());
        let changed = match rng.random_range(0..12) {
            0 => Signature::new(r, s, !parity),
            1 => Signature::new(rng.random(), s, parity),
            2 => Signature::new(r, bytes(random(rng)), parity),
            3 => Signature::new(bytes([Scalar::ONE, -Scalar::ONE][rng.random_range(0..2)]), s, parity),
            4 => Signature::new(r, bytes(Scalar::ONE), parity),
            5 => {
                // u1 = 0: A and lambda B are opposite, which is no addition by itself.
                self.digest = [0; 32];
                Ok(self.signature)
            }
            6 => {
                self.digest[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
                Ok(self.signature)
            }
            7 => {
                self.key = packed(random(rng));
                Ok(self.signature)
            }
            _ => Ok(self.signature),
        };
        Self::new(self.digest, changed.unwrap_or(self.signature), self.key, false)
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

/// Decides the cases, and holds each decision against the right one. No case but a provoked one is left open.
fn check<L: Lanes>(lanes: L, workspace: &mut ColdWorkspace<L>, cases: &[Case]) {
    let items: Vec<_> = cases
        .iter()
        .map(|case| ColdItem { digest: &case.digest, signature: &case.signature, key: case.key })
        .collect();
    let decisions = lanes.run(DecideCold { workspace, generator: generator(), items: &items });
    assert_eq!(decisions.len(), cases.len());
    for (i, (case, decision)) in cases.iter().zip(decisions).enumerate() {
        let expected = if case.provoked { Decision::Undecided } else { case.right };
        assert_eq!(decision, expected, "number {i} of {}: {case:?}", cases.len());
    }
}

/// Keys at the edges, and random ones.
fn keys(rng: &mut StdRng, count: usize) -> Vec<Scalar> {
    let edges = [Scalar::ONE, -Scalar::ONE, lambda(), -lambda(), lambda().square(), Scalar::from(2_u64)];
    edges.into_iter().chain(core::iter::repeat_with(|| random(rng))).take(count).collect()
}

struct AllSizes(Vec<Case>);

impl Test for AllSizes {
    fn run<L: Lanes>(&self, lanes: L) {
        // One workspace for all sizes: what was left by one use must not matter to the next.
        let mut workspace = lanes.run(NewColdWorkspace);
        check(lanes, &mut workspace, &[]);
        for size in 1..=BATCH_MAX {
            // A backend that takes one at a time has seen it all long before.
            if L::LANES > 1 || size < 8 || size.is_multiple_of(16) || size % CHUNK < 2 {
                let from = size * 31 % (self.0.len() - size);
                check(lanes, &mut workspace, &self.0[from..from + size]);
            }
        }
    }
}

#[test]
fn random_and_damaged_signatures_in_batches_of_all_sizes() {
    let mut rng = StdRng::seed_from_u64(7);
    let keys = keys(&mut rng, 12);
    let cases: Vec<_> =
        (0..2 * BATCH_MAX).map(|i| Case::random(&mut rng, keys[i % keys.len()]).damaged(&mut rng)).collect();
    let valid = cases.iter().filter(|case| case.right == Decision::Match).count();
    assert!((100..350).contains(&valid), "{valid} signatures are valid");
    on_all_backends(AllSizes(cases));
}

/// The halves of `u` and its lowest digits: `u = k1 + k2 lambda`.
struct Split {
    halves: [Scalar; 2],
    digits: [Scalar; 2],
}

/// What the kernel makes of `u`. (A Montgomery product with the radius squared and then with one is the number itself.)
fn split(u: Scalar) -> Split {
    let radius = Portable.load_scalars(&[Portable::RADIUS_SQUARED]);
    let product = Portable.mul_mod_n(Portable.load_scalars(&[number(&bytes(u))]), radius);
    let halves = Portable.split(Portable.mul_mod_n(product, Portable.load_scalars(&[[1, 0, 0, 0]])));
    let digit = |half, window: Window| {
        let mut entry = [0];
        let negative = Portable.window(half, &window, &mut entry) == 1;
        let digit =
            (0..window.offset).fold(Scalar::from(u64::from(entry[0]) * 2 + 1), |digit, _| digit.double());
        if negative { -digit } else { digit }
    };
    let windows = |half| (0..WINDOWS).map(move |i| digit(half, window(i)));
    let found = Split {
        halves: halves.map(|half| windows(half).fold(Scalar::ZERO, |sum, digit| sum + digit)),
        digits: halves.map(|half| digit(half, window(WINDOWS - 1))),
    };
    assert_eq!(found.halves[0] + found.halves[1] * lambda(), u);
    found
}

/// Signatures that make `A` meet `u2 Q`, or `lambda B` meet the sum of both; as an equal or as the opposite point.
fn provoke_a_key(rng: &mut StdRng, attempts: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for attempt in 0..attempts {
        let (u1, u2) = (random(rng), random(rng));
        let [a, b] = split(u1).halves;
        let b = b * lambda();
        let sum = [a, -a, b - a, -b - a][attempt % 4];
        let key = sum * u2.invert().unwrap();
        cases.extend(Case::sign(key, u1, u2, true));
        cases.extend(Case::pretend(rng, key, u1, u2));
    }
    cases
}

/// Signatures that come near to the lowest window meeting the sum of the others. It would take `u2 = 2 (d1 + d2 lambda)` with
/// `d1` and `d2` for its lowest digits; and there is no such `u2`, for this basis and these windows.
fn nearly_meet_a_window(rng: &mut StdRng) -> Vec<Case> {
    let odd = |i: u64| if i.is_multiple_of(2) { Scalar::from(i + 1) } else { -Scalar::from(i) };
    let mut cases = Vec::new();
    for (i, j) in (0..32).flat_map(|i| (0..32).map(move |j| (i, j))) {
        let digits = [odd(i), odd(j)];
        let u2 = (digits[0] + digits[1] * lambda()).double();
        let found = split(u2).digits;
        assert!(found != digits, "the lowest window meets the others for {digits:?}");
        if found[0] == digits[0] || found[1] == digits[1] {
            let key = random(rng);
            cases.extend((0..8).find_map(|_| Case::sign(key, random(rng), u2, false)));
        }
    }
    cases
}

struct Provoked(Vec<Case>, Vec<Case>);

impl Test for Provoked {
    fn run<L: Lanes>(&self, lanes: L) {
        let Self(provoked, honest) = self;
        let mut workspace = lanes.run(NewColdWorkspace);
        // Nothing but them, and each in one lane after the other among honest neighbours.
        check(lanes, &mut workspace, provoked);
        for stride in [2, 7, 8, 9] {
            let mut batch = Vec::new();
            for (i, case) in provoked.iter().enumerate() {
                batch.push(*case);
                batch.extend((1..stride).map(|j| honest[(i * stride + j) % honest.len()]));
            }
            check(lanes, &mut workspace, &batch[..batch.len().min(80 * L::LANES)]);
        }
        check(lanes, &mut workspace, honest);
    }
}

#[test]
fn every_addition_of_the_chain_that_can_be_exceptional_hurts_nobody_else() {
    let mut rng = StdRng::seed_from_u64(8);
    let provoked = provoke_a_key(&mut rng, 40);
    let valid = provoked.iter().filter(|case| case.right == Decision::Match).count();
    assert!(valid > 10 && provoked.len() - valid > 10, "{valid} of {} are valid", provoked.len());
    let mut honest = nearly_meet_a_window(&mut rng);
    assert!(!honest.is_empty());
    honest.extend((0..50).map(|_| {
        let key = random(&mut rng);
        Case::random(&mut rng, key)
    }));
    on_all_backends(Provoked(provoked, honest));
}

/// `u2` with digits of all kinds beside each other, and `u1` with extreme halves.
#[test]
fn extreme_scalars() {
    struct Extremes(Vec<Case>);
    impl Test for Extremes {
        fn run<L: Lanes>(&self, lanes: L) {
            check(lanes, &mut lanes.run(NewColdWorkspace), &self.0);
        }
    }
    let mut rng = StdRng::seed_from_u64(9);
    let powers =
        core::iter::successors(Some(Scalar::ONE), |power| Some(power.double())).take(256).step_by(17);
    let extremes: Vec<_> = powers
        .chain([lambda(), lambda().square(), Scalar::from(3_u64), Scalar::TWO_INV])
        .flat_map(|extreme| [extreme, -extreme, extreme * lambda()])
        .collect();
    let mut cases = Vec::new();
    for extreme in &extremes {
        let key = random(&mut rng);
        cases.extend((0..8).find_map(|_| Case::sign(key, random(&mut rng), *extreme, false)));
        cases.extend((0..8).find_map(|_| Case::sign(key, *extreme, random(&mut rng), false)));
        // u1 = 0 has a valid signature too.
        cases.extend(Case::sign(key, Scalar::ZERO, *extreme, false));
    }
    assert!(cases.len() > 2 * extremes.len());
    on_all_backends(Extremes(cases));
}

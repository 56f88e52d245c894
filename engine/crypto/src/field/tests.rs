//! One suite for every backend, against big integers: random numbers, the numbers around `0`, `p` and `2^256`, and
//! for backends with loose limbs every kind of limb that the contract allows.

use super::portable::Portable;
use super::*;
use num_bigint::BigUint;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::vec::Vec;

const ROUNDS: usize = 3_000;

pub(crate) fn big(words: &[u64]) -> BigUint {
    words.iter().rev().fold(BigUint::ZERO, |acc, word| (acc << 64) + *word)
}

fn p() -> BigUint {
    big(&P)
}

fn words(a: &BigUint) -> Words {
    let mut out = [0; 4];
    for (word, digit) in out.iter_mut().zip(a.iter_u64_digits()) {
        *word = digit;
    }
    out
}

/// A number below `p` that is often close to an edge.
fn below_p(rng: &mut StdRng) -> Words {
    let mut a: Words = match rng.random_range(0..6) {
        0 => [rng.random_range(0..3), 0, 0, 0],
        1 => [P[0] - rng.random_range(1..4), P[1], P[2], P[3]],
        2 => core::array::from_fn(|_| if rng.random() { u64::MAX } else { 0 }),
        _ => rng.random(),
    };
    if big(&a) >= p() {
        a = words(&(big(&a) - p()));
    }
    a
}

/// What a backend's suite needs: numbers as loose as the contract allows, and what they stand for.
trait Loose: Field {
    /// An element of magnitude up to 2.
    fn element(self, rng: &mut StdRng) -> (Self::Fe, Vec<BigUint>);
    /// A factor of magnitude up to 15.
    fn any_factor(self, rng: &mut StdRng) -> (Self::Factor, Vec<BigUint>);
    /// A factor of magnitude 1.
    fn any_product(self, rng: &mut StdRng) -> (Self::Factor, Vec<BigUint>);
}

impl Loose for Portable {
    fn element(self, rng: &mut StdRng) -> (Words, Vec<BigUint>) {
        let a: Words = if rng.random() { rng.random() } else { core::array::from_fn(|_| u64::MAX) };
        let a = if rng.random() { a } else { below_p(rng) };
        (a, [big(&a)].into())
    }

    fn any_factor(self, rng: &mut StdRng) -> (Words, Vec<BigUint>) {
        self.element(rng)
    }

    fn any_product(self, rng: &mut StdRng) -> (Words, Vec<BigUint>) {
        self.element(rng)
    }
}

#[cfg(target_arch = "x86_64")]
impl Loose for crate::backend::Avx512 {
    fn element(self, rng: &mut StdRng) -> (Self::Fe, Vec<BigUint>) {
        let lanes: Vec<_> = (0..8).map(|_| avx512::tests::loose(rng, 2, false)).collect();
        (avx512::tests::fe(&lanes), lanes.iter().map(avx512::tests::value).collect())
    }

    fn any_factor(self, rng: &mut StdRng) -> (Self::Factor, Vec<BigUint>) {
        let lanes: Vec<_> = (0..8).map(|_| avx512::tests::loose(rng, 15, true)).collect();
        (avx512::tests::factor(&lanes), lanes.iter().map(avx512::tests::digits).collect())
    }

    fn any_product(self, rng: &mut StdRng) -> (Self::Factor, Vec<BigUint>) {
        let lanes: Vec<_> = (0..8).map(|_| avx512::tests::loose(rng, 1, true)).collect();
        (avx512::tests::factor(&lanes), lanes.iter().map(avx512::tests::digits).collect())
    }
}

fn stored<F: Field>(field: F, a: F::Fe) -> Vec<BigUint> {
    let mut values = [[0; 4]; 8];
    field.store(a, &mut values[..F::LANES]);
    values[..F::LANES].iter().map(|value| big(value)).collect()
}

/// Any factor, stored by way of a multiplication by one.
fn product<F: Field>(field: F, a: F::Factor) -> Vec<BigUint> {
    stored(field, field.settle(field.mul(a, field.factor(field.splat(&[1, 0, 0, 0])))))
}

fn same<const N: usize>(
    found: Vec<BigUint>,
    inputs: [&Vec<BigUint>; N],
    oracle: impl Fn([&BigUint; N]) -> BigUint,
) {
    for (lane, found) in found.iter().enumerate() {
        let inputs = inputs.map(|input| &input[lane]);
        assert_eq!(*found, oracle(inputs) % p(), "lane {lane} of {inputs:x?}");
    }
}

/// Subtracts modulo `p` without going below zero.
fn minus(a: BigUint, b: &BigUint) -> BigUint {
    a + (p() << 8) - b
}

fn arithmetic<F: Loose>(field: F) {
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..ROUNDS / F::LANES {
        let (a, a_big) = field.element(&mut rng);
        let (b, b_big) = field.element(&mut rng);
        let (f, f_big) = field.any_factor(&mut rng);
        let (g, g_big) = field.any_factor(&mut rng);
        same(stored(field, a), [&a_big], |[a]| a.clone());
        same(product(field, field.factor(a)), [&a_big], |[a]| a.clone());
        same(product(field, field.sub(a, b)), [&a_big, &b_big], |[a, b]| minus(a.clone(), b));
        same(stored(field, field.settle(field.mul(f, g))), [&f_big, &g_big], |[f, g]| f * g);
        same(product(field, field.mul(f, g)), [&f_big, &g_big], |[f, g]| f * g);
        same(stored(field, field.settle(field.square(f))), [&f_big], |[f]| f * f);
        same(stored(field, field.mul_sub(f, g, a)), [&f_big, &g_big, &a_big], |[f, g, a]| minus(f * g, a));
        same(stored(field, field.square_sub2(f, a, b)), [&f_big, &a_big, &b_big], |[f, a, b]| {
            minus(minus(f * f, a), b)
        });
        let (one, one_big) = field.any_product(&mut rng);
        same(stored(field, field.settle(one)), [&one_big], |[one]| one.clone());
        same(product(field, field.three_halves(one)), [&one_big], |[one]| one * big(&THREE_HALVES));
        // What came out as loose as can be goes in again.
        let again = field.sub(field.mul_sub(f, g, a), field.square_sub2(f, a, b));
        same(product(field, field.square(again)), [&f_big, &g_big, &a_big, &b_big], |[f, g, a, b]| {
            let left = minus(f * g, a) % p();
            let right = minus(minus(f * f, a), b) % p();
            minus(left, &right).pow(2)
        });
    }
}

fn zero_and_selection<F: Loose>(field: F) {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..ROUNDS / 8 {
        let (f, f_big) = field.any_factor(&mut rng);
        // Zero as 0 and as a multiple of p: a - a, times anything.
        let (a, a_big) = field.element(&mut rng);
        let zero = field.mul(field.sub(a, a), f);
        let all = (1_u16 << F::LANES) - 1;
        assert_eq!(u16::from(field.is_zero(zero)), all);
        let product_f = field.mul(f, field.factor(field.splat(&[1, 0, 0, 0])));
        for (lane, f) in f_big.iter().enumerate() {
            assert_eq!(field.is_zero(product_f) >> lane & 1 == 1, f % p() == BigUint::ZERO);
        }
        let mask: LaneMask = rng.random();
        let chosen = stored(
            field,
            field.settle(
                field.mul(field.select(mask, field.factor(a), f), field.factor(field.splat(&[1, 0, 0, 0]))),
            ),
        );
        for (lane, chosen) in chosen.iter().enumerate() {
            let expected = if mask >> lane & 1 == 1 { &a_big[lane] } else { &f_big[lane] };
            assert_eq!(*chosen, expected % p());
        }
    }
}

fn points_and_inverses<F: Loose>(field: F) {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..ROUNDS / 8 {
        let points: Vec<_> = (0..F::LANES)
            .map(|_| PackedPoint { x: below_p(&mut rng), y: below_p(&mut rng) })
            .map(|point| if point.y == [0; 4] { PackedPoint { y: [1, 0, 0, 0], ..point } } else { point })
            .collect();
        let negate: LaneMask = rng.random();
        let (x, y) = field.gather(&points.iter().collect::<Vec<_>>(), negate);
        let (xs, ys) = (stored(field, x), stored(field, y));
        let mut back = points.clone();
        field.scatter(x, y, &mut back);
        for (lane, point) in points.iter().enumerate() {
            let y = if negate >> lane & 1 == 1 { p() - big(&point.y) } else { big(&point.y) };
            assert_eq!((&xs[lane], &ys[lane]), (&big(&point.x), &y));
            assert_eq!(back[lane], PackedPoint { x: point.x, y: words(&y) });
        }
        let inverse = invert(field, field.mul(field.factor(y), field.factor(y)));
        let one = field.mul(field.mul(inverse, field.factor(y)), field.factor(y));
        assert!(stored(field, field.settle(one)).iter().all(|one| *one == BigUint::from(1_u8)));
        // Loose elements go into tables, too.
        let (x, x_big) = field.element(&mut rng);
        let (y, y_big) = field.element(&mut rng);
        field.scatter(x, y, &mut back);
        for (lane, point) in back.iter().enumerate() {
            assert_eq!(big(&point.x), &x_big[lane] % p());
            assert_eq!(big(&point.y), &y_big[lane] % p());
        }
    }
}

#[test]
fn portable() {
    arithmetic(Portable);
    zero_and_selection(Portable);
    points_and_inverses(Portable);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx512() {
    let Some(token) = crate::backend::Avx512::detect() else {
        std::eprintln!("this processor has no AVX-512 IFMA: nothing to compare");
        return;
    };
    arithmetic(token);
    zero_and_selection(token);
    points_and_inverses(token);
}

#[test]
fn portable_inverses() {
    let mut rng = StdRng::seed_from_u64(4);
    for modulus in [P, crate::scalar::N] {
        let prepared = crate::modinv::Modulus::new(modulus);
        let m = big(&modulus);
        let edges =
            [BigUint::from(1_u8), BigUint::from(2_u8), &m - 1_u8, &m - 2_u8, &m >> 1, (&m >> 1) + 1_u8];
        let random = (0..ROUNDS).map(|_| big(&rng.random::<Words>()) % &m);
        let sparse = (0..256).map(|bit| (BigUint::from(1_u8) << bit) % &m).collect::<Vec<_>>();
        for x in edges.into_iter().chain(random).chain(sparse) {
            let inverse = big(&crate::modinv::invert(&words(&x), &prepared));
            assert!(inverse < m);
            assert_eq!(inverse * &x % &m, BigUint::from(1_u8), "{x:x}");
        }
        assert_eq!(crate::modinv::invert(&[0; 4], &prepared), [0; 4]);
    }
}

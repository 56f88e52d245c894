//! One suite for every backend, against big integers: random numbers and those around `0`, `n` and `2^256`.

use super::*;
use crate::field::portable::Portable;
use crate::table::Shape;
use num_bigint::{BigInt, BigUint};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::vec::Vec;

const ROUNDS: usize = 2_000;

fn big(words: &[u64]) -> BigUint {
    words.iter().rev().fold(BigUint::ZERO, |acc, word| (acc << 64) + *word)
}

fn words(a: &BigUint) -> Words {
    let mut out = [0; 4];
    for (word, digit) in out.iter_mut().zip(a.iter_u64_digits()) {
        *word = digit;
    }
    out
}

fn lambda() -> BigUint {
    let hex = b"5363ad4cc05c30e0a5261c028812645a122e22ea20816678df02967c1b23bd72";
    BigUint::parse_bytes(hex, 16).unwrap()
}

/// Any number, often close to an edge.
fn any(rng: &mut StdRng) -> Words {
    match rng.random_range(0..6) {
        0 => [rng.random_range(0..3), 0, 0, 0],
        1 => [N[0].wrapping_add(rng.random_range(0..5)).wrapping_sub(2), N[1], N[2], N[3]],
        2 => core::array::from_fn(|_| if rng.random() { u64::MAX } else { 0 }),
        3 => words(&(big(&N) >> rng.random_range(0..255))),
        _ => rng.random(),
    }
}

fn below_n(rng: &mut StdRng) -> Words {
    words(&(big(&any(rng)) % big(&N)))
}

fn not_zero(rng: &mut StdRng) -> Words {
    let a = below_n(rng);
    if a == [0; 4] { [1, 0, 0, 0] } else { a }
}

fn stored<L: Scalars>(lanes: L, a: L::Scalar) -> Vec<BigUint> {
    let mut values = [[0; 4]; 8];
    lanes.store_scalars(a, &mut values[..L::LANES]);
    values[..L::LANES].iter().map(|value| big(value)).collect()
}

/// The Montgomery radius, from its square: the backend's own constant must be a power of two squared.
fn radius<L: Scalars>() -> BigUint {
    let n = big(&N);
    let squared = big(&L::RADIUS_SQUARED);
    let found = [256, 260].into_iter().find(|bits| (BigUint::from(1_u8) << (2 * bits)) % &n == squared);
    BigUint::from(1_u8) << found.expect("a radius of 256 or 260 bits")
}

fn products_and_inverses<L: Scalars>(lanes: L) {
    let mut rng = StdRng::seed_from_u64(5);
    let n = big(&N);
    let radius = radius::<L>();
    for _ in 0..ROUNDS / 8 {
        let a: Vec<_> = (0..L::LANES).map(|_| any(&mut rng)).collect();
        let b: Vec<_> = (0..L::LANES).map(|_| below_n(&mut rng)).collect();
        let (la, lb) = (lanes.load_scalars(&a), lanes.load_scalars(&b));
        let product = lanes.mul_mod_n(la, lb);
        let twice = lanes.mul_mod_n(product, product);
        for lane in 0..L::LANES {
            let found = &stored(lanes, product)[lane];
            assert!(*found < n);
            assert_eq!(found * &radius % &n, big(&a[lane]) * big(&b[lane]) % &n);
            assert_eq!(&stored(lanes, twice)[lane] * &radius % &n, found * found % &n);
        }
        let rows = rng.random_range(1..20);
        let plain: Vec<Vec<Words>> =
            (0..rows).map(|_| (0..L::LANES).map(|_| not_zero(&mut rng)).collect()).collect();
        let mut scalars: Vec<_> = plain.iter().map(|row| lanes.load_scalars(row)).collect();
        let mut prefixes = scalars.clone();
        invert_all(lanes, &mut scalars, &mut prefixes);
        for (row, inverse) in plain.iter().zip(&scalars) {
            for (s, inverse) in row.iter().zip(stored(lanes, *inverse)) {
                assert_eq!(big(s) * inverse % &n, &radius % &n);
            }
        }
    }
}

/// The number that a half's windows add up to.
fn sum_of_digits<L: Scalars>(lanes: L, half: L::Half, shape: Shape, lane: usize) -> BigInt {
    let mut sum = BigInt::ZERO;
    for window in shape.windows() {
        let mut entries = [0_u16; 8];
        let negative = lanes.window(half, &window, &mut entries[..L::LANES]);
        let index = entries[lane] - window.first;
        assert!(index < 1 << (window.bits - 1));
        let digit = BigInt::from(2 * index + 1) << window.offset;
        sum += if negative >> lane & 1 == 1 { -digit } else { digit };
    }
    sum
}

fn halves<L: Scalars>(lanes: L) {
    let mut rng = StdRng::seed_from_u64(6);
    let n = big(&N);
    let one = BigUint::from(1_u8);
    // As 1 is not a product, edges are reached by way of u * R.
    let radius = radius::<L>();
    let edges: Vec<Words> =
        [BigUint::ZERO, one.clone(), &n - 1_u8, lambda(), &n - lambda(), &n >> 1, (&n >> 1) + 1_u8]
            .iter()
            .map(|u| words(&(u * &radius % &n)))
            .collect();
    for round in 0..ROUNDS / 4 {
        let a: Vec<Words> = (0..L::LANES)
            .map(|lane| edges.get(round + lane).copied().unwrap_or_else(|| any(&mut rng)))
            .collect();
        let b = if round < edges.len() { [1, 0, 0, 0] } else { below_n(&mut rng) };
        let u = lanes.mul_mod_n(lanes.load_scalars(&a), lanes.load_scalars(&[b; 8][..L::LANES]));
        let [first, second] = lanes.split(u);
        let shape = Shape::ALL[round % Shape::ALL.len()];
        for (lane, u) in stored(lanes, u).into_iter().enumerate() {
            let k1 = sum_of_digits(lanes, first, shape, lane);
            let k2 = sum_of_digits(lanes, second, shape, lane);
            let found = k1 + k2 * BigInt::from(lambda()) - BigInt::from(u.clone());
            assert_eq!(found % BigInt::from(n.clone()), BigInt::ZERO, "{u:x}");
        }
    }
}

#[test]
fn portable() {
    products_and_inverses(Portable);
    halves(Portable);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx512() {
    let Some(token) = crate::backend::Avx512::detect() else {
        std::eprintln!("this processor has no AVX-512 IFMA: nothing to compare");
        return;
    };
    products_and_inverses(token);
    halves(token);
}

//! The functions of the scalars, in lanes, against big integers.

use farebox_crypto::backend::Lanes;
use farebox_crypto::field::Words;
use farebox_crypto::field::portable::Portable;
use farebox_crypto::scalar::{HALF_BITS, N, Scalars, Window, invert_all};
use farebox_crypto::table::Shape;
use num_bigint::{BigInt, BigUint};

use super::field::on_all_backends;
use super::input::{Input, big};
use crate::signer::{bytes, lambda};

fn n() -> BigUint {
    big(&N)
}

/// The Montgomery radius of a backend, by its square: 2^256 or 2^260.
fn radius<L: Scalars>() -> BigUint {
    let power = |bits: u32| BigUint::from(1_u8) << bits;
    let found = [256, 260].into_iter().find(|bits| power(2 * bits) % n() == big(&L::RADIUS_SQUARED));
    power(found.expect("a radius of 256 or 260 bits"))
}

fn stored<L: Scalars>(lanes: L, a: L::Scalar) -> Vec<BigUint> {
    let mut numbers = vec![[0; 4]; L::LANES];
    lanes.store_scalars(a, &mut numbers);
    let numbers: Vec<_> = numbers.iter().map(|number| big(number)).collect();
    assert!(numbers.iter().all(|number| *number < n()), "stored {numbers:x?}");
    numbers
}

fn any<L: Scalars>(input: &mut Input) -> Vec<Words> {
    (0..L::LANES).map(|_| input.number()).collect()
}

fn below_n<L: Scalars>(input: &mut Input) -> Vec<Words> {
    (0..L::LANES).map(|_| input.number_below(&N)).collect()
}

/// A product, as the kernel's `u1` and `u2` are, and the number it stands for. To reach every number, the one that it
/// is meant to be is multiplied by the radius first.
fn product<L: Scalars>(lanes: L, input: &mut Input) -> L::Scalar {
    if input.below(2) == 0 {
        let wanted: Vec<_> = below_n::<L>(input);
        let radius = lanes.load_scalars(&vec![L::RADIUS_SQUARED; L::LANES]);
        let times_radius = lanes.mul_mod_n(lanes.load_scalars(&wanted), radius);
        return lanes.mul_mod_n(times_radius, lanes.load_scalars(&vec![[1, 0, 0, 0]; L::LANES]));
    }
    let (a, b) = (any::<L>(input), below_n::<L>(input));
    lanes.mul_mod_n(lanes.load_scalars(&a), lanes.load_scalars(&b))
}

/// The bits of a half, read in windows of three, with a lane's `first` entry at zero.
fn bits_of<L: Scalars>(lanes: L, half: L::Half) -> Vec<BigUint> {
    let mut bits = vec![BigUint::ZERO; L::LANES];
    for offset in (0..HALF_BITS).step_by(3) {
        let mut entries = vec![0_u16; L::LANES];
        let negative = lanes.window(half, &Window { offset, bits: 3, first: 0 }, &mut entries);
        for (lane, bits) in bits.iter_mut().enumerate() {
            let entry = entries[lane];
            assert!(entry < 4);
            let value = if negative >> lane & 1 == 1 { 3 - entry } else { 4 + entry };
            *bits += BigUint::from(value) << offset;
        }
    }
    bits
}

macro_rules! targets {
    ($($(#[$doc:meta])* fn $name:ident($lanes:ident, $input:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            pub fn $name(input: &mut Input) {
                fn body<L: Lanes>($lanes: L, $input: &mut Input) $body
                on_all_backends!(input, body);
            }
        )*
    };
}

targets! {
    fn load(lanes, input) {
        let a = any::<L>(input);
        let expected: Vec<_> = a.iter().map(|a| big(a) % n()).collect();
        assert_eq!(stored(lanes, lanes.load_scalars(&a)), expected);
    }

    fn mul(lanes, input) {
        let (a, b) = (any::<L>(input), below_n::<L>(input));
        let product = lanes.mul_mod_n(lanes.load_scalars(&a), lanes.load_scalars(&b));
        let found = stored(lanes, product);
        for lane in 0..L::LANES {
            assert_eq!(&found[lane] * radius::<L>() % n(), big(&a[lane]) * big(&b[lane]) % n());
        }
        // Products are multiplied again, with each other and with what was loaded.
        for other in [product, lanes.load_scalars(&a)] {
            let factors = stored(lanes, other);
            let again = stored(lanes, lanes.mul_mod_n(product, other));
            for lane in 0..L::LANES {
                assert_eq!(&again[lane] * radius::<L>() % n(), &found[lane] * &factors[lane] % n());
            }
        }
    }

    fn split(lanes, input) {
        let u = product(lanes, input);
        let [first, second] = lanes.split(u).map(|half| bits_of(lanes, half));
        let (lambda, n) = (BigInt::from(BigUint::from_bytes_be(&bytes(lambda()))), BigInt::from(n()));
        // k = 2 v - (2^129 - 1): odd, whatever v is.
        let half = |v: &BigUint| 2 * BigInt::from(v.clone()) - ((BigInt::from(1) << HALF_BITS) - 1);
        for (lane, u) in stored(lanes, u).into_iter().enumerate() {
            assert!(first[lane].bits() <= u64::from(HALF_BITS) && second[lane].bits() <= u64::from(HALF_BITS));
            let found = half(&first[lane]) + half(&second[lane]) * &lambda - BigInt::from(u.clone());
            assert_eq!(found % &n, BigInt::ZERO, "{u:x}");
        }
    }

    fn window(lanes, input) {
        let half = lanes.split(product(lanes, input))[input.below(2)];
        let v = bits_of(lanes, half);
        let shape = Shape::ALL[input.below(Shape::ALL.len())];
        let bits = 2 + input.below(14) as u32;
        let offset = u32::from(input.byte()) % (HALF_BITS + 1 - bits);
        let first = u16::from_le_bytes(input.array()) >> 1;
        for window in shape.windows().chain([Window { offset, bits, first }]) {
            let mut entries = vec![0; L::LANES];
            let negative = lanes.window(half, &window, &mut entries);
            for (lane, v) in v.iter().enumerate() {
                let w = (v >> window.offset) % (BigUint::from(1_u8) << window.bits);
                let index = i64::from(entries[lane] - window.first);
                let digit = if negative >> lane & 1 == 1 { -(2 * index + 1) } else { 2 * index + 1 };
                assert_eq!(BigInt::from(digit), 2 * BigInt::from(w) - ((1 << window.bits) - 1), "{window:?}");
            }
        }
    }

    fn invert(lanes, input) {
        let rows = 1 + input.below(8);
        let plain: Vec<Vec<_>> =
            (0..rows).map(|_| (0..L::LANES).map(|_| input.not_zero_below(&N)).collect()).collect();
        let mut scalars: Vec<_> = plain.iter().map(|row| lanes.load_scalars(row)).collect();
        let mut prefixes = scalars.clone();
        invert_all(lanes, &mut scalars, &mut prefixes);
        for (row, inverse) in plain.iter().zip(scalars) {
            for (s, inverse) in row.iter().zip(stored(lanes, inverse)) {
                assert_eq!(big(s) * inverse % n(), radius::<L>() % n());
            }
        }
    }
}

/// The inversion itself: one number.
pub fn modinv(input: &mut Input) {
    let s = input.not_zero_below(&N);
    let mut scalars = [Portable.load_scalars(&[s])];
    invert_all(Portable, &mut scalars, &mut [[0; 4]]);
    let inverse = stored(Portable, scalars[0]).remove(0);
    assert_eq!(big(&s) * inverse % n(), radius::<Portable>() % n());
}

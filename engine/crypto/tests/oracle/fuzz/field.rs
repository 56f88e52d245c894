//! The functions of the field, in lanes, against big integers.
//!
//! Elements and factors cannot be made out of limbs from outside, so each operand is the result of other functions, of
//! every kind that the contract admits: loaded, negated by a gather, a product, a difference, of the largest magnitudes.

use farebox_crypto::backend::Lanes;
use farebox_crypto::field::{Field, P, PackedPoint, Words, portable};
use num_bigint::BigUint;

use super::input::{Input, big, words};

/// A number in every lane, and what it should be modulo `p`.
struct Lane<T> {
    number: T,
    values: Vec<BigUint>,
}

fn p() -> BigUint {
    big(&P)
}

/// `a - b` modulo `p`.
fn minus(a: &BigUint, b: &BigUint) -> BigUint {
    (a + p() - b % p()) % p()
}

/// Runs on every backend of this machine, each time from the same bytes.
macro_rules! on_all_backends {
    ($input:ident, $body:ident) => {{
        $body(farebox_crypto::field::portable::Portable, &mut $input.clone());
        #[cfg(target_arch = "x86_64")]
        if let farebox_crypto::backend::Backend::Avx512(lanes) = farebox_crypto::backend::Backend::detect() {
            $body(lanes, $input);
        }
    }};
}
pub(super) use on_all_backends;

fn numbers<F: Field>(input: &mut Input) -> Vec<Words> {
    (0..F::LANES).map(|_| input.number_below(&P)).collect()
}

fn points<F: Field>(input: &mut Input) -> Vec<PackedPoint> {
    // No point of the curve has y = 0; the field cares for nothing else.
    (0..F::LANES).map(|_| PackedPoint { x: input.number_below(&P), y: input.not_zero_below(&P) }).collect()
}

fn bigs(numbers: &[Words]) -> Vec<BigUint> {
    numbers.iter().map(|number| big(number)).collect()
}

fn negated(point: &PackedPoint, negate: u8, lane: usize) -> BigUint {
    if negate >> lane & 1 == 1 { p() - big(&point.y) } else { big(&point.y) }
}

/// An element that comes straight from memory.
fn plain<F: Field>(field: F, input: &mut Input) -> Lane<F::Fe> {
    match input.byte() % 4 {
        0 => {
            let number = input.number_below(&P);
            Lane { number: field.splat(&number), values: vec![big(&number); F::LANES] }
        }
        1 => {
            let (points, negate) = (points::<F>(input), input.byte());
            let (_, y) = field.gather(&points.iter().collect::<Vec<_>>(), negate);
            let values = points.iter().enumerate().map(|(lane, point)| negated(point, negate, lane));
            Lane { number: y, values: values.collect() }
        }
        _ => {
            let numbers = numbers::<F>(input);
            Lane { number: field.load(&numbers), values: bigs(&numbers) }
        }
    }
}

/// Any element.
fn element<F: Field>(field: F, input: &mut Input) -> Lane<F::Fe> {
    match input.byte() % 6 {
        0 => {
            let (a, b) = (small_factor(field, input), small_factor(field, input));
            let c = plain(field, input);
            let values = (0..F::LANES).map(|i| minus(&(&a.values[i] * &b.values[i]), &c.values[i]));
            Lane { number: field.mul_sub(a.number, b.number, c.number), values: values.collect() }
        }
        1 => {
            let a = small_factor(field, input);
            let (b, c) = (plain(field, input), plain(field, input));
            let values =
                (0..F::LANES).map(|i| minus(&minus(&a.values[i].pow(2), &b.values[i]), &c.values[i]));
            Lane { number: field.square_sub2(a.number, b.number, c.number), values: values.collect() }
        }
        2 => {
            let Lane { number, values } = product(field, input);
            Lane { number: field.settle(number), values }
        }
        _ => plain(field, input),
    }
}

/// A factor out of plain elements.
fn small_factor<F: Field>(field: F, input: &mut Input) -> Lane<F::Factor> {
    let a = plain(field, input);
    match input.byte() % 3 {
        0 => Lane { number: field.factor(a.number), values: a.values },
        _ => {
            let b = plain(field, input);
            let values = (0..F::LANES).map(|i| minus(&a.values[i], &b.values[i]));
            Lane { number: field.sub(a.number, b.number), values: values.collect() }
        }
    }
}

/// A product or a square.
fn product<F: Field>(field: F, input: &mut Input) -> Lane<F::Factor> {
    let a = small_factor(field, input);
    if input.below(2) == 0 {
        let values = a.values.iter().map(|a| a.pow(2) % p()).collect();
        return Lane { number: field.square(a.number), values };
    }
    let b = small_factor(field, input);
    let values = (0..F::LANES).map(|i| &a.values[i] * &b.values[i] % p()).collect();
    Lane { number: field.mul(a.number, b.number), values }
}

/// Any factor.
fn any_factor<F: Field>(field: F, input: &mut Input) -> Lane<F::Factor> {
    match input.byte() % 4 {
        0 => product(field, input),
        1 => {
            let a = element(field, input);
            Lane { number: field.factor(a.number), values: a.values }
        }
        _ => {
            let (a, b) = (element(field, input), element(field, input));
            let values = (0..F::LANES).map(|i| minus(&a.values[i], &b.values[i]));
            Lane { number: field.sub(a.number, b.number), values: values.collect() }
        }
    }
}

fn stored<F: Field>(field: F, a: F::Fe) -> Vec<BigUint> {
    let mut numbers = vec![[0; 4]; F::LANES];
    field.store(a, &mut numbers);
    assert!(numbers.iter().all(|number| big(number) < p()), "stored {numbers:x?}");
    bigs(&numbers)
}

/// A factor's numbers, by a multiplication with one.
fn through_one<F: Field>(field: F, a: F::Factor) -> Vec<BigUint> {
    stored(field, field.settle(field.mul(a, field.factor(field.splat(&[1, 0, 0, 0])))))
}

fn same(found: &[BigUint], expected: &[BigUint]) {
    let expected: Vec<_> = expected.iter().map(|number| number % p()).collect();
    assert_eq!(found, expected);
}

macro_rules! targets {
    ($($(#[$doc:meta])* fn $name:ident($field:ident, $input:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            pub fn $name(input: &mut Input) {
                fn body<F: Lanes>($field: F, $input: &mut Input) $body
                on_all_backends!(input, body);
            }
        )*
    };
}

targets! {
    fn load(field, input) {
        let numbers = numbers::<F>(input);
        same(&stored(field, field.load(&numbers)), &bigs(&numbers));
        same(&stored(field, field.splat(&numbers[0])), &vec![big(&numbers[0]); F::LANES]);
    }

    fn store(field, input) {
        let a = element(field, input);
        same(&stored(field, a.number), &a.values);
    }

    fn gather(field, input) {
        let (points, negate) = (points::<F>(input), input.byte());
        let (x, y) = field.gather(&points.iter().collect::<Vec<_>>(), negate);
        let mut back = points.clone();
        field.scatter(x, y, &mut back);
        for (lane, (point, back)) in points.iter().zip(&back).enumerate() {
            assert_eq!((back.x, back.y), (point.x, words(&negated(point, negate, lane))));
        }
        let (x, y) = (element(field, input), element(field, input));
        field.scatter(x.number, y.number, &mut back);
        same(&back.iter().map(|point| big(&point.x)).collect::<Vec<_>>(), &x.values);
        same(&back.iter().map(|point| big(&point.y)).collect::<Vec<_>>(), &y.values);
        assert!(back.iter().all(|point| big(&point.x) < p() && big(&point.y) < p()));
    }

    fn factor(field, input) {
        let a = element(field, input);
        same(&through_one(field, field.factor(a.number)), &a.values);
        let a = product(field, input);
        same(&stored(field, field.settle(a.number)), &a.values);
    }

    fn mul(field, input) {
        let (a, b) = (any_factor(field, input), any_factor(field, input));
        let expected: Vec<_> = a.values.iter().zip(&b.values).map(|(a, b)| a * b).collect();
        let product = field.mul(a.number, b.number);
        same(&stored(field, field.settle(product)), &expected);
        // A product is a factor again.
        same(&through_one(field, product), &expected);
    }

    fn square(field, input) {
        let a = any_factor(field, input);
        let expected: Vec<_> = a.values.iter().map(|a| a.pow(2)).collect();
        let square = field.square(a.number);
        same(&stored(field, field.settle(square)), &expected);
        same(&through_one(field, square), &expected);
    }

    fn sub(field, input) {
        let (a, b) = (element(field, input), element(field, input));
        let expected: Vec<_> = a.values.iter().zip(&b.values).map(|(a, b)| minus(a, b)).collect();
        same(&through_one(field, field.sub(a.number, b.number)), &expected);
        same(&through_one(field, field.sub(a.number, a.number)), &vec![BigUint::ZERO; F::LANES]);
    }

    fn mul_sub(field, input) {
        let (a, b) = (any_factor(field, input), any_factor(field, input));
        let c = element(field, input);
        let expected: Vec<_> =
            (0..F::LANES).map(|i| minus(&(&a.values[i] * &b.values[i]), &c.values[i])).collect();
        let found = field.mul_sub(a.number, b.number, c.number);
        same(&stored(field, found), &expected);
        same(&through_one(field, field.factor(found)), &expected);
    }

    fn square_sub2(field, input) {
        let a = any_factor(field, input);
        let (b, c) = (element(field, input), element(field, input));
        let expected: Vec<_> =
            (0..F::LANES).map(|i| minus(&minus(&a.values[i].pow(2), &b.values[i]), &c.values[i])).collect();
        let found = field.square_sub2(a.number, b.number, c.number);
        same(&stored(field, found), &expected);
        same(&through_one(field, field.factor(found)), &expected);
    }

    fn is_zero(field, input) {
        let mut a = product(field, input);
        if input.below(2) == 0 {
            // Zero in some lanes: the difference of equal numbers, times anything.
            let (element, numbers) = (element(field, input), numbers::<F>(input));
            let (mask, other) = (input.byte(), any_factor(field, input));
            let zero = field.sub(element.number, element.number);
            let factor = field.select(mask, zero, field.factor(field.load(&numbers)));
            a.number = field.mul(factor, other.number);
            for (lane, value) in a.values.iter_mut().enumerate() {
                let zero = mask >> lane & 1 == 1;
                *value = if zero { BigUint::ZERO } else { big(&numbers[lane]) * &other.values[lane] % p() };
            }
        }
        let found = field.is_zero(a.number);
        let expected = a.values.iter().enumerate().map(|(lane, a)| u8::from(a % p() == BigUint::ZERO) << lane);
        assert_eq!(found, expected.sum::<u8>());
    }

    fn select(field, input) {
        let (a, b) = (any_factor(field, input), any_factor(field, input));
        let mask = input.byte();
        let pairs = a.values.iter().zip(&b.values).enumerate();
        let expected: Vec<_> =
            pairs.map(|(lane, (a, b))| if mask >> lane & 1 == 1 { a.clone() } else { b.clone() }).collect();
        same(&through_one(field, field.select(mask, a.number, b.number)), &expected);
    }

    fn invert(field, input) {
        let a: Vec<_> = (0..F::LANES).map(|_| input.not_zero_below(&P)).collect();
        let one = field.factor(field.splat(&[1, 0, 0, 0]));
        let inverse = farebox_crypto::field::invert(field, field.mul(field.factor(field.load(&a)), one));
        let found = stored(field, field.settle(field.mul(inverse, field.factor(field.load(&a)))));
        same(&found, &vec![BigUint::from(1_u8); F::LANES]);
    }
}

/// The inversion itself: of up to eight numbers that need not be below `p`.
pub fn modinv(input: &mut Input) {
    let count = 1 + input.below(8);
    let numbers: Vec<_> = (0..count)
        .map(|_| input.number())
        .map(|number| if big(&number) % p() == BigUint::ZERO { [7, 0, 0, 0] } else { number })
        .collect();
    let mut inverses = numbers.clone();
    portable::invert_all(&mut inverses);
    for (number, inverse) in numbers.iter().zip(&inverses) {
        assert!(big(inverse) < p());
        assert_eq!(big(number) * big(inverse) % p(), BigUint::from(1_u8));
    }
}

//! Exceptional additions, provoked: for every addition that the kernel makes, on every level and for every shape of
//! table, a signature that makes exactly this addition one of equal or of opposite points.
//!
//! A signer can do that: choose `u1` and `u2`, and with them all digits; then the two points of an addition are
//! `a1 G + a2 Q` and `b1 G + b2 Q` with known numbers, and the key `Q = (b1 - a1) / (a2 - b2) G` makes them equal. The
//! kernel has to notice, to leave the case to others, and to decide the lanes beside it as if nothing had happened.

use farebox_crypto::backend::Lanes;
use farebox_crypto::field::number;
use farebox_crypto::field::portable::Portable;
use farebox_crypto::kernel::Decision;
use farebox_crypto::scalar::{Scalars, Window};
use farebox_crypto::table::{Build, Shape, Table};
use farebox_crypto::verify::SIGNER_TABLES_BYTES_MAX;
use farebox_crypto::{Job, Outcome, Signature, Verifier};
use k256::Scalar;
use k256::elliptic_curve::Field;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::judge::{backends, verdict};
use crate::kernel::{Kernel, OnLanes, on_all_backends, packed};
use crate::seed;
use crate::signer::{Signer, bytes, lambda, random, scalar};

/// Lanes of the widest backend: a provoking signature is tried in each.
const LANES: usize = 8;

/// `a1 G + a2 Q`: what a point of the tree is a sum of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Multiple {
    of_g: Scalar,
    of_q: Scalar,
}

impl Multiple {
    const ZERO: Self = Self { of_g: Scalar::ZERO, of_q: Scalar::ZERO };

    fn plus(self, other: Self) -> Self {
        Self { of_g: self.of_g + other.of_g, of_q: self.of_q + other.of_q }
    }

    fn times(self, factor: Scalar) -> Self {
        Self { of_g: self.of_g * factor, of_q: self.of_q * factor }
    }

    /// The secret of the key for which both are the same point; `None` if there is none.
    fn key_that_equals(self, other: Self) -> Option<Scalar> {
        let key = (other.of_g - self.of_g) * (self.of_q - other.of_q).invert().into_option()?;
        (!bool::from(key.is_zero())).then_some(key)
    }
}

/// Two points that the tree adds.
type Addition = [Multiple; 2];

/// What the slots of each half hold for a signature with these `u1` and `u2`.
fn slots(u1: Scalar, u2: Scalar, shape: Shape) -> [Vec<Multiple>; 2] {
    // A Montgomery product with the radius squared and then with one is the number itself.
    let split = |u: Scalar| {
        let radius = Portable.load_scalars(&[Portable::RADIUS_SQUARED]);
        let product = Portable.mul_mod_n(Portable.load_scalars(&[number(&bytes(u))]), radius);
        Portable.split(Portable.mul_mod_n(product, Portable.load_scalars(&[[1, 0, 0, 0]])))
    };
    let (of_g, of_q) = (split(u1), split(u2));
    let digit = |half, window: Window| {
        let mut entry = [0];
        let negative = Portable.window(half, &window, &mut entry) == 1;
        let odd = Scalar::from(u64::from(entry[0] - window.first) * 2 + 1);
        let digit = (0..window.offset).fold(odd, |digit, _| digit.double());
        if negative { -digit } else { digit }
    };
    core::array::from_fn(|h| {
        let of_g = Shape::GENERATOR
            .windows()
            .map(|window| Multiple { of_g: digit(of_g[h], window), ..Multiple::ZERO });
        let of_q = shape.windows().map(|window| Multiple { of_q: digit(of_q[h], window), ..Multiple::ZERO });
        of_g.chain(of_q).collect()
    })
}

/// All additions for a signature, level after level: those of the first half, of the second, and the last, `A + lambda B`.
/// (Pairs are the slots `i` and `i + ceil(count / 2)`: see [`farebox_crypto::sum`].)
fn additions(slots: [Vec<Multiple>; 2]) -> Vec<Addition> {
    let mut additions = Vec::new();
    let [a, b] = slots.map(|mut slots| {
        while slots.len() > 1 {
            let right = slots.len().div_ceil(2);
            for i in 0..slots.len() / 2 {
                additions.push([slots[i], slots[i + right]]);
                slots[i] = slots[i].plus(slots[i + right]);
            }
            slots.truncate(right);
        }
        slots[0]
    });
    additions.push([a, b.times(lambda())]);
    additions
}

/// A signature whose addition number `which` is exceptional, valid or not; `None` if no key makes it so.
fn provoke(
    rng: &mut StdRng,
    shape: Shape,
    which: usize,
    opposite: bool,
    valid: bool,
) -> Option<(Signer, Job)> {
    // A random s is high in half of the cases.
    (0..64).find_map(|_| {
        let (u1, u2) = (random(rng), random(rng));
        let [a, b] = additions(slots(u1, u2, shape))[which];
        let secret = a.key_that_equals(if opposite { b.times(-Scalar::ONE) } else { b })?;
        let signer = Signer::new(secret);
        if valid {
            // R = k G, and s = r / u2.
            let k = u1 + u2 * secret;
            if k.is_zero().into() {
                return None;
            }
            let point = crate::signer::multiple_of_generator(k).serialize_uncompressed();
            let r = scalar(point[1..33].try_into().expect("32 bytes"))?;
            let job = signer.sign_with(k, r * u2.invert().expect("not zero"))?;
            Some((signer, job))
        } else {
            let s = random(rng);
            let signature = Signature::new(bytes(u2 * s), bytes(s), rng.random()).ok()?;
            Some((signer, Job { digest: bytes(u1 * s), signature, signer: signer.address }))
        }
    })
}

/// Whether some key makes an addition exceptional: not if both sides are sums of table entries of the same point.
fn can_be_provoked([a, b]: Addition) -> bool {
    let not_zero = |side: Scalar| !bool::from(side.is_zero());
    (not_zero(a.of_g) || not_zero(b.of_g)) && (not_zero(a.of_q) || not_zero(b.of_q))
}

/// A provoking signature for every addition that has one, of every kind.
fn all_provoked(rng: &mut StdRng, shape: Shape) -> Vec<(Signer, Job)> {
    let model = additions(slots(random(rng), random(rng), shape));
    let last = model.len() - 1;
    let mut all = Vec::new();
    for (which, addition) in model.into_iter().enumerate() {
        let possible = can_be_provoked(addition);
        for (opposite, valid) in [(false, true), (false, false), (true, true), (true, false)] {
            let found = provoke(rng, shape, which, opposite, valid);
            // A = -lambda B: the sum is infinity, and no signature is valid.
            let expected = possible && !(which == last && opposite && valid);
            assert_eq!(found.is_some(), expected, "{shape:?}, addition {which}, {opposite}, {valid}");
            all.extend(found);
        }
    }
    // Two halves of count - 1 additions each, and one more. Pairs of Q's windows cannot be provoked.
    let slots = Shape::GENERATOR.window_count() + shape.window_count();
    assert_eq!(last, 2 * (slots - 1));
    assert!(all.len() > 2 * last, "only {} cases for {last} additions", all.len());
    all
}

struct InEveryPlace {
    shape: Shape,
}

impl OnLanes for InEveryPlace {
    fn run<L: Lanes>(&self, lanes: L) {
        let mut rng = StdRng::seed_from_u64(seed() ^ 3);
        let shape = self.shape;
        let all = all_provoked(&mut rng, shape);
        let honest: Vec<_> = Signer::many(&mut rng, LANES - 1);
        let honest: Vec<_> =
            honest.into_iter().map(|signer| (signer, signer.sign_digest(rng.random()))).collect();
        let build = |cases: &[(Signer, Job)]| {
            let keys: Vec<_> = cases.iter().map(|(signer, _)| packed(&signer.key)).collect();
            lanes.run(Build { keys: &keys, shape })
        };
        let (tables, honest_tables) = (build(&all), build(&honest));
        let mut kernel = Kernel::new(lanes);
        // Alone among honest neighbours: each in one lane after the other.
        for (number, ((_, job), table)) in all.iter().zip(&tables).enumerate() {
            let mut group: Vec<(Job, &Table)> =
                honest.iter().map(|(_, job)| *job).zip(&honest_tables).collect();
            let lane = number % LANES;
            group.insert(lane, (*job, table));
            let mut expected = vec![Decision::Match; LANES];
            expected[lane] = Decision::Undecided;
            assert_eq!(
                kernel.decide(shape, &group),
                expected,
                "{shape:?}, case {number} in lane {lane}: {job:?}"
            );
        }
        // All in one batch: with an honest signature after each, and with nothing but them.
        for honest_share in [1, 0] {
            let mut batch = Vec::new();
            let mut expected = Vec::new();
            for (number, ((_, job), table)) in all.iter().zip(&tables).enumerate() {
                batch.push((*job, table));
                expected.push(Decision::Undecided);
                for i in 0..honest_share {
                    let place = (number + i) % honest.len();
                    batch.push((honest[place].1, &honest_tables[place]));
                    expected.push(Decision::Match);
                }
            }
            assert_eq!(kernel.decide(shape, &batch), expected, "{shape:?}, all in one batch");
        }
    }
}

#[test]
fn in_every_place_of_the_tree_and_every_lane() {
    for shape in Shape::SIGNERS {
        on_all_backends(&InEveryPlace { shape });
    }
}

/// The same by way of the verifier, whose answer must be libsecp256k1's.
#[test]
fn the_verifier_gives_the_right_answer_all_the_same() {
    let mut rng = StdRng::seed_from_u64(seed() ^ 4);
    let honest = Signer::many(&mut rng, 3);
    let cases: Vec<_> = [Shape::SIGNER_41_KB, Shape::SIGNER_136_KB]
        .into_iter()
        .flat_map(|shape| all_provoked(&mut rng, shape))
        // Each case costs its signer a table.
        .step_by(if cfg!(feature = "verify") { 16 } else { 4 })
        .collect();
    for backend in backends() {
        let verifier = Verifier::with(backend, SIGNER_TABLES_BYTES_MAX);
        let mut outcomes = Vec::new();
        for (signer, job) in &cases {
            // Until the first table, then until the wide one.
            let warm: Vec<_> = (0..4).map(|_| signer.sign_digest(rng.random())).collect();
            let many = warm.repeat(64);
            for warm in [&warm[..], &many] {
                verifier.verify_batch(warm, &mut outcomes);
                assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Valid));
                let mut batch: Vec<_> =
                    (0..19).map(|i| honest[i % 3].sign_digest(rng.random())).chain([*job]).collect();
                batch.swap(rng.random_range(0..20), 19);
                let right: Vec<_> = batch.iter().map(verdict).collect();
                verifier.verify_batch(&batch, &mut outcomes);
                assert_eq!(outcomes, right, "{}: {job:?}", backend.name());
                assert_eq!(verifier.verify_one(job), verdict(job));
            }
        }
    }
}

//! The numbers of signatures, side by side in lanes.
//!
//! A chunk is signatures that are worked on together: signature `i` is lane `i % LANES` of group `i / LANES`, and
//! lanes without a signature repeat the last one.

use crate::ecdsa::Signature;
use crate::field::{Field, Words, number};
use crate::kernel::Decision;

/// The most lanes of any backend.
pub(crate) const LANES_MAX: usize = 8;

/// Something with a signature over a hash.
pub(crate) trait Signed {
    /// The hash that was signed.
    fn digest(&self) -> &[u8; 32];

    /// The signature.
    fn signature(&self) -> &Signature;
}

/// The item of a lane: the last one again where there are no more.
#[inline(always)]
pub(crate) fn item<T>(items: &[T], index: usize) -> &T {
    &items[index.min(items.len() - 1)]
}

/// A number of an item.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Digest,
    R,
    S,
}

/// One number of every signature of a group.
#[inline(always)]
pub(crate) fn numbers<L: Field>(items: &[impl Signed], group: usize, which: Number) -> [Words; LANES_MAX] {
    let mut numbers = [[0; 4]; LANES_MAX];
    for (lane, number_of_lane) in numbers.iter_mut().enumerate().take(L::LANES) {
        let item = item(items, group * L::LANES + lane);
        *number_of_lane = number(match which {
            Number::Digest => item.digest(),
            Number::R => item.signature().r(),
            Number::S => item.signature().s(),
        });
    }
    numbers
}

/// Whether `R' = (x, y)` is the point that the item's signature names.
#[inline(always)]
pub(crate) fn decision(item: &impl Signed, flagged: bool, x: &Words, y: &Words) -> Decision {
    let same_x = *x == number(item.signature().r());
    let same_parity = (y[0] & 1 == 1) == item.signature().parity();
    match flagged {
        true => Decision::Undecided,
        false if same_x && same_parity => Decision::Match,
        false => Decision::Mismatch,
    }
}

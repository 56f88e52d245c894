//! Memory for packed channels: pieces of few sizes, cut from slabs.
//!
//! A server opens and packs channels by the hundred thousand a second, each with another size than before. A general allocator
//! then spends more time on its lists than the channels take, and adds to each. Here a size has slabs of its own,
//! and a free piece holds the number of the next one. Slabs are kept for later, never given back.

/// Sizes of pieces: close together where most channels are, so that little is lost to rounding.
const SIZES: [u16; 40] = sizes();
/// Sizes grow by so many bytes, ...
const STEP_BYTES: u16 = 16;
/// ... and from this number on by a quarter of what is reached.
const STEPS: usize = 24;
/// Bytes of a slab, or as many as a whole number of pieces has.
const SLAB_BYTES: usize = 1 << 16;
/// No piece: the end of a list of free ones.
const NONE: u32 = u32::MAX;

/// Some bytes in the arena. Whoever has it gives it back with [`Arena::free`].
#[derive(Debug)]
pub(super) struct Piece {
    index: u32,
    length: u16,
    size: u8,
}

/// All pieces of one size.
#[derive(Debug)]
struct Pieces {
    slabs: Vec<Box<[u8]>>,
    /// The first of the free pieces that were used before.
    free: u32,
    /// The first piece that was never used.
    fresh: u32,
}

/// The slabs.
#[derive(Debug)]
pub(super) struct Arena {
    sizes: Vec<Pieces>,
    used_bytes: usize,
}

impl Default for Arena {
    fn default() -> Self {
        let pieces = |_| Pieces { slabs: Vec::new(), free: NONE, fresh: 0 };
        Self { sizes: SIZES.iter().map(pieces).collect(), used_bytes: 0 }
    }
}

impl Arena {
    /// Bytes of all pieces in use, rounding included.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Keeps a copy of these bytes; `None` when they are more than the largest piece has.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Option<Piece> {
        let length = u16::try_from(bytes.len()).ok()?;
        let size = SIZES.partition_point(|size| *size < length);
        let pieces = self.sizes.get_mut(size)?;
        let each = usize::from(SIZES[size]);
        let index = pieces.take(each);
        pieces.at_mut(index, each)[..bytes.len()].copy_from_slice(bytes);
        self.used_bytes += each;
        Some(Piece { index, length, size: u8::try_from(size).expect("there are few sizes") })
    }

    /// What was kept.
    pub(super) fn get(&self, piece: &Piece) -> &[u8] {
        let size = usize::from(piece.size);
        let each = usize::from(SIZES[size]);
        &self.sizes[size].at(piece.index, each)[..usize::from(piece.length)]
    }

    /// The bytes that a piece takes.
    pub(super) fn bytes_of(piece: &Piece) -> usize {
        usize::from(SIZES[usize::from(piece.size)])
    }

    /// Takes a piece back.
    pub(super) fn free(&mut self, piece: Piece) {
        let size = usize::from(piece.size);
        let each = usize::from(SIZES[size]);
        let pieces = &mut self.sizes[size];
        let next = pieces.free.to_le_bytes();
        pieces.at_mut(piece.index, each)[..next.len()].copy_from_slice(&next);
        pieces.free = piece.index;
        self.used_bytes -= each;
    }
}

impl Pieces {
    /// The number of a piece that nobody has.
    fn take(&mut self, each: usize) -> u32 {
        if self.free != NONE {
            let index = self.free;
            let next = self.at(index, each).first_chunk().expect("a piece holds a number");
            self.free = u32::from_le_bytes(*next);
            return index;
        }
        let index = self.fresh;
        if index as usize == self.slabs.len() * per_slab(each) {
            self.slabs.push(vec![0; per_slab(each) * each].into());
        }
        self.fresh = index.checked_add(1).filter(|next| *next != NONE).expect("memory holds fewer than 2^32");
        index
    }

    fn at(&self, index: u32, each: usize) -> &[u8] {
        let (slab, place) = (index as usize / per_slab(each), index as usize % per_slab(each));
        &self.slabs[slab][place * each..][..each]
    }

    fn at_mut(&mut self, index: u32, each: usize) -> &mut [u8] {
        let (slab, place) = (index as usize / per_slab(each), index as usize % per_slab(each));
        &mut self.slabs[slab][place * each..][..each]
    }
}

fn per_slab(each: usize) -> usize {
    SLAB_BYTES / each
}

const fn sizes() -> [u16; 40] {
    let mut sizes = [0; 40];
    let mut size = 0;
    let mut number = 0;
    while number < sizes.len() {
        let grown = size / 4 / STEP_BYTES * STEP_BYTES;
        size += if number < STEPS { STEP_BYTES } else { grown };
        sizes[number] = size;
        number += 1;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nobody's bytes are touched by what happens to others, and everything is given back.
        #[test]
        fn what_is_kept_stays(steps in prop::collection::vec((any::<u8>(), 0_usize..3_000, any::<bool>()), 0..300)) {
            let mut arena = Arena::default();
            let mut kept: Vec<(Piece, Vec<u8>)> = Vec::new();
            for (byte, length, is_kept) in steps {
                if is_kept || kept.is_empty() {
                    let bytes = vec![byte; length];
                    kept.push((arena.keep(&bytes).unwrap(), bytes));
                } else {
                    let (piece, _) = kept.swap_remove(length % kept.len());
                    arena.free(piece);
                }
                let used: usize = kept.iter().map(|(piece, _)| Arena::bytes_of(piece)).sum();
                prop_assert_eq!(arena.used_bytes(), used);
                for (piece, bytes) in &kept {
                    prop_assert_eq!(arena.get(piece), bytes);
                }
            }
        }
    }

    #[test]
    fn sizes_rise_and_little_is_lost() {
        assert!(
            SIZES.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= pair[0].max(16) / 4 + 16)
        );
        let largest = usize::from(SIZES[SIZES.len() - 1]);
        assert!(largest >= 8_192, "{largest}");
        assert!(Arena::default().keep(&vec![0; largest + 1]).is_none());
        assert!(SIZES.iter().all(|size| per_slab(usize::from(*size)) > 0));
    }

    #[test]
    fn places_are_used_again() {
        let mut arena = Arena::default();
        for _ in 0..10 {
            let pieces: Vec<_> = (0..5_000).map(|_| arena.keep(&[7; 200]).unwrap()).collect();
            pieces.into_iter().for_each(|piece| arena.free(piece));
        }
        let slabs: usize = arena.sizes.iter().map(|pieces| pieces.slabs.len()).sum();
        assert_eq!(slabs, 5_000_usize.div_ceil(per_slab(208)));
        assert_eq!(arena.used_bytes(), 0);
    }
}

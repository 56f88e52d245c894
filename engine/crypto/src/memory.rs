//! Where tables lie: slots of equal size in a few large slabs.
//!
//! A signature reads some fifty lines of memory, each from another page. With pages of 4 KB the processor then walks its
//! page tables as often as it reads points; with pages of 2 MB it knows them all. Ordinary allocations of 41 KB never
//! get large pages, slabs of [`SLAB_BYTES`] do, if whoever gives the memory asks for them. This crate does no IO, so
//! the shell around it says where slabs come from ([`set_source`]); without a word they come from the allocator.
//!
//! A slab belongs to one shape and to the process: it is never given back. A table that is dropped leaves its slot to the next
//! one of its shape, of any verifier. So the memory in slabs is that of the most tables of each shape that ever
//! lived together. Pages of a slab that no table has reached yet are not touched.

use crate::field::PackedPoint;
use crate::lock::Mutex;
use crate::table::Shape;
use alloc::vec::Vec;
use bytemuck::allocation::zeroed_slice_box;
use core::mem;
use core::ops::{Deref, DerefMut};
use spin::Once;

/// The size of a slab, in bytes, unless a single table is larger.
pub const SLAB_BYTES: usize = 32 << 20;

/// Gives a slab: at least so many bytes, all zero, on a boundary of 64 bytes; or `None` if there is no more.
pub type Source = fn(bytes: usize) -> Option<&'static mut [u8]>;

static SOURCE: Once<Source> = Once::new();

/// Says where slabs come from. The first one to say so is heard; slabs that exist already stay where they are.
pub fn set_source(source: Source) {
    SOURCE.call_once(|| source);
}

/// The memory of shapes, in the order of [`Shape::ALL`].
static SHELVES: [Mutex<Shelf>; Shape::ALL.len()] = [const { Mutex::new(Shelf::new()) }; Shape::ALL.len()];

/// The slots of one shape that nobody has.
struct Shelf {
    returned: Vec<&'static mut [PackedPoint]>,
    /// The part of the last slab that was never in use.
    fresh: &'static mut [PackedPoint],
}

impl Shelf {
    const fn new() -> Self {
        Self { returned: Vec::new(), fresh: &mut [] }
    }

    fn take(&mut self, points: usize) -> &'static mut [PackedPoint] {
        if let Some(slot) = self.returned.pop() {
            return slot;
        }
        if self.fresh.len() < points {
            self.fresh = slab(points);
        }
        let (slot, fresh) = mem::take(&mut self.fresh).split_at_mut(points);
        self.fresh = fresh;
        slot
    }
}

/// A slab for tables of so many points.
fn slab(points: usize) -> &'static mut [PackedPoint] {
    let size = size_of::<PackedPoint>();
    let points = points * (SLAB_BYTES / size / points).max(1);
    if let Some(source) = SOURCE.get()
        && let Some(bytes) = source(points * size)
        && bytes.len() >= points * size
        && let Ok(slab) = bytemuck::try_cast_slice_mut(&mut bytes[..points * size])
    {
        return slab;
    }
    alloc::boxed::Box::leak(zeroed_slice_box(points))
}

/// The memory of one table. Dropped, it goes back to the shelf.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    shape: Shape,
    points: &'static mut [PackedPoint],
}

impl Slot {
    /// Memory for a table of this shape, with anything in it.
    pub(crate) fn new(shape: Shape) -> Self {
        let points = shelf(shape).lock().take(shape.points());
        Self { shape, points }
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }
}

fn shelf(shape: Shape) -> &'static Mutex<Shelf> {
    let place = Shape::ALL.iter().position(|known| *known == shape).expect("there are no other shapes");
    &SHELVES[place]
}

impl Drop for Slot {
    fn drop(&mut self) {
        let points = mem::take(&mut self.points);
        shelf(self.shape).lock().returned.push(points);
    }
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        let slot = Self::new(self.shape);
        slot.points.copy_from_slice(self.points);
        slot
    }
}

impl Deref for Slot {
    type Target = [PackedPoint];

    #[inline(always)]
    fn deref(&self) -> &[PackedPoint] {
        self.points
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [PackedPoint] {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;

    const POINT: PackedPoint = PackedPoint { x: [1; 4], y: [2; 4] };

    #[test]
    fn slots_do_not_overlap_and_come_back() {
        let mut shelf = Shelf::new();
        let slots: Vec<_> = (0..3).map(|_| shelf.take(656)).collect();
        let places: Vec<_> = slots.iter().map(|slot| slot.as_ptr() as usize).collect();
        for (slot, place) in slots.iter().zip(&places) {
            assert_eq!(slot.len(), 656);
            assert_eq!(place % 64, 0);
            assert!(places.iter().all(|other| other == place || other.abs_diff(*place) >= 656 * 64));
        }
        assert_eq!(shelf.fresh.len(), (SLAB_BYTES / 64 / 656 - 3) * 656);
        shelf.returned.extend(slots);
        assert_eq!(shelf.take(656).as_ptr() as usize, places[2]);
    }

    #[test]
    fn a_full_slab_is_followed_by_another() {
        let mut shelf = Shelf::new();
        let in_a_slab = SLAB_BYTES / 64 / 2176;
        let slots: Vec<_> = (0..in_a_slab + 1).map(|_| shelf.take(2176)).collect();
        assert!(slots.iter().all(|slot| slot.len() == 2176));
        assert_eq!(shelf.fresh.len(), (in_a_slab - 1) * 2176);
    }

    #[test]
    fn a_table_larger_than_a_slab_gets_one_of_its_own() {
        let points = SLAB_BYTES / 64 + 1;
        assert_eq!(Shelf::new().take(points).len(), points);
    }

    #[test]
    fn a_copy_has_memory_of_its_own() {
        let mut slot = Slot::new(Shape::SIGNER_16_KB);
        slot.fill(POINT);
        let mut copy = slot.clone();
        assert_eq!(copy, slot);
        copy[0].x = [3; 4];
        assert_eq!(slot[0], POINT);
        assert_ne!(copy, slot);
    }

    #[test]
    fn a_source_is_asked_and_one_that_cannot_give_is_no_end() {
        fn none(_: usize) -> Option<&'static mut [u8]> {
            None
        }
        fn small(_: usize) -> Option<&'static mut [u8]> {
            Some(Box::leak(alloc::vec![0; 64].into_boxed_slice()))
        }
        for source in [none, small] {
            set_source(source);
            assert_eq!(slab(656).len(), SLAB_BYTES / 64 / 656 * 656);
        }
    }
}

//! Large pages for signers' tables.
//!
//! The crates below do no IO and take memory from the allocator unless somebody offers better. A process that verifies
//! offers it here, before its first verifier: mappings of their own that ask the system for pages of 2 MB. A system that
//! has none gives small ones, and everything works as before, a tenth slower.

use farebox_crypto::memory;
use memmap2::MmapMut;

/// The size of a large page, in bytes. (On x86-64, and on ARM with small pages of 4 KB.)
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// From now on, slabs for tables are mapped with large pages. Doing it again changes nothing.
pub(crate) fn offer_large_pages() {
    memory::set_source(map);
}

/// Maps a slab of zeros that begins on a large page. The mapping stays until the process ends.
fn map(bytes: usize) -> Option<&'static mut [u8]> {
    let mapping: &'static mut MmapMut =
        Box::leak(Box::new(MmapMut::map_anon(bytes.checked_add(LARGE_PAGE_BYTES)?).ok()?));
    // A refusal means small pages, not no memory.
    #[cfg(target_os = "linux")]
    let _ = mapping.advise(memmap2::Advice::HugePage);
    let memory: &'static mut [u8] = mapping;
    let skipped = memory.as_ptr().align_offset(LARGE_PAGE_BYTES);
    memory.get_mut(skipped..skipped.checked_add(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_begins_on_a_large_page_and_is_all_zero() {
        let slab = map(3 << 20).expect("3 MB are there");
        assert_eq!((slab.len(), slab.as_ptr() as usize % LARGE_PAGE_BYTES), (3 << 20, 0));
        assert!(slab.iter().all(|byte| *byte == 0));
        slab.fill(1);
        assert!(map(3 << 20).expect("and more").iter().all(|byte| *byte == 0));
    }

    #[test]
    fn more_than_there_is_gives_nothing() {
        assert!(map(usize::MAX).is_none());
        assert!(map(usize::MAX / 2).is_none());
    }
}

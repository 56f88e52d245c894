//! A signer, as it is remembered.

use super::{Address, NONE};
use crate::field::PackedPoint;
use crate::table::Table;
use alloc::sync::Arc;

/// Memory of a signer beside its table, in bytes, rounded up: the record, its key, and its share of an index that is
/// between half full and full.
pub(crate) const RECORD_BYTES: usize = size_of::<Record>() + size_of::<PackedPoint>() + 16;

/// One signer: one line of the cache.
#[repr(align(64))]
pub(super) struct Record {
    pub(super) address: Address,
    /// How many vouchers named it, as of `epoch`.
    vouchers: u32,
    epoch: u32,
    /// Where it sits, if it has a table.
    pub(super) seat: u32,
    /// The batch that named it last.
    pub(super) last_batch: u64,
    /// Its place in that batch.
    pub(super) place: u32,
    pub(super) table: Option<Arc<Table>>,
}

impl Record {
    pub(super) const fn new(address: Address, epoch: u32, batch: u64) -> Self {
        Self { address, vouchers: 0, epoch, seat: NONE, last_batch: batch, place: NONE, table: None }
    }

    /// How many vouchers named it; those of every epoch before count half of those of the next.
    pub(super) fn counted(&self, epoch: u32) -> u32 {
        self.vouchers.checked_shr(epoch.wrapping_sub(self.epoch)).unwrap_or(0)
    }

    /// Counts more, and tells how many there are.
    pub(super) fn count(&mut self, epoch: u32, vouchers: u32) -> u32 {
        self.vouchers = self.counted(epoch).saturating_add(vouchers);
        self.epoch = epoch;
        self.vouchers
    }
}

const _: () = assert!(size_of::<Record>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_vouchers_count_half() {
        let mut record = Record::new([1; 20], 7, 1);
        assert_eq!(record.count(7, 8), 8);
        assert_eq!(record.counted(8), 4);
        assert_eq!(record.count(9, 3), 5);
        assert_eq!(record.counted(9 + 32), 0);
        assert_eq!(record.count(9, u32::MAX), u32::MAX);
    }
}

//! What is known of signers: keys, and tables of those that earned one.
//!
//! A key costs one recovery, a table some 20 µs and 41 KB or more. So a signer gets its table with its third voucher, and a
//! wide one when it is met again and again. Memory is bounded in bytes: when it is full, the signers that were
//! not met for the longest time are forgotten, key and table. Forgetting changes the speed of an answer, never
//! the answer.
//!
//! The verifier is the only caller. Addresses are chosen by strangers; the map's hash is seeded at run time.

use crate::field::PackedPoint;
use crate::table::{Shape, Table};
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

/// An Ethereum address.
pub type Address = [u8; 20];

/// Vouchers after which a signer has earned a table.
const TABLE_AT_VOUCHERS: u64 = 3;

/// Vouchers after which a signer has earned a wide table: then the 60 µs it costs are a few percent of what
/// was spent on its vouchers, and are earned back within some 500 more.
const WIDE_TABLE_AT_VOUCHERS: u64 = 256;

/// The part of the memory that wide tables may take, as a divisor: beyond it, more signers matter more than
/// wider tables.
const WIDE_SHARE: usize = 2;

/// The part of the memory that is freed when it is full, as a divisor, so that it is not full again at once.
const EVICTED_SHARE: usize = 8;

/// Memory of an entry beside its table, in bytes, rounded up.
const ENTRY_BYTES: usize = 256;

/// The first table of a signer.
pub const FIRST_SHAPE: Shape = Shape::SIGNER_41_KB;

/// The table of a signer that is met often.
pub const WIDE_SHAPE: Shape = Shape::SIGNER_136_KB;

/// One signer.
struct Signer {
    key: PackedPoint,
    table: Option<Arc<Table>>,
    /// How many vouchers named it.
    vouchers: u64,
    /// The batch that named it last.
    last_batch: u64,
}

impl Signer {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.table.as_ref().map_or(0, |table| table.bytes())
    }
}

/// What the verifier is told about a signer.
pub enum Known {
    /// Nothing is known.
    Nothing,
    /// The key is known, and it has earned no table yet.
    Key,
    /// Its table is at hand.
    Table(Arc<Table>),
    /// A table of this shape should be built of its key.
    Earned(PackedPoint, Shape),
}

/// All signers that are known, bounded in bytes.
pub struct Signers {
    entries: HashMap<Address, Signer>,
    bytes: usize,
    wide_bytes: usize,
    bytes_max: usize,
    batch: u64,
}

impl Signers {
    /// Knows nobody; will take no more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, wide_bytes: 0, bytes_max, batch: 0 }
    }

    /// A new batch begins: the clock of "met for the last time".
    pub fn begin_batch(&mut self) {
        self.batch += 1;
    }

    /// Tells what is known of a signer that `vouchers` vouchers of this batch name.
    pub fn meet(&mut self, address: &Address, vouchers: u64) -> Known {
        let Some(signer) = self.entries.get_mut(address) else { return Known::Nothing };
        signer.last_batch = self.batch;
        signer.vouchers += vouchers;
        let wide_is_welcome =
            self.wide_bytes + WIDE_SHAPE.points() * size_of::<PackedPoint>() <= self.bytes_max / WIDE_SHARE;
        match &signer.table {
            None if signer.vouchers < TABLE_AT_VOUCHERS => Known::Key,
            None => Known::Earned(signer.key, FIRST_SHAPE),
            Some(table) if table.shape() == FIRST_SHAPE => {
                if signer.vouchers >= WIDE_TABLE_AT_VOUCHERS && wide_is_welcome {
                    Known::Earned(signer.key, WIDE_SHAPE)
                } else {
                    Known::Table(Arc::clone(table))
                }
            }
            Some(table) => Known::Table(Arc::clone(table)),
        }
    }

    /// Remembers a signer's key, which one voucher has shown.
    pub fn learn(&mut self, address: Address, key: PackedPoint) {
        if self.entries.contains_key(&address) {
            return;
        }
        self.make_room(ENTRY_BYTES);
        self.bytes += ENTRY_BYTES;
        let signer = Signer { key, table: None, vouchers: 1, last_batch: self.batch };
        self.entries.insert(address, signer);
    }

    /// Keeps a signer's table. A signer that was forgotten meanwhile, or a table too large for all memory, is
    /// left alone.
    pub fn keep(&mut self, address: &Address, table: &Arc<Table>) {
        if table.bytes() + ENTRY_BYTES > self.bytes_max {
            return;
        }
        self.make_room(table.bytes());
        let Some(signer) = self.entries.get_mut(address) else { return };
        let before = signer.bytes();
        if let Some(old) = signer.table.replace(Arc::clone(table))
            && old.shape() == WIDE_SHAPE
        {
            self.wide_bytes -= old.bytes();
        }
        if table.shape() == WIDE_SHAPE {
            self.wide_bytes += table.bytes();
        }
        self.bytes = self.bytes - before + signer.bytes();
    }

    /// The memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the signers that were not met for the longest time, until `wanted` bytes and a good part more
    /// are free.
    fn make_room(&mut self, wanted: usize) {
        if self.bytes + wanted <= self.bytes_max {
            return;
        }
        let target = (self.bytes_max - self.bytes_max / EVICTED_SHARE).saturating_sub(wanted);
        let mut by_age: Vec<_> =
            self.entries.iter().map(|(address, signer)| (signer.last_batch, *address)).collect();
        by_age.sort_unstable();
        for (_, address) in by_age {
            if self.bytes <= target {
                break;
            }
            if let Some(signer) = self.entries.remove(&address) {
                self.bytes -= signer.bytes();
                if let Some(table) = signer.table
                    && table.shape() == WIDE_SHAPE
                {
                    self.wide_bytes -= table.bytes();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Lanes;
    use crate::field::portable::Portable;
    use crate::table::{Build, GENERATOR_POINT};

    fn address(i: u32) -> Address {
        let mut address = [0; 20];
        address[..4].copy_from_slice(&i.to_le_bytes());
        address
    }

    fn table(shape: Shape) -> Arc<Table> {
        Arc::new(Portable.run(Build { keys: &[GENERATOR_POINT], shape }).remove(0))
    }

    #[test]
    fn a_signer_earns_a_table_and_then_a_wide_one() {
        let mut signers = Signers::new(1 << 20);
        let who = address(1);
        assert!(matches!(signers.meet(&who, 1), Known::Nothing));
        signers.learn(who, GENERATOR_POINT);
        assert!(matches!(signers.meet(&who, 1), Known::Key));
        assert!(matches!(signers.meet(&who, 1), Known::Earned(_, FIRST_SHAPE)));
        signers.keep(&who, &table(FIRST_SHAPE));
        assert!(matches!(signers.meet(&who, 1), Known::Table(_)));
        assert!(matches!(signers.meet(&who, WIDE_TABLE_AT_VOUCHERS), Known::Earned(_, WIDE_SHAPE)));
        let wide = table(WIDE_SHAPE);
        signers.keep(&who, &wide);
        assert!(matches!(signers.meet(&who, 1), Known::Table(found) if Arc::ptr_eq(&found, &wide)));
        assert_eq!(signers.bytes(), ENTRY_BYTES + wide.bytes());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let small = table(FIRST_SHAPE);
        let bytes_max = 20 * (small.bytes() + ENTRY_BYTES);
        let mut signers = Signers::new(bytes_max);
        for i in 0..100 {
            signers.begin_batch();
            signers.learn(address(i), GENERATOR_POINT);
            signers.keep(&address(i), &small);
            // The first signer is met all the time.
            assert!(!matches!(signers.meet(&address(0), 1), Known::Nothing), "{i}");
            assert!(signers.bytes() <= bytes_max);
        }
        assert!(matches!(signers.meet(&address(1), 1), Known::Nothing));
        assert!(!matches!(signers.meet(&address(99), 1), Known::Nothing));
        let expected: usize = signers.entries.values().map(Signer::bytes).sum();
        assert_eq!(signers.bytes(), expected);
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let mut signers = Signers::new(0);
        signers.learn(address(1), GENERATOR_POINT);
        signers.keep(&address(1), &table(FIRST_SHAPE));
        signers.learn(address(2), GENERATOR_POINT);
        assert!(signers.bytes() <= ENTRY_BYTES);
    }

    #[test]
    fn wide_tables_take_their_share_and_no_more() {
        let wide = table(WIDE_SHAPE);
        let mut signers = Signers::new(4 * (wide.bytes() + ENTRY_BYTES));
        let mut widened = 0;
        for i in 0..8 {
            signers.learn(address(i), GENERATOR_POINT);
            signers.keep(&address(i), &table(FIRST_SHAPE));
            if let Known::Earned(_, WIDE_SHAPE) = signers.meet(&address(i), WIDE_TABLE_AT_VOUCHERS) {
                signers.keep(&address(i), &wide);
                widened += 1;
            }
        }
        assert_eq!(widened, 2);
        assert_eq!(signers.wide_bytes, 2 * wide.bytes());
    }
}

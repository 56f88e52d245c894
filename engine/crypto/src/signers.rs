//! What is known of signers: keys, and tables of those that earned one.
//!
//! | a signer has | costs | a voucher then costs |
//! |---|---|---|
//! | nothing | | a recovery by libsecp256k1 |
//! | a key | one recovery | the chain of doublings of [`crate::cold`] |
//! | a table | some 20 µs, 41 KB | a sum of table entries |
//! | a wide table | some 60 µs, 136 KB | a sum of fewer |
//!
//! Memory is bounded in bytes and divided once and for all: keys, tables and wide tables each have a share ([`Shares`]). A
//! share that is full keeps those who use it most: see [`seats`]. Forgetting changes the speed of an answer,
//! never the answer.
//!
//! The verifier is the only caller, and holds a lock while it asks: so a batch is one pass that reads, and one that writes
//! what was read, and the processor overlaps what misses the cache. Addresses are chosen by strangers; the
//! hash of the map is seeded at run time.

use crate::field::PackedPoint;
use crate::table::{Shape, Table};
use crate::verify::Job;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

mod met;
mod record;
mod seats;
#[cfg(test)]
mod tests;

pub(crate) use met::{Known, Met};
pub(crate) use record::RECORD_BYTES;
use record::Record;
use seats::Seats;

/// An Ethereum address.
pub type Address = [u8; 20];

/// Vouchers after which a signer has earned a wide table: then the 60 µs it costs are a few percent of what
/// was spent on its vouchers, and are earned back within some 500 more.
const WIDE_TABLE_AT_VOUCHERS: u32 = 256;

/// A wide table is for a signer with at least this part of all vouchers (1/512). A wide table spares additions and costs
/// memory; with more signers than that it misses the caches as often as a first one, in three times as many pages,
/// and is no faster.
const WIDE_TABLE_PART: u64 = 512;

/// The first table of a signer.
pub(crate) const FIRST_SHAPE: Shape = Shape::SIGNER_41_KB;

/// The table of a signer that is met often.
pub(crate) const WIDE_SHAPE: Shape = Shape::SIGNER_136_KB;

/// Signers that are looked at before one is forgotten: the one that was not met for the longest time goes.
const LOOKED_AT_SIGNERS: usize = 8;

/// How long counts last, in vouchers a known signer: then they are halved, so that old fame fades.
const HALVED_AFTER_VOUCHERS: u64 = 256;

/// A table may be earned for so many vouchers of a batch: signers who come in turns earn theirs at the same time, and a batch
/// must not wait for all of them. So tables take as long as the vouchers without them, no longer.
const VOUCHERS_A_TABLE: usize = 16;

/// The same for a wide table, which takes some four times as long, its memory included.
const VOUCHERS_A_WIDE_TABLE: usize = 64;

/// No place, no seat: a number that no signer has.
const NONE: u32 = u32::MAX;

/// How many of each fit into the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Signers whose key is known: an eighth of the memory.
    pub keys: usize,
    /// Tables: a half.
    pub tables: usize,
    /// Wide tables: three eighths.
    pub wide_tables: usize,
}

impl Shares {
    /// Divides so many bytes.
    pub(crate) fn of(bytes_max: usize) -> Self {
        let share = |bytes: usize, each: usize| (bytes / each).min(NONE as usize);
        Self {
            keys: share(bytes_max / 8, RECORD_BYTES),
            tables: share(bytes_max / 2, FIRST_SHAPE.bytes()),
            wide_tables: share(bytes_max / 8 * 3, WIDE_SHAPE.bytes()),
        }
    }
}

/// All signers that are known.
pub(crate) struct Signers {
    shares: Shares,
    /// Vouchers after which a table pays.
    table_at_vouchers: u32,
    hasher: DefaultHashBuilder,
    /// Places in `records`.
    index: HashTable<u32>,
    records: Vec<Record>,
    /// Their keys, apart: most vouchers need none.
    keys: Vec<PackedPoint>,
    /// Where the search for a signer to forget goes on.
    hand: usize,
    tables: Seats,
    wide_tables: Seats,
    /// The clock of "met for the last time".
    batch: u64,
    /// Tables that may still be earned in this batch, as vouchers.
    earnable: usize,
    /// All vouchers.
    vouchers: u64,
    /// All vouchers, of which those of every epoch before count half of those of the next: what a signer's count is a part of.
    counted: u64,
    /// The clock of counts, and when it ticks.
    epoch: u32,
    epoch_ends: u64,
}

impl Signers {
    /// Knows nobody; will take no more than `bytes_max` bytes. A table pays after `table_at_vouchers` vouchers.
    pub(crate) fn new(bytes_max: usize, table_at_vouchers: u32) -> Self {
        let shares = Shares::of(bytes_max);
        Self {
            shares,
            table_at_vouchers,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            records: Vec::new(),
            keys: Vec::new(),
            hand: 0,
            tables: Seats::new(shares.tables),
            wide_tables: Seats::new(shares.wide_tables),
            batch: 0,
            earnable: VOUCHERS_A_WIDE_TABLE,
            vouchers: 0,
            counted: 0,
            epoch: 0,
            epoch_ends: HALVED_AFTER_VOUCHERS * HALVED_AFTER_VOUCHERS,
        }
    }

    /// The memory in use, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.records.len() * RECORD_BYTES
            + self.tables.count() * FIRST_SHAPE.bytes()
            + self.wide_tables.count() * WIDE_SHAPE.bytes()
    }

    /// Tells what is known of a batch's signers, and counts their vouchers.
    pub(crate) fn meet(&mut self, jobs: &[Job]) -> Met {
        self.begin_batch(jobs.len());
        let mut met = Met::new(jobs.iter().map(|job| self.find(&job.signer).unwrap_or(NONE)));
        let mut strangers: HashMap<&Address, u32> = HashMap::new();
        for (i, job) in jobs.iter().enumerate() {
            let place = if met.of_job[i] == NONE {
                *strangers.entry(&job.signer).or_insert_with(|| met.add(i))
            } else {
                let record = &mut self.records[met.of_job[i] as usize];
                if record.last_batch != self.batch {
                    record.last_batch = self.batch;
                    record.place = met.add(i);
                    met.records.push((record.place, met.of_job[i]));
                }
                record.place
            };
            met.of_job[i] = place;
            met.signers[place as usize].vouchers += 1;
        }
        self.touch(&met);
        for (place, record) in core::mem::take(&mut met.records) {
            let vouchers = met.signers[place as usize].vouchers;
            met.signers[place as usize].known = self.count(record, vouchers, &mut met.keys);
        }
        met
    }

    /// Remembers a signer's key, which a voucher of a batch has shown, and tells what is known for its `vouchers` others.
    pub(crate) fn learn(
        &mut self,
        address: &Address,
        key: PackedPoint,
        vouchers: u32,
        keys: &mut Vec<PackedPoint>,
    ) -> Known {
        if let Some(record) = self.find(address).or_else(|| self.remember(*address, key)) {
            self.count(record, vouchers + 1, keys)
        } else {
            keys.push(key);
            Known::Key(keys.len() - 1)
        }
    }

    /// Keeps the table that a signer was found to have earned. Without a seat, or when the signer was forgotten
    /// meanwhile, it is not kept.
    pub(crate) fn keep(&mut self, address: &Address, table: &Arc<Table>) {
        let wide = table.shape() == WIDE_SHAPE;
        self.seats(wide).promised_was_kept();
        let Some(record) = self.find(address) else { return };
        let has_it =
            self.records[record as usize].table.as_ref().is_some_and(|has| has.shape() == table.shape());
        if has_it || !self.seats(wide).has_free() {
            return;
        }
        self.take_table(record);
        let seat = self.seats(wide).sit(record);
        let record = &mut self.records[record as usize];
        record.seat = seat;
        record.table = Some(Arc::clone(table));
    }

    fn begin_batch(&mut self, vouchers: usize) {
        self.batch += 1;
        self.earnable = vouchers.max(VOUCHERS_A_WIDE_TABLE);
        self.vouchers += vouchers as u64;
        self.counted += vouchers as u64;
        if self.vouchers >= self.epoch_ends {
            self.epoch += 1;
            self.counted /= 2;
            let signers = (self.records.len() as u64).max(HALVED_AFTER_VOUCHERS);
            self.epoch_ends = self.vouchers + HALVED_AFTER_VOUCHERS * signers;
        }
    }

    fn find(&self, address: &Address) -> Option<u32> {
        let hash = self.hasher.hash_one(address);
        self.index.find(hash, |place| self.records[*place as usize].address == *address).copied()
    }

    /// Reads what is about to be written: reads overlap, counting a reference up waits for its line alone.
    fn touch(&self, met: &Met) {
        let counts = met
            .records
            .iter()
            .map(|(_, record)| self.records[*record as usize].table.as_ref().map_or(0, Arc::strong_count));
        core::hint::black_box(counts.fold(0, usize::wrapping_add));
    }

    /// Counts vouchers of a known signer, and tells what it has or has earned.
    fn count(&mut self, place: u32, vouchers: u32, keys: &mut Vec<PackedPoint>) -> Known {
        let epoch = self.epoch;
        let record = &mut self.records[place as usize];
        let count = record.count(epoch, vouchers);
        let (wide, earned) = match &record.table {
            Some(table) if table.shape() == WIDE_SHAPE => return Known::Table(Arc::clone(table)),
            Some(_) => {
                let stands_out = u64::from(count) * WIDE_TABLE_PART >= self.counted;
                (true, count >= WIDE_TABLE_AT_VOUCHERS && stands_out)
            }
            None => (false, count >= self.table_at_vouchers),
        };
        let cost = if wide { VOUCHERS_A_WIDE_TABLE } else { VOUCHERS_A_TABLE };
        if earned && self.earnable >= cost && self.promise_seat(wide, count) {
            self.earnable -= cost;
            keys.push(self.keys[place as usize]);
            return Known::Earned(keys.len() - 1, if wide { WIDE_SHAPE } else { FIRST_SHAPE });
        }
        match &self.records[place as usize].table {
            Some(table) => Known::Table(Arc::clone(table)),
            None => {
                keys.push(self.keys[place as usize]);
                Known::Key(keys.len() - 1)
            }
        }
    }

    /// Promises a seat to a signer with this count, if one is free or somebody with one is met much less.
    fn promise_seat(&mut self, wide: bool, count: u32) -> bool {
        if self.seats(wide).promise() {
            return true;
        }
        let (seats, records, epoch) =
            (if wide { &mut self.wide_tables } else { &mut self.tables }, &self.records, self.epoch);
        let Some(weakest) = seats.weaker_than(count, |record| records[record as usize].counted(epoch)) else {
            return false;
        };
        self.take_table(weakest);
        self.seats(wide).promise()
    }

    /// Takes a signer's table away, if it has one.
    fn take_table(&mut self, place: u32) {
        let record = &mut self.records[place as usize];
        let Some(table) = record.table.take() else { return };
        let seat = core::mem::replace(&mut record.seat, NONE);
        if let Some(moved) = self.seats(table.shape() == WIDE_SHAPE).leave(seat) {
            self.records[moved as usize].seat = seat;
        }
    }

    fn seats(&mut self, wide: bool) -> &mut Seats {
        if wide { &mut self.wide_tables } else { &mut self.tables }
    }

    /// A new record, in the place of an old one if all are taken. `None` if there is memory for none at all.
    fn remember(&mut self, address: Address, key: PackedPoint) -> Option<u32> {
        if self.shares.keys == 0 {
            return None;
        }
        let record = Record::new(address, self.epoch, self.batch);
        let place = if self.records.len() < self.shares.keys {
            self.grow();
            self.records.push(record);
            self.keys.push(key);
            self.records.len() - 1
        } else {
            let place = self.forget_one();
            self.records[place] = record;
            self.keys[place] = key;
            place
        };
        let (hasher, records) = (&self.hasher, &self.records);
        self.index.insert_unique(hasher.hash_one(address), place as u32, |place| {
            hasher.hash_one(records[*place as usize].address)
        });
        Some(place as u32)
    }

    /// Makes room for a record. Not by doubling, which would take twice the memory that is counted.
    fn grow(&mut self) {
        if self.records.len() == self.records.capacity() {
            let more = (self.records.len() / 8).max(64).min(self.shares.keys);
            self.records.reserve_exact(more);
            self.keys.reserve_exact(more);
        }
    }

    /// Forgets the signer that was not met for the longest time, of the next few; one without a table if there is.
    fn forget_one(&mut self) -> usize {
        let count = self.records.len();
        let looked_at = (0..LOOKED_AT_SIGNERS.min(count)).map(|i| (self.hand + i) % count);
        let oldest = looked_at
            .min_by_key(|place| {
                let record = &self.records[*place];
                (record.table.is_some(), record.last_batch)
            })
            .expect("there is one, or there was no need to forget");
        self.hand = (self.hand + LOOKED_AT_SIGNERS) % count;
        self.take_table(oldest as u32);
        let hash = self.hasher.hash_one(self.records[oldest].address);
        self.index
            .find_entry(hash, |place| *place as usize == oldest)
            .expect("every record is in the index")
            .remove();
        oldest
    }
}

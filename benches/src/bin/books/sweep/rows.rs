//! What is tried: one option at a time unlike the shipped ones, and why those are shipped.
//!
//! Only what is legal for one writer whose every frame is synced. What is not, docs/benchmarks/rocksdb-options.md names.

use farebox_engine::ledger::rocksdb::tuning::{Compaction, Tuning};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A row of the sweep.
pub struct Row {
    set: fn(&mut Tuning),
    /// Why the shipped value is shipped.
    pub why: &'static str,
}

impl Row {
    /// The options of this row.
    pub fn tuning(&self) -> Tuning {
        let mut tuning = Tuning::default();
        (self.set)(&mut tuning);
        tuning
    }
}

const fn row(set: fn(&mut Tuning), why: &'static str) -> Row {
    Row { set, why }
}

/// All of them.
pub const ROWS: &[Row] = &[
    // The log, and how a frame gets into it.
    row(
        |t| t.database.enable_pipelined_write = false,
        "On: the log takes the next frame while the last one enters the memtable",
    ),
    row(
        |t| t.database.allow_concurrent_memtable_write = true,
        "Off: one thread writes, so there is nobody to make room for",
    ),
    row(
        |t| t.database.enable_write_thread_adaptive_yield = false,
        "RocksDB's own: with one writer nobody spins",
    ),
    row(
        |t| t.database.manual_wal_flush = true,
        "Off: every frame is synced, so nothing is saved, and a forgotten flush would be a loss",
    ),
    row(|t| t.database.wal_bytes_per_sync = 512 * KIB, "Off: the sync behind every frame does it"),
    row(
        |t| t.database.max_total_wal_size = 64 * MIB,
        "RocksDB's own: a checkpoint frees the log long before",
    ),
    // Flushes and merges, and what they may do to the disk.
    row(
        |t| t.database.bytes_per_sync = 0,
        "128 KiB: a frame's sync waits behind one piece of a table file at most",
    ),
    row(|t| t.database.bytes_per_sync = MIB, "128 KiB: see above"),
    row(|t| t.database.writable_file_max_buffer_size = MIB, "128 KiB: as much at once as `bytes_per_sync`"),
    row(|t| t.database.max_background_jobs = 1, "2: a flush must not wait behind a merge"),
    row(
        |t| t.database.max_background_jobs = 4,
        "2: there are two column families that grow, and cores are for vouchers",
    ),
    row(
        |t| t.database.lower_background_priority = false,
        "Lowered: merging can wait, an answer cannot; it shows when more threads than cores want to run",
    ),
    row(
        |t| t.database.background_bytes_per_s = 64 * MIB as i64,
        "No bound: what is right depends on the disk, and too low a one stops writing",
    ),
    row(
        |t| t.database.use_direct_io_for_flush_and_compaction = false,
        "Direct: a frame's sync finds nothing of other files in the page cache to wait for",
    ),
    row(
        |t| t.database.use_direct_reads = true,
        "Through the page cache: a channel that was dropped from memory is often asked for again",
    ),
    row(|t| t.database.max_open_files = -1, "512: bounded, whatever the number of files"),
    // The journal.
    row(
        |t| t.journal.write_buffer_size = 16 * MIB as usize,
        "64 MiB: fewer files of frames, and of the log a start reads as little as the last checkpoint leaves",
    ),
    row(
        |t| t.journal.write_buffer_size = 256 * MIB as usize,
        "64 MiB: four times the memory would be for nobody",
    ),
    row(|t| t.journal.max_write_buffer_number = 4, "2: a flush is done before the next memtable is full"),
    row(
        |t| t.journal.vector_memtable = true,
        "A skip list: frames are read by others while they are written, and a vector is sorted for each of them",
    ),
    row(|t| t.journal.lz4 = true, "None: signatures do not become smaller; ids and amounts do, see below"),
    row(
        |t| t.journal.compaction = Compaction::Universal,
        "Levels: frames come in order, so files are moved down and not merged",
    ),
    row(|t| t.journal.compaction = Compaction::Off, "On: forgotten frames must leave the disk"),
    row(|t| t.journal.level0_file_num_compaction_trigger = 8, "4, RocksDB's own"),
    row(
        |t| t.journal.min_blob_size = 4 * KIB,
        "In the table: frames are not merged anyway, so there is nothing to spare",
    ),
    // Books and terms.
    row(
        |t| t.images_file_min = usize::MAX,
        "1,024: many images become a file that is built once, instead of going through log and memtable",
    ),
    row(
        |t| t.images.lz4 = false,
        "LZ4: terms and books share their zeros; the files are smaller, reading costs next to nothing",
    ),
    row(
        |t| t.images.compaction = Compaction::Universal,
        "Levels: a lookup of an unknown id asks fewer files",
    ),
    row(
        |t| t.images.level0_file_num_compaction_trigger = 4,
        "8: fewer merges of images that the next checkpoint replaces",
    ),
    row(
        |t| t.images.level0_file_num_compaction_trigger = 16,
        "8: more files to ask for every channel that is not in memory",
    ),
    row(|t| t.images.block_size = 16_384, "4 KiB: a lookup reads one block"),
    row(|t| t.images.block_size = 2_048, "4 KiB: the disk reads no less"),
    row(|t| t.images.filter_bits = 0.0, "Ten bits: an id that nobody knows costs no read of the disk"),
    row(|t| t.images.filter_bits = 16.0, "Ten bits: one unknown id in a hundred reads in vain"),
    row(|t| t.images.ribbon_filter = true, "Bloom: faster to build, and the third that is saved is little"),
    row(
        |t| t.images.optimize_filters_for_hits = true,
        "Off: who makes up ids must not get reads of the disk for them",
    ),
    row(
        |t| t.images.block_cache_bytes = 8 * MIB as usize,
        "32 MiB, RocksDB's own: the engine keeps channels in memory itself",
    ),
    row(
        |t| t.images.block_cache_bytes = 256 * MIB as usize,
        "32 MiB: memory is better spent on channels (`resident_bytes_max`)",
    ),
    row(
        |t| t.images.cache_index_and_filter_blocks = true,
        "Kept: a filter that was dropped is a read of the disk for every unknown id",
    ),
];

#[cfg(test)]
mod tests;

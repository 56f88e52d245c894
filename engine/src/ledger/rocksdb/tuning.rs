//! The options of RocksDB, each with the reason for its value.
//!
//! `Default` is what every ledger is opened with. Other values are for the sweep of the books benchmark, which changes one at a
//! time (`make bench-books-sweep`, docs/benchmarks/rocksdb-options.md), and fields have RocksDB's own names, so that they are
//! found there. No value here decides what survives a crash: syncs, how the log is read back, and that no log is used
//! twice, stand in `open.rs` and cannot be tuned.

mod apply;

pub use self::apply::Statistics;

/// How a ledger's RocksDB is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Of the database, which has one log for all column families.
    pub database: Database,
    /// Of the frames: written in order, read at a start.
    pub journal: Family,
    /// Of the books and the terms: files of images, read one by one.
    pub images: Family,
    /// Fewer images than this go through the log: a file takes some syncs.
    pub images_file_min: usize,
    /// Whether RocksDB counts what it writes. Off: nobody asks but benchmarks.
    pub statistics: bool,
}

/// Options of the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// One thread writes frames, and nobody beside it. A first measurement saved 4 to 8 % with these two; in the recorded sweep
    /// that is within the noise.
    pub enable_pipelined_write: bool,
    /// See above.
    pub allow_concurrent_memtable_write: bool,
    /// Whether a writer spins before it sleeps. There is hardly ever a second one to wait for.
    pub enable_write_thread_adaptive_yield: bool,
    /// Whether the log is written when it is synced only. Every frame is synced, so there is nothing to save.
    pub manual_wal_flush: bool,
    /// Bytes of the log that are given to the disk ahead of a sync. Every frame is synced; zero is off.
    pub wal_bytes_per_sync: u64,
    /// Bytes of the log above which RocksDB flushes what keeps it from being deleted: what a start reads at most. Zero is
    /// RocksDB's own bound, four times all memtables; a checkpoint comes long before.
    pub max_total_wal_size: u64,
    /// Bytes of a table file that are given to the disk at once: a frame's sync waits behind so many, not behind the whole file.
    pub bytes_per_sync: u64,
    /// Bytes of a file that are held back before they are written; see above.
    pub writable_file_max_buffer_size: u64,
    /// Threads that flush and merge, together: one for each.
    pub max_background_jobs: i32,
    /// Merging table files can wait, a frame cannot. Without this an answer waits for a processor.
    pub lower_background_priority: bool,
    /// Bytes a second that flushes and merges may write; zero is no bound.
    pub background_bytes_per_s: i64,
    /// A frame's sync waits for what the page cache holds of a new table file: with this, for nothing. Only where the
    /// file system takes it.
    pub use_direct_io_for_flush_and_compaction: bool,
    /// Whether reads go around the page cache too. A channel that was dropped from memory is often asked for again.
    pub use_direct_reads: bool,
    /// Table files that RocksDB may hold open.
    pub max_open_files: i32,
}

/// Options of column families.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Bytes of a memtable before it becomes a table file.
    pub write_buffer_size: usize,
    /// Memtables, the one that is written to and those that wait for the disk.
    pub max_write_buffer_number: i32,
    /// A list that is sorted when it is read, instead of a skip list.
    pub vector_memtable: bool,
    /// Whether blocks are compressed, by LZ4: the only library that this build has.
    pub lz4: bool,
    /// How files are merged.
    pub compaction: Compaction,
    /// Files of the first level that are merged at once: each costs a lookup of an unknown key one question to its filter.
    pub level0_file_num_compaction_trigger: i32,
    /// Files that are not merged yet, above which RocksDB slows writing down, and stops it.
    pub level0_slowdown_writes_trigger: i32,
    /// See above.
    pub level0_stop_writes_trigger: i32,
    /// Values of so many bytes are kept in files of their own, which no merge writes again. Zero is off.
    pub min_blob_size: u64,
    /// Bytes of a block: what one lookup reads.
    pub block_size: usize,
    /// Bits of the filter for each key, ten: one lookup in a hundred of an unknown id touches the disk. Zero is no filter.
    pub filter_bits: f64,
    /// A Ribbon filter instead of Bloom's: a third smaller, and slower.
    pub ribbon_filter: bool,
    /// No filter for the last level: of use when nearly every key that is asked for exists.
    pub optimize_filters_for_hits: bool,
    /// Bytes of blocks that RocksDB keeps uncompressed. The engine holds channels in memory itself, so few.
    pub block_cache_bytes: usize,
    /// Whether indexes and filters share that memory, and may be dropped.
    pub cache_index_and_filter_blocks: bool,
}

/// How table files of a family are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Levels, each ten times the one before.
    Level,
    /// Runs of similar size: fewer writes, more places to look at.
    Universal,
    /// Not at all. What was deleted then stays on disk.
    Off,
}

impl Default for Tuning {
    fn default() -> Self {
        // Most of a frame are signatures: nothing to compress. Nobody asks for a frame that is not there: no filter.
        let journal = Family {
            write_buffer_size: 64 << 20,
            max_write_buffer_number: 2,
            vector_memtable: false,
            lz4: false,
            compaction: Compaction::Level,
            level0_file_num_compaction_trigger: 4,
            level0_slowdown_writes_trigger: 20,
            level0_stop_writes_trigger: 36,
            min_blob_size: 0,
            block_size: 4_096,
            filter_bits: 0.0,
            ribbon_filter: false,
            optimize_filters_for_hits: false,
            block_cache_bytes: 32 << 20,
            cache_index_and_filter_blocks: false,
        };
        let images = Family {
            lz4: true,
            level0_file_num_compaction_trigger: 8,
            level0_slowdown_writes_trigger: 32,
            level0_stop_writes_trigger: 64,
            filter_bits: 10.0,
            ..journal.clone()
        };
        // Servers that are killed in tests serve few channels, and need both ways.
        let images_file_min = if cfg!(feature = "failpoints") { 3 } else { 1_024 };
        Self { database: Database::default(), journal, images, images_file_min, statistics: false }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            enable_pipelined_write: true,
            allow_concurrent_memtable_write: false,
            enable_write_thread_adaptive_yield: true,
            manual_wal_flush: false,
            wal_bytes_per_sync: 0,
            max_total_wal_size: 0,
            bytes_per_sync: 1 << 17,
            writable_file_max_buffer_size: 1 << 17,
            max_background_jobs: 2,
            lower_background_priority: true,
            background_bytes_per_s: 0,
            use_direct_io_for_flush_and_compaction: true,
            use_direct_reads: false,
            max_open_files: 512,
        }
    }
}

#[cfg(test)]
mod tests;

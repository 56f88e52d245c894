//! A tuning as RocksDB's own options, and what RocksDB counts under it.

use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, MemtableFactory, Options};

use super::super::columns::{BALANCES, CHANNELS, JOURNAL};
use super::{Compaction, Database, Family, Tuning};

/// How long a rate limit of background writes saves up what was not used, in microseconds.
const RATE_PERIOD_US: i64 = 100_000;

/// How much flushes go before merges under it, RocksDB's own value.
const RATE_FAIRNESS: i32 = 10;

impl Tuning {
    /// Of one column family: the same for RocksDB's own files and for those that are built for it.
    pub(in crate::ledger::rocksdb) fn family(&self, name: &str) -> Options {
        match name {
            JOURNAL => self.journal.options(),
            BALANCES | CHANNELS => self.images.options(),
            // A few small values, flushed with every checkpoint.
            _ => {
                let mut options = Options::default();
                options.set_compression_type(DBCompressionType::Lz4);
                options
            }
        }
    }
}

impl Database {
    /// Applies what is the same for a writer and for a view.
    pub(in crate::ledger::rocksdb) fn apply(&self, options: &mut Options) {
        options.set_enable_pipelined_write(self.enable_pipelined_write);
        options.set_allow_concurrent_memtable_write(self.allow_concurrent_memtable_write);
        options.set_enable_write_thread_adaptive_yield(self.enable_write_thread_adaptive_yield);
        options.set_manual_wal_flush(self.manual_wal_flush);
        options.set_wal_bytes_per_sync(self.wal_bytes_per_sync);
        options.set_max_total_wal_size(self.max_total_wal_size);
        options.set_bytes_per_sync(self.bytes_per_sync);
        options.set_writable_file_max_buffer_size(self.writable_file_max_buffer_size);
        options.set_max_background_jobs(self.max_background_jobs);
        if self.background_bytes_per_s > 0 {
            options.set_ratelimiter(self.background_bytes_per_s, RATE_PERIOD_US, RATE_FAIRNESS);
        }
        options.set_use_direct_reads(self.use_direct_reads);
        options.set_max_open_files(self.max_open_files);
    }
}

impl Family {
    fn options(&self) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(self.write_buffer_size);
        options.set_max_write_buffer_number(self.max_write_buffer_number);
        if self.vector_memtable {
            options.set_memtable_factory(MemtableFactory::Vector);
        }
        options.set_compression_type(if self.lz4 { DBCompressionType::Lz4 } else { DBCompressionType::None });
        match self.compaction {
            Compaction::Level => options.set_compaction_style(DBCompactionStyle::Level),
            Compaction::Universal => options.set_compaction_style(DBCompactionStyle::Universal),
            Compaction::Off => options.set_disable_auto_compactions(true),
        }
        options.set_level_zero_file_num_compaction_trigger(self.level0_file_num_compaction_trigger);
        options.set_level_zero_slowdown_writes_trigger(self.level0_slowdown_writes_trigger);
        options.set_level_zero_stop_writes_trigger(self.level0_stop_writes_trigger);
        if self.min_blob_size > 0 {
            options.set_enable_blob_files(true);
            options.set_enable_blob_gc(true);
            options.set_min_blob_size(self.min_blob_size);
        }
        options.set_optimize_filters_for_hits(self.optimize_filters_for_hits);
        let mut table = BlockBasedOptions::default();
        table.set_block_size(self.block_size);
        match (self.filter_bits > 0.0, self.ribbon_filter) {
            (true, false) => table.set_bloom_filter(self.filter_bits, false),
            (true, true) => table.set_ribbon_filter(self.filter_bits),
            (false, _) => {}
        }
        // The kind that RocksDB makes by itself; zero: it finds out how large blocks are.
        table.set_block_cache(&Cache::new_hyper_clock_cache(self.block_cache_bytes, 0));
        table.set_cache_index_and_filter_blocks(self.cache_index_and_filter_blocks);
        options.set_block_based_table_factory(&table);
        options
    }
}

/// What RocksDB counted since the store was opened.
#[derive(Clone)]
pub struct Statistics(Options);

impl std::fmt::Debug for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statistics").finish_non_exhaustive()
    }
}

impl Statistics {
    /// Lets RocksDB count, without its clocks.
    pub(in crate::ledger::rocksdb) fn begin(options: &mut Options) -> Self {
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        Self(options.clone())
    }

    /// Bytes that went into the log, and into table and blob files.
    pub fn written_bytes(&self) -> (u64, u64) {
        let count = |ticker| self.0.get_ticker_count(ticker);
        let files = [Ticker::FlushWriteBytes, Ticker::CompactWriteBytes, Ticker::BlobDbBlobFileBytesWritten];
        (count(Ticker::WalFileBytes), files.map(count).iter().sum())
    }
}

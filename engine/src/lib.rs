//! Verifies vouchers in batches, keeps the books, and answers only what is on disk.
#![forbid(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod entropy;
pub mod ledger;
pub mod pipeline;

#[cfg(feature = "http")]
pub mod http;

pub use clock::{Clock, SystemClock};
pub use ledger::{Ledger, LedgerError, LedgerRead, MemoryLedger};
#[cfg(feature = "rocksdb")]
pub use ledger::{RocksLedger, RocksView};
pub use farebox_core as core;
pub use pipeline::{
    Channel, Config, ConfigError, Engine, EngineError, Health, Refusal, Reply, Step, Verdict, Waited,
};

//! How the machine fails, as opposed to how a request is refused.

use std::sync::Arc;

use super::config::ConfigError;
use crate::ledger::LedgerError;
use crate::verifier::BackendVariableError;

/// The machine failed. The request may or may not have been done: a retry finds out, and is charged once.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The queue is full. Nothing was done.
    #[error("too many requests are waiting; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// A batch takes no more vouchers. Nothing was done: submit those that are in it, then go on.
    #[error("the batch is full, at most {maximum} vouchers go into one")]
    BatchFull {
        /// The most that one batch takes for a shard.
        maximum: usize,
    },
    /// A write, a sync or a thread failed before; nothing is acknowledged until a restart.
    #[error("the ledger stopped after a failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// The engine was shut down.
    #[error("the engine is shut down")]
    Stopped,
    /// The ledger could not be read, or recovered.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The configuration makes no sense. Nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The environment asks for a backend that this machine does not have. Nothing was started.
    #[error(transparent)]
    Backend(#[from] BackendVariableError),
    /// The operating system gave no thread. Nothing was started.
    #[error("cannot start thread {name}: {cause}")]
    Thread {
        /// Which one.
        name: String,
        /// What the operating system said.
        cause: Arc<str>,
    },
}

/// Whether the engine takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Running,
    /// A shutdown was asked for: what is queued is finished, nothing new is taken.
    Stopping,
    /// Everything is on disk and the threads are gone.
    Stopped,
    /// It failed; only a restart from disk helps.
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
}

//! From a request to a durable answer: intake, shards, committer.
//!
//! | part | what it does |
//! |---|---|
//! | [`Engine`] | the handle: takes requests, full queues say so at once, waits for answers |
//! | [`VoucherBatch`] | many vouchers with one completion; a single voucher is a batch of one |
//! | `shard` | one thread that owns its channels: verifies a batch, applies it in order, encodes the records |
//! | `committer` | one thread: merges what all shards have ready into one frame, one synced write, then answers |
//! | `checkpointer` | one thread: writes images of changed channels, so that a restart replays little |
//!
//! A batch grows while the one before it is synced; a lone voucher waits for nobody, and there is no
//! timer. Every answer, refusals and reads too, goes through the committer: no answer shows a state that
//! a crash could take back.
//!
//! When a write or a sync fails, or a thread panics, the engine is **poisoned**: it acknowledges nothing
//! any more, keeps the cause, and only a restart from what is on disk brings it back.

mod api;
mod batch;
mod blocking;
mod checkpointer;
mod committer;
mod config;
mod engine;
mod error;
mod keep;
mod live_limits;
mod message;
mod notes;
mod pending;
mod precheck;
mod report;
mod residents;
mod retire;
mod risk;
mod shard;
mod shared;
mod slot;
mod start;
mod tail;
mod threads;
mod verify;
mod wait;

pub use api::{Channel, Refusal, Reply, Step, Verdict, Waited};
pub use batch::{BATCH_SUBMIT_MAX, Verdicts, VoucherBatch};
pub use blocking::block_on;
pub use config::{BATCH_VOUCHERS_MAX, Config, ConfigError, FRAME_BYTES_MAX, SHARDS_MAX};
pub use engine::Engine;
pub use error::{EngineError, Health};
pub use live_limits::LimitsFixed;
pub use pending::Submission;
pub use retire::{RETIRE_LOOK_MAX, RetireStep};
#[cfg(feature = "http")]
pub(crate) use risk::report_limited;

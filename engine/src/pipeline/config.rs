//! The engine's bounds, each with its unit.

use farebox_core::channel::{Limits, Policy};

use crate::verifier::SIGNER_TABLES_BYTES_MAX;

/// The most shards: more threads than that never helped, and each has its own queue.
pub const SHARDS_MAX: usize = 64;

/// The most requests in one batch. Two records of a request with the largest signature have 2.2 KB, so
/// these and a full frame stay below `journal::FRAME_PAYLOAD_BYTES_MAX` together.
pub const BATCH_VOUCHERS_MAX: u64 = 8_192;

/// The most bytes after which a frame is closed.
pub const FRAME_BYTES_MAX: u64 = 16 << 20;

/// How an engine is set up. `Config::default()` suits a server; tests shrink it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The operator's rules.
    pub policy: Policy,
    /// What the operator risks at most; nothing is limited by default.
    pub limits: Limits,
    /// Threads that verify and apply; a channel always belongs to the same one.
    pub shards: usize,
    /// The most requests that wait for one shard. New work is refused above it, see
    /// [`Config::finish_reserve`].
    pub intake_max: usize,
    /// Places in a shard's queue beyond `intake_max`, for steps that end what was begun: captures,
    /// releases, closes and what the chain says.
    pub finish_reserve: usize,
    /// The most requests that a shard verifies and applies at once.
    pub batch_vouchers_max: usize,
    /// Batches that one shard may have waiting for the committer. Two keep both busy; more only adds
    /// waiting time.
    pub commit_batches_max: usize,
    /// The most bytes of records in one frame; what is beyond goes into the next.
    pub frame_bytes_max: usize,
    /// A checkpoint is written every so many frames: what a restart has to replay.
    pub checkpoint_frames: u64,
    /// Or when the frames since the last one have so many bytes.
    pub checkpoint_bytes: u64,
    /// Channels behind the last checkpoint that a start reads before it takes requests. When there are more, it reads none of
    /// them: each is read when it is asked for, or for the next checkpoint.
    pub start_channels_max: usize,
    /// How many frames are kept behind a checkpoint. `None` asks for none; without a time either, all are kept: the
    /// journal is the accounting.
    pub journal_keep_frames: Option<u64>,
    /// How long frames are kept behind a checkpoint, in seconds. What either of the two wants stays.
    pub journal_keep_s: Option<u64>,
    /// Channels that all shards together hold in memory. It is exceeded when more than that are changed
    /// and not checkpointed yet, or have running requests.
    pub resident_channels_max: usize,
    /// Memory for these channels, in bytes, with the same exceptions. About 350 bytes a channel, and 2 KB for each of the
    /// 16,384 that a shard keeps at hand.
    pub resident_bytes_max: usize,
    /// Memory for tables of signers' keys, in bytes, shared by all shards. It changes how fast a voucher is
    /// verified: 41 KB a signer, 136 KB for one that comes often.
    pub signer_tables_bytes_max: usize,
    /// Changes that a slow receiver of [`super::Engine::subscribe`] may lag behind before it misses some.
    pub changes_max: usize,
    /// What a refused caller is told to wait.
    pub busy_retry_after_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            policy: Policy::default(),
            limits: Limits::default(),
            shards: cores.clamp(1, SHARDS_MAX),
            intake_max: 8_192,
            finish_reserve: 2_048,
            batch_vouchers_max: 1_024,
            commit_batches_max: 2,
            frame_bytes_max: 4 << 20,
            checkpoint_frames: 4_096,
            checkpoint_bytes: 256 << 20,
            start_channels_max: 16_384,
            journal_keep_frames: None,
            journal_keep_s: None,
            resident_channels_max: 4_000_000,
            resident_bytes_max: 1 << 30,
            signer_tables_bytes_max: SIGNER_TABLES_BYTES_MAX,
            changes_max: 4_096,
            busy_retry_after_ms: 100,
        }
    }
}

impl Config {
    /// For an engine behind a door: half of the cores for the books, the others read requests. Fewer shards make larger
    /// batches, and one verifies more than many cores can read.
    pub fn behind_door() -> Self {
        let config = Self::default();
        Self { shards: (config.shards / 2).max(1), ..config }
    }
}

/// A setting makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine setting {name} is {found}, expected {minimum} to {maximum}")]
pub struct ConfigError {
    /// Which one.
    pub name: &'static str,
    /// What it is.
    pub found: u64,
    /// The least that works.
    pub minimum: u64,
    /// The most that works.
    pub maximum: u64,
}

impl Config {
    /// Checks every bound.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("shards", self.shards as u64, 1, SHARDS_MAX as u64),
            ("intake_max", self.intake_max as u64, 1, 1 << 24),
            ("finish_reserve", self.finish_reserve as u64, 1, 1 << 24),
            ("batch_vouchers_max", self.batch_vouchers_max as u64, 1, BATCH_VOUCHERS_MAX),
            ("commit_batches_max", self.commit_batches_max as u64, 1, 64),
            ("frame_bytes_max", self.frame_bytes_max as u64, 1, FRAME_BYTES_MAX),
            ("checkpoint_frames", self.checkpoint_frames, 1, u64::MAX),
            ("checkpoint_bytes", self.checkpoint_bytes, 1, u64::MAX),
            ("resident_channels_max", self.resident_channels_max as u64, 1, u64::MAX),
            ("resident_bytes_max", self.resident_bytes_max as u64, 1, u64::MAX),
            ("changes_max", self.changes_max as u64, 1, 1 << 24),
        ];
        for (name, found, minimum, maximum) in bounds {
            if found < minimum || found > maximum {
                return Err(ConfigError { name, found, minimum, maximum });
            }
        }
        Ok(())
    }
}

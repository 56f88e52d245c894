//! What all threads and handles see: health, cursor, waiters, changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox_core::journal::Cursor;
use farebox_core::units::ChannelId;
use farebox_core::voucher::Verifier;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::live_limits::LiveLimits;
use super::message::Spare;
use super::notes::Notes;
use super::wait::Waiters;
use super::{Config, EngineError, Health};

/// Blocks that the cursor may run ahead of the journal while no voucher makes a frame to carry it: what a
/// watcher has to read again after a crash in a quiet night.
const CURSOR_LAG_BLOCKS_MAX: u64 = 256;

/// How many endings a receiver may be behind before it is told that it missed some.
const ENDINGS_MAX: usize = 1_024;

/// The shard that owns a channel. A channel id is a hash, so its bytes spread by themselves.
pub(super) fn shard_of(channel: ChannelId, shards: usize) -> usize {
    let bytes = channel.0.0;
    let spread =
        u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]);
    // The remainder is below `shards`, which is a usize.
    (spread % shards as u64) as usize
}

/// Shared by the handles and the threads. It holds no queue, so it keeps nothing alive.
#[derive(Debug)]
pub(super) struct Shared {
    health: watch::Sender<Health>,
    /// Ids of durably changed channels.
    pub(super) changes: broadcast::Sender<ChannelId>,
    /// Ids of channels that durably stopped to serve.
    pub(super) endings: broadcast::Sender<ChannelId>,
    /// Streams that wait for a voucher.
    pub(super) waiters: Waiters,
    /// How far the chain was read.
    pub(super) cursor: CursorBook,
    /// Notes that the committer is to keep.
    pub(super) notes: Notes,
    /// What the operator risks at most.
    pub(super) limits: LiveLimits,
    /// Verifies for all shards and for the door: what one learns of a signer serves the others.
    pub(super) verifier: Arc<Verifier>,
    /// Memory for the shards' next batches.
    pub(super) spare: Spare,
    /// The newest checkpoint whose images are durable: what it held may leave memory.
    durable_generation: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: &Config, cursor: Option<Cursor>, verifier: Arc<Verifier>) -> Arc<Self> {
        let batches_max = config.shards * (config.commit_batches_max + 1);
        Arc::new(Self {
            health: watch::Sender::new(Health::Running),
            changes: broadcast::Sender::new(config.changes_max),
            endings: broadcast::Sender::new(ENDINGS_MAX),
            waiters: Waiters::default(),
            cursor: CursorBook::new(cursor),
            notes: Notes::default(),
            limits: LiveLimits::new(config.limits.clone()),
            verifier,
            spare: Spare::new(batches_max),
            durable_generation: AtomicU64::new(0),
        })
    }

    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(super) fn subscribe_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        matches!(*self.health.borrow(), Health::Poisoned { .. })
    }

    /// Refuses a request when none is taken any more.
    pub(super) fn check_running(&self) -> Result<(), EngineError> {
        match &*self.health.borrow() {
            Health::Running => Ok(()),
            Health::Stopping | Health::Stopped => Err(EngineError::Stopped),
            Health::Poisoned { cause } => Err(EngineError::Poisoned { cause: Arc::clone(cause) }),
        }
    }

    /// Notes the first failure; later ones are its consequences. Nothing is acknowledged from here on.
    pub(super) fn poison(&self, cause: &str) {
        self.health.send_if_modified(|health| {
            if matches!(health, Health::Poisoned { .. }) {
                return false;
            }
            tracing::error!(cause, "the ledger stopped after a failure; nothing is acknowledged any more");
            *health = Health::Poisoned { cause: cause.into() };
            true
        });
    }

    /// The newest checkpoint whose images are durable.
    pub(super) fn durable_generation(&self) -> u64 {
        self.durable_generation.load(Ordering::Acquire)
    }

    /// A checkpoint is durable.
    pub(super) fn set_durable_generation(&self, generation: u64) {
        self.durable_generation.store(generation, Ordering::Release);
    }

    pub(super) fn begin_stop(&self) {
        self.health.send_if_modified(|health| {
            let was_running = *health == Health::Running;
            if was_running {
                *health = Health::Stopping;
            }
            was_running
        });
    }

    /// The threads are gone.
    pub(super) fn end(&self) {
        self.health.send_if_modified(|health| {
            if matches!(health, Health::Poisoned { .. }) {
                return false;
            }
            *health = Health::Stopped;
            true
        });
    }

    /// Why a request was dropped: waits until the ending thread has said so, which it does on its way out.
    pub(super) async fn why_ended(&self) -> EngineError {
        let mut health = self.health.subscribe();
        let ended = health.wait_for(|health| matches!(health, Health::Stopped | Health::Poisoned { .. }));
        match ended.await.as_deref() {
            Ok(Health::Poisoned { cause }) => EngineError::Poisoned { cause: Arc::clone(cause) },
            Ok(_) | Err(_) => EngineError::Stopped,
        }
    }
}

/// The watcher's cursor: what was set, and what the journal holds.
#[derive(Debug)]
pub(super) struct CursorBook(Mutex<Cursors>);

#[derive(Debug)]
struct Cursors {
    newest: Option<Cursor>,
    journaled: Option<Cursor>,
}

impl CursorBook {
    fn new(recovered: Option<Cursor>) -> Self {
        Self(Mutex::new(Cursors { newest: recovered, journaled: recovered }))
    }

    pub(super) fn get(&self) -> Option<Cursor> {
        self.0.lock().newest
    }

    pub(super) fn set(&self, cursor: Cursor) {
        self.0.lock().newest = Some(cursor);
    }

    /// Whether the journal is so far behind that a frame should be made for the cursor alone.
    pub(super) fn is_overdue(&self) -> bool {
        let cursors = self.0.lock();
        let block = |cursor: Option<Cursor>| cursor.map_or(0, |cursor| cursor.next_block.0);
        block(cursors.newest).saturating_sub(block(cursors.journaled)) >= CURSOR_LAG_BLOCKS_MAX
    }

    /// The cursor for the next frame, when it says something new.
    pub(super) fn pending(&self) -> Option<Cursor> {
        let cursors = self.0.lock();
        cursors.newest.filter(|newest| Some(newest) != cursors.journaled.as_ref())
    }

    /// The journal holds this cursor now.
    pub(super) fn journaled(&self, cursor: Cursor) {
        self.0.lock().journaled = Some(cursor);
    }
}

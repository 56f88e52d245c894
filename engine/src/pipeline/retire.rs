//! Retiring channels that are over: what is kept of them is small, and never lets them in again.
//!
//! Two steps, some time apart. First the channel is told, like anything else that happens to it: the journal says that
//! it was retired, and its books forget vouchers and outcomes. When a checkpoint has stored these books, a tombstone takes the
//! place of image and terms. A crash between any two writes leaves one or the other.
//!
//! A server calls this from time to time, from a thread that may block.

use farebox_core::channel::{Phase, State};
use farebox_core::units::{ChannelId, UnixSeconds};

use super::{Engine, EngineError, Step, block_on};
use crate::ledger::StoredChannel;

/// The most images that one call looks at.
pub const RETIRE_LOOK_MAX: usize = 512;

/// What one call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetireStep {
    /// Where the next call goes on; `None` when it begins anew.
    pub next: Option<ChannelId>,
    /// Channels that were told.
    pub retired: usize,
    /// Channels of which now only a tombstone is left.
    pub buried: usize,
}

impl Engine {
    /// Looks at the next [`RETIRE_LOOK_MAX`] images behind `after`. Of channels that closed before `closed_before` no more
    /// than a tombstone is kept. It reads the ledger in this thread.
    ///
    /// # Errors
    ///
    /// [`EngineError::Busy`] when the channels cannot be told now; the next call goes on from the same place.
    pub fn retire_closed(
        &self,
        after: Option<ChannelId>,
        closed_before: UnixSeconds,
    ) -> Result<RetireStep, EngineError> {
        let ledger = self.ledger().ok_or(EngineError::Stopped)?;
        let page = ledger.channels(after, RETIRE_LOOK_MAX)?;
        let next =
            (page.len() == RETIRE_LOOK_MAX).then(|| page.last().map(|stored| stored.channel)).flatten();
        let mut step = RetireStep { next, ..RetireStep::default() };
        let mut tombstones: Vec<State> = Vec::new();
        for StoredChannel { channel, state, .. } in page {
            match state.phase {
                Phase::Closed(_) if state.is_retired() => tombstones.push(state),
                Phase::Closed(closure) if closure.at < closed_before => {
                    // A channel of which an older image is stored may be retired already; it then says nothing new.
                    block_on(self.apply(channel, Step::Retire { closed_before }))?;
                    step.retired += 1;
                }
                Phase::Open | Phase::Closing { .. } | Phase::Closed(_) => {}
            }
        }
        step.buried = tombstones.len();
        if !tombstones.is_empty() {
            ledger.bury(&tombstones)?;
        }
        Ok(step)
    }
}

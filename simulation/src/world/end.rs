//! How a history ends: nothing fails any more, everybody finishes, and then the chain and the books agree.

use farebox_core::channel::Phase;

use super::{Event, World};
use crate::cast::MemberIndex;
use crate::rules::{Check, Rule, broken};

/// Rounds after which everything must have come to its end.
const ROUNDS_MAX: u32 = 60;
/// Seconds between two rounds: a doubt is over after a few.
const ROUND_SECONDS: u64 = 10;

impl World {
    /// Brings everything to its end, through one more crash.
    pub(super) fn end(&mut self) -> Check {
        self.history.push(Event::Curtain);
        // With a place to die that is still ahead, the history would have another end.
        self.options.die_at = None;
        self.disk.spare();
        self.crash_now()?;
        for _ in 0..ROUNDS_MAX {
            if self.server.is_none() {
                self.start()?;
            }
            self.disk.spare();
            self.round()?;
            if self.is_settled() {
                break;
            }
        }
        self.audit()?;
        for index in self.cast.clone() {
            self.agree(index)?;
        }
        Ok(())
    }

    /// Everybody does what there is to do.
    fn round(&mut self) -> Check {
        self.chain.advance(ROUND_SECONDS);
        self.watcher.next = self.watcher.next.min(self.chain.log.len());
        self.watch()?;
        for index in self.cast.clone() {
            self.close_one(index, false)?;
        }
        while self.chain.waiting() > 0 {
            self.mine()?;
        }
        while !self.inbox.is_empty() || self.server.as_ref().is_some_and(|server| server.waiting() > 0) {
            self.process()?;
            self.append()?;
        }
        self.checkpoint()
    }

    fn is_settled(&self) -> bool {
        let is_told = self.watcher.next == self.chain.log.len() && self.watcher.telling.is_empty();
        let is_quiet = self.closer.busy().is_empty() && self.closer_waits.is_empty();
        is_told && is_quiet && self.cast.iter().all(|index| self.is_at_rest(*index))
    }

    fn is_at_rest(&self, index: MemberIndex) -> bool {
        self.durable.states.get(&index).is_none_or(|state| match state.phase {
            Phase::Open => state.close_requested_at.is_none(),
            Phase::Closing { .. } => false,
            Phase::Closed(_) => true,
        })
    }

    /// The books of a channel and its escrow say the same, to the last unit.
    fn agree(&self, index: MemberIndex) -> Check {
        let Some(state) = self.durable.states.get(&index) else { return Ok(()) };
        let escrow = self.chain.escrow(index);
        let what = || format!("channel {index}: the books end with {state:?}, the escrow with {escrow:?}");
        if !self.is_at_rest(index) {
            return broken(Rule::Liveness, what());
        }
        let is_same = state.deposit.get() == escrow.deposit && state.settled.get() == escrow.settled;
        let adds_up = match state.phase {
            Phase::Closed(closure) => {
                escrow.is_over
                    && closure.captured.get() == escrow.settled
                    && closure.refunded.get() == escrow.deposit - escrow.settled
                    && closure.lost.get() == state.spent.get().saturating_sub(escrow.settled)
            }
            Phase::Open => !escrow.is_over && escrow.asked_at.is_none(),
            Phase::Closing { .. } => false,
        };
        if is_same && adds_up { Ok(()) } else { broken(Rule::Liveness, what()) }
    }
}

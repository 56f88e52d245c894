//! What is remembered of a channel that needs work.

use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{Claim, Identity};
use farebox_core::units::{ChannelId, UnixSeconds};
use farebox_engine::chain::CloseFailure;
use farebox_settlement_plan::{Backoff, CloseDeadlines};
use tokio::time::Instant;

use super::{REFUSED_PAUSES, Reply};
use crate::quarantine::Quarantine;

/// A channel that needs work.
#[derive(Debug)]
pub(super) struct Job {
    /// When to try next.
    pub(super) due: Instant,
    /// When its payer asked on chain to close.
    pub(super) close_asked_at: Option<UnixSeconds>,
    /// How many tries in a row did nothing.
    pub(super) failures: u32,
    /// A claim of it is under way, or may be.
    pub(super) is_running: bool,
    /// What is under way leaves the channel open, so a close that the door wants meanwhile comes after it.
    pub(super) is_settling: bool,
    /// The claim that the door wants.
    pub(super) asked: Option<(Arc<Identity>, Claim)>,
    /// Where the door waits.
    pub(super) waiting: Vec<Reply>,
    /// Why it is set apart, if it is.
    pub(super) stuck: Option<Quarantine>,
}

impl Job {
    pub(super) fn new(due: Instant) -> Self {
        Self {
            due,
            close_asked_at: None,
            failures: 0,
            is_running: false,
            is_settling: false,
            asked: None,
            waiting: Vec::new(),
            stuck: None,
        }
    }

    /// The least goes first: what the door waits for, then by close request, then the rest.
    pub(super) fn urgency(&self) -> u64 {
        match (&self.asked, self.close_asked_at) {
            (Some(_), _) => 0,
            (None, Some(at)) => at.0,
            (None, None) => u64::MAX,
        }
    }

    /// Whether a try comes by itself.
    pub(super) fn is_ready(&self) -> bool {
        let is_final = self.stuck.as_ref().is_some_and(Quarantine::is_final);
        !self.is_running && (self.asked.is_some() || !is_final)
    }

    /// Whether the next try is to be a `settle` although a close is due: a close that is refused because its refund
    /// cannot be paid leaves the payee his share, which a `settle` can still get.
    pub(super) fn wants_settle(&self) -> bool {
        self.asked.is_none() && self.stuck.as_ref().is_some_and(|stuck| stuck.tries % 2 == 1)
    }

    /// Answers all who wait for a close that did not happen. Who is told that nothing happened takes the close back in
    /// the books. That is for one, the first, and only when the door's close was tried (`is_asked`): a second one could
    /// take back the close that a client begins next. To all others it may still happen.
    pub(super) fn answer_failure(&mut self, failure: &CloseFailure, is_asked: bool) {
        let takes_back = usize::from(is_asked);
        for (place, reply) in self.waiting.drain(..).enumerate() {
            let told = failure.clone();
            // Who no longer waits misses it.
            drop(reply.send(Err(if place < takes_back { told } else { told.perhaps() })));
        }
    }

    /// What was under way is over, and the door waits for what comes after it.
    pub(super) fn goes_on(&mut self) -> bool {
        self.is_running = false;
        if self.asked.is_some() {
            self.due = Instant::now();
        }
        self.asked.is_some()
    }

    /// A try did nothing: pauses, the longer the more did nothing, and not beyond the deadline.
    pub(super) fn pause(&mut self, backoff: &Backoff, deadlines: Option<CloseDeadlines>, now: UnixSeconds) {
        self.failures = self.failures.saturating_add(1);
        let remaining_ms = deadlines.map_or(0, |deadlines| deadlines.remaining_ms(now));
        let pause_ms = backoff.delay_before_deadline_ms(self.failures, remaining_ms);
        self.due = Instant::now() + Duration::from_millis(pause_ms);
    }

    /// The chain refused a claim: sets the channel apart, with a pause before the next try.
    pub(super) fn refuse(&mut self, channel: ChannelId, now: UnixSeconds, reason: String) -> Quarantine {
        let before = self.stuck.take();
        let (since, tries) = before.map_or((now, 0), |stuck| (stuck.since, stuck.tries));
        let quarantine = Quarantine { channel, since, tries: tries.saturating_add(1), reason };
        // The first refusal of a close is followed at once by a settle, which may go through.
        let pause_ms = if quarantine.tries == 1 { 0 } else { REFUSED_PAUSES.delay_ms(quarantine.tries - 1) };
        self.due = Instant::now() + Duration::from_millis(pause_ms);
        self.stuck = Some(quarantine.clone());
        quarantine
    }
}

#[cfg(test)]
mod tests {
    use farebox_core::units::B256;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn only_the_first_who_waits_may_take_a_failed_close_back() {
        let told = |is_asked: bool| {
            let mut job = Job::new(Instant::now());
            let answers: Vec<_> = (0..3)
                .map(|_| {
                    let (reply, answer) = oneshot::channel();
                    job.waiting.push(reply);
                    answer
                })
                .collect();
            job.answer_failure(&CloseFailure::NotSent { what: "left alone".to_owned() }, is_asked);
            answers.into_iter().map(|mut answer| answer.try_recv().expect("answered").expect_err("failed"))
        };
        let sure = |failure: CloseFailure| matches!(failure, CloseFailure::NotSent { .. });
        assert_eq!(told(true).map(sure).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(told(false).map(sure).collect::<Vec<_>>(), [false; 3]);
        let perhaps = |failure| matches!(failure, CloseFailure::Unknown { tx_hash } if tx_hash == B256::ZERO);
        assert!(told(false).all(perhaps));
    }
}

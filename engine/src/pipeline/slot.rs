//! Where the answers to a batch come together, and the caller is woken once.
//!
//! A batch is cut into shares, one a shard. Each share travels from the handle to its shard, with its answers to the
//! committer, and from there back into the slot: its memory goes round and is used again for the next batch.

use std::sync::Arc;
use std::task::{Poll, Waker};

use farebox_core::channel::{Answer, Spend};
use farebox_core::voucher::AnySignedVoucher;
use parking_lot::Mutex;

use super::{EngineError, Reply, Verdict};

/// A voucher and what it pays for.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    /// Not verified yet.
    pub(super) voucher: AnySignedVoucher,
    /// What it pays for.
    pub(super) then: Spend,
}

/// What one shard has to do with a batch: its vouchers, and then an answer for each, in order.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) payments: Vec<Payment>,
    pub(super) answers: Vec<Result<Verdict, EngineError>>,
}

impl Share {
    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        self.payments.clear();
        self.answers.clear();
    }
}

/// When a caller wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// When everything is on disk.
    Durable,
    /// When the shard has done it, if it was done and paid; else when it is on disk.
    Applied,
}

/// A share on its way, with the way back. Dropped unanswered, it tells the caller that the engine ended.
#[derive(Debug)]
pub(super) struct Part {
    share: Share,
    shard: usize,
    when: When,
    slot: Option<Arc<Slot>>,
}

impl Part {
    pub(super) fn new(share: Share, shard: usize, when: When, slot: &Arc<Slot>) -> Self {
        Self { share, shard, when, slot: Some(Arc::clone(slot)) }
    }

    /// Whether its answers may leave before they are on disk: they say yes, and nothing of what became of a request before
    /// or of why not.
    pub(super) fn may_go_ahead(&self) -> bool {
        let is_yes = |answer: &Result<Verdict, EngineError>| {
            matches!(answer, Ok(Verdict::Accepted(Reply { answer: Answer::Done, .. })))
        };
        self.when == When::Applied && self.share.answers.iter().all(is_yes)
    }

    /// The vouchers.
    pub(super) fn payments(&self) -> &[Payment] {
        &self.share.payments
    }

    /// The vouchers, and where their answers go.
    pub(super) fn share_mut(&mut self) -> &mut Share {
        &mut self.share
    }

    /// The answers so far.
    pub(super) fn answers(&self) -> &[Result<Verdict, EngineError>] {
        &self.share.answers
    }

    /// Answers every voucher with an error, at once.
    pub(super) fn refuse(mut self, error: &EngineError) {
        let Share { payments, answers } = &mut self.share;
        answers.clear();
        answers.extend(payments.iter().map(|_| Err(error.clone())));
        self.release();
    }

    /// Gives the share back to the caller.
    pub(super) fn release(mut self) {
        if let Some(slot) = self.slot.take() {
            slot.give_back(self.shard, Some(std::mem::take(&mut self.share)));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.give_back(self.shard, None);
        }
    }
}

/// What has come back of a batch.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Back>);

#[derive(Debug, Default)]
struct Back {
    /// Parts that are under way.
    under_way: usize,
    shares: Vec<(usize, Share)>,
    /// A part was dropped by a thread that ended.
    lost: bool,
    waker: Option<Waker>,
}

impl Slot {
    /// Waits for so many parts. The slot is empty before.
    pub(super) fn expect(&self, parts: usize) {
        self.0.lock().under_way = parts;
    }

    fn give_back(&self, shard: usize, share: Option<Share>) {
        let mut back = self.0.lock();
        back.under_way -= 1;
        match share {
            Some(share) => back.shares.push((shard, share)),
            None => back.lost = true,
        }
        if back.under_way > 0 {
            return;
        }
        let waker = back.waker.take();
        drop(back);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// When nothing is under way any more: puts every share to its place, and tells whether all came back.
    pub(super) fn poll(&self, waker: &Waker, shares: &mut [Share]) -> Poll<Result<(), Lost>> {
        let mut back = self.0.lock();
        if back.under_way > 0 {
            match &mut back.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        for (shard, share) in back.shares.drain(..) {
            shares[shard] = share;
        }
        let lost = std::mem::take(&mut back.lost);
        Poll::Ready(if lost { Err(Lost) } else { Ok(()) })
    }
}

/// A thread of the engine ended before it answered.
#[derive(Debug)]
pub(super) struct Lost;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_makes_the_slot_ready_and_a_dropped_one_is_told() {
        let slot = Arc::new(Slot::default());
        let mut shares = [Share::default(), Share::default()];
        slot.expect(2);
        let parts = [0, 1].map(|shard| Part::new(Share::default(), shard, When::Durable, &slot));
        let [first, second] = parts;
        first.release();
        assert!(slot.poll(Waker::noop(), &mut shares).is_pending());
        drop(second);
        assert!(matches!(slot.poll(Waker::noop(), &mut shares), Poll::Ready(Err(Lost))));
        // The next batch finds nothing of this one.
        slot.expect(1);
        Part::new(Share::default(), 1, When::Durable, &slot).release();
        assert!(matches!(slot.poll(Waker::noop(), &mut shares), Poll::Ready(Ok(()))));
    }
}

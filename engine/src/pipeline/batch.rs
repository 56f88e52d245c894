//! Many vouchers in one call, with one completion for all of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use farebox_core::channel::Spend;
use farebox_core::journal::FRAME_PAYLOAD_BYTES_MAX;
use farebox_core::units::ChannelId;
use farebox_core::voucher::AnySignedVoucher;

use super::config::{BATCH_VOUCHERS_MAX, FRAME_BYTES_MAX};
use super::engine::Inner;
use super::shared::shard_of;
use super::slot::{Lost, Part, Payment, Share, Slot, When};
use super::{Engine, EngineError, Verdict};

/// The most vouchers in one batch.
pub const BATCH_SUBMIT_MAX: usize = 8_192;

/// The most bytes in the journal that a voucher can come to: with the largest signature, and its charge.
const VOUCHER_BYTES_MAX: usize = 2_300;

/// A shard never splits a batch, so one may come on top of a full batch of its own, and both on top of a full frame.
const _: () = assert!(
    (BATCH_VOUCHERS_MAX as usize + BATCH_SUBMIT_MAX) * VOUCHER_BYTES_MAX + FRAME_BYTES_MAX as usize
        <= FRAME_PAYLOAD_BYTES_MAX
);

/// Vouchers that are handed in together and answered together, when all are durable.
///
/// One completion serves them all, and the memory is used again for the next ones: keep a batch, and fill it anew. Two
/// batches of one caller may be under way at the same time; what is submitted first is done first.
///
/// Vouchers of a channel are taken in the order in which they were pushed. Each has its own answer, in the same order, and
/// a refused one changes nothing for the others.
///
/// ```
/// use farebox_engine::core::channel::Spend;
/// use farebox_engine::core::voucher::AnySignedVoucher;
/// use farebox_engine::{EngineError, VoucherBatch, block_on};
///
/// /// How many of these are paid; the caller is a thread.
/// fn settle_up(
///     batch: &mut VoucherBatch,
///     payments: impl IntoIterator<Item = (AnySignedVoucher, Spend)>,
/// ) -> Result<usize, EngineError> {
///     for (voucher, price) in payments {
///         batch.push(voucher, price)?;
///     }
///     let verdicts = block_on(batch.submit())?; // a task awaits it
///     Ok(verdicts.iter().filter(|verdict| verdict.as_ref().is_ok_and(|verdict| verdict.is_paid())).count())
/// }
/// ```
pub struct VoucherBatch {
    engine: Engine,
    shares: Shares,
}

/// A batch without its engine: what the engine keeps for the next caller.
pub(super) struct Shares {
    /// By shard.
    shares: Vec<Share>,
    /// By voucher: its shard.
    order: Vec<u8>,
    slot: Arc<Slot>,
    stage: Stage,
}

/// How far a batch is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Vouchers are added.
    Filling,
    /// It is with the shards. A caller that comes back to it in this stage gave up waiting.
    UnderWay,
    /// The answers are here.
    Answered,
}

impl std::fmt::Debug for VoucherBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoucherBatch").field("vouchers", &self.len()).finish_non_exhaustive()
    }
}

impl VoucherBatch {
    pub(super) fn new(engine: Engine) -> Self {
        let shares = Shares::new(engine.inner());
        Self { engine, shares }
    }

    /// Adds a voucher of the channel that it names, and what it pays for. After an answered batch this begins the next one.
    ///
    /// # Errors
    ///
    /// [`EngineError::BatchFull`] when there are [`BATCH_SUBMIT_MAX`] already, or as many as may wait for one
    /// shard. Submit those, then go on.
    pub fn push(&mut self, voucher: AnySignedVoucher, then: Spend) -> Result<(), EngineError> {
        self.shares.push(self.engine.inner(), voucher, then)
    }

    /// How many vouchers were pushed.
    pub fn len(&self) -> usize {
        match self.shares.stage {
            Stage::Filling => self.shares.order.len(),
            Stage::UnderWay | Stage::Answered => 0,
        }
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all vouchers out.
    pub fn clear(&mut self) {
        self.shares.clear();
    }

    /// Hands all vouchers in, and waits until what came of them is durable. A thread without a runtime waits with
    /// [`block_on`](super::block_on).
    ///
    /// Dropped before it is ready, the vouchers may be done or not; a retry with the same request keys finds out.
    ///
    /// # Errors
    ///
    /// [`EngineError::Busy`] when there is no room for all of them: nothing was done and the vouchers are still in the
    /// batch, to be submitted again after the time that it names. Every other error is the end of the engine.
    pub async fn submit(&mut self) -> Result<Verdicts<'_>, EngineError> {
        let Self { engine, shares } = self;
        let engine = engine.inner();
        shares.send(engine, When::Durable)?;
        if let Err(Lost) = poll_fn(|context| shares.poll(context.waker())).await {
            return Err(engine.shared.why_ended().await);
        }
        Ok(Verdicts { shares: &self.shares })
    }
}

/// The answers to a batch, in the order of its vouchers.
#[derive(Clone, Copy)]
pub struct Verdicts<'a> {
    shares: &'a Shares,
}

impl<'a> Verdicts<'a> {
    /// How many there are: one a voucher.
    pub fn len(&self) -> usize {
        self.shares.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in order. An error is one of this voucher alone: its channel could not be read, or there was no
    /// room for it after all ([`EngineError::Busy`]).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a Result<Verdict, EngineError>> {
        let shares = self.shares;
        let mut next = vec![0; shares.shares.len()];
        shares.order.iter().map(move |shard| {
            let shard = usize::from(*shard);
            next[shard] += 1;
            &shares.shares[shard].answers[next[shard] - 1]
        })
    }
}

impl std::fmt::Debug for Verdicts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Shares {
    pub(super) fn new(engine: &Inner) -> Self {
        let shares = (0..engine.threads.shard_count()).map(|_| Share::default()).collect();
        Self { shares, order: Vec::new(), slot: Arc::default(), stage: Stage::Filling }
    }

    pub(super) fn push(
        &mut self,
        engine: &Inner,
        voucher: AnySignedVoucher,
        then: Spend,
    ) -> Result<(), EngineError> {
        if self.stage != Stage::Filling {
            self.clear();
        }
        let shard = self.shard_of(voucher.voucher().channel_id);
        let maximum = engine.threads.intake_max().min(BATCH_SUBMIT_MAX);
        if self.order.len() >= BATCH_SUBMIT_MAX || self.shares[shard].payments.len() >= maximum {
            return Err(EngineError::BatchFull { maximum });
        }
        self.shares[shard].payments.push(Payment { voucher, then });
        self.order.push(u8::try_from(shard).expect("there are at most 64 shards"));
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        if self.stage == Stage::UnderWay {
            // The shares come back to a slot that nobody looks at.
            self.slot = Arc::default();
        }
        self.shares.iter_mut().for_each(Share::clear);
        self.order.clear();
        self.stage = Stage::Filling;
    }

    /// Hands everything to the shards.
    pub(super) fn send(&mut self, engine: &Inner, when: When) -> Result<(), EngineError> {
        if self.stage != Stage::Filling {
            self.clear();
        }
        engine.shared.check_running()?;
        let wanted = self.shares.iter().map(|share| share.payments.len());
        engine.threads.reserve(wanted.clone())?;
        self.slot.expect(wanted.filter(|vouchers| *vouchers > 0).count());
        self.stage = Stage::UnderWay;
        for (shard, share) in self.shares.iter_mut().enumerate() {
            if !share.payments.is_empty() {
                let part = Part::new(std::mem::take(share), shard, when, &self.slot);
                engine.threads.send_reserved(shard, part);
            }
        }
        Ok(())
    }

    /// Whether the answers are here.
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Result<(), Lost>> {
        let back = self.slot.poll(waker, &mut self.shares);
        if back.is_ready() {
            self.stage = Stage::Answered;
        }
        back
    }

    /// The answer to the only voucher.
    pub(super) fn take_only(&mut self) -> Result<Verdict, EngineError> {
        let mut answers = self.shares.iter_mut().filter_map(|share| share.answers.pop());
        answers.next().expect("a voucher that came back has an answer")
    }

    fn shard_of(&self, channel: ChannelId) -> usize {
        shard_of(channel, self.shares.len())
    }
}

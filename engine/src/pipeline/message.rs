//! What travels between the handle, the shards and the committer.

use std::sync::Arc;

use farebox_core::channel::{ChainPosition, Event, Identity};
use farebox_core::journal::encode_step;
use farebox_core::units::{Amount, ChannelId};
use farebox_core::voucher::AnySignedVoucher;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::checkpointer::Images;
use super::slot::Part;
use super::{Channel, EngineError, Step, Verdict};

/// Where an answer goes. Dropped unanswered, it tells the caller that the engine ended.
pub(super) type ReplyTo<T> = oneshot::Sender<Result<T, EngineError>>;

/// What a shard is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// A step of one channel.
    Change {
        /// The channel.
        channel: ChannelId,
        /// The step.
        change: Change,
        /// Who waits.
        reply: ReplyTo<Verdict>,
    },
    /// Vouchers, and what they pay for.
    Vouchers(Part),
    /// What the books hold of one channel.
    Read {
        /// The channel.
        channel: ChannelId,
        /// Who waits.
        reply: ReplyTo<Option<Channel>>,
    },
    /// This shard's part of a page of channels.
    List {
        /// The id before the page.
        after: Option<ChannelId>,
        /// The most that is wanted.
        max: usize,
        /// Who waits.
        reply: ReplyTo<Vec<Channel>>,
    },
}

impl Request {
    /// How many places it takes in a queue or a batch: one, or one a voucher.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Vouchers(part) => part.payments().len(),
            Self::Change { .. } | Self::Read { .. } | Self::List { .. } => 1,
        }
    }
}

/// A step, as the handle hands it over.
#[derive(Debug)]
pub(super) enum Change {
    /// A channel that the chain knows.
    Open {
        /// Its terms.
        identity: Arc<Identity>,
        /// What the escrow holds.
        deposit: Amount,
        /// What it paid out.
        settled: Amount,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// A client's wish to close.
    Close {
        /// Not verified yet.
        voucher: AnySignedVoucher,
    },
    /// Everything that needs no signature.
    Step(Step),
}

impl Change {
    /// Whether a voucher is handed in.
    pub(super) const fn has_voucher(&self) -> bool {
        matches!(self, Self::Close { .. })
    }

    /// True for what is turned away first when the queues are full.
    pub(super) const fn is_new_work(&self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::Close { .. } => false,
            Self::Step(step) => step.is_new_work(),
        }
    }
}

/// What a shard takes from its queue.
#[derive(Debug)]
pub(super) enum ToShard {
    /// Work.
    Request(Request),
    /// Look at the control flags.
    Wake,
}

impl ToShard {
    /// See [`Request::weight`].
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Request(request) => request.weight(),
            Self::Wake => 0,
        }
    }
}

/// An answer that waits for durability.
#[derive(Debug)]
pub(super) enum Answered {
    /// To a step.
    Verdict {
        /// Who waits.
        reply: ReplyTo<Verdict>,
        /// For what.
        answer: Result<Verdict, EngineError>,
        /// Whether a voucher was handed in.
        with_voucher: bool,
    },
    /// To vouchers.
    Vouchers(Part),
    /// To a read.
    Channel(ReplyTo<Option<Channel>>, Result<Option<Channel>, EngineError>),
    /// To a page.
    Page(ReplyTo<Vec<Channel>>, Result<Vec<Channel>, EngineError>),
}

impl Answered {
    /// Lets the answer out. Who no longer waits misses it.
    pub(super) fn release(self) {
        match self {
            Self::Verdict { reply, answer, .. } => drop(reply.send(answer)),
            Self::Vouchers(part) => part.release(),
            Self::Channel(reply, answer) => drop(reply.send(answer)),
            Self::Page(reply, answer) => drop(reply.send(answer)),
        }
    }
}

/// What a shard made of one batch of requests.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The encoded records, in order.
    pub(super) records: Vec<u8>,
    /// How many there are.
    pub(super) records_count: u32,
    /// The channels that changed.
    pub(super) changed: Vec<ChannelId>,
    /// What may be answered when the records are durable.
    pub(super) answers: Vec<Answered>,
}

impl Batch {
    /// Forgets everything but the memory.
    fn clear(&mut self) {
        self.records.clear();
        self.records_count = 0;
        self.changed.clear();
        self.answers.clear();
    }

    /// Answers who need not wait for the disk.
    pub(super) fn answer_ahead(&mut self) {
        let is_ahead =
            |answer: &mut Answered| matches!(answer, Answered::Vouchers(part) if part.may_go_ahead());
        self.answers.extract_if(.., is_ahead).for_each(Answered::release);
    }

    /// Adds the facts of a step to what has to become durable; `sequence` is that of the last one.
    pub(super) fn push(&mut self, channel: ChannelId, sequence: u64, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        self.records_count += encode_step(&mut self.records, channel, sequence, events);
        if self.changed.last() != Some(&channel) {
            self.changed.push(channel);
        }
    }
}

/// Batches that were released: their memory, some hundred kilobytes each, serves the next ones. Fresh memory of that size
/// comes from the operating system and costs more than what is written into it.
#[derive(Debug)]
pub(super) struct Spare {
    batches: Mutex<Vec<Batch>>,
    max: usize,
}

impl Spare {
    /// Keeps at most so many.
    pub(super) fn new(max: usize) -> Self {
        Self { batches: Mutex::default(), max }
    }

    /// An empty batch.
    pub(super) fn take(&self) -> Batch {
        self.batches.lock().pop().unwrap_or_default()
    }

    /// Keeps the memory of a batch that was released, unless it is far larger than most.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let mut batches = self.batches.lock();
        if batches.len() < self.max && batch.records.capacity() <= SPARE_BYTES_MAX {
            batches.push(batch);
        }
    }
}

/// The most memory for records that a kept batch may have, in bytes: eight thousand vouchers that pay.
const SPARE_BYTES_MAX: usize = 2 << 20;

/// What the committer takes from its queue.
#[derive(Debug)]
pub(super) enum ToCommitter {
    /// A batch; a shard's batches come in the order in which it made them.
    Batch(Batch),
    /// A shard's changed channels. Whatever is in them came before in batches of the same shard.
    Images {
        /// The checkpoint that was asked for.
        generation: u64,
        /// The images, or some of them.
        images: Images,
        /// Whether they are this shard's last for the checkpoint.
        last: bool,
    },
    /// A shard ended in good order.
    Done {
        /// Its last images.
        images: Images,
        /// Whether they are of all that changed, so that the journal before need not be read again.
        is_all: bool,
    },
    /// Look at cursor and health.
    Wake,
}

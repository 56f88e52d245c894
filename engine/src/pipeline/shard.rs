//! One thread that owns its channels and runs each batch to completion: verify, apply, encode.
//!
//! Nobody else touches these channels, so two requests for one channel are always one after the other
//! (rule 5). The state here may be ahead of the disk; nothing of it leaves but through the committer. The one exception is a
//! yes to a caller who waits for a later step of the same channel anyway (`Engine::submit_ahead`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TryRecvError};
use std::vec::Drain;

use farebox_core::channel::{
    Answer, ChainPosition, CloseReason, Command, Decision, Identity, Rejection, Snapshot, decide, open,
};
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::Verifier;

use super::message::{Answered, Batch, Change, Request, ToCommitter, ToShard};
use super::residents::{Place, Residents};
use super::risk::Guard;
use super::shared::{Shared, shard_of};
use super::slot::{Payment, Share};
use super::verify::{Proof, verify};
use super::{Channel, Config, EngineError, Reply, Verdict, report};
use crate::clock::Clock;
use crate::ledger::{CHANNELS_PAGE_MAX, Ledger, LedgerError, StoredChannel};

/// Vouchers after which a window of a batch is closed: lanes are full, and what was looked up of their channels is still
/// in a cache when the rules are asked.
const WINDOW_VOUCHERS: usize = 256;

/// The most images that a shard gives between two batches.
const IMAGES_STEP_MAX: usize = 512;

/// Flags that a shard looks at between batches, and how full its queue is.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// The newest checkpoint that the committer asked images for.
    pub(super) generation: AtomicU64,
    /// Finish what is queued, then end.
    pub(super) stop: AtomicBool,
    /// Requests in the queue.
    pub(super) waiting: AtomicUsize,
}

/// A shard's parts.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) config: Arc<Config>,
    pub(super) intake: Receiver<ToShard>,
    pub(super) control: Arc<Control>,
    pub(super) committer: SyncSender<ToCommitter>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    pub(super) residents: Residents,
    pub(super) guard: Guard,
    pub(super) verifier: Arc<Verifier>,
    /// The newest checkpoint that this shard began to give images for.
    pub(super) generation: u64,
}

/// Whether more messages can come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Open,
    Over,
}

impl Shard {
    /// Serves until it is told to stop, the handles are gone, or the engine is poisoned.
    pub(super) fn run(&mut self) {
        let mut requests = Vec::new();
        loop {
            let queue = self.gather(&mut requests);
            if self.shared.is_poisoned() {
                return;
            }
            if !requests.is_empty() {
                let mut batch = self.process(&mut requests);
                batch.answer_ahead();
                if self.committer.send(ToCommitter::Batch(batch)).is_err() {
                    return;
                }
                self.residents.sweep(self.shared.durable_generation(), self.guard.now());
            }
            if queue == Queue::Over {
                let (images, is_all) = self.residents.take_all_images();
                // When the committer is gone there is nobody to tell.
                drop(self.committer.send(ToCommitter::Done { images, is_all }));
                return;
            }
            match self.give_images() {
                Ok(Ok(())) => {}
                Ok(Err(SendError(_))) => return,
                Err(error) => {
                    self.shared.poison(&error.to_string());
                    return;
                }
            }
        }
    }

    /// Takes what is in the queue, up to a batch. Waits for a first message, unless there is other work.
    fn gather(&mut self, requests: &mut Vec<Request>) -> Queue {
        let stopping = self.control.stop.load(Ordering::SeqCst);
        if !stopping && !self.residents.is_imaging() {
            match self.intake.recv() {
                Ok(message) => self.take(message, requests),
                Err(_) => return Queue::Over,
            }
        }
        let mut weight: usize = requests.iter().map(Request::weight).sum();
        while weight < self.config.batch_vouchers_max {
            match self.intake.try_recv() {
                Ok(message) => {
                    weight += message.weight();
                    self.take(message, requests);
                }
                Err(TryRecvError::Empty) => return if stopping { Queue::Over } else { Queue::Open },
                Err(TryRecvError::Disconnected) => return Queue::Over,
            }
        }
        Queue::Open
    }

    fn take(&self, message: ToShard, requests: &mut Vec<Request>) {
        self.control.waiting.fetch_sub(message.weight(), Ordering::SeqCst);
        match message {
            ToShard::Request(request) => requests.push(request),
            ToShard::Wake => {}
        }
    }

    /// Sends some images when the committer asked for a checkpoint; the rest follows after the next batch,
    /// so that no request waits for all of them.
    fn give_images(&mut self) -> Result<Result<(), SendError<ToCommitter>>, LedgerError> {
        let generation = self.control.generation.load(Ordering::SeqCst);
        if generation != self.generation {
            self.generation = generation;
            self.residents.begin_images(generation);
            report::residents(self.index, self.residents.len(), self.residents.bytes());
        }
        Ok(match self.residents.take_images(IMAGES_STEP_MAX, &*self.ledger)? {
            Some((images, last)) => self.committer.send(ToCommitter::Images { generation, images, last }),
            None => Ok(()),
        })
    }

    /// Does every request in the order it came, some hundred at a time.
    fn process(&mut self, requests: &mut Vec<Request>) -> Batch {
        let now = self.clock.now();
        self.guard.refresh(&self.shared.limits);
        self.guard.begin(&*self.clock);
        let mut batch = self.shared.spare.take();
        let mut rest = requests.drain(..);
        while !rest.as_slice().is_empty() {
            let mut weight = 0;
            let is_within = |request: &&Request| {
                let begins_within = weight < WINDOW_VOUCHERS;
                weight += request.weight();
                begins_within
            };
            let window = rest.as_slice().iter().take_while(is_within).count();
            self.process_window(&mut rest, window, now, &mut batch);
        }
        report::batch(&batch);
        self.guard.report();
        batch
    }

    /// Verifies the vouchers of the next `window` requests at once, then does them.
    fn process_window(
        &mut self,
        requests: &mut Drain<'_, Request>,
        window: usize,
        now: UnixSeconds,
        batch: &mut Batch,
    ) {
        let looked_at = &requests.as_slice()[..window];
        let proofs = verify(&mut self.residents, &*self.ledger, &self.verifier, &self.guard, looked_at);
        let mut proofs = proofs.into_iter();
        for request in requests.take(window) {
            match request {
                Request::Change { channel, change, reply } => {
                    let with_voucher = change.has_voucher();
                    let proof = proofs.next().expect("every change has a proof");
                    let answer = self.change(channel, change, proof, now, batch);
                    batch.answers.push(Answered::Verdict { reply, answer, with_voucher });
                }
                Request::Vouchers(mut part) => {
                    let Share { payments, answers } = part.share_mut();
                    answers.clear();
                    for payment in &*payments {
                        let proof = proofs.next().expect("every voucher has a proof");
                        answers.push(self.pay(payment, proof, now, batch));
                    }
                    batch.answers.push(Answered::Vouchers(part));
                }
                Request::Read { channel, reply } => {
                    batch.answers.push(Answered::Channel(reply, self.read(channel)));
                }
                Request::List { after, max, reply } => {
                    batch.answers.push(Answered::Page(reply, self.page(after, max)));
                }
            }
        }
    }

    fn change(
        &mut self,
        channel: ChannelId,
        change: Change,
        proof: Proof,
        now: UnixSeconds,
        batch: &mut Batch,
    ) -> Result<Verdict, EngineError> {
        let (command, place) = match (change, proof) {
            (_, Proof::Refused(refusal)) => return Ok(Verdict::Rejected(refusal)),
            (_, Proof::Failed(error)) => return Err(error),
            (Change::Open { identity, deposit, settled, position }, Proof::NotNeeded) => {
                let facts = Facts { identity, deposit, settled, position };
                return self.open(channel, facts, now, batch);
            }
            (Change::Step(step), Proof::NotNeeded) => (step.into(), None),
            (Change::Close { .. }, Proof::Verified(voucher, place)) => {
                (Command::BeginClose(CloseReason::Cooperative(voucher)), place)
            }
            (change, proof) => unreachable!("verification gave {proof:?} for {change:?}"),
        };
        self.command(channel, command, place, now, batch)
    }

    /// Takes a voucher, and pays with it.
    fn pay(
        &mut self,
        payment: &Payment,
        proof: Proof,
        now: UnixSeconds,
        batch: &mut Batch,
    ) -> Result<Verdict, EngineError> {
        match proof {
            Proof::Refused(refusal) => Ok(Verdict::Rejected(refusal)),
            Proof::Failed(error) => Err(error),
            Proof::Verified(voucher, place) => {
                let command = Command::Accept { voucher, then: payment.then };
                self.command(payment.voucher.voucher().channel_id, command, place, now, batch)
            }
            Proof::NotNeeded => unreachable!("every voucher is looked at"),
        }
    }

    /// Does what the rules allow. `place` is that of the channel, when it was looked up in this batch already.
    fn command(
        &mut self,
        channel: ChannelId,
        command: Command,
        place: Option<Place>,
        now: UnixSeconds,
        batch: &mut Batch,
    ) -> Result<Verdict, EngineError> {
        let place = match place {
            Some(place) => place,
            None => match self.residents.find(channel, &*self.ledger)? {
                Some(place) => place,
                None => return self.retired(channel, command, now),
            },
        };
        let resident = self.residents.at_mut(place);
        let may_buy = command.may_buy();
        let decided = decide(&resident.state, command, &self.config.policy, now);
        let passed = decided
            .and_then(|decision| self.guard.pass(resident, may_buy, &decision.events).map(|()| decision));
        let Decision { events, answer } = match passed {
            Ok(decision) => decision,
            Err(rejection) => return Ok(Verdict::Rejected(rejection.into())),
        };
        let state = &mut resident.state;
        let (settled_before, changed) = (state.settled, !events.is_empty());
        for event in &events {
            state.evolve(event);
        }
        batch.push(channel, state.sequence, &events);
        debug_assert_eq!(state.check(), Ok(()), "channel {channel}");
        if state.settled > settled_before && state.settled_above_spent() {
            report::settled_above_spent(channel, state);
        }
        let snapshot = Snapshot::from(&*state);
        if changed {
            self.residents.mark_dirty(place);
        }
        Ok(Verdict::Accepted(Reply { answer, snapshot }))
    }

    /// What a channel says that has no books: it never had any, or it is over for so long that a tombstone is all that is
    /// left. That one answers as it did before, and nothing changes it.
    fn retired(
        &self,
        channel: ChannelId,
        command: Command,
        now: UnixSeconds,
    ) -> Result<Verdict, EngineError> {
        let Some(state) = self.ledger.tombstone(channel)? else {
            return Ok(Verdict::Rejected(Rejection::ChannelNotFound.into()));
        };
        Ok(match decide(&state, command, &self.config.policy, now) {
            Ok(Decision { answer, events }) => {
                assert!(events.is_empty(), "nothing becomes true of a channel that is over: {events:?}");
                Verdict::Accepted(Reply { answer, snapshot: Snapshot::from(&state) })
            }
            Err(rejection) => Verdict::Rejected(rejection.into()),
        })
    }

    /// Enters a channel, or says what the books hold of it (rule 6).
    fn open(
        &mut self,
        channel: ChannelId,
        facts: Facts,
        now: UnixSeconds,
        batch: &mut Batch,
    ) -> Result<Verdict, EngineError> {
        if let Some(known) = self.residents.find(channel, &*self.ledger)? {
            let snapshot = Snapshot::from(&self.residents.at(known).state);
            return Ok(Verdict::Accepted(Reply { answer: Answer::Done, snapshot }));
        }
        if self.ledger.tombstone(channel)?.is_some() {
            return Ok(Verdict::Rejected(Rejection::ChannelFinalized.into()));
        }
        let Facts { identity, deposit, settled, position } = facts;
        let opened = self.guard.check_deposit(deposit);
        let opened = match opened.and_then(|()| open((*identity).clone(), deposit, settled, position, now)) {
            Ok(opened) => opened,
            Err(rejection) => return Ok(Verdict::Rejected(rejection.into())),
        };
        if opened.alarm_settled_above_spent {
            report::settled_above_spent(channel, &opened.next);
        }
        let snapshot = Snapshot::from(&opened.next);
        batch.push(channel, opened.next.sequence, &opened.events);
        let place = self.residents.insert(StoredChannel { channel, identity, state: opened.next });
        self.residents.mark_dirty(place);
        Ok(Verdict::Accepted(Reply { answer: opened.answer, snapshot }))
    }

    fn read(&mut self, channel: ChannelId) -> Result<Option<Channel>, EngineError> {
        let found = self.residents.find(channel, &*self.ledger)?;
        Ok(found.map(|place| self.residents.at(place).to_channel(channel)))
    }

    /// The first `max` of this shard's channels behind `after`: those in memory as they are there, the
    /// others as their durable images say.
    fn page(&mut self, after: Option<ChannelId>, max: usize) -> Result<Vec<Channel>, EngineError> {
        let unstored = self.residents.unstored_after(after, max).into_iter();
        let mut found: BTreeMap<ChannelId, Channel> =
            unstored.filter_map(|id| Some((id, self.residents.peek(id)?))).collect();
        let (mut behind, mut ours) = (after, 0);
        while ours < max {
            let page = self.ledger.channels(behind, CHANNELS_PAGE_MAX)?;
            behind = page.last().map(|stored| stored.channel);
            let is_last = page.len() < CHANNELS_PAGE_MAX;
            for stored in page {
                if self.owns(stored.channel) {
                    ours += 1;
                    let channel = match self.residents.peek(stored.channel) {
                        Some(channel) => channel,
                        None => Channel::from(&self.residents.over(stored)?),
                    };
                    found.insert(channel.id, channel);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found.into_values().take(max).collect())
    }

    fn owns(&self, channel: ChannelId) -> bool {
        shard_of(channel, self.config.shards) == self.index
    }
}

/// What the chain says of a new channel.
struct Facts {
    identity: Arc<Identity>,
    deposit: Amount,
    settled: Amount,
    position: ChainPosition,
}

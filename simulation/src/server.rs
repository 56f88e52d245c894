//! The shell in one thread: everything that a server does between a request and a disk, step by step.
//!
//! It decides nothing about money: `channel::decide` does, `State::evolve` changes, the journal encodes, and
//! `ledger::recover` reads back. Here is only the order of things, which is the engine's: batches are verified
//! and applied ahead of the disk, one frame makes them durable, then their answers leave; images follow their
//! frames; the mark follows the images. Each of these is a step of its own, so that anything may happen between.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use farebox_core::channel::{
    Answer, ChainPosition, CloseReason, Command, Decision, Identity, Policy, Rejection, Snapshot, State,
    decide, open,
};
use farebox_core::journal::{Cursor, FrameBuilder, Head, Link, encode_event};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::{Verified, Voucher, VoucherError};
use farebox_engine::ledger::{Ledger, LedgerError, LedgerRead, StoredChannel};
use farebox_engine::{Reply, Verdict};

use crate::account::Op;
use crate::bug::Bug;
use crate::cast::{Hand, MemberIndex, index_of, member, sign, with_notary};
use crate::disk::Writer;

mod mutant;
mod start;

pub use start::{StartError, Started};

/// The operator's rules: the defaults.
pub const POLICY: Policy = Policy { voucher_delta_min: Amount::ZERO, outcome_age_s_max: OUTCOME_AGE_S_MAX };

/// How long an outcome is good, in seconds: the clock often jumps further.
pub const OUTCOME_AGE_S_MAX: u64 = 3_000;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A paying client, through the door.
    Client,
    /// The chain's watcher.
    Watcher,
    /// Who brings closes to the chain.
    Closer,
    /// Who settles.
    Settler,
}

/// Something that is asked of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in this history.
    pub id: u64,
    /// The channel.
    pub member: MemberIndex,
    /// Who waits.
    pub asker: Asker,
    /// What is asked.
    pub op: Op,
    /// Who signed the voucher, if there is one.
    pub hand: Hand,
}

/// A request and what came of it. The answer leaves when its batch is durable.
#[derive(Clone, Debug)]
pub struct Processed {
    /// When, by the server's clock.
    pub at: UnixSeconds,
    /// The request.
    pub request: Request,
    /// The answer.
    pub verdict: Verdict,
    /// Whether the operator is alarmed.
    pub alarm: bool,
    /// The channel before; `None` when the books did not know it.
    pub before: Option<State>,
    /// The channel after.
    pub after: Option<State>,
}

/// What waits for the disk, in order.
#[derive(Debug)]
enum Out {
    Batch { number: u64, records: Vec<u8>, processed: Vec<Processed> },
    Images { channels: Vec<StoredChannel>, last: bool },
}

/// Work of the checkpointer.
#[derive(Debug)]
enum Job {
    Images(Vec<StoredChannel>),
    Mark(Head),
    Forget(u64),
}

/// A channel in memory.
#[derive(Clone, Debug)]
struct Resident {
    identity: Arc<Identity>,
    state: State,
    /// Changed since its last image was taken.
    dirty: bool,
    /// The checkpoint for which that was.
    imaged: u64,
}

/// A server, as long as it lives.
#[derive(Debug)]
pub struct Server {
    writer: Writer,
    residents: BTreeMap<MemberIndex, Resident>,
    out: VecDeque<Out>,
    jobs: VecDeque<Job>,
    batches: u64,
    head: Head,
    frame: FrameBuilder,
    cursor: Option<Cursor>,
    /// The checkpoint under way: its number, its mark, and whose images are still to be given.
    checkpoint: Option<(Head, Vec<MemberIndex>)>,
    generation: u64,
    durable_generation: u64,
    bug: Option<Bug>,
}

/// What became durable together.
#[derive(Debug)]
pub struct Released {
    /// The batches, by their numbers.
    pub batches: Vec<u64>,
    /// The answers that leave now.
    pub answers: Vec<Processed>,
}

impl Server {
    /// Verifies all vouchers at once, does every request in order, and puts the batch before the disk. Gives
    /// the batch's number and what came of it, which nobody may see yet.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read.
    pub fn process(
        &mut self,
        requests: Vec<Request>,
        now: UnixSeconds,
    ) -> Result<(u64, Vec<Processed>), LedgerError> {
        let proofs = self.verify(&requests)?;
        let mut records = Vec::new();
        let stale = (self.bug == Some(Bug::SplitStep)).then(|| self.residents.clone());
        let mut processed = Vec::with_capacity(requests.len());
        for (request, proof) in requests.into_iter().zip(proofs) {
            let before = self.find(request.member)?.map(|resident| resident.state.clone());
            let old = stale.as_ref().and_then(|stale| stale.get(&request.member));
            let old = old.map(|resident| &resident.state);
            let (verdict, alarm) = self.serve(&request, proof, old, now, &mut records)?;
            let after = self.residents.get(&request.member).map(|resident| resident.state.clone());
            processed.push(Processed { at: now, request, verdict, alarm, before, after });
        }
        self.batches += 1;
        let number = self.batches;
        self.out.push_back(Out::Batch { number, records, processed: processed.clone() });
        Ok((number, processed))
    }

    /// Batches and images that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Writes up to `max` waiting things as one frame, then lets answers and images go on.
    ///
    /// # Errors
    ///
    /// When the process died on the way. Whether the frame is durable is then for the disk to know.
    pub fn append(&mut self, max: usize) -> Result<Released, LedgerError> {
        let round: Vec<_> = self.out.drain(..max.min(self.out.len())).collect();
        let mut released = Released { batches: Vec::new(), answers: Vec::new() };
        let (mut images, mut is_empty) = (Vec::new(), true);
        for waiting in round {
            match waiting {
                Out::Batch { number, records, processed } => {
                    is_empty &= records.is_empty();
                    self.frame.append(&records).expect("batches are small");
                    released.batches.push(number);
                    released.answers.extend(processed);
                }
                Out::Images { channels, last } => images.push((channels, last)),
            }
        }
        if is_empty && self.cursor == self.head.cursor {
            self.frame.reset();
        } else {
            self.write_frame()?;
        }
        for (channels, last) in images {
            self.jobs.push_back(Job::Images(channels));
            if last && let Some((mark, _)) = self.checkpoint.take() {
                self.jobs.push_back(Job::Mark(mark));
                self.jobs.push_back(Job::Forget(mark.sequence));
            }
        }
        Ok(released)
    }

    fn write_frame(&mut self) -> Result<(), LedgerError> {
        let (epoch, sequence) = (self.writer.epoch(), self.head.sequence + 1);
        let cursor = self.cursor.filter(|_| self.cursor != self.head.cursor);
        let bytes = self.frame.finish(epoch, sequence, self.head.link, cursor);
        let link = Link::to(bytes);
        self.writer.append(bytes, sequence)?;
        self.head = Head { epoch, sequence, link, cursor: self.cursor };
        Ok(())
    }

    /// The batches that [`Server::append`] would write.
    pub fn next_batches(&self, max: usize) -> Vec<u64> {
        let number = |out: &Out| match out {
            Out::Batch { number, .. } => Some(*number),
            Out::Images { .. } => None,
        };
        self.out.iter().take(max).filter_map(number).collect()
    }

    /// The last frame that is durable.
    pub fn head(&self) -> Head {
        self.head
    }

    /// How far the chain was read; durable with the next frame.
    pub fn set_cursor(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// How far the chain was read.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Begins a checkpoint of everything that changed, unless one is under way.
    pub fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_some() || !self.jobs.is_empty() {
            return;
        }
        self.generation += 1;
        let dirty = self.residents.iter().filter(|(_, resident)| resident.dirty);
        self.checkpoint = Some((self.head, dirty.map(|(member, _)| *member).collect()));
    }

    /// Gives some images of the checkpoint under way, behind the batches that made them.
    pub fn give_images(&mut self, max: usize) {
        let Some((_, members)) = &mut self.checkpoint else { return };
        let is_given = self.out.iter().any(|out| matches!(out, Out::Images { last: true, .. }));
        if is_given {
            return;
        }
        let part: Vec<_> = members.drain(..max.min(members.len())).collect();
        let last = members.is_empty();
        let mut channels = Vec::new();
        for index in part {
            let Some(resident) = self.residents.get_mut(&index) else { continue };
            (resident.dirty, resident.imaged) = (false, self.generation);
            let (identity, state) = (Arc::clone(&resident.identity), resident.state.clone());
            channels.push(StoredChannel { channel: member(index).channel, identity, state });
        }
        if self.bug == Some(Bug::ImageLeads) {
            self.jobs.push_back(Job::Images(std::mem::take(&mut channels)));
        }
        self.out.push_back(Out::Images { channels, last });
    }

    /// Does one piece of the checkpointer's work.
    ///
    /// # Errors
    ///
    /// When the process died on the way.
    pub fn checkpoint_step(&mut self) -> Result<(), LedgerError> {
        match self.jobs.pop_front() {
            Some(Job::Images(channels)) => self.writer.store_images(&channels),
            Some(Job::Mark(mark)) => {
                self.writer.set_mark(&mark)?;
                self.durable_generation = self.generation;
                Ok(())
            }
            Some(Job::Forget(sequence)) => self.writer.forget_frames(sequence),
            None => Ok(()),
        }
    }

    /// Lets a channel go from memory, if its image is durable and nothing runs on it.
    pub fn evict(&mut self, member: MemberIndex) {
        let may_go = |resident: &Resident| {
            !resident.dirty
                && resident.imaged <= self.durable_generation
                && resident.state.reservations.is_empty()
        };
        if self.residents.get(&member).is_some_and(may_go) {
            self.residents.remove(&member);
        }
    }

    /// One verdict of the verifier a request that has a voucher for a channel in the books. Whose signature it
    /// must be, the books say, never the voucher (rule 9).
    fn verify(&mut self, requests: &[Request]) -> Result<Vec<Option<Proof>>, LedgerError> {
        let mut vouchers = Vec::new();
        let mut identities: BTreeMap<MemberIndex, Arc<Identity>> = BTreeMap::new();
        for (place, request) in requests.iter().enumerate() {
            if matches!(request.op, Op::Open { .. }) {
                let identity = || Arc::new(member(request.member).identity.clone());
                identities.entry(request.member).or_insert_with(identity);
            }
            let (Op::Submit { amount, .. } | Op::Close { amount, .. }) = request.op else { continue };
            if let Some(resident) = self.find(request.member)? {
                identities.insert(request.member, Arc::clone(&resident.identity));
            }
            if let Some(identity) = identities.get(&request.member) {
                let voucher = sign(request.member, Amount::new(amount), request.hand);
                vouchers.push((place, Arc::clone(identity), voucher));
            }
        }
        let bug = self.bug;
        let questions: Vec<_> = vouchers
            .iter()
            .map(|(place, identity, voucher)| {
                let signer = mutant::expected_signer(bug, &requests[*place], identity);
                (&member(requests[*place].member).domain, voucher, signer)
            })
            .collect();
        let verdicts = with_notary(|notary| notary.verify(&questions));
        let mut proofs = vec![None; requests.len()];
        for ((place, ..), verdict) in vouchers.iter().zip(verdicts) {
            proofs[*place] = Some(verdict);
        }
        Ok(proofs)
    }

    fn serve(
        &mut self,
        request: &Request,
        proof: Option<Proof>,
        stale: Option<&State>,
        now: UnixSeconds,
        records: &mut Vec<u8>,
    ) -> Result<(Verdict, bool), LedgerError> {
        if let Op::Open { deposit, settled, position } = request.op {
            return self.open(request.member, (deposit, settled, position), now, records);
        }
        let bug = self.bug;
        let Some(resident) = self.find(request.member)? else {
            return Ok((Verdict::Rejected(Rejection::ChannelNotFound.into()), false));
        };
        let command = match command(&request.op, proof) {
            Ok(command) => command,
            Err(error) => return Ok((Verdict::Rejected(error.into()), false)),
        };
        let seen = mutant::seen(bug, &resident.state, stale, request);
        let decided = decide(seen.as_ref().unwrap_or(&resident.state), command, &POLICY, now);
        let Decision { events, answer } = match decided {
            Ok(decision) => mutant::answer(bug, &resident.state, decision),
            Err(rejection) => return Ok((Verdict::Rejected(rejection.into()), false)),
        };
        let settled = resident.state.settled;
        for event in &events {
            resident.state.evolve(event);
            encode_event(records, resident.state.channel_id, resident.state.sequence, event);
        }
        resident.dirty |= !events.is_empty();
        let state = &resident.state;
        let alarm = state.settled > settled && state.settled_above_spent();
        Ok((Verdict::Accepted(Reply { answer, snapshot: Snapshot::from(state) }), alarm))
    }

    /// Enters a channel, or says what the books hold of it (rule 6).
    fn open(
        &mut self,
        index: MemberIndex,
        (deposit, settled, position): (u128, u128, (u64, u32)),
        now: UnixSeconds,
        records: &mut Vec<u8>,
    ) -> Result<(Verdict, bool), LedgerError> {
        let bug = self.bug;
        if let Some(resident) = self.find(index)?
            && bug != Some(Bug::ReopenResets)
        {
            let snapshot = Snapshot::from(&resident.state);
            return Ok((Verdict::Accepted(Reply { answer: Answer::Done, snapshot }), false));
        }
        let identity = member(index).identity.clone();
        let position = ChainPosition { block: position.0, log_index: position.1 };
        let (deposit, settled) = (Amount::new(deposit), Amount::new(settled));
        let opened = match open(identity.clone(), deposit, settled, position, now) {
            Ok(opened) => opened,
            Err(rejection) => return Ok((Verdict::Rejected(rejection.into()), false)),
        };
        for event in &opened.events {
            encode_event(records, opened.next.channel_id, opened.next.sequence, event);
        }
        let snapshot = Snapshot::from(&opened.next);
        let resident = Resident { identity: Arc::new(identity), state: opened.next, dirty: true, imaged: 0 };
        self.residents.insert(index, resident);
        let verdict = Verdict::Accepted(Reply { answer: opened.answer, snapshot });
        Ok((verdict, opened.alarm_settled_above_spent))
    }

    /// A channel, from memory or else from the disk.
    fn find(&mut self, index: MemberIndex) -> Result<Option<&mut Resident>, LedgerError> {
        if !self.residents.contains_key(&index) {
            let Some(stored) = self.writer.load(member(index).channel)? else { return Ok(None) };
            self.insert(stored, false);
        }
        Ok(self.residents.get_mut(&index))
    }

    fn insert(&mut self, stored: StoredChannel, dirty: bool) {
        let StoredChannel { channel, identity, state } = stored;
        self.residents.insert(index_of(channel), Resident { identity, state, dirty, imaged: 0 });
    }
}

/// What the verifier says of a request's voucher.
type Proof = Result<Verified<Voucher>, VoucherError>;

fn command(op: &Op, proof: Option<Proof>) -> Result<Command, VoucherError> {
    Ok(match (op, proof) {
        (Op::Submit { then, .. }, Some(voucher)) => Command::Accept { voucher: voucher?, then: *then },
        (Op::Close { .. }, Some(voucher)) => Command::BeginClose(CloseReason::Cooperative(voucher?)),
        (Op::Step(step), None) => Command::from(*step),
        (Op::Read, None) => Command::Read,
        (op, proof) => unreachable!("verification gave {proof:?} for {op:?}"),
    })
}

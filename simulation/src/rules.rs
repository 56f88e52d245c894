//! The eleven money rules, from where the payer and the chain stand.
//!
//! A [`Witness`] sees what is signed, what is asked, what is answered and delivered, what is on disk and what
//! the chain does. It compares these with each other by its own sums; it neither asks the model nor trusts
//! `State::check`, which is looked at beside it.

use std::collections::{BTreeMap, BTreeSet};

use farebox_core::channel::{Answer, Outcome, Phase, Rejection, RequestKey, Spend, State};
use farebox_core::units::UnixSeconds;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{Refusal, Reply, Step, Verdict};

use crate::account::Op;
use crate::cast::{HONEST, Hand, MEMBERS, MemberIndex, member, with_notary};
use crate::chain::{Call, Chain, Mined};
use crate::server::{OUTCOME_AGE_S_MAX, Processed, Request};

mod steps;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One of the eleven, by its number in `docs/design.md`.
    Money(u8),
    /// `State::check` found something.
    Promise,
    /// The books said something else than the model.
    Model,
    /// Books that only an honest crash has touched were refused, or read wrongly.
    Recovery,
    /// Something never came to its end.
    Liveness,
    /// Some code panicked.
    Panic,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
}

/// The outcome of a check.
pub type Check = Result<(), Broken>;

/// Fails a check.
pub fn broken(rule: Rule, what: impl Into<String>) -> Check {
    Err(Broken { rule, what: what.into() })
}

/// A rule with its condition.
fn must(number: u8, holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { broken(Rule::Money(number), what()) }
}

/// What a paid request is called, if it has a name.
type Name = Option<[u8; 16]>;

/// What is known of one channel from outside.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Amounts that its signer ever signed for somebody.
    signed: BTreeSet<u128>,
    /// What was settled when it entered the books.
    base: u128,
    /// What was charged for each paid request, and for those without a name, as the answers said.
    paid: BTreeMap<Name, u128>,
    /// What requests may have been charged whose answer is not there yet.
    pending: BTreeMap<u64, (Name, u128)>,
    /// The same of requests whose answer a crash took.
    lost: Vec<(Name, u128)>,
}

/// Who watches.
#[derive(Clone, Debug)]
pub struct Witness {
    seen: Vec<Seen>,
}

impl Default for Witness {
    fn default() -> Self {
        Self { seen: vec![Seen::default(); MEMBERS] }
    }
}

impl Witness {
    /// A request was made.
    pub fn asked(&mut self, request: &Request) {
        let seen = &mut self.seen[request.member];
        match &request.op {
            Op::Submit { amount, .. } | Op::Close { amount, .. } if request.hand == Hand::Signer => {
                seen.signed.insert(*amount);
            }
            _ => {}
        }
        if let Some(charge) = charge_of(&request.op) {
            seen.pending.insert(request.id, charge);
        }
    }

    /// The amounts that a channel's signer has signed for the server.
    pub fn signed(&self, index: MemberIndex) -> impl Iterator<Item = u128> {
        self.seen[index].signed.iter().copied()
    }

    /// The process died: what was not answered never will be.
    pub fn crashed(&mut self) {
        for seen in &mut self.seen {
            seen.lost.extend(std::mem::take(&mut seen.pending).into_values());
        }
    }

    /// An answer left, and the service that it pays for is delivered. `durable` is what the disk holds.
    pub fn released(&mut self, processed: &Processed, durable: Option<&State>) -> Check {
        let Processed { request, verdict, before, .. } = processed;
        let seen = &mut self.seen[request.member];
        seen.pending.remove(&request.id);
        let Verdict::Accepted(Reply { answer, snapshot }) = verdict else { return Ok(()) };
        match (&request.op, answer) {
            (Op::Open { settled, .. }, Answer::Done) if before.is_none() => seen.base = *settled,
            (_, Answer::Replayed(outcome)) => {
                // What is lost stays open: the same name may have been charged before, and forgotten.
                let paid = seen.paid.entry(Some(outcome.key.0)).or_default();
                *paid = (*paid).max(outcome.charged.get());
            }
            (op, Answer::Done) => {
                if let Some((key, amount)) = charge_of(op) {
                    *seen.paid.entry(key).or_default() += amount;
                }
            }
            _ => {}
        }
        let what = || format!("{request:?} was answered {snapshot:?}, the disk holds {durable:?}");
        let Some(durable) = durable else { return must(1, false, what) };
        let is_there = durable.accepted >= snapshot.accepted
            && durable.spent >= snapshot.spent
            && durable.sequence >= snapshot.sequence;
        must(1, is_there, what)
    }

    /// Books became durable, or were read back: rules 1 and 2, and those about the terms.
    pub fn durable(&mut self, index: MemberIndex, state: &State, chain: &Chain) -> Check {
        let seen = &self.seen[index];
        let paid = seen.base + seen.paid.values().sum::<u128>();
        let open = seen.pending.values().chain(&seen.lost).map(|(_, amount)| amount).sum::<u128>();
        let spent = state.spent.get();
        must(1, spent >= paid, || format!("{paid} was delivered on channel {index}, {spent} is charged"))?;
        must(8, spent <= paid + open, || {
            format!("{spent} is charged on channel {index}, {paid} delivered, {open} without an answer")
        })?;
        let escrow = chain.escrow(index);
        must(2, state.deposit.get() <= escrow.deposit && state.settled.get() <= escrow.settled, || {
            format!("channel {index}: the books believe {state:?}, the escrow holds {escrow:?}")
        })?;
        must(11, index < HONEST, || format!("channel {index} has an operator of its payer's"))?;
        let signer = member(index).identity.expected_signer();
        must(9, state.signer == signer, || format!("channel {index} is signed for by {}", state.signer))
    }

    /// Books were read back after a crash: nothing that was durable before is gone.
    pub fn recovered(&self, index: MemberIndex, before: &State, found: Option<&State>) -> Check {
        let Some(found) = found else {
            return broken(Rule::Money(6), format!("channel {index} is gone, it was {before:?}"));
        };
        let what = || format!("channel {index} was {before:?}, after the crash it is {found:?}");
        must(1, found.sequence >= before.sequence && found.spent >= before.spent, what)?;
        must(3, found.accepted >= before.accepted, what)?;
        must(2, found.deposit >= before.deposit && found.settled >= before.settled, what)?;
        let was_closed = matches!(before.phase, Phase::Closed(_));
        must(6, !was_closed || found.phase == before.phase, what)?;
        let is_there = |key| found.outcomes.get(key).is_some() || found.reservation(key).is_some();
        let fewer = before.outcomes.iter().find(|outcome| !is_there(&outcome.key));
        let is_full = found.outcomes.iter().len() == farebox_core::channel::OUTCOMES_MAX;
        must(8, fewer.is_none() || is_full, what)
    }

    /// After a start nothing runs: nobody is left to deliver to.
    pub fn started(&self, index: MemberIndex, state: &State) -> Check {
        must(8, state.reservations.is_empty(), || {
            format!("channel {index} still runs {:?}", state.reservations)
        })
    }

    /// The chain did what the payee told it. `books` are the durable ones at this moment.
    pub fn mined(&self, mined: &Mined, books: Option<&State>, alive: Option<&State>) -> Check {
        if !mined.success {
            return Ok(());
        }
        let Mined { transaction, before, after, .. } = mined;
        let index = transaction.member;
        let Some(books) = books else {
            return broken(Rule::Money(6), format!("channel {index} is claimed and not in the books"));
        };
        let spent = books.spent.get();
        let paid_out = after.settled - before.settled;
        let what = || format!("{paid_out} more was paid out by {transaction:?}, the books hold {books:?}");
        match transaction.call {
            Call::Settle(_) => must(2, after.settled <= spent, what),
            Call::Close(_) => {
                let owed = spent.max(before.settled);
                let is_exact = match member(index).version() {
                    ProtocolVersion::V1 => after.settled <= owed,
                    ProtocolVersion::V2 => after.settled == owed,
                };
                must(2, is_exact, what)?;
                let serves =
                    [Some(books), alive].into_iter().flatten().any(|state| state.phase == Phase::Open);
                must(10, !serves, what)
            }
        }
    }

    /// No more left an escrow than its payer signed for.
    pub fn paid_out(&self, index: MemberIndex, chain: &Chain) -> Check {
        let settled = chain.escrow(index).settled;
        let signed = self.seen[index].signed.last().copied().unwrap_or(0);
        must(9, settled <= signed, || {
            format!("{settled} left the escrow of channel {index}, {signed} is signed")
        })
    }
}

/// What a request may charge, and in which name.
fn charge_of(op: &Op) -> Option<(Name, u128)> {
    match op {
        Op::Submit { then: Spend::Charge { key, amount, .. }, .. }
        | Op::Step(Step::Spend(Spend::Charge { key, amount, .. })) => {
            Some((key.map(|key| key.0), amount.get()))
        }
        Op::Step(Step::Capture { key, amount, .. }) => Some((Some(key.0), amount.get())),
        _ => None,
    }
}

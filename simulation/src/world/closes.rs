//! Claims on their way to the chain.

use farebox_core::channel::{Answer, Claim, Phase};
use farebox_engine::{Reply, Step, Verdict};
use rand::RngExt;

use super::World;
use crate::account::Op;
use crate::cast::{Hand, MemberIndex};
use crate::chain::{Call, Transaction};
use crate::closer::{Closer, Next, Node, VALIDITY_SECONDS};
use crate::rules::{Check, Rule, broken};
use crate::server::Asker;

impl World {
    /// The closer looks at one channel: at its transaction, or in the books whether one is needed.
    pub(super) fn close_some(&mut self) -> Check {
        let index = self.one_of();
        let is_silent = self.chance(25);
        self.close_one(index, is_silent)
    }

    pub(super) fn close_one(&mut self, index: MemberIndex, is_silent: bool) -> Check {
        if self.server.is_none() {
            return Ok(());
        }
        if self.closer.is_busy(index) {
            let next = self.closer.look(index, &self.chain, is_silent, self.options.bug);
            return self.go_on(index, next);
        }
        if self.closer_waits.contains(&index) {
            return Ok(());
        }
        let Some(books) = self.durable.states.get(&index) else { return Ok(()) };
        let wants_close = match books.phase {
            Phase::Closing { .. } => {
                self.closer.doubt(index, &self.chain);
                true
            }
            Phase::Open => {
                self.closer.settle_doubt(index);
                // The watcher is about to tell that it was taken back.
                books.close_requested_at.is_some() && self.chain.escrow(index).asked_at.is_some()
            }
            Phase::Closed(_) => false,
        };
        if wants_close {
            self.closer_asks(index, Step::BeginCloseForced);
        }
        Ok(())
    }

    fn closer_asks(&mut self, index: MemberIndex, step: Step) {
        self.closer_waits.insert(index);
        self.ask(index, Asker::Closer, Op::Step(step), Hand::Signer);
    }

    fn go_on(&mut self, index: MemberIndex, next: Next) -> Check {
        match next {
            Next::Wait | Next::Retry => {}
            Next::Confirmed => {
                let closed = |fact: &&crate::chain::Fact| {
                    fact.member == index && matches!(fact.step, Step::Closed { .. })
                };
                if let Some(fact) = self.chain.log.iter().find(closed) {
                    let step = fact.step;
                    self.closer_asks(index, step);
                }
            }
            // A close that failed because the channel was over already: the watcher tells.
            Next::Abort if self.chain.escrow(index).is_over => {}
            Next::Abort => self.closer_asks(index, Step::AbortClose),
        }
        Ok(())
    }

    /// The books answered the closer, or a client whose wish to close the door brings to the chain.
    pub(super) fn close_answered(&mut self, index: MemberIndex, verdict: &Verdict) -> Check {
        let Verdict::Accepted(Reply { answer: Answer::Close(claim), .. }) = verdict else { return Ok(()) };
        if self.closer.is_busy(index) {
            return Ok(());
        }
        self.check_claim(index, claim)?;
        let call = match Closer::plan(index, claim) {
            Ok(call) => call,
            Err(error) => return broken(Rule::Money(2), format!("no escrow honours {claim:?}: {error}")),
        };
        if !Closer::fits(index, &call, &self.chain) {
            let next = self.closer.failed(index, &self.chain);
            return self.go_on(index, next);
        }
        let node = match self.dice.random_range(0..10) {
            0 => Node::Refuses,
            1 => Node::SilentlyLoses,
            2 | 3 => Node::SilentlyTakes,
            _ => Node::Takes,
        };
        self.note(format!("a close of channel {index} is sent ({node:?}): {claim:?}"));
        let (id, valid_before) = self.transact(index, Call::Close(call), node);
        self.closer.send(index, id, valid_before, node);
        Ok(())
    }

    /// Rule 2: what is claimed is what was spent, by the books that are durable when it is claimed.
    fn check_claim(&self, index: MemberIndex, claim: &Claim) -> Check {
        let Some(books) = self.durable.states.get(&index) else {
            return broken(Rule::Money(1), format!("{claim:?} of channel {index} is not durable"));
        };
        if claim.capture > books.capture() || claim.capture > claim.cumulative {
            return broken(Rule::Money(2), format!("{claim:?} is claimed of {books:?}"));
        }
        Ok(())
    }

    fn transact(&mut self, index: MemberIndex, call: Call, node: Node) -> (u64, u64) {
        self.transactions += 1;
        let (id, valid_before) = (self.transactions, self.chain.time + VALIDITY_SECONDS);
        if matches!(node, Node::Takes | Node::SilentlyTakes) {
            self.chain.submit(Transaction { id, member: index, call, valid_before });
        }
        (id, valid_before)
    }

    /// Somebody wonders whether a settlement is worth it.
    pub(super) fn settle_some(&mut self) -> Check {
        let index = self.one_of();
        if self.durable.states.contains_key(&index) {
            self.ask(index, Asker::Settler, Op::Step(Step::PlanSettle), Hand::Signer);
        }
        Ok(())
    }

    pub(super) fn settle_answered(&mut self, index: MemberIndex, verdict: &Verdict) -> Check {
        if let Verdict::Accepted(Reply { answer: Answer::Settle(claim), .. }) = verdict {
            self.note(format!("a settlement of channel {index} is sent: {claim:?}"));
            self.transact(index, Call::Settle(claim.clone()), Node::Takes);
        }
        Ok(())
    }
}

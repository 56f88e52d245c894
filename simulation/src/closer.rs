//! Brings closes to the chain, one transaction a channel at a time, through silence, refusals and restarts.
//!
//! The fate of a transaction is decided by `settlement_plan::attempt`, its call by `plan_close`. What is here is
//! the caller's part, as settlement plays it: one close at a time, no abort while anything that was sent may
//! still happen (rule 10), and doubt about everything that a former process may have sent.

use std::collections::BTreeMap;

use farebox_core::channel::Claim;
use farebox_core::units::{B256, UnixSeconds};
use farebox_settlement_plan::attempt::EXPIRY_MARGIN_SECONDS;
use farebox_settlement_plan::{Attempt, ClaimCall, Observation, plan_close};

use crate::bug::Bug;
use crate::cast::{MemberIndex, member};
use crate::chain::{Chain, TransactionId};

/// How long a transaction is valid.
pub const VALIDITY_SECONDS: u64 = 30;

/// What the closer knows; a crash takes all of it.
#[derive(Clone, Debug, Default)]
pub struct Closer {
    jobs: BTreeMap<MemberIndex, Job>,
    /// Until when something that was sent before may still happen.
    doubts: BTreeMap<MemberIndex, UnixSeconds>,
}

/// A close under way.
#[derive(Clone, Debug)]
struct Job {
    attempt: Attempt,
    transaction: TransactionId,
}

/// What a node says to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// It takes it.
    Takes,
    /// It refuses it, and nobody has it.
    Refuses,
    /// It does not answer, and has it.
    SilentlyTakes,
    /// It does not answer, and has not got it.
    SilentlyLoses,
}

/// What the closer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing yet.
    Wait,
    /// The close is on chain: the watcher tells the books.
    Confirmed,
    /// It surely failed and nothing else may happen: tell the books.
    Abort,
    /// It surely failed, but something sent before may still happen: try again.
    Retry,
}

impl Closer {
    /// Whether a close of this channel is under way.
    pub fn is_busy(&self, index: MemberIndex) -> bool {
        self.jobs.contains_key(&index)
    }

    /// The channels whose close is under way.
    pub fn busy(&self) -> Vec<MemberIndex> {
        self.jobs.keys().copied().collect()
    }

    /// A channel is closing and nobody is at it: a former process may have sent something just now.
    pub fn doubt(&mut self, index: MemberIndex, chain: &Chain) {
        let end = UnixSeconds(chain.time + VALIDITY_SECONDS + EXPIRY_MARGIN_SECONDS);
        self.doubts.entry(index).or_insert(end);
    }

    /// The books are open or closed: whatever was in doubt is not any more.
    pub fn settle_doubt(&mut self, index: MemberIndex) {
        self.doubts.remove(&index);
    }

    /// Plans the call of a claim.
    ///
    /// # Errors
    ///
    /// A claim that no escrow would honour.
    pub fn plan(index: MemberIndex, claim: &Claim) -> Result<ClaimCall, String> {
        plan_close(&member(index).identity, claim).map_err(|error| error.to_string())
    }

    /// Whether the call fits what the escrow holds now. If not, nothing is sent.
    pub fn fits(index: MemberIndex, call: &ClaimCall, chain: &Chain) -> bool {
        let escrow = chain.escrow(index);
        !escrow.is_over && call.capture.get() >= escrow.settled && call.capture.get() <= escrow.deposit
    }

    /// Hands a transaction to a node.
    pub fn send(&mut self, index: MemberIndex, transaction: TransactionId, valid_before: u64, node: Node) {
        let attempt = Attempt::new(B256::ZERO, UnixSeconds(valid_before)).observe(Observation::Sending);
        let attempt = attempt.observe(match node {
            Node::Refuses => Observation::Refused,
            Node::Takes | Node::SilentlyTakes | Node::SilentlyLoses => Observation::Sent,
        });
        self.jobs.insert(index, Job { attempt, transaction });
    }

    /// Looks for the receipt, if the node answers.
    pub fn look(&mut self, index: MemberIndex, chain: &Chain, is_silent: bool, bug: Option<Bug>) -> Next {
        let Some(job) = self.jobs.get_mut(&index) else { return Next::Wait };
        let receipt = chain.receipt(job.transaction).filter(|_| !is_silent);
        let seen = match receipt {
            Some(success) => Observation::Receipt { success },
            None if is_silent => Observation::WaitOver,
            None => Observation::Absent { chain_time: UnixSeconds(chain.time) },
        };
        job.attempt = job.attempt.observe(seen);
        let gives_up = bug == Some(Bug::AbortOnSilence) && receipt.is_none();
        if !job.attempt.surely_failed() && !gives_up {
            if receipt.is_none() {
                return Next::Wait;
            }
            self.jobs.remove(&index);
            return Next::Confirmed;
        }
        self.jobs.remove(&index);
        self.failed(index, chain)
    }

    /// A try surely failed, perhaps before anything was sent.
    pub fn failed(&self, index: MemberIndex, chain: &Chain) -> Next {
        match self.doubts.get(&index) {
            Some(end) if UnixSeconds(chain.time) < *end => Next::Retry,
            _ => Next::Abort,
        }
    }
}

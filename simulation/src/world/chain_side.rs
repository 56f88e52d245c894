//! Payers on chain, blocks, and the watcher that tells the books.

use std::collections::{BTreeMap, BTreeSet};

use farebox_core::channel::{ChainPosition, Claim};
use farebox_core::journal::Cursor;
use farebox_core::units::{Amount, B256, BlockNumber};
use farebox_engine::Step;
use rand::RngExt;

use super::World;
use super::clients::GRAIN;
use crate::account::Op;
use crate::bug::Bug;
use crate::cast::{Hand, MemberIndex, sign};
use crate::rules::Check;
use crate::server::Asker;

/// Blocks before the cursor that the watcher reads again, as the real one does.
const OVERLAP_BLOCKS: u64 = 16;

/// The most facts that the watcher tells at once.
const FACTS_MAX: usize = 4;

/// Who follows the chain. Only its cursor survives a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Watcher {
    /// The next fact of the log to tell.
    pub(super) next: usize,
    /// Facts that were told and not answered yet, by request.
    pub(super) telling: BTreeMap<u64, usize>,
    /// Facts that the books have heard, of channels that they knew.
    pub(super) heard: BTreeSet<usize>,
    /// Channels that are about to enter the books, by request: facts about them wait.
    pub(super) opening: BTreeMap<u64, MemberIndex>,
}

impl World {
    pub(super) fn payer_opens(&mut self, index: MemberIndex) -> Check {
        let deposit = self.dice.random_range(4..=160) * GRAIN;
        let opened = self.chain.open(index, deposit);
        self.note(format!("channel {index} is opened with {deposit}: {opened:?}"));
        Ok(())
    }

    pub(super) fn payer_acts(&mut self) -> Check {
        let index = self.one_of();
        match self.dice.random_range(0..12) {
            0..4 => self.payer_tops_up(index),
            4..6 => {
                let asked = self.chain.request_close(index);
                self.note(format!("a close of channel {index} is requested: {asked:?}"));
                Ok(())
            }
            6..9 => {
                let withdrawn = self.chain.withdraw(index);
                self.note(format!("channel {index} is withdrawn: {withdrawn:?}"));
                self.witness.paid_out(index, &self.chain)
            }
            9 => self.somebody_settles(index),
            _ => Ok(()),
        }
    }

    /// A top-up, which the client may also tell the door at once.
    fn payer_tops_up(&mut self, index: MemberIndex) -> Check {
        let more = self.dice.random_range(0..=20) * GRAIN;
        let cancels_close = self.chain.escrow(index).asked_at.is_some();
        let from = self.chain.log.len();
        let done = self.chain.top_up(index, more);
        self.note(format!("channel {index} is topped up by {more}: {done:?}"));
        let told = self.chain.log[from..].iter().find_map(|fact| match fact.step {
            Step::ToppedUp { deposit, position, .. } => {
                Some(Step::ToppedUp { deposit, position, cancels_close })
            }
            _ => None,
        });
        if let Some(step) = told
            && self.live.states.contains_key(&index)
            && self.chance(50)
        {
            self.ask(index, Asker::Client, Op::Step(step), Hand::Signer);
        }
        Ok(())
    }

    /// Another tool of the payee's settles with a voucher that it was given, spent or not.
    fn somebody_settles(&mut self, index: MemberIndex) -> Check {
        let settled = self.chain.escrow(index).settled;
        let known = self.durable.states.get(&index).map_or(0, |state| state.accepted.get());
        let usable = |amount: &u128| *amount > settled && *amount <= known;
        let vouchers: Vec<_> = self.witness.signed(index).filter(usable).collect();
        if vouchers.is_empty() || !self.chance(30) {
            return Ok(());
        }
        let amount = Amount::new(vouchers[self.dice.random_range(0..vouchers.len())]);
        let signature = Some(sign(index, amount, Hand::Signer).to_chain_bytes());
        let done = self.chain.settle(index, &Claim { cumulative: amount, capture: amount, signature });
        self.note(format!("somebody settles {amount} of channel {index}: {done:?}"));
        self.witness.paid_out(index, &self.chain)
    }

    pub(super) fn block(&mut self) -> Check {
        let seconds = match self.dice.random_range(0..10) {
            0 => self.dice.random_range(200..1_200),
            _ => self.dice.random_range(1..12),
        };
        self.chain.advance(seconds);
        Ok(())
    }

    pub(super) fn mine(&mut self) -> Check {
        let waiting = self.chain.waiting();
        if waiting == 0 {
            return Ok(());
        }
        let place = self.dice.random_range(0..waiting);
        let mined = self.chain.mine(place);
        let index = mined.transaction.member;
        self.note(format!("mined ({}): {:?}", mined.success, mined.transaction));
        let alive = self.server.is_some().then(|| self.live.states.get(&index)).flatten();
        self.witness.mined(&mined, self.durable.states.get(&index), alive)?;
        self.witness.paid_out(index, &self.chain)
    }

    /// Tells the next facts in order. Facts of a channel that is about to enter the books wait, and so do all
    /// behind them.
    pub(super) fn watch(&mut self) -> Check {
        if self.server.is_none() {
            return Ok(());
        }
        for _ in 0..FACTS_MAX {
            let Some(fact) = self.chain.log.get(self.watcher.next).copied() else { break };
            if self.watcher.opening.values().any(|opening| *opening == fact.member) {
                break;
            }
            let id = self.ask(fact.member, Asker::Watcher, Op::Step(fact.step), Hand::Signer);
            self.watcher.telling.insert(id, self.watcher.next);
            self.watcher.next += 1;
        }
        self.move_cursor();
        Ok(())
    }

    /// The cursor goes where everything before it was answered. The newest block may still grow.
    pub(super) fn move_cursor(&mut self) {
        let told = match self.watcher.telling.values().min() {
            Some(oldest) if self.options.bug != Some(Bug::CursorLeads) => *oldest,
            _ => self.watcher.next,
        };
        let block = self.chain.log.get(told).map_or(self.chain.block, |fact| fact.position.block);
        let cursor = Cursor { next_block: BlockNumber(block), parent: B256::ZERO };
        let Some(server) = &mut self.server else { return };
        if server.cursor().is_none_or(|known| known.next_block < cursor.next_block) {
            server.set_cursor(cursor);
        }
    }

    /// A fact out of turn: one that was heard is told again, or one that is still to come is told by somebody
    /// who saw a receipt.
    pub(super) fn gossip(&mut self) -> Check {
        if self.chain.log.is_empty() || self.server.is_none() {
            return Ok(());
        }
        let place = self.dice.random_range(0..self.chain.log.len());
        let fact = self.chain.log[place];
        let is_known = self.durable.states.contains_key(&fact.member);
        let is_heard = self.watcher.heard.contains(&place);
        if is_known && (is_heard || place >= self.watcher.next) {
            self.ask(fact.member, Asker::Client, Op::Step(fact.step), Hand::Signer);
        } else if self.chance(20) {
            // A second look from further back, as after a node that was behind. No further than a start looks: a process
            // that dies between an old fact and the one that undid it must hear both again.
            self.watcher.next = self.watcher.next.min(place.max(self.overlap_begins()));
        }
        Ok(())
    }

    /// The first fact of the blocks that the watcher reads again before its cursor.
    fn overlap_begins(&self) -> usize {
        let cursor = self.server.as_ref().and_then(|server| server.cursor());
        let block = cursor.map_or(0, |cursor| cursor.next_block.0.saturating_sub(OVERLAP_BLOCKS));
        let from = ChainPosition { block, log_index: 0 };
        self.chain.log.partition_point(|fact| fact.position < from)
    }

    /// After a start: from some blocks before the cursor on, everything is told again.
    pub(super) fn rewind_watcher(&mut self) {
        self.watcher.next = self.overlap_begins();
        self.watcher.telling.clear();
        self.watcher.opening.clear();
    }
}

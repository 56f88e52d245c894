//! What clients ask: mostly what they should, often what they should not.

use farebox_core::channel::{RequestKey, Spend};
use farebox_core::units::Amount;
use farebox_engine::Step;
use rand::RngExt;

use super::World;
use crate::account::Op;
use crate::bug::Bug;
use crate::cast::{ADVERTISED, Hand, MemberIndex, member};
use crate::rules::Check;
use crate::said::Balance;
use crate::server::Asker;

/// Amounts and prices are multiples of it, so that equal ones meet.
pub(super) const GRAIN: u128 = 5;
/// A key that is used again was among the last so many: what a client repeats, it repeats soon.
const REPEATED_MAX: usize = 8;

/// What a client remembers of its channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// The highest amount that it signed.
    top: u128,
    /// What it asked, newest last.
    asked: Vec<(Op, Hand)>,
    /// Its keys, newest last.
    keys: Vec<[u8; 16]>,
    keys_made: u64,
    /// What the last answer showed.
    pub(super) shown: Option<Balance>,
}

impl World {
    pub(super) fn client_asks(&mut self) -> Check {
        let index = self.one_of();
        if !self.chain.escrow(index).is_open {
            return self.payer_opens(index);
        }
        let is_known = self.live.states.contains_key(&index);
        if !is_known || self.chance(2) {
            return self.door_opens(index);
        }
        let (op, hand) = match self.dice.random_range(0..100) {
            0..50 => self.voucher(index),
            50..60 => (Op::Step(Step::Spend(self.spend(index))), Hand::Signer),
            60..76 => (self.capture(index), Hand::Signer),
            76..80 => (Op::Step(Step::Release { key: self.known_key(index) }), Hand::Signer),
            80..86 => self.wish_to_close(index),
            86..95 => self.repeat(index),
            _ => (Op::Read, Hand::Signer),
        };
        self.client_op(index, op, hand)
    }

    fn client_op(&mut self, index: MemberIndex, op: Op, hand: Hand) -> Check {
        let client = &mut self.clients[index];
        if let (Op::Submit { amount, .. } | Op::Close { amount, .. }, Hand::Signer) = (&op, hand) {
            client.top = client.top.max(*amount);
        }
        if client.asked.len() == REPEATED_MAX {
            client.asked.remove(0);
        }
        client.asked.push((op.clone(), hand));
        self.ask(index, Asker::Client, op, hand);
        Ok(())
    }

    /// The door takes a channel into the books: it looks at the terms, then at the chain, then asks.
    pub(super) fn door_opens(&mut self, index: MemberIndex) -> Check {
        let escrow = *self.chain.escrow(index);
        let refuses = member(index).identity.check(&ADVERTISED).is_err();
        if (refuses && self.options.bug != Some(Bug::OwnOperator))
            || escrow.is_over
            || escrow.asked_at.is_some()
            || self.server.is_none()
        {
            return Ok(());
        }
        let position = (escrow.opened.block, escrow.opened.log_index);
        let op = Op::Open { deposit: escrow.deposit, settled: escrow.settled, position };
        let id = self.ask(index, Asker::Client, op, Hand::Signer);
        self.watcher.opening.insert(id, index);
        Ok(())
    }

    /// A voucher: a higher one, the same again, a lower one, one that the escrow does not cover, a forged one.
    fn voucher(&mut self, index: MemberIndex) -> (Op, Hand) {
        let top = self.clients[index].top;
        let shown = self.clients[index].shown;
        let deposit = self.chain.escrow(index).deposit;
        let rise = self.dice.random_range(1..=12) * GRAIN;
        let fits = (top + rise).min(deposit.max(top));
        let amount = match self.dice.random_range(0..20) {
            0..11 => fits,
            11..15 => top,
            15 => top - self.dice.random_range(0..=top / GRAIN) * GRAIN,
            16 => deposit + rise,
            17 => shown.map_or(fits, |shown| shown.spent),
            _ => shown.map_or(fits, |shown| (shown.spent + shown.reserved + rise).min(deposit)),
        };
        let is_forged = self.chance(8);
        let hand = if is_forged {
            Hand::FORGERIES[self.dice.random_range(0..Hand::FORGERIES.len())]
        } else {
            Hand::Signer
        };
        let then = self.spend(index);
        (Op::Submit { amount, genuine: hand == Hand::Signer, then }, hand)
    }

    fn spend(&mut self, index: MemberIndex) -> Spend {
        let amount = Amount::new(self.dice.random_range(0..=8) * GRAIN);
        match self.dice.random_range(0..10) {
            0..2 => Spend::Nothing,
            2..7 => Spend::Charge { key: (!self.chance(20)).then(|| self.key(index)), amount, units: 1 },
            _ => Spend::Reserve { key: self.key(index), amount },
        }
    }

    fn capture(&mut self, index: MemberIndex) -> Op {
        let key = self.known_key(index);
        let amount = Amount::new(self.dice.random_range(0..=4) * GRAIN);
        let (units, finish) = (self.dice.random_range(0..3), self.chance(30));
        Op::Step(Step::Capture { key, amount, units, finish })
    }

    fn wish_to_close(&mut self, index: MemberIndex) -> (Op, Hand) {
        let top = self.clients[index].top;
        let shown = self.clients[index].shown;
        let amount = match self.dice.random_range(0..4) {
            0 => top,
            1 => top + GRAIN,
            _ => shown.map_or(top, |shown| shown.spent.max(shown.settled)),
        };
        let genuine = !self.chance(10);
        let hand = if genuine { Hand::Signer } else { Hand::Stranger };
        (Op::Close { amount, genuine }, hand)
    }

    /// Exactly what was asked before: a retry of a client that heard nothing, or a replay by somebody else.
    fn repeat(&mut self, index: MemberIndex) -> (Op, Hand) {
        let count = self.clients[index].asked.len();
        if count == 0 {
            return (Op::Read, Hand::Signer);
        }
        let place = self.dice.random_range(0..count);
        self.clients[index].asked[place].clone()
    }

    /// A new name for a paid request, mostly.
    fn key(&mut self, index: MemberIndex) -> RequestKey {
        if self.chance(15) {
            return self.known_key(index);
        }
        let client = &mut self.clients[index];
        client.keys_made += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&client.keys_made.to_le_bytes());
        key[8] = index as u8;
        if client.keys.len() == REPEATED_MAX {
            client.keys.remove(0);
        }
        client.keys.push(key);
        RequestKey(key)
    }

    fn known_key(&mut self, index: MemberIndex) -> RequestKey {
        let count = self.clients[index].keys.len();
        if count == 0 {
            return RequestKey([0xff; 16]);
        }
        let place = self.dice.random_range(0..count);
        RequestKey(self.clients[index].keys[place])
    }
}

//! Both escrows on a chain that never reorganises: what they hold, what they do, what they say, and the
//! transactions that are on their way.
//!
//! Written from the contracts (`contracts/src`). Everything is a total of one channel's life.

use std::collections::BTreeMap;

use farebox_core::channel::{ChainPosition, Claim};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::Step;
use farebox_settlement_plan::deadline::CLOSE_GRACE_PERIOD_SECONDS;
use farebox_settlement_plan::{CallArguments, ClaimCall};

use crate::cast::{MEMBERS, MemberIndex, member, with_notary};

/// The chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The newest block's time.
    pub time: u64,
    /// The newest block.
    pub block: u64,
    /// Everything that the escrows said, in order.
    pub log: Vec<Fact>,
    escrows: Vec<Escrow>,
    /// Transactions that no block has yet.
    pool: Vec<Transaction>,
    receipts: BTreeMap<TransactionId, bool>,
    log_index: u32,
}

/// What an escrow holds for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Escrow {
    /// Whether the channel was opened.
    pub is_open: bool,
    /// Whether it has ended.
    pub is_over: bool,
    /// What the payer put in.
    pub deposit: u128,
    /// What the payee got.
    pub settled: u128,
    /// When the payer asked to close.
    pub asked_at: Option<u64>,
    /// Where it was opened.
    pub opened: ChainPosition,
}

/// What an escrow said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Of which channel.
    pub member: MemberIndex,
    /// Where.
    pub position: ChainPosition,
    /// In the books' words.
    pub step: Step,
}

/// A transaction's name.
pub type TransactionId = u64;

/// A call of the payee's, on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its name.
    pub id: TransactionId,
    /// The channel.
    pub member: MemberIndex,
    /// What it does.
    pub call: Call,
    /// No block at or after this time can hold it.
    pub valid_before: u64,
}

/// What the payee may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `settle`
    Settle(Claim),
    /// `close`
    Close(ClaimCall),
}

/// The call failed, and nothing moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reverted(pub &'static str);

/// A transaction that a block took.
#[derive(Clone, Debug)]
pub struct Mined {
    /// It.
    pub transaction: Transaction,
    /// Whether it succeeded.
    pub success: bool,
    /// The escrow before it.
    pub before: Escrow,
    /// The escrow after it.
    pub after: Escrow,
}

impl Chain {
    /// A chain at its beginning.
    pub fn new(time: u64) -> Self {
        Self {
            time,
            block: 1,
            log: Vec::new(),
            escrows: vec![Escrow::default(); MEMBERS],
            pool: Vec::new(),
            receipts: BTreeMap::new(),
            log_index: 0,
        }
    }

    /// What the escrow holds for a channel.
    pub fn escrow(&self, member: MemberIndex) -> &Escrow {
        &self.escrows[member]
    }

    /// A new block, some seconds later.
    pub fn advance(&mut self, seconds: u64) {
        self.time += seconds;
        self.block += 1;
        self.log_index = 0;
        let time = self.time;
        self.pool.retain(|transaction| transaction.valid_before > time);
    }

    /// The payer opens a channel.
    pub fn open(&mut self, member: MemberIndex, deposit: u128) -> Result<(), Reverted> {
        let escrow = &mut self.escrows[member];
        if escrow.is_open || deposit == 0 {
            return Err(Reverted("it exists, or there is no deposit"));
        }
        let opened = ChainPosition { block: self.block, log_index: self.log_index };
        *escrow = Escrow { is_open: true, deposit, opened, ..Escrow::default() };
        self.log_index += 1;
        Ok(())
    }

    /// The payer adds to the deposit, and takes a close request back.
    pub fn top_up(&mut self, member: MemberIndex, more: u128) -> Result<(), Reverted> {
        let escrow = self.live(member)?;
        let cancels = escrow.asked_at.is_some();
        match member_version(member) {
            ProtocolVersion::V1 if more == 0 => return Err(Reverted("v1 wants a deposit")),
            ProtocolVersion::V2 if more == 0 && !cancels => return Ok(()),
            _ => {}
        }
        let escrow = &mut self.escrows[member];
        escrow.deposit += more;
        escrow.asked_at = None;
        let deposit = Amount::new(escrow.deposit);
        if cancels {
            self.say(member, |position| Step::CloseRequestCancelled { position });
        }
        self.say(member, |position| Step::ToppedUp { deposit, position, cancels_close: false });
        Ok(())
    }

    /// The payer asks to close.
    pub fn request_close(&mut self, member: MemberIndex) -> Result<(), Reverted> {
        if self.live(member)?.asked_at.is_some() {
            return Ok(());
        }
        let at = self.time;
        self.escrows[member].asked_at = Some(at);
        self.say(member, |position| Step::CloseRequested { at: UnixSeconds(at), position });
        Ok(())
    }

    /// The payer takes what was not claimed in time.
    pub fn withdraw(&mut self, member: MemberIndex) -> Result<(), Reverted> {
        let Escrow { settled, asked_at, .. } = *self.live(member)?;
        match asked_at {
            Some(at) if self.time >= at + CLOSE_GRACE_PERIOD_SECONDS => self.end(member, settled),
            _ => Err(Reverted("the grace period runs")),
        }
    }

    /// The payee settles with a voucher, whoever of the payee's it is.
    pub fn settle(&mut self, member: MemberIndex, claim: &Claim) -> Result<(), Reverted> {
        let Escrow { deposit, settled, .. } = *self.live(member)?;
        let Claim { cumulative, signature, .. } = claim;
        if cumulative.get() > deposit || cumulative.get() <= settled {
            return Err(Reverted("the amount does not fit"));
        }
        let signature = signature.as_ref().map(|signature| signature.as_bytes().to_vec());
        check_signature(member, *cumulative, &signature.unwrap_or_default())?;
        self.escrows[member].settled = cumulative.get();
        let settled = *cumulative;
        self.say(member, |position| Step::Settled { settled, position });
        Ok(())
    }

    /// The payee closes.
    pub fn close(&mut self, member: MemberIndex, call: &ClaimCall) -> Result<(), Reverted> {
        let Escrow { deposit, settled, .. } = *self.live(member)?;
        match &call.arguments {
            CallArguments::CloseV1 { cumulative, signature } => {
                if cumulative.get() <= settled {
                    return self.end(member, settled);
                }
                if cumulative.get() > deposit {
                    return Err(Reverted("the amount exceeds the deposit"));
                }
                check_signature(member, *cumulative, signature)?;
                self.end(member, cumulative.get())
            }
            CallArguments::CloseV2 { cumulative, capture, signature, .. } => {
                if capture.get() < settled || capture > cumulative || capture.get() > deposit {
                    return Err(Reverted("the capture does not fit"));
                }
                if capture.get() > settled {
                    check_signature(member, *cumulative, signature)?;
                }
                self.end(member, capture.get())
            }
            CallArguments::SettleV1 { .. } | CallArguments::SettleV2 { .. } => {
                Err(Reverted("a settlement closes nothing"))
            }
        }
    }

    /// A node takes a transaction: it waits for a block from now on.
    pub fn submit(&mut self, transaction: Transaction) {
        self.pool.push(transaction);
    }

    /// How many transactions wait.
    pub fn waiting(&self) -> usize {
        self.pool.len()
    }

    /// Whether a close of this channel may still get into a block.
    pub fn has_close_waiting(&self, member: MemberIndex) -> bool {
        self.pool.iter().any(|waiting| waiting.member == member && matches!(waiting.call, Call::Close(_)))
    }

    /// A block takes one waiting transaction.
    pub fn mine(&mut self, place: usize) -> Mined {
        let transaction = self.pool.remove(place);
        let before = self.escrows[transaction.member];
        let done = match &transaction.call {
            Call::Settle(claim) => self.settle(transaction.member, claim),
            Call::Close(call) => self.close(transaction.member, call),
        };
        self.receipts.insert(transaction.id, done.is_ok());
        let after = self.escrows[transaction.member];
        Mined { transaction, success: done.is_ok(), before, after }
    }

    /// Whether a transaction succeeded, when a block has it.
    pub fn receipt(&self, id: TransactionId) -> Option<bool> {
        self.receipts.get(&id).copied()
    }

    fn live(&self, member: MemberIndex) -> Result<&Escrow, Reverted> {
        let escrow = &self.escrows[member];
        if escrow.is_open && !escrow.is_over { Ok(escrow) } else { Err(Reverted("there is no such channel")) }
    }

    fn end(&mut self, member: MemberIndex, captured: u128) -> Result<(), Reverted> {
        let escrow = &mut self.escrows[member];
        (escrow.is_over, escrow.settled, escrow.asked_at) = (true, captured, None);
        let (captured, refunded) = (Amount::new(captured), Amount::new(escrow.deposit - captured));
        self.say(member, |position| Step::Closed { captured, refunded, position });
        Ok(())
    }

    fn say(&mut self, member: MemberIndex, step: impl FnOnce(ChainPosition) -> Step) {
        let position = ChainPosition { block: self.block, log_index: self.log_index };
        self.log_index += 1;
        self.log.push(Fact { member, position, step: step(position) });
    }
}

fn member_version(index: MemberIndex) -> ProtocolVersion {
    member(index).version()
}

fn check_signature(member: MemberIndex, amount: Amount, signature: &[u8]) -> Result<(), Reverted> {
    if with_notary(|notary| notary.is_signed(member, amount, signature)) {
        Ok(())
    } else {
        Err(Reverted("the signature is not the signer's"))
    }
}

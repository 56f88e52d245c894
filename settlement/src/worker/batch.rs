//! One planned transaction: what the chain holds, what the books claim, and off it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use farebox_core::channel::{Answer, ChainPosition, Claim, Identity, Snapshot};
use farebox_core::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{EngineError, Reply, Step, Verdict};
use farebox_settlement_plan::planner::{Action, Batch, Planned, Why};
use farebox_settlement_plan::{ClaimCall, plan_close, plan_settle};
use metrics::histogram;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::Tools;
use super::look::Asks;
use crate::claim::call::encode;
use crate::claim::{Claimed, Claiming, Failure, Paid};
use crate::client::ChannelOnChain;
use crate::fail_points::{FailPoint, reach};
use crate::intent::{IntendedCall, Intent, retry_busy};
use crate::sender::Sent;
use crate::trace;

/// A transaction to be made.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) batch: Batch,
    /// The claims that the door wants; the books fixed them already.
    pub(super) asks: Asks,
    /// Channels whose close was refused: a `settle` is tried first.
    pub(super) settles_first: BTreeSet<ChannelId>,
    /// Tries before this one that did nothing.
    pub(super) tries: u32,
}

/// What came of one claim.
pub(super) struct Ended {
    pub(super) channel: ChannelId,
    pub(super) result: Result<Paid, Failure>,
    /// When its payer asked on chain to close.
    pub(super) close_asked_at: Option<UnixSeconds>,
    /// The door asked for it, and tells the books when it failed.
    pub(super) is_asked: bool,
}

/// What came of a transaction.
pub(super) struct Done {
    pub(super) claimed: Vec<Ended>,
    /// Transactions that may still happen.
    pub(super) open: Vec<Intent>,
}

impl Order {
    pub(super) fn new(batch: Batch) -> Self {
        Self { batch, asks: Asks::new(), settles_first: BTreeSet::new(), tries: 0 }
    }
}

/// A call whose claim is about to be fixed.
struct Draft {
    planned: Planned,
    identity: Arc<Identity>,
    asked: Option<Claim>,
    settles_first: bool,
}

impl Tools {
    /// Claims a planned batch, and tells the books of those that surely failed.
    pub(super) async fn claim(self: Arc<Self>, mut order: Order) -> Done {
        let fee_token = order.batch.fee_token;
        let asked: BTreeSet<ChannelId> = order.asks.keys().copied().collect();
        let whys: BTreeMap<ChannelId, Why> =
            order.batch.calls.iter().map(|call| (call.channel, call.why)).collect();
        let calls = order.batch.calls.iter();
        let closes: BTreeSet<ChannelId> = calls
            .filter(|call| matches!(call.action, Action::Close { .. }))
            .map(|call| call.channel)
            .collect();
        let (mut claimed, drafts) = self.drafts(&mut order).await;
        let states = self.states(&drafts, &mut claimed).await;
        reach(FailPoint::BeforeFix);
        let claims = self.fix(drafts, &states, &mut claimed).await;
        reach(FailPoint::Fixed);
        let mut open = Vec::new();
        for part in self.by_length(claims) {
            let span = trace::claim(part.len(), order.tries);
            let sending = async {
                let begun = Instant::now();
                let sent = self.sender.send(part, fee_token, order.tries).await;
                // Inside the span: the claim's trace goes along.
                histogram!("farebox_claim_seconds").record(begun.elapsed());
                sent
            };
            let Sent { claimed: sent, open: unknown } = sending.instrument(span).await;
            claimed.extend(sent);
            open.extend(unknown);
        }
        let mut done = Vec::with_capacity(claimed.len());
        for (channel, result) in claimed {
            let why = whys.get(&channel);
            let is_asked = asked.contains(&channel);
            if let Err(failure) = &result
                && !is_asked
                && closes.contains(&channel)
            {
                self.after_failure(channel, failure, why.is_some_and(|why| *why != Why::CloseBegan)).await;
            }
            let close_asked_at = match why {
                Some(Why::CloseAsked { at, .. }) => Some(*at),
                _ => None,
            };
            done.push(Ended { channel, result, close_asked_at, is_asked });
        }
        Done { claimed: done, open }
    }

    /// Follows transactions to their fate: no channel has failed before all that claim it have.
    pub(super) async fn follow(self: Arc<Self>, intents: Vec<Intent>) -> Done {
        let mut ended: BTreeMap<ChannelId, (Ended, bool)> = BTreeMap::new();
        for intent in &intents {
            let claimed = self.sender.resolve(intent).await;
            for ((channel, result), call) in claimed.into_iter().zip(&intent.calls) {
                let is_paid = ended.get(&channel).is_some_and(|(before, _)| before.result.is_ok());
                if !is_paid {
                    let close_asked_at = call.close_asked_at;
                    let one = Ended { channel, result, close_asked_at, is_asked: false };
                    ended.insert(channel, (one, call.is_close));
                }
            }
        }
        let mut claimed = Vec::with_capacity(ended.len());
        for (one, is_close) in ended.into_values() {
            if let Err(failure) = &one.result
                && is_close
            {
                self.after_failure(one.channel, failure, one.close_asked_at.is_some()).await;
            }
            claimed.push(one);
        }
        Done { claimed, open: Vec::new() }
    }

    /// A claim surely failed. Unless a client waits for its close, the books are told, so that a payer who takes the
    /// request back gets service again; and always when the chain refuses it.
    async fn after_failure(&self, channel: ChannelId, failure: &Failure, ends: bool) {
        if matches!(failure, Failure::Unknown { .. }) || !(ends || failure.is_poison()) {
            return;
        }
        // Refused when it is open, or over by now: then there is nothing to take back.
        if let Err(error) = retry_busy(|| self.engine.apply(channel, Step::AbortClose)).await {
            tracing::warn!(%channel, %error, "the books could not be told that a close failed");
        }
    }

    /// The calls with their terms.
    async fn drafts(&self, order: &mut Order) -> (Vec<Claimed>, Vec<Draft>) {
        let (mut claimed, mut drafts) = (Vec::new(), Vec::new());
        for planned in &order.batch.calls {
            let channel = planned.channel;
            let settles_first = order.settles_first.contains(&channel);
            if let Some((identity, claim)) = order.asks.remove(&channel) {
                drafts.push(Draft { planned: *planned, identity, asked: Some(claim), settles_first: false });
                continue;
            }
            match retry_busy(|| self.engine.identity(channel)).await {
                Ok(Some(identity)) => {
                    drafts.push(Draft { planned: *planned, identity, asked: None, settles_first })
                }
                Ok(None) => claimed.push((channel, Err(Failure::NothingToDo))),
                Err(error) => claimed.push((channel, Err(Failure::unavailable(&error)))),
            }
        }
        (claimed, drafts)
    }

    /// What the escrows hold of these channels, as of one block an escrow. A channel that cannot be read is left out and
    /// claimed as not available.
    async fn states(
        &self,
        drafts: &[Draft],
        claimed: &mut Vec<Claimed>,
    ) -> BTreeMap<ChannelId, (ChannelOnChain, u64)> {
        let mut by_escrow: BTreeMap<Address, (ProtocolVersion, Vec<ChannelId>)> = BTreeMap::new();
        for draft in drafts {
            let place = by_escrow.entry(draft.identity.escrow);
            place.or_insert((draft.identity.protocol(), Vec::new())).1.push(draft.planned.channel);
        }
        let mut states = BTreeMap::new();
        for (escrow, (protocol, channels)) in by_escrow {
            match self.client.channels(protocol, escrow, &channels, 0).await {
                Ok((found, block)) => {
                    states.extend(channels.into_iter().zip(found.into_iter().map(|state| (state, block))));
                }
                Err(error) => {
                    let failed = channels.into_iter().map(|id| (id, Err(Failure::unavailable(&error))));
                    claimed.extend(failed);
                }
            }
        }
        states
    }

    /// Has the books fix what each call claims, side by side: one frame takes many of them.
    async fn fix(
        self: &Arc<Self>,
        drafts: Vec<Draft>,
        states: &BTreeMap<ChannelId, (ChannelOnChain, u64)>,
        claimed: &mut Vec<Claimed>,
    ) -> Vec<Claiming> {
        let mut fixing = JoinSet::new();
        let mut place_of = BTreeMap::new();
        for (place, draft) in drafts.into_iter().enumerate() {
            let channel = draft.planned.channel;
            let Some((state, block)) = states.get(&channel).copied() else { continue };
            place_of.insert(channel, place);
            let tools = Arc::clone(self);
            fixing.spawn(async move { (channel, tools.fix_one(&draft, state, block).await) });
        }
        let mut claims = Vec::new();
        while let Some(joined) = fixing.join_next().await {
            match joined {
                Ok((_, Ok(Fixed::Claim(claim)))) => claims.push(*claim),
                Ok((channel, Ok(Fixed::Paid(paid)))) => claimed.push((channel, Ok(paid))),
                Ok((channel, Err(failure))) => claimed.push((channel, Err(failure))),
                Err(error) => tracing::error!(%error, "a task that fixes a claim ended early"),
            }
        }
        // In the plan's order, the most pressing first.
        claims.sort_by_key(|claim: &Claiming| place_of.get(&claim.channel()).copied());
        claims
    }

    async fn fix_one(&self, draft: &Draft, state: ChannelOnChain, block: u64) -> Result<Fixed, Failure> {
        let Draft { planned, identity, asked, settles_first } = draft;
        let channel = planned.channel;
        let ChannelOnChain::Open { deposit, settled, close_requested_at } = state else {
            return self.already_over(draft).await;
        };
        let asked_at = match planned.why {
            // The books may lag behind the chain, most of all after a restart, and a claim that began would end a
            // channel that goes on (rule 7).
            Why::CloseAsked { at, .. } if close_requested_at.is_some() => Some(at),
            Why::CloseAsked { .. } if asked.is_none() => return Err(Failure::TakenBack),
            _ => close_requested_at,
        };
        let call = match (asked, planned.action) {
            (Some(claim), _) => plan_close(identity, claim).map_err(|error| Failure::refused(&error))?,
            (None, Action::Settle { .. }) => self.settle_call(channel, identity).await?,
            (None, Action::Close { .. }) if *settles_first => match self.settle_call(channel, identity).await
            {
                Err(Failure::NothingToDo) => self.close_call(channel, identity).await?,
                call => call?,
            },
            (None, Action::Close { .. }) => self.close_call(channel, identity).await?,
        };
        if call.capture > deposit {
            let what = format!("it captures {}, but the escrow holds {deposit}", call.capture);
            return Err(Failure::Refused { what });
        }
        match (call.is_close(), call.capture) {
            // Somebody else settled more: the watcher tells the books, and the next claim takes it in.
            (true, capture) if capture < settled => {
                let what = format!("it captures {capture}, but {settled} is settled on chain");
                Err(Failure::Unavailable { what })
            }
            (false, capture) if capture <= settled => {
                let position = ChainPosition { block, log_index: 0 };
                Ok(Fixed::Paid(Paid::Settled { settled, position, tx_hash: B256::ZERO }))
            }
            _ => {
                let claim =
                    Claiming { identity: Arc::clone(identity), call, deposit, close_asked_at: asked_at };
                Ok(Fixed::Claim(Box::new(claim)))
            }
        }
    }

    /// The channel is over already: the event that ended it is the answer.
    async fn already_over(&self, draft: &Draft) -> Result<Fixed, Failure> {
        let call = IntendedCall {
            channel: draft.planned.channel,
            escrow: draft.identity.escrow,
            protocol: draft.identity.protocol(),
            is_close: true,
            capture: Amount::ZERO,
            deposit: Amount::ZERO,
            close_asked_at: None,
        };
        let tx_hash = B256::ZERO;
        let paid = self.sender.find_end(&call, tx_hash).await.ok_or(Failure::Unknown { tx_hash })?;
        self.sender.tell_end(call.channel, &paid).await.map_err(|_| Failure::Unknown { tx_hash })?;
        Ok(Fixed::Paid(paid))
    }

    async fn close_call(&self, channel: ChannelId, identity: &Identity) -> Result<ClaimCall, Failure> {
        let (claim, snapshot) = match self.ask(channel, Step::BeginCloseForced).await? {
            Reply { answer: Answer::Close(claim), snapshot } => (claim, snapshot),
            _ => return Err(Failure::NothingToDo),
        };
        check_honest(channel, &claim, &snapshot)?;
        plan_close(identity, &claim).map_err(|error| Failure::refused(&error))
    }

    async fn settle_call(&self, channel: ChannelId, identity: &Identity) -> Result<ClaimCall, Failure> {
        let (claim, snapshot) = match self.ask(channel, Step::PlanSettle).await? {
            Reply { answer: Answer::Settle(claim), snapshot } => (claim, snapshot),
            _ => return Err(Failure::NothingToDo),
        };
        check_honest(channel, &claim, &snapshot)?;
        plan_settle(identity, &claim).map_err(|error| Failure::refused(&error))
    }

    async fn ask(&self, channel: ChannelId, step: Step) -> Result<Reply, Failure> {
        let asked: Result<Verdict, EngineError> = retry_busy(|| self.engine.apply(channel, step)).await;
        match asked.map_err(|error| Failure::unavailable(&error))? {
            Verdict::Accepted(reply) => Ok(reply),
            Verdict::Rejected(refusal) => {
                tracing::debug!(%channel, %refusal, "the books have nothing to claim");
                Err(Failure::NothingToDo)
            }
        }
    }

    /// Calls that are too long for the payment lane go apart, so that they keep no other out of it.
    fn by_length(&self, claims: Vec<Claiming>) -> Vec<Vec<Claiming>> {
        let max = self.config.work.limits.payment_calldata_bytes_max as usize;
        let (short, long): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| encode(&claim.call).len() <= max);
        [short, long].into_iter().filter(|part| !part.is_empty()).collect()
    }
}

/// A call that is ready, or nothing left to do.
enum Fixed {
    Claim(Box<Claiming>),
    Paid(Paid),
}

/// The last look before money moves: no claim is above what was spent and settled (rule 2).
fn check_honest(channel: ChannelId, claim: &Claim, books: &Snapshot) -> Result<(), Failure> {
    if claim.capture <= books.spent.max(books.settled) {
        return Ok(());
    }
    let (capture, spent) = (claim.capture, books.spent);
    tracing::error!(%channel, %capture, %spent, "ALARM: the books claim more than was spent; nothing is sent");
    Err(Failure::Refused { what: format!("it captures {capture}, but {spent} were spent") })
}

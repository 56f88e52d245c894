//! What a transaction did to each of its channels, from the escrows' own words.

use farebox_core::channel::ChainPosition;
use farebox_core::units::{Amount, B256};
use farebox_engine::chain::ClosedOnChain;
use farebox_settlement_plan::Observation;

use super::{Sender, attempt};
use crate::claim::{Claimed, Failure, Paid};
use crate::client::{ChannelOnChain, Fate, LogFilter, Receipt};
use crate::fact::{Fact, FactKind, closed_event, topped_up_event};
use crate::intent::{IntendedCall, Intent};

/// How many ranges of blocks are searched for the event that ended a channel.
const SEARCH_RANGES_MAX: u64 = 64;

/// What is sure of a transaction.
pub(super) struct Concluded {
    /// What each of its claims did.
    pub(super) claimed: Vec<Claimed>,
    /// Whether it was executed and reverted.
    pub(super) is_reverted: bool,
}

impl Sender {
    /// What the claims of a transaction did. `None` while that is not sure of all of them.
    pub(super) async fn conclude(&self, intent: &Intent, fate: Fate) -> Option<Concluded> {
        match fate {
            Fate::Mined(receipt) => self.conclude_mined(intent, &receipt).await,
            Fate::Absent(head) => {
                let observed = Observation::Absent { chain_time: head.timestamp };
                let is_over = attempt(intent, observed).surely_failed();
                let failure = Failure::unavailable(&"it expired before a block took it");
                // A receipt may be hidden by a node that is behind, the channels' state in that block cannot.
                let claimed =
                    self.conclude_by_state(intent, head.number, is_over.then_some(failure)?).await?;
                Some(Concluded { claimed, is_reverted: false })
            }
            Fate::Unknown => None,
        }
    }

    async fn conclude_mined(&self, intent: &Intent, receipt: &Receipt) -> Option<Concluded> {
        let tx_hash = intent.tx_hash;
        if !receipt.success {
            tracing::warn!(%tx_hash, calls = intent.calls.len(), "claims reverted");
            // Of several it is not known which one is the reason, and the others must not be blamed.
            let failure = match intent.calls.as_slice() {
                [_] => Failure::Reverted { tx_hash },
                _ => Failure::unavailable(&"it reverted with others"),
            };
            let claimed = self.conclude_by_state(intent, receipt.block, failure).await?;
            return Some(Concluded { claimed, is_reverted: true });
        }
        let mut claimed = Vec::with_capacity(intent.calls.len());
        for call in &intent.calls {
            let facts = Fact::of_channel(&receipt.logs, call.protocol, call.escrow, call.channel);
            let paid = match facts.iter().find_map(|fact| paid_by(fact, call, tx_hash)) {
                Some(paid) => paid,
                None => {
                    tracing::error!(channel = %call.channel, %tx_hash, "a claim succeeded without its event");
                    self.find_end(call, tx_hash).await?
                }
            };
            if let Paid::Closed(closed) = &paid {
                self.verify_payout(call, closed).await;
            }
            metrics::counter!("farebox_claims_total", "result" => "paid").increment(1);
            claimed.push((call.channel, Ok(paid)));
        }
        Some(Concluded { claimed, is_reverted: false })
    }

    /// The claims' transaction did nothing. Somebody else may have done the same, which the channels' state tells.
    async fn conclude_by_state(
        &self,
        intent: &Intent,
        block: u64,
        otherwise: Failure,
    ) -> Option<Vec<Claimed>> {
        let mut claimed = Vec::with_capacity(intent.calls.len());
        for call in &intent.calls {
            let state = self.client.channel(call.protocol, call.escrow, call.channel, block).await;
            let result = match state {
                Ok((ChannelOnChain::Open { settled, .. }, block))
                    if !call.is_close && settled >= call.capture =>
                {
                    let position = ChainPosition { block, log_index: 0 };
                    Ok(Paid::Settled { settled, position, tx_hash: intent.tx_hash })
                }
                Ok((ChannelOnChain::Open { .. }, _)) => Err(otherwise.clone()),
                Ok((ChannelOnChain::Absent | ChannelOnChain::Finalized, _)) => {
                    Ok(self.find_end(call, intent.tx_hash).await?)
                }
                // Whether it lives is not known: saying that it does would let service go on.
                Err(error) => {
                    tracing::warn!(channel = %call.channel, %error, "what became of a claim cannot be read");
                    return None;
                }
            };
            claimed.push((call.channel, result));
        }
        Some(claimed)
    }

    /// Finds the event that ended a channel, searching back from the newest block to the last one whose facts the
    /// books have. Without it the watcher brings the event.
    pub(crate) async fn find_end(&self, call: &IntendedCall, tx_hash: B256) -> Option<Paid> {
        let overlap = self.config.watch.overlap_blocks;
        let followed = self.engine.cursor().map_or(0, |cursor| cursor.next_block.0);
        let oldest = followed.saturating_sub(overlap);
        let mut to = self.client.newest_block();
        for _ in 0..SEARCH_RANGES_MAX {
            let from = to.saturating_sub(self.config.watch.range_blocks_max - 1).max(oldest);
            let filter = filter(call, closed_event(call.protocol));
            let logs = match self.client.logs(&filter, from, to).await {
                Ok(logs) => logs,
                Err(error) => {
                    tracing::warn!(channel = %call.channel, %error, "the end of a channel cannot be read");
                    return None;
                }
            };
            let facts = Fact::of_channel(&logs, call.protocol, call.escrow, call.channel);
            let by = logs.last().and_then(|log| log.transaction_hash).unwrap_or(tx_hash);
            if let Some(closed) = facts.iter().rev().find_map(|fact| closed_by(fact, by)) {
                return Some(Paid::Closed(closed));
            }
            if from <= oldest {
                break;
            }
            to = from - 1;
        }
        None
    }

    /// The refund must be exactly what the escrow held less what was captured. What it held is what it held when the
    /// claim was made, and what was topped up since, by the escrow's own events.
    async fn verify_payout(&self, call: &IntendedCall, closed: &ClosedOnChain) {
        let paid_out = closed.captured.checked_add(closed.refunded);
        if closed.captured == call.capture && paid_out == Some(call.deposit) {
            return;
        }
        let deposit = self.deposit_before(call, closed).await.unwrap_or(call.deposit);
        if closed.captured == call.capture && paid_out == Some(deposit) {
            return;
        }
        metrics::counter!("farebox_close_mismatch_total").increment(1);
        tracing::error!(
            channel = %call.channel,
            tx_hash = %closed.tx_hash,
            expected_capture = %call.capture,
            captured = %closed.captured,
            %deposit,
            refunded = %closed.refunded,
            "ALARM: the escrow paid out something else than it should"
        );
    }

    /// What the escrow held right before the close, by the last top-up that the chain tells of.
    async fn deposit_before(&self, call: &IntendedCall, closed: &ClosedOnChain) -> Option<Amount> {
        let to = closed.position.block;
        let from = to.saturating_sub(self.config.watch.range_blocks_max - 1);
        let filter = filter(call, topped_up_event(call.protocol));
        let logs = self.client.logs(&filter, from, to).await.ok()?;
        let facts = Fact::of_channel(&logs, call.protocol, call.escrow, call.channel);
        let before = facts.iter().rev().filter(|fact| fact.position < closed.position);
        before.clone().find_map(|fact| match fact.kind {
            FactKind::ToppedUp { deposit, .. } => Some(deposit),
            _ => None,
        })
    }
}

fn filter(call: &IntendedCall, event: B256) -> LogFilter {
    LogFilter {
        addresses: vec![call.escrow],
        events: vec![event],
        channel: Some(call.channel.0),
        payee: None,
    }
}

/// What an event says of a claim.
fn paid_by(fact: &Fact, call: &IntendedCall, tx_hash: B256) -> Option<Paid> {
    match fact.kind {
        FactKind::Settled { settled } if !call.is_close => {
            Some(Paid::Settled { settled, position: fact.position, tx_hash })
        }
        _ => closed_by(fact, tx_hash).map(Paid::Closed),
    }
}

/// The escrow's words about the end, in ours.
fn closed_by(fact: &Fact, tx_hash: B256) -> Option<ClosedOnChain> {
    match fact.kind {
        FactKind::Closed { captured, refunded } => {
            Some(ClosedOnChain { captured, refunded, position: fact.position, tx_hash })
        }
        _ => None,
    }
}

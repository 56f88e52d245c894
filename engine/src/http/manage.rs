//! `topUp` and `close`: management requests that need the chain.
//!
//! Both go on when the client leaves: what was broadcast is booked in any case.

use std::sync::Arc;
use std::time::Duration;

use farebox_core::challenge::credential::{TopUp, VoucherFields};
use farebox_core::channel::{Answer, Claim, Identity, Party, Phase, Rejection, Snapshot};
use farebox_core::units::{Amount, B256, ChannelId};
use farebox_core::voucher::AnySignedVoucher;
use farebox_crypto::keccak256;
use http::Response;
use tokio::time::Instant;

use super::answer::{Balance, DoorBody, managed};
use super::checked::Checked;
use super::door::Inner;
use super::flight::Landed;
use super::problem::{self, Refused};
use crate::chain::{CloseFailure, TopUpRequest};
use crate::{Refusal, Reply, Step, Verdict};

/// How long a close waits between two looks at running requests.
const CLOSE_POLL_MS: u64 = 20;
/// How often a step that must not be lost is tried again while queues are full.
pub(super) const STEP_TRIES_MAX: u32 = 20;

impl Inner {
    /// Raises the deposit of a channel that the books know.
    pub(super) async fn top_up(
        self: &Arc<Self>,
        checked: &Checked,
        top_up: &TopUp,
    ) -> Result<Response<DoorBody>, Refused> {
        let channel = checked.channel;
        let known = self.known(checked).await?;
        match known.snapshot.phase {
            Phase::Closed(_) => return Err(problem::rejection(&Rejection::ChannelFinalized, channel)),
            Phase::Closing { .. } => return Err(problem::rejection(&Rejection::CloseInFlight, channel)),
            Phase::Open => {}
        }
        let party =
            Party { payer: Some(known.identity.payer()), signer: known.identity.expected_signer(), channel };
        // Who may not pay here should not lock more. A close stays open to everybody.
        let access = self.engine.limits().access.check(party, self.clock.now());
        access.map_err(|rejection| problem::limited(&rejection, channel))?;
        let request = TopUpRequest {
            transaction: top_up.transaction.clone(),
            channel,
            identity: known.identity,
            additional_deposit: top_up.additional_deposit,
            is_sponsored: checked.is_sponsored,
        };
        let flight = (channel, keccak256(&request.transaction));
        let shared = Arc::clone(self);
        let send = move || async move { shared.send_top_up(request).await };
        let landed = self.transactions.join(flight, send).await?;
        let snapshot = self.known(checked).await?.snapshot;
        let balance = Balance::of(channel, &snapshot);
        let id = &checked.credential.challenge.id;
        Ok(managed(&self.receipt(id, balance, None, landed.tx_hash)))
    }

    async fn send_top_up(&self, request: TopUpRequest) -> Result<Landed, Refused> {
        let channel = request.channel;
        let raised = self.chain.top_up(request).await.map_err(|refusal| problem::chain(&refusal, channel))?;
        let step = Step::ToppedUp {
            deposit: raised.deposit,
            position: raised.position,
            cancels_close: raised.cancels_close,
        };
        self.step(channel, step).await?;
        Ok(Landed { tx_hash: Some(raised.tx_hash) })
    }

    /// Closes a channel: running streams are asked to end, the books fix the claim, the chain executes it.
    pub(super) async fn close(
        self: &Arc<Self>,
        checked: &Checked,
        close: &VoucherFields,
    ) -> Result<Response<DoorBody>, Refused> {
        let channel = checked.channel;
        let voucher = self.parse_voucher(checked)?;
        let identity = self.known(checked).await?.identity;
        let shared = Arc::clone(self);
        let amount = close.cumulative;
        // In a task of its own: once the claim is fixed, somebody has to see it through.
        let closing = tokio::spawn(async move {
            let claim = shared.begin_close(channel, &voucher, amount).await?;
            shared.send_close(channel, identity, claim).await
        });
        let (snapshot, tx_hash) = closing.await.unwrap_or_else(|_| Err(problem::lost_task()))?;
        // A client may close with less than it ever signed (a failed request was free). The receipt names
        // the voucher that it closed with, as mppx's does and its client demands.
        let balance = Balance { accepted: amount, ..Balance::of(channel, &snapshot) };
        let id = &checked.credential.challenge.id;
        Ok(managed(&self.receipt(id, balance, None, Some(tx_hash))))
    }

    /// Fixes the claim, after running requests have ended.
    ///
    /// The books say [`Rejection::ReservationsActive`] only to a voucher that was verified. It stops streams
    /// only if it can close the channel as the books stand: one that is settled on chain is known to
    /// everybody (rule 4), and one below what is owed has to be replaced first.
    async fn begin_close(
        &self,
        channel: ChannelId,
        voucher: &AnySignedVoucher,
        amount: Amount,
    ) -> Result<Claim, Refused> {
        let wait = Duration::from_millis(self.config.close_wait_ms_max);
        let deadline = Instant::now() + wait;
        loop {
            let begun = self.engine.begin_close(channel, voucher.clone()).await;
            let active = match begun.map_err(|error| problem::engine(&error))? {
                Verdict::Accepted(Reply { answer: Answer::Close(claim), .. }) => return Ok(claim),
                // No other answer belongs to a close that began.
                Verdict::Accepted(_) => return Err(problem::lost_task()),
                Verdict::Rejected(Refusal::Channel(active @ Rejection::ReservationsActive { .. })) => active,
                Verdict::Rejected(refusal) => return Err(problem::refusal(&refusal, channel)),
            };
            let found = self.engine.read(channel).await.map_err(|error| problem::engine(&error))?;
            let found = found.ok_or_else(|| problem::rejection(&Rejection::ChannelNotFound, channel))?;
            let Snapshot { settled, spent, .. } = found.snapshot;
            if !settled.is_zero() && amount <= settled {
                return Err(problem::rejection(&Rejection::VoucherPublic, channel));
            }
            if amount < spent {
                return Err(problem::rejection(&Rejection::CloseBelowOwed { amount, owed: spent }, channel));
            }
            if Instant::now() >= deadline {
                return Err(problem::rejection(&active, channel));
            }
            self.streams.stop(channel, deadline - Instant::now()).await;
            tokio::time::sleep(Duration::from_millis(CLOSE_POLL_MS)).await;
        }
    }

    /// Sends a close, and tells the books what came of it.
    async fn send_close(
        &self,
        channel: ChannelId,
        identity: Arc<Identity>,
        claim: Claim,
    ) -> Result<(Snapshot, B256), Refused> {
        match self.chain.close(channel, identity, claim).await {
            Ok(closed) => {
                let step = Step::Closed {
                    captured: closed.captured,
                    refunded: closed.refunded,
                    position: closed.position,
                };
                Ok((self.step(channel, step).await?.snapshot, closed.tx_hash))
            }
            Err(failure) => {
                match failure {
                    // It surely did not happen: service goes on.
                    CloseFailure::NotSent { .. } | CloseFailure::Reverted { .. } => {
                        self.step(channel, Step::AbortClose).await?;
                    }
                    // It may still happen: the channel stays closing until the chain has spoken (rule 10).
                    CloseFailure::Unknown { .. } => {}
                }
                tracing::warn!(%channel, %failure, "a close did not come through");
                Err(problem::close(&failure, channel))
            }
        }
    }

    /// A step that must not be lost: a full queue is asked again, a bounded number of times.
    pub(super) async fn step(&self, channel: ChannelId, step: Step) -> Result<Reply, Refused> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.engine.apply(channel, step).await {
                Ok(Verdict::Accepted(reply)) => return Ok(reply),
                Ok(Verdict::Rejected(refusal)) => return Err(problem::refusal(&refusal, channel)),
                Err(crate::EngineError::Busy { retry_after_ms }) if tries < STEP_TRIES_MAX => {
                    tokio::time::sleep(Duration::from_millis(retry_after_ms)).await;
                }
                Err(error) => return Err(problem::engine(&error)),
            }
        }
    }
}

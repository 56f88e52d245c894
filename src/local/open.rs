//! The three requests that need the chain: open, top-up, close. The checks are the door's: before anything is
//! broadcast the voucher is verified against the signer that the terms make (rule 9), and afterwards the channel must
//! have the advertised terms (rule 11).

use std::future::Future;
use std::sync::Arc;

use axum::http::StatusCode;
use farebox_engine::chain::{ClaimedTerms, CloseFailure, OpenRequest, TopUpRequest};
use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::core::challenge::credential::{Open, TopUp, VoucherFields};
use farebox_engine::core::channel::{Advertised, Answer, Claim, Party, Phase, Rejection, Spend};
use farebox_engine::core::units::{Address, B256, ChannelId};
use farebox_engine::core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Voucher, VoucherError};
use farebox_engine::http::problems;
use farebox_engine::{EngineError, Refusal, Reply, Step, Verdict};
use serde_json::{Value, json};

use super::answer::{Balance, Failure};
use super::{Local, Terms};
use crate::view::ChannelView;

/// How often a step that must not be lost is tried again while queues are full.
const STEP_TRIES_MAX: u32 = 20;
/// When a caller should ask again about what is on its way.
const RETRY_SOON_S: u64 = 1;

impl Terms {
    /// The escrow that a payload speaks of: only v2 has descriptors.
    fn advertised(&self, protocol: ProtocolVersion) -> Option<Advertised> {
        let (escrow, operator) = match protocol {
            ProtocolVersion::V2 => (self.escrow_v2, self.operator),
            // The legacy escrow knows no operators.
            ProtocolVersion::V1 => (self.escrow_v1?, Address::ZERO),
        };
        let Self { chain_id, payee, token, .. } = *self;
        Some(Advertised { chain_id, escrow, payee, token, operator })
    }
}

impl Local {
    /// Runs what must go on when the caller leaves.
    pub(super) async fn in_a_task<F, T>(
        self: Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.transactions).try_acquire_owned() else {
            let detail = "too many transactions are on their way to the chain; nothing was done";
            let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, detail);
            return Err(Failure { retry_after_s: Some(RETRY_SOON_S), ..failure });
        };
        let work = work(self);
        let task = tokio::spawn(async move {
            let done = work.await;
            drop(place);
            done
        });
        task.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Opens a channel and takes its first voucher. A channel that the books know already is left as it is: a repeated open
    /// is worth its voucher, no more (rule 6).
    pub(super) async fn open(&self, open: Open) -> Result<Value, Failure> {
        let channel = open.voucher.channel;
        let protocol = match open.voucher.descriptor {
            Some(_) => ProtocolVersion::V2,
            None => ProtocolVersion::V1,
        };
        let Some(advertised) = self.terms.advertised(protocol) else {
            return Err(Failure::bad_request("descriptor is missing, expected a v2 open: v1 is off"));
        };
        let voucher = read_voucher(protocol, &open.voucher)?;
        let mut tx_hash = None;
        match self.engine.read(channel).await? {
            Some(known) => check_terms(&known.identity, &advertised, channel)?,
            None => tx_hash = Some(self.send_open(open, &voucher, protocol, advertised).await?),
        }
        let verdict = self.engine.submit(channel, voucher, Spend::Nothing).await?;
        let reply = verdict.accepted().map_err(|refusal| refused(&refusal, channel))?;
        Ok(json!({
            "channel": Balance::new(channel, &reply.snapshot),
            "transactionHash": tx_hash.map(hex),
        }))
    }

    async fn send_open(
        &self,
        open: Open,
        voucher: &AnySignedVoucher,
        protocol: ProtocolVersion,
        advertised: Advertised,
    ) -> Result<B256, Failure> {
        let channel = open.voucher.channel;
        let domain = AnyDomain::new(protocol, advertised.chain_id, advertised.escrow);
        let terms = self.claimed(&open, voucher, &domain)?;
        // Before anything is broadcast: money of somebody who may not pay here would only be locked.
        let access = self.engine.limits().access.check(party(&terms, channel), SystemClock.now());
        access.map_err(|rejection| Failure::rejection(&rejection, channel))?;
        let Advertised { escrow, payee, token, operator, .. } = advertised;
        let request = OpenRequest {
            transaction: open.transaction,
            channel,
            terms,
            escrow,
            payee,
            token,
            operator,
            deposit_min: open.voucher.cumulative.max(self.engine.limits().deposit_min),
            // The challenge is the service's own; what it promised is not known here.
            is_sponsored: false,
        };
        let opened = self.chain.open(request).await.map_err(|refusal| problems::chain(&refusal, channel))?;
        let found = opened.identity.channel_id();
        if found != channel {
            return Err(Failure::rejection(&Rejection::WrongChannel { found, expected: channel }, channel));
        }
        check_terms(&opened.identity, &advertised, channel)?;
        let entered =
            self.engine.open(opened.identity, opened.deposit, opened.settled, opened.position).await?;
        entered.accepted().map_err(|refusal| refused(&refusal, channel))?;
        Ok(opened.tx_hash)
    }

    /// The terms as the payload states them, with a signer whose voucher this is.
    fn claimed(
        &self,
        open: &Open,
        voucher: &AnySignedVoucher,
        domain: &AnyDomain,
    ) -> Result<ClaimedTerms, Failure> {
        let channel = open.voucher.channel;
        let verify = |signer| {
            let verified = self.engine.verifier().verify_one(domain, voucher, signer);
            verified.map(|_| ()).map_err(|error| not_valid(error, channel))
        };
        let stated = open.authorized_signer;
        if let Some(descriptor) = open.voucher.descriptor {
            if stated.is_some_and(|signer| signer != descriptor.authorized_signer) {
                return Err(Failure::bad_request(
                    "authorizedSigner differs from descriptor.authorizedSigner",
                ));
            }
            verify(descriptor.expected_signer())?;
            return Ok(ClaimedTerms::V2(descriptor));
        }
        // Whoever signed: the chain's side checks that the transaction makes this one the signer.
        let signer = match stated.filter(|signer| !signer.is_zero()) {
            Some(signer) => verify(signer).map(|()| signer)?,
            None => domain.recover_signer(voucher).map_err(|error| not_valid(error, channel))?,
        };
        Ok(ClaimedTerms::V1 { authorized_signer: Some(signer) })
    }

    /// Raises a deposit.
    pub(super) async fn top_up(&self, top_up: TopUp) -> Result<Value, Failure> {
        let channel = top_up.channel;
        let known = self.known(channel).await?;
        match known.snapshot.phase {
            Phase::Closed(_) => return Err(Failure::rejection(&Rejection::ChannelFinalized, channel)),
            Phase::Closing { .. } => return Err(Failure::rejection(&Rejection::CloseInFlight, channel)),
            Phase::Open => {}
        }
        let signer = known.identity.expected_signer();
        let party = Party { payer: Some(known.identity.payer()), signer, channel };
        let access = self.engine.limits().access.check(party, SystemClock.now());
        access.map_err(|rejection| Failure::rejection(&rejection, channel))?;
        let request = TopUpRequest {
            transaction: top_up.transaction,
            channel,
            identity: known.identity,
            additional_deposit: top_up.additional_deposit,
            is_sponsored: false,
        };
        let raised =
            self.chain.top_up(request).await.map_err(|refusal| problems::chain(&refusal, channel))?;
        let step = Step::ToppedUp {
            deposit: raised.deposit,
            position: raised.position,
            cancels_close: raised.cancels_close,
        };
        let reply = self.step(channel, step).await?;
        Ok(json!({
            "channel": Balance::new(channel, &reply.snapshot),
            "transactionHash": hex(raised.tx_hash),
        }))
    }

    /// Closes a channel: for what the client's voucher covers, or without him for what is claimable.
    pub(super) async fn close(
        &self,
        channel: ChannelId,
        voucher: Option<VoucherFields>,
    ) -> Result<Value, Failure> {
        let identity = self.known(channel).await?.identity;
        let verdict = match voucher {
            Some(voucher) => {
                let voucher = read_voucher(identity.protocol(), &voucher)?;
                self.engine.begin_close(channel, voucher).await?
            }
            None => self.engine.apply(channel, Step::BeginCloseForced).await?,
        };
        let reply = verdict.accepted().map_err(|refusal| refused(&refusal, channel))?;
        let Reply { answer: Answer::Close(claim), .. } = reply else { return Err(lost()) };
        let tx_hash = self.send_close(channel, identity, claim).await?;
        let closed = self.known(channel).await?;
        Ok(json!({ "channel": ChannelView::from(&closed), "transactionHash": hex(tx_hash) }))
    }

    /// Sends a close, and tells the books what came of it.
    async fn send_close(
        &self,
        channel: ChannelId,
        identity: Arc<farebox_engine::core::channel::Identity>,
        claim: Claim,
    ) -> Result<B256, Failure> {
        match self.chain.close(channel, identity, claim).await {
            Ok(closed) => {
                let (captured, refunded) = (closed.captured, closed.refunded);
                let step = Step::Closed { captured, refunded, position: closed.position };
                self.step(channel, step).await?;
                Ok(closed.tx_hash)
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
                Err(problems::close(&failure, channel).into())
            }
        }
    }

    /// A step that must not be lost: a full queue is asked again, a bounded number of times.
    async fn step(&self, channel: ChannelId, step: Step) -> Result<Reply, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.engine.apply(channel, step).await {
                Ok(Verdict::Accepted(reply)) => return Ok(reply),
                Ok(Verdict::Rejected(refusal)) => return Err(refused(&refusal, channel)),
                Err(EngineError::Busy { retry_after_ms }) if tries < STEP_TRIES_MAX => {
                    tokio::time::sleep(std::time::Duration::from_millis(retry_after_ms)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whom the lists are asked about. The payer of a v1 channel is known only to the chain's side: if he is listed, the
/// channel enters the books, buys nothing, and can be closed at once.
fn party(terms: &ClaimedTerms, channel: ChannelId) -> Party {
    match terms {
        ClaimedTerms::V2(descriptor) => {
            Party { payer: Some(descriptor.payer), signer: descriptor.expected_signer(), channel }
        }
        ClaimedTerms::V1 { authorized_signer } => {
            Party { payer: None, signer: authorized_signer.unwrap_or_default(), channel }
        }
    }
}

fn read_voucher(protocol: ProtocolVersion, fields: &VoucherFields) -> Result<AnySignedVoucher, Failure> {
    let voucher = Voucher { channel_id: fields.channel, cumulative_amount: fields.cumulative };
    let parsed = AnySignedVoucher::parse(protocol, voucher, &fields.signature);
    parsed.map_err(|error| not_valid(error, fields.channel))
}

fn check_terms(
    identity: &farebox_engine::core::channel::Identity,
    advertised: &Advertised,
    channel: ChannelId,
) -> Result<(), Failure> {
    identity.check(advertised).map_err(|rejection| Failure::rejection(&rejection, channel))
}

fn refused(refusal: &Refusal, channel: ChannelId) -> Failure {
    problems::refusal(refusal, channel).into()
}

fn not_valid(error: VoucherError, channel: ChannelId) -> Failure {
    refused(&Refusal::Voucher(error), channel)
}

fn lost() -> Failure {
    let detail = "the server lost track of the transaction; ask for the channel";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

fn hex(hash: B256) -> String {
    format!("{hash:#x}")
}

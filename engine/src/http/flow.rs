//! The way of a request through the door: as far as it comes without waiting, and the rest.

use std::cell::RefCell;
use std::sync::Arc;

use farebox_core::challenge::snapshot::SessionSnapshot;
use farebox_core::challenge::{AnyCharge, Credential, Payload, credential};
use farebox_core::channel::{Answer, Outcome, Rejection, Spend};
use farebox_core::units::{B256, ChannelId};
use farebox_core::voucher::{AnySignedVoucher, ProtocolVersion};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Method, Response};
use metrics::counter;

use super::answer::{Balance, DoorBody, managed};
use super::asked::{Asked, check_body};
use super::checked::Checked;
use super::door::{Decision, Inner};
use super::headers;
use super::offer::Offer;
use super::paid::Terms;
use super::problem::{self, Refused};
use super::reserving::{Reserved, Reserving};
use crate::{EngineError, Refusal, Reply, Verdict};

thread_local! {
    /// Where credentials are decoded: more than a kilobyte each, which would be asked of the allocator's slow path. At
    /// most as long as a credential may be ([`farebox_core::challenge::CREDENTIAL_CHARS_MAX`]).
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How far a request came without waiting.
pub(super) struct Begun {
    pub(super) step: Step,
    /// The protocol of the challenge that it answers.
    pub(super) spoken: Option<ProtocolVersion>,
}

/// What is left to do.
pub(super) enum Step {
    /// Its voucher is on its way to the books.
    Paying(Reserving),
    /// The chain is to be asked, or the books are.
    Other { checked: Box<Checked>, is_paid: bool },
    /// It pays by a transfer; the credential is not read yet.
    Charge(String),
    /// To say why not.
    Refused(Refused),
    /// A payment in the words of x402.
    Exact,
}

impl Inner {
    /// Reads and checks a credential, and hands in a voucher that pays.
    pub(super) fn begin(
        self: &Arc<Self>,
        asked: Asked<'_>,
        offer: &Offer,
        spoken: &mut Option<ProtocolVersion>,
    ) -> Result<Step, Refused> {
        let now_ms = self.clock.unix_millis();
        self.admit(asked.address, now_ms)?;
        let values = asked.headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
        let found = credential::find(values).map_err(problem::malformed)?;
        let brings_exact = found.is_none() && self.brings_exact(&asked, offer);
        if found.is_none() && !brings_exact {
            return Err(problem::payment_required());
        }
        if let Some(wait_ms) = self.failures.address_waits(asked.address, now_ms) {
            counter!("farebox_door_limited_total", "limit" => "address").increment(1);
            return Err(problem::too_many_failures(wait_ms));
        }
        let Some(token) = found else { return Ok(Step::Exact) };
        let credential = match SCRATCH.with_borrow_mut(|scratch| Credential::parse_with(token, scratch)) {
            Ok(credential) => credential,
            // Nearly everything is a session's; what is none may be a charge.
            Err(_) if AnyCharge::is_meant(token) => return Ok(Step::Charge(token.into())),
            Err(error) => return Err(problem::malformed(error)),
        };
        let is_paid = matches!(credential.payload, Payload::Open(_) | Payload::Voucher(_))
            && !asked.is_management(offer.route());
        let checked = self.check(credential, offer, is_paid, now_ms, spoken)?;
        if is_paid {
            check_body(asked, offer.route(), checked.credential.challenge.digest())?;
        }
        self.check_rates(&checked, now_ms)?;
        // A v2 credential proves the terms of its channel: its descriptor hashes to the channel id.
        let needs_no_look = checked.escrow.protocol == ProtocolVersion::V2
            && matches!(checked.credential.payload, Payload::Voucher(_));
        if !(is_paid && needs_no_look) {
            return Ok(Step::Other { checked: Box::new(checked), is_paid });
        }
        let key = headers::idempotency_key(asked.headers).map_err(problem::bad_idempotency_key)?;
        let voucher = self.parse_voucher(&checked)?;
        self.pay(checked, voucher, key, offer, None).map(Step::Paying)
    }

    /// Does what is left of a request.
    pub(super) async fn rest(
        self: &Arc<Self>,
        step: Step,
        asked: Asked<'_>,
        offer: &Offer,
    ) -> Result<Decision, Refused> {
        match step {
            Step::Paying(reserving) => self.paid(reserving.await),
            Step::Other { checked, is_paid } => self.other(*checked, is_paid, asked, offer).await,
            Step::Charge(token) => self.charged(asked, offer, &token).await,
            Step::Exact => self.charged_exact(asked, offer).await,
            Step::Refused(problem) => Err(problem),
        }
    }

    /// Does what needs the chain, or a look into the books.
    async fn other(
        self: &Arc<Self>,
        checked: Checked,
        is_paid: bool,
        asked: Asked<'_>,
        offer: &Offer,
    ) -> Result<Decision, Refused> {
        match &checked.credential.payload {
            Payload::TopUp(top_up) => return self.top_up(&checked, top_up).await.map(Decision::Answer),
            Payload::Close(close) => return self.close(&checked, close).await.map(Decision::Answer),
            Payload::Open(_) | Payload::Voucher(_) => {}
        }
        let key = headers::idempotency_key(asked.headers).map_err(problem::bad_idempotency_key)?;
        let voucher = self.parse_voucher(&checked)?;
        let tx_hash = match &checked.credential.payload {
            Payload::Open(open) => self.open(&checked, open, &voucher).await?.tx_hash,
            _ => {
                self.check_known(&checked).await?;
                None
            }
        };
        if is_paid {
            return self.paid(self.pay(checked, voucher, key, offer, tx_hash)?.await);
        }
        self.hand_in(&checked, voucher, tx_hash, asked).await
    }

    /// Hands in a voucher that pays for a request.
    fn pay(
        self: &Arc<Self>,
        checked: Checked,
        voucher: AnySignedVoucher,
        idempotency_key: Option<&str>,
        offer: &Offer,
        tx_hash: Option<B256>,
    ) -> Result<Reserving, Refused> {
        let terms = Box::new(Terms {
            channel: checked.channel,
            key: checked.credential.request_key(idempotency_key),
            challenge_id: checked.credential.challenge.id,
            price: checked.price,
            offer: offer.clone(),
            protocol: checked.escrow.protocol,
            tx_hash,
        });
        Reserving::begin(self, terms, voucher)
    }

    /// What a request gets for which money is set aside.
    pub(super) fn paid(&self, reserved: Result<Reserved, Refused>) -> Result<Decision, Refused> {
        Ok(match reserved? {
            Reserved::Now(paid) => Decision::Paid(paid),
            Reserved::Before(terms, outcome) => Decision::Answer(self.replayed(&terms, &outcome)),
        })
    }

    /// Takes a voucher that buys nothing yet.
    async fn hand_in(
        &self,
        checked: &Checked,
        voucher: AnySignedVoucher,
        tx_hash: Option<B256>,
        asked: Asked<'_>,
    ) -> Result<Decision, Refused> {
        let submitted = self.engine.submit(checked.channel, voucher, Spend::Nothing).await;
        let reply = self.taken(checked.channel, submitted)?;
        let balance = Balance::of(checked.channel, &reply.snapshot);
        let receipt = self.receipt(&checked.credential.challenge.id, balance, None, tx_hash);
        let mut answer = managed(&receipt);
        if *asked.method == Method::HEAD
            && let Some(descriptor) = checked.credential.payload.descriptor()
        {
            let books = &reply.snapshot;
            let snapshot = SessionSnapshot {
                channel: checked.channel,
                chain_id: checked.escrow.chain_id,
                escrow: checked.escrow.address,
                descriptor,
                books,
                // Nothing was asked for, so what is charged or set aside already is enough.
                required: books.spent.checked_add(books.reserved).unwrap_or(books.accepted),
            };
            add_snapshot(answer.headers_mut(), &snapshot);
        }
        Ok(Decision::Answer(answer))
    }

    /// What the books made of a voucher; anything but a taken one that paid for all is a refusal.
    pub(super) fn taken(
        &self,
        channel: ChannelId,
        verdict: Result<Verdict, EngineError>,
    ) -> Result<Reply, Refused> {
        match verdict {
            Ok(Verdict::Accepted(Reply { answer: Answer::AcceptedOnly(refused), .. })) => {
                self.failures.channel_failed(channel, self.clock.unix_millis());
                Err(problem::rejection(&refused, channel))
            }
            Ok(Verdict::Accepted(reply)) => {
                self.requests.of_channel(channel, self.clock.unix_millis());
                Ok(reply)
            }
            Ok(Verdict::Rejected(refusal)) => {
                // Only the payer's own voucher gets so far.
                if let Refusal::Channel(Rejection::InsufficientBalance { .. }) = refusal {
                    self.failures.channel_failed(channel, self.clock.unix_millis());
                }
                Err(problem::refusal(&refusal, channel))
            }
            Err(error) => Err(problem::engine(&error)),
        }
    }

    /// The answer to a request that was paid and delivered before: how it ended, and nothing again.
    fn replayed(&self, terms: &Terms, outcome: &Outcome) -> Response<DoorBody> {
        let balance = Balance { channel: terms.channel, accepted: outcome.accepted, spent: outcome.spent };
        managed(&self.receipt(&terms.challenge_id, balance, Some(outcome.units), None))
    }
}

/// Tells a client what the books hold of its channel (v2).
pub(super) fn add_snapshot(headers: &mut HeaderMap, snapshot: &SessionSnapshot<'_>) {
    let texts = [
        (headers::PAYMENT_SESSION, snapshot.channel.to_string()),
        (headers::PAYMENT_SESSION_SNAPSHOT, snapshot.to_header()),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

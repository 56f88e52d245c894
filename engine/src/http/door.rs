//! Decides what a request gets: a challenge, a receipt, a problem, or the service.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::snapshot::SessionSnapshot;
use farebox_core::challenge::{
    ChargeCredential, Credential, EchoError, Payload, ProblemType, Request, credential,
};
use farebox_core::channel::{Answer, Identity, Outcome, Rejection, Spend, Terms};
use farebox_core::units::{Address, Amount, B256, ChannelId};
use farebox_core::voucher::{AnySignedVoucher, ProtocolVersion, Verifier, Voucher};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response};
use metrics::counter;

use super::answer::{Balance, DoorBody, managed};
use super::charge::{Charged, Charges};
use super::config::{DoorConfig, Escrow};
use super::failures::{Failures, Requests};
use super::flight::Flights;
use super::offer::{Offer, Quote};
use super::problem::{self, Refused};
use super::reader::Reader;
use super::streams::Streams;
use super::to_the_end::ToTheEnd;
use super::{Paid, Route, headers};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::{Engine, Refusal, Reply, Verdict};

/// What the door looks at of a request. It never reads a body.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Whether the body is known to be empty, as `http_body::Body::is_end_stream` says it.
    pub body_is_empty: bool,
    /// The digest of the body (RFC 9530: `sha-256=:...:`), if the caller has read it. Without one no challenge is bound
    /// to a body.
    pub body_digest: Option<&'a str>,
    /// Who asks, as far as it is known: failures are counted by address.
    pub address: Option<IpAddr>,
}

impl<'a> Asked<'a> {
    /// What a request's head says, without a digest of its body and without an address.
    pub fn of(parts: &'a http::request::Parts, body_is_empty: bool) -> Self {
        let (method, headers) = (&parts.method, &parts.headers);
        Self { method, headers, body_is_empty, body_digest: None, address: None }
    }
}

impl Asked<'_> {
    /// Whether a voucher that comes with this request is handed in without buying anything.
    fn is_management(&self, route: &Route) -> bool {
        match *self.method {
            Method::HEAD => true,
            Method::POST => !route.pays_for_empty_post && self.has_no_body(),
            _ => false,
        }
    }

    fn has_no_body(&self) -> bool {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return false;
        }
        match self.headers.get(CONTENT_LENGTH) {
            Some(length) => length.as_bytes() == b"0",
            None => self.body_is_empty,
        }
    }
}

/// What a request gets.
#[derive(Debug)]
pub enum Decision {
    /// This answer; the service is not asked.
    Answer(Response<DoorBody>),
    /// The service: the money is set aside. [`Paid::deliver`] takes the service's answer.
    Paid(Box<Paid>),
    /// The service: a transfer paid for it. [`Charged::deliver`] takes the service's answer.
    Charged(Box<Charged>),
}

/// Stands before a service and takes its fares. Clones share everything.
#[derive(Clone)]
pub struct Door {
    pub(super) inner: Arc<Inner>,
}

/// What the clones share.
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) config: DoorConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) transactions: Arc<Flights>,
    pub(super) streams: Arc<Streams>,
    pub(super) failures: Failures,
    pub(super) requests: Requests,
    pub(super) charges: Arc<Charges>,
    pub(super) challenge_serial: AtomicU64,
}

/// A credential whose challenge is ours and whose terms are those of one of our escrows.
pub(super) struct Checked<'a> {
    pub(super) credential: &'a Credential,
    pub(super) escrow: &'a Escrow,
    /// The token that the challenge named.
    pub(super) token: Address,
    /// What the offer asks for one unit; what it asks of who buys nothing does not matter.
    pub(super) price: Amount,
    /// Whether the challenge promised to pay the fees.
    pub(super) is_sponsored: bool,
    pub(super) channel: ChannelId,
}

/// What a challenge of ours asked.
struct Promised<'a> {
    escrow: &'a Escrow,
    token: Address,
    price: Amount,
    is_sponsored: bool,
}

/// What came of a wish to pay.
enum Reserved {
    /// The money is set aside.
    Now(Box<Paid>),
    /// The request was paid and delivered before.
    Before(Outcome),
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("realm", &self.inner.config.realm).finish_non_exhaustive()
    }
}

impl Door {
    /// Opens a door to `engine`'s books. `chain` is asked for `open`, `topUp` and `close` only.
    pub fn new(engine: Engine, chain: Arc<dyn Chain>, mut config: DoorConfig, clock: Arc<dyn Clock>) -> Self {
        for escrow in &mut config.escrows {
            // A v1 channel has no operator: advertising one would promise what no channel can have.
            if escrow.protocol == ProtocolVersion::V1 {
                escrow.operator = Address::ZERO;
            }
        }
        let transactions = Flights::new(config.transactions_in_flight_max);
        let challenge_serial = AtomicU64::new(clock.unix_millis());
        let failures = Failures::new(config.failures);
        let requests = Requests::new(config.requests);
        let inner = Inner {
            failures,
            requests,
            verifier: engine.verifier(),
            engine,
            chain,
            config,
            clock,
            transactions,
            streams: Arc::default(),
            charges: Arc::default(),
            challenge_serial,
        };
        let inner = Arc::new(inner);
        super::endings::follow(&inner);
        Self { inner }
    }

    /// Prepares a route, for [`Door::decide_offer`].
    pub fn offer(&self, route: Route) -> Offer {
        Offer::new(&self.inner.config, route)
    }

    /// [`Door::decide_offer`] of a route that is prepared for this one request.
    pub async fn decide(&self, asked: Asked<'_>, route: &Route) -> Decision {
        self.decide_offer(asked, &self.offer(route.clone())).await
    }

    /// Decides what a request gets for which this door made `offer`. A request that is not paid changes nothing.
    pub async fn decide_offer(&self, asked: Asked<'_>, offer: &Offer) -> Decision {
        let mut spoken = None;
        match self.inner.decide(asked, offer, &mut spoken).await {
            Ok(decision) => decision,
            Err(problem) => {
                if counts_as_failure(problem.kind) {
                    self.inner.failures.address_failed(asked.address, self.inner.clock.unix_millis());
                }
                Decision::Answer(self.inner.refuse(&problem, offer, &Reader::of(&asked, spoken)))
            }
        }
    }

    /// Counts a request that is free: who asks too often for those does not come through either. The answer then.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<(), Box<Response<DoorBody>>> {
        let admitted = self.inner.admit(address, self.inner.clock.unix_millis());
        admitted.map_err(|problem| Box::new(super::answer::problem_answer(&problem, problem.to_json(None))))
    }

    /// Asks all streams that a channel pays for to end with their receipt, and waits for it. The door does it by
    /// itself when the books say that a channel stopped to serve.
    pub async fn end_streams(&self, channel: ChannelId) -> bool {
        let wait = std::time::Duration::from_millis(self.inner.config.close_wait_ms_max);
        self.inner.streams.stop(channel, wait).await
    }
}

impl Inner {
    async fn decide(
        self: &Arc<Self>,
        asked: Asked<'_>,
        offer: &Offer,
        spoken: &mut Option<ProtocolVersion>,
    ) -> Result<Decision, Refused> {
        let now_ms = self.clock.unix_millis();
        self.admit(asked.address, now_ms)?;
        let values = asked.headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
        let Some(token) = credential::find(values).map_err(problem::malformed)? else {
            return Err(problem::payment_required());
        };
        if let Some(wait_ms) = self.failures.address_waits(asked.address, now_ms) {
            counter!("farebox_door_limited_total", "limit" => "address").increment(1);
            return Err(problem::too_many_failures(wait_ms));
        }
        let credential = match Credential::parse(token) {
            Ok(credential) => credential,
            // Nearly everything is a session's; what is none may be a charge.
            Err(_) if ChargeCredential::is_meant(token) => return self.charged(asked, offer, token).await,
            Err(error) => return Err(problem::malformed(error)),
        };
        let is_paid = matches!(credential.payload, Payload::Open(_) | Payload::Voucher(_))
            && !asked.is_management(offer.route());
        let checked = self.check(&credential, offer, is_paid, spoken)?;
        if is_paid {
            check_body(asked, offer.route(), credential.challenge.digest())?;
        }
        // A close is never refused for that: it frees the payer's money, and ours.
        if !matches!(credential.payload, Payload::Close(_))
            && let Some(wait_ms) = self.failures.channel_waits(checked.channel, now_ms)
        {
            counter!("farebox_door_limited_total", "limit" => "channel").increment(1);
            return Err(problem::too_many_failures(wait_ms));
        }
        if !matches!(credential.payload, Payload::Close(_))
            && let Some(wait_ms) = self.requests.channel_waits(checked.channel, now_ms)
        {
            counter!("farebox_door_limited_total", "limit" => "channel_requests").increment(1);
            return Err(problem::too_many_requests(wait_ms));
        }
        match &credential.payload {
            // What is rare is boxed: every request carries the room for what is not.
            Payload::TopUp(top_up) => Ok(Decision::Answer(Box::pin(self.top_up(&checked, top_up)).await?)),
            Payload::Close(close) => Ok(Decision::Answer(Box::pin(self.close(&checked, close)).await?)),
            Payload::Open(open) => {
                let key = headers::idempotency_key(asked.headers).map_err(problem::bad_idempotency_key)?;
                let voucher = self.parse_voucher(&checked)?;
                let tx_hash = Box::pin(self.open(&checked, open, &voucher)).await?.tx_hash;
                if is_paid {
                    return self.pay(&checked, voucher, key, offer, tx_hash).await;
                }
                Box::pin(self.hand_in(&checked, voucher, tx_hash, asked)).await
            }
            Payload::Voucher(_) => {
                let key = headers::idempotency_key(asked.headers).map_err(problem::bad_idempotency_key)?;
                let voucher = self.parse_voucher(&checked)?;
                self.check_known(&checked).await?;
                if is_paid {
                    return self.pay(&checked, voucher, key, offer, None).await;
                }
                Box::pin(self.hand_in(&checked, voucher, None, asked)).await
            }
        }
    }

    /// Counts a request of this address, unless there were too many.
    fn admit(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Refused> {
        let Some(wait_ms) = self.requests.of_address(address, now_ms) else { return Ok(()) };
        counter!("farebox_door_limited_total", "limit" => "address_requests").increment(1);
        Err(problem::too_many_requests(wait_ms))
    }

    /// Checks what can be checked without books and cryptography: challenge, protocol, terms, channel id.
    fn check<'a>(
        &'a self,
        credential: &'a Credential,
        offer: &Offer,
        is_paid: bool,
        spoken: &mut Option<ProtocolVersion>,
    ) -> Result<Checked<'a>, Refused> {
        let is_top_up = matches!(credential.payload, Payload::TopUp(_));
        let now = UnixMillis(self.clock.unix_millis());
        let (keys, realm) = (&self.config.keys, &self.config.realm);
        let echo = &credential.challenge;
        echo.authenticate(keys, realm, now).map_err(|error| problem::bad_challenge(&error, is_top_up))?;
        let buys = is_paid || matches!(credential.payload, Payload::Open(_));
        let Promised { escrow, token, price, is_sponsored } =
            self.terms_of(echo.request(), offer, is_paid, buys, spoken, is_top_up)?;
        credential.payload.check(escrow.protocol).map_err(problem::malformed)?;
        let channel = credential.payload.channel();
        if let (ProtocolVersion::V2, Some(descriptor)) = (escrow.protocol, credential.payload.descriptor()) {
            let terms = Terms::V2(*descriptor);
            let identity = Identity { chain_id: escrow.chain_id, escrow: escrow.address, terms };
            let advertised = self.config.advertised(escrow, token);
            identity.check(&advertised).map_err(|found| problem::rejection(&found, channel))?;
            if identity.channel_id() != channel {
                return Err(problem::other_channel_id(channel));
            }
        }
        Ok(Checked { credential, escrow, token, price, is_sponsored, channel })
    }

    /// The escrow, the token and the price of a request of ours. Who buys something answers a challenge of this very
    /// offer: the price counts for service, the terms for a new channel. A voucher, a top-up or a close may answer any
    /// challenge of ours whose escrow we still serve.
    fn terms_of(
        &self,
        text: &str,
        offer: &Offer,
        is_paid: bool,
        buys: bool,
        spoken: &mut Option<ProtocolVersion>,
        is_top_up: bool,
    ) -> Result<Promised<'_>, Refused> {
        let escrow = |quoted: &Escrow| self.config.escrows.iter().find(|escrow| *escrow == quoted);
        if let Some(quote) = offer.quotes().iter().find(|quote| quote.encoded == text)
            && let Some(escrow) = escrow(&quote.escrow)
        {
            *spoken = Some(escrow.protocol);
            let is_sponsored = quote.request.details.fee_payer;
            return Ok(Promised { escrow, token: quote.token, price: quote.price, is_sponsored });
        }
        // Another route's, or one from before a change of hints.
        let unknown = || problem::bad_challenge(&EchoError::Unknown, is_top_up);
        let asked = Request::decode(text).map_err(|_| unknown())?;
        *spoken = Some(asked.details.protocol);
        let other = || problem::other_challenge(is_top_up);
        if buys {
            let same = |quote: &&Quote| {
                if is_paid { quote.request.same_price(&asked) } else { quote.request.same_terms(&asked) }
            };
            let quote = offer.quotes().iter().find(same).ok_or_else(other)?;
            let escrow = escrow(&quote.escrow).ok_or_else(other)?;
            // Both: what was promised, and what the route still does.
            let is_sponsored = asked.details.fee_payer && quote.request.details.fee_payer;
            return Ok(Promised { escrow, token: quote.token, price: quote.price, is_sponsored });
        }
        let details = &asked.details;
        let ours = self.config.escrows.iter().find(|escrow| {
            (escrow.chain_id, escrow.address, escrow.protocol, escrow.operator)
                == (details.chain_id, details.escrow, details.protocol, details.operator)
        });
        let escrow = ours.filter(|_| asked.recipient == self.config.payee).ok_or_else(other)?;
        let is_sponsored = details.fee_payer && self.config.fee_payer;
        Ok(Promised { escrow, token: asked.currency, price: asked.amount, is_sponsored })
    }

    /// The credential's voucher, well-formed and not verified yet.
    pub(super) fn parse_voucher(&self, checked: &Checked<'_>) -> Result<AnySignedVoucher, Refused> {
        let payload = &checked.credential.payload;
        let signature = match payload {
            Payload::Open(open) => &open.voucher.signature,
            Payload::Voucher(fields) | Payload::Close(fields) => &fields.signature,
            // A top-up has no voucher, and an empty signature parses as none.
            Payload::TopUp(_) => &Vec::new(),
        };
        let voucher = Voucher { channel_id: checked.channel, cumulative_amount: payload.amount() };
        AnySignedVoucher::parse(checked.escrow.protocol, voucher, signature)
            .map_err(|error| problem::voucher(&error, checked.channel))
    }

    /// Checks that the books' channel has the terms of the challenge. A v2 credential proved that already:
    /// its descriptor hashes to the channel id.
    async fn check_known(&self, checked: &Checked<'_>) -> Result<(), Refused> {
        match checked.escrow.protocol {
            ProtocolVersion::V2 => Ok(()),
            ProtocolVersion::V1 => self.known(checked).await.map(|_| ()),
        }
    }

    /// The channel in the books, if it has the terms of the challenge.
    pub(super) async fn known(&self, checked: &Checked<'_>) -> Result<crate::Channel, Refused> {
        let channel = checked.channel;
        let found = self.engine.read(channel).await.map_err(|error| problem::engine(&error))?;
        let found = found.ok_or_else(|| problem::rejection(&Rejection::ChannelNotFound, channel))?;
        let advertised = self.config.advertised(checked.escrow, checked.token);
        found.identity.check(&advertised).map_err(|rejection| problem::rejection(&rejection, channel))?;
        Ok(found)
    }

    /// Takes a voucher and sets the price of one unit aside, in one step.
    async fn pay(
        self: &Arc<Self>,
        checked: &Checked<'_>,
        voucher: AnySignedVoucher,
        idempotency_key: Option<&str>,
        offer: &Offer,
        tx_hash: Option<B256>,
    ) -> Result<Decision, Refused> {
        let terms = super::paid::Terms {
            channel: checked.channel,
            challenge_id: checked.credential.challenge.id.clone(),
            key: checked.credential.request_key(idempotency_key),
            price: checked.price,
            offer: offer.clone(),
            protocol: checked.escrow.protocol,
            tx_hash,
        };
        // When the client leaves while the books work, the guard is made all the same, dropped at once, and gives the
        // money back.
        match ToTheEnd::new(Arc::clone(self).reserve(terms, voucher)).await? {
            Reserved::Now(paid) => Ok(Decision::Paid(paid)),
            Reserved::Before(outcome) => Ok(Decision::Answer(self.replayed(checked, &outcome))),
        }
    }

    async fn reserve(
        self: Arc<Self>,
        terms: super::paid::Terms,
        voucher: AnySignedVoucher,
    ) -> Result<Reserved, Refused> {
        let units = terms.offer.route().reserve_units.max(1);
        let amount = terms.price.checked_mul(units);
        let amount = amount.ok_or_else(|| problem::rejection(&Rejection::AmountTooLarge, terms.channel))?;
        let then = Spend::Reserve { key: terms.key, amount };
        let reply = self.submit(terms.channel, voucher, then).await?;
        Ok(match reply.answer {
            Answer::Replayed(outcome) => Reserved::Before(outcome),
            _ => Reserved::Now(Box::new(Paid::new(self, terms, reply.snapshot))),
        })
    }

    /// Takes a voucher that buys nothing yet.
    async fn hand_in(
        &self,
        checked: &Checked<'_>,
        voucher: AnySignedVoucher,
        tx_hash: Option<B256>,
        asked: Asked<'_>,
    ) -> Result<Decision, Refused> {
        let reply = self.submit(checked.channel, voucher, Spend::Nothing).await?;
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

    /// Hands a voucher to the books; anything but a taken voucher that paid for all is a refusal.
    async fn submit(
        &self,
        channel: ChannelId,
        voucher: AnySignedVoucher,
        then: Spend,
    ) -> Result<Reply, Refused> {
        match self.engine.submit(channel, voucher, then).await {
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
    fn replayed(&self, checked: &Checked<'_>, outcome: &Outcome) -> Response<DoorBody> {
        let balance = Balance { channel: checked.channel, accepted: outcome.accepted, spent: outcome.spent };
        managed(&self.receipt(&checked.credential.challenge.id, balance, Some(outcome.units), None))
    }
}

/// Checks that a paid request brings the body that its challenge was issued for.
pub(super) fn check_body(asked: Asked<'_>, route: &Route, bound: Option<&str>) -> Result<(), Refused> {
    let wanted = asked.body_digest.filter(|_| route.binds_body);
    match (bound, wanted) {
        (None, None) => Ok(()),
        (Some(bound), _) if Some(bound) == asked.body_digest => Ok(()),
        _ => Err(problem::other_body()),
    }
}

/// Whether a problem says that the credential itself was worth nothing. Too little money, a busy server or a close that
/// is on its way are no failures of who asks.
const fn counts_as_failure(kind: ProblemType) -> bool {
    matches!(
        kind,
        ProblemType::MalformedCredential
            | ProblemType::InvalidChallenge
            | ProblemType::ChallengeNotFound
            | ProblemType::VerificationFailed
            | ProblemType::InvalidSignature
            | ProblemType::SignerMismatch
            | ProblemType::AmountExceedsDeposit
            | ProblemType::ChannelNotFound
            | ProblemType::BadRequest
    )
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

//! Decides what a request gets: a challenge, a receipt, a problem, or the service.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::snapshot::SessionSnapshot;
use farebox_core::challenge::{AnyCharge, Credential, EchoError, Payload, ProblemType, Request, credential};
use farebox_core::channel::{Answer, Identity, Outcome, Rejection, Spend, Terms};
use farebox_core::units::{Address, Amount, B256, ChannelId};
use farebox_core::voucher::{AnySignedVoucher, ProtocolVersion, Verifier, Voucher};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response};
use metrics::counter;

use super::answer::{Balance, DoorBody, managed};
use super::charge::{Charged, Charges, TempoCharge};
use super::config::{DoorConfig, Escrow};
use super::evm::EvmCharge;
use super::failures::{Failures, Requests};
use super::flight::Flights;
use super::method::PaymentMethod;
use super::offer::{Offer, Quote};
use super::problem::{self, Refused};
use super::reader::Reader;
use super::reserving::{Reserved, Reserving};
use super::streams::Streams;
use super::{Paid, Route, headers};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::{Engine, EngineError, Refusal, Reply, Verdict};

thread_local! {
    /// Where credentials are decoded: more than a kilobyte each, which would be asked of the allocator's slow path. At
    /// most as long as a credential may be ([`farebox_core::challenge::CREDENTIAL_CHARS_MAX`]).
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    /// The path and the query, as the client sent them. Without them clients of x402 are not asked for anything.
    pub target: Option<&'a str>,
    /// Who asks, as far as it is known: failures are counted by address.
    pub address: Option<IpAddr>,
}

impl<'a> Asked<'a> {
    /// What a request's head says, without a digest of its body and without an address.
    pub fn of(parts: &'a http::request::Parts, body_is_empty: bool) -> Self {
        let (method, headers) = (&parts.method, &parts.headers);
        let target = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        Self { method, headers, body_is_empty, body_digest: None, target, address: None }
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
    Paid(Paid),
    /// The service: one payment paid for it. [`Charged::deliver`] takes the service's answer.
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
    /// Transfers on chain, if there is a chain.
    pub(super) tempo: Option<Arc<TempoCharge>>,
    /// The one that clients of x402 can use.
    pub(super) exact: Option<Arc<EvmCharge>>,
    /// All ways to pay at once, in the order in which they are offered.
    pub(super) methods: Vec<Arc<dyn PaymentMethod>>,
    pub(super) challenge_serial: AtomicU64,
}

/// A credential whose challenge is ours and whose terms are those of one of our escrows.
pub(super) struct Checked {
    pub(super) credential: Credential,
    pub(super) escrow: Escrow,
    /// The token that the challenge named.
    pub(super) token: Address,
    /// What the offer asks for one unit; what it asks of who buys nothing does not matter.
    pub(super) price: Amount,
    /// Whether the challenge promised to pay the fees.
    pub(super) is_sponsored: bool,
    pub(super) channel: ChannelId,
}

/// How far a request came without waiting.
pub(super) struct Begun {
    step: Step,
    /// The protocol of the challenge that it answers.
    spoken: Option<ProtocolVersion>,
}

/// What is left to do.
enum Step {
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

/// What a challenge of ours asked.
struct Promised<'a> {
    escrow: &'a Escrow,
    token: Address,
    price: Amount,
    is_sponsored: bool,
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
        let tempo = TempoCharge::new(&config, &chain);
        let exact = config.evm.clone();
        let mut methods: Vec<Arc<dyn PaymentMethod>> = Vec::new();
        methods.extend(tempo.iter().map(|tempo| Arc::clone(tempo) as _));
        methods.extend(config.methods.iter().cloned());
        methods.extend(exact.iter().map(|exact| Arc::clone(exact) as _));
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
            tempo,
            exact,
            methods,
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
        let mut begun = self.begin(asked, offer);
        self.go_on(&mut begun, asked, offer).await
    }

    /// The part of [`Door::decide_offer`] that waits for nothing.
    pub(super) fn begin(&self, asked: Asked<'_>, offer: &Offer) -> Begun {
        let mut spoken = None;
        let step = self.inner.begin(asked, offer, &mut spoken).unwrap_or_else(Step::Refused);
        Begun { step, spoken }
    }

    /// The rest. What was begun stays where it is: moved into this future it would be kept twice.
    pub(super) async fn go_on(&self, begun: &mut Begun, asked: Asked<'_>, offer: &Offer) -> Decision {
        let decided = match &mut begun.step {
            Step::Paying(reserving) => self.inner.paid(reserving.await),
            // What is rare is boxed: every request carries the room for what is not.
            other => {
                let step = std::mem::replace(other, Step::Refused(problem::payment_required()));
                Box::pin(self.inner.rest(step, asked, offer)).await
            }
        };
        decided.unwrap_or_else(|problem| {
            if counts_as_failure(problem.kind) {
                self.inner.failures.address_failed(asked.address, self.inner.clock.unix_millis());
            }
            Decision::Answer(self.inner.refuse(&problem, offer, &Reader::of(&asked, begun.spoken)))
        })
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
    /// Reads and checks a credential, and hands in a voucher that pays.
    fn begin(
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
    async fn rest(
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

    /// Refuses a channel whose requests come too fast or fail too often. A close never is: it frees the payer's money,
    /// and ours.
    fn check_rates(&self, checked: &Checked, now_ms: u64) -> Result<(), Refused> {
        if matches!(checked.credential.payload, Payload::Close(_)) {
            return Ok(());
        }
        if let Some(wait_ms) = self.failures.channel_waits(checked.channel, now_ms) {
            counter!("farebox_door_limited_total", "limit" => "channel").increment(1);
            return Err(problem::too_many_failures(wait_ms));
        }
        if let Some(wait_ms) = self.requests.channel_waits(checked.channel, now_ms) {
            counter!("farebox_door_limited_total", "limit" => "channel_requests").increment(1);
            return Err(problem::too_many_requests(wait_ms));
        }
        Ok(())
    }

    /// Counts a request of this address, unless there were too many.
    fn admit(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Refused> {
        let Some(wait_ms) = self.requests.of_address(address, now_ms) else { return Ok(()) };
        counter!("farebox_door_limited_total", "limit" => "address_requests").increment(1);
        Err(problem::too_many_requests(wait_ms))
    }

    /// Checks what can be checked without books and cryptography: challenge, protocol, terms, channel id.
    fn check(
        &self,
        credential: Credential,
        offer: &Offer,
        is_paid: bool,
        now_ms: u64,
        spoken: &mut Option<ProtocolVersion>,
    ) -> Result<Checked, Refused> {
        let is_top_up = matches!(credential.payload, Payload::TopUp(_));
        let now = UnixMillis(now_ms);
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
        let escrow = *escrow;
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
    pub(super) fn parse_voucher(&self, checked: &Checked) -> Result<AnySignedVoucher, Refused> {
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
    async fn check_known(&self, checked: &Checked) -> Result<(), Refused> {
        match checked.escrow.protocol {
            ProtocolVersion::V2 => Ok(()),
            ProtocolVersion::V1 => self.known(checked).await.map(|_| ()),
        }
    }

    /// The channel in the books, if it has the terms of the challenge.
    pub(super) async fn known(&self, checked: &Checked) -> Result<crate::Channel, Refused> {
        let channel = checked.channel;
        let found = self.engine.read(channel).await.map_err(|error| problem::engine(&error))?;
        let found = found.ok_or_else(|| problem::rejection(&Rejection::ChannelNotFound, channel))?;
        let advertised = self.config.advertised(&checked.escrow, checked.token);
        found.identity.check(&advertised).map_err(|rejection| problem::rejection(&rejection, channel))?;
        Ok(found)
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
        let terms = Box::new(super::paid::Terms {
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
    fn paid(&self, reserved: Result<Reserved, Refused>) -> Result<Decision, Refused> {
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
    fn replayed(&self, terms: &super::paid::Terms, outcome: &Outcome) -> Response<DoorBody> {
        let balance = Balance { channel: terms.channel, accepted: outcome.accepted, spent: outcome.spent };
        managed(&self.receipt(&terms.challenge_id, balance, Some(outcome.units), None))
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

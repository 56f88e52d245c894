//! `charge`: one payment for one request, beside the session; and a charge of nothing proves whose channel is asked for.
//!
//! Which payments are taken is the matter of [`PaymentMethod`]s: transfers on chain are always there, others come with the
//! configuration. The rules are the same for all. A challenge is of this server and of this route's price. Per challenge
//! there is at most one delivery. That is kept in a durable note, written before the answer leaves; a service that gives
//! no good answer leaves the credential good for another try until the challenge expires. No money is asked for that is
//! not written down before, unless asking again finds it (see `kept`).
//!
//! The session's books know nothing of charges: the money is the payee's when the method has it.

mod exact;
mod kept;
mod prove;
mod tempo;

use std::sync::Arc;

use bytes::Bytes;
use farebox_core::challenge::rfc3339::{self, UnixMillis};
use farebox_core::challenge::{AnyCharge, ChargeReceipt, ChargeRequest, Kind, Problem, x402};
use farebox_core::channel::Party;
use farebox_core::units::{Address, Amount, B256, ChannelId};
use farebox_crypto::keccak256;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Response};
use http_body::Body;
use http_body_util::BodyExt;
use metrics::counter;

use super::answer::DoorBody;
use super::door::Inner;
use super::headers::{self, PAYMENT_RECEIPT};
use super::method::{Handed, Once, PaymentMethod, Settled, Unsettled, kind};
use super::problem::{self, Refused};
use super::{Asked, BoxError, Decision, Offer, Route, deliver};
pub(super) use kept::Charges;
use kept::{Key, Known, Paying, Turn};
pub(super) use tempo::TempoCharge;

/// How long a charge's challenge holds. Its transaction ends before that.
pub(super) const CHARGE_LIFETIME_MS: u64 = 300_000;

/// A request that is paid for at once. Dropped without a good answer, its credential may be used again.
pub struct Charged {
    inner: Arc<Inner>,
    turn: Turn,
    method: Arc<dyn PaymentMethod>,
    until: UnixMillis,
    receipt: ChargeReceipt,
    /// What a client of x402 is told.
    response: Option<HeaderValue>,
    offer: Offer,
}

impl std::fmt::Debug for Charged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charged({}, ..)", self.receipt.reference)
    }
}

impl Charged {
    /// The route that is paid for.
    pub fn route(&self) -> &Route {
        self.offer.route()
    }

    /// The method that it was paid by.
    pub fn method(&self) -> &str {
        self.method.name()
    }

    /// Makes the request ready for the service behind the door: the credential stays here.
    pub fn prepare(&self, headers: &mut HeaderMap) {
        headers::strip_credentials(headers);
        headers.remove(exact::PAYMENT_SIGNATURE);
    }

    /// Gives the service's answer a receipt, after it is written down that the charge is used up.
    ///
    /// An answer that is no success (2xx), or none at all, leaves the charge good for another try with the same
    /// credential, until its challenge expires.
    pub async fn deliver<B, E>(self, answer: Result<Response<B>, E>) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let missing = "the service gave no answer; the same credential may be used again";
        let answer = match deliver::success(answer, &self.receipt.reference, missing) {
            Ok(answer) => answer,
            Err(unpaid) => return *unpaid,
        };
        let key = self.turn.key;
        if let Err(error) = self.inner.use_up(key, self.until).await {
            let problem = problem::engine(&error);
            return super::answer::problem_answer(&problem, problem.to_json(None));
        }
        if !self.method.is_repeatable() {
            self.inner.forget_paying(key, self.until).await;
        }
        count(self.method.name(), "delivered");
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(PAYMENT_RECEIPT, value(&self.receipt));
        if let Some(response) = self.response {
            parts.headers.insert(exact::PAYMENT_RESPONSE, response);
        }
        headers::make_private(&mut parts.headers, &["private"]);
        Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
    }
}

fn value(receipt: &ChargeReceipt) -> HeaderValue {
    HeaderValue::from_str(&receipt.to_header()).expect("base64url is visible ASCII")
}

fn count(method: &str, result: &'static str) {
    counter!("farebox_charges_total", "method" => method.to_owned(), "result" => result).increment(1);
}

/// A credential that was found good, on its way to its method.
struct Order {
    method: Arc<dyn PaymentMethod>,
    handed: Handed,
    /// What pays once only, hashed.
    key: Key,
    /// Until when it is remembered.
    until: UnixMillis,
    /// Who pays, if it came in the words of x402.
    payer: Option<String>,
}

impl Order {
    fn new(method: Arc<dyn PaymentMethod>, handed: Handed, payer: Option<String>) -> Self {
        let Once { name, until } = method.once(&handed);
        Self { method, handed, key: keccak256(name.as_bytes()), until, payer }
    }
}

impl Inner {
    /// The ways to pay for a request of a route at once, with their prices.
    pub(super) fn ways<'a>(
        &'a self,
        route: &'a Route,
    ) -> impl Iterator<Item = (&'a Arc<dyn PaymentMethod>, Amount)> {
        self.methods.iter().filter_map(|method| Some((method, route.charge_by(method.name())?)))
    }

    /// What makes a challenge of a charge unlike all others.
    pub(super) fn charge_nonce(&self, serial: u64) -> B256 {
        let mut text = b"farebox charge".to_vec();
        text.extend_from_slice(self.config.realm.as_str().as_bytes());
        text.extend_from_slice(&serial.to_be_bytes());
        text.extend_from_slice(&self.clock.unix_millis().to_be_bytes());
        B256::new(keccak256(&text))
    }

    /// Decides about a credential of a charge.
    pub(super) async fn charged(
        self: &Arc<Self>,
        asked: Asked<'_>,
        offer: &Offer,
        token: &str,
    ) -> Result<Decision, Refused> {
        let credential = AnyCharge::parse(token).map_err(problem::malformed)?;
        let now = UnixMillis(self.clock.unix_millis());
        let (keys, realm) = (&self.config.keys, &self.config.realm);
        let echo = &credential.challenge;
        echo.authenticate_for(echo.kind(), keys, realm, now)
            .map_err(|error| problem::bad_challenge(&error, false))?;
        let other = || problem::other_challenge(false);
        if *asked.method == Method::HEAD {
            // A proof buys nothing, and nothing else comes with HEAD.
            let request = ChargeRequest::decode(echo.request()).map_err(|_| other())?;
            let tempo = self.tempo.as_ref().filter(|tempo| {
                echo.kind() == Kind::CHARGE && request.amount.is_zero() && tempo.asks(&request)
            });
            let chain_id = tempo.ok_or_else(other)?.chain_id;
            return self.prove(&credential, chain_id, request.currency).await;
        }
        let way = self.ways(offer.route()).find(|(method, _)| kind(method.as_ref()) == echo.kind());
        let (method, price) = way.ok_or_else(other)?;
        super::asked::check_body(asked, offer.route(), echo.digest())?;
        let expires = echo.expires().and_then(rfc3339::parse).ok_or_else(other)?;
        let handed = Handed {
            credential,
            token: token.into(),
            is_x402: false,
            price,
            is_sponsored: offer.route().is_sponsored,
            now,
            expires,
            asked_before: false,
            may_pay: self.may_pay(),
        };
        method.check(&handed)?;
        self.take(Order::new(Arc::clone(method), handed, None), offer).await
    }

    /// Takes the money, and lets one request through.
    async fn take(self: &Arc<Self>, order: Order, offer: &Offer) -> Result<Decision, Refused> {
        let turn = self.charges.turn(order.key)?;
        let (method, until) = (Arc::clone(&order.method), order.until);
        let payer = order.payer.clone();
        let challenge_id = order.handed.credential.challenge.id.clone();
        let shared = Arc::clone(self);
        // In a task of its own: what was asked for is followed to its fate, also when the client leaves.
        let taking = tokio::spawn(async move {
            let settled = shared.settle(order).await?;
            Ok((turn, settled))
        });
        let (turn, settled) = taking.await.unwrap_or_else(|_| Err(problem::lost_task()))?;
        let response = self.exact.as_ref().zip(payer).and_then(|(exact, payer)| {
            let text = x402::payment_response(exact.terms(), &payer, &settled.reference);
            HeaderValue::from_str(&text).ok()
        });
        let receipt = ChargeReceipt {
            method: method.name().into(),
            chain_id: settled.chain_id,
            timestamp: UnixMillis(self.clock.unix_millis()),
            challenge_id,
            reference: settled.reference,
        };
        let offer = offer.clone();
        Ok(Decision::Charged(Box::new(Charged {
            inner: Arc::clone(self),
            turn,
            method,
            until,
            receipt,
            response,
            offer,
        })))
    }

    /// The payment of a credential: one that is known, or a new one.
    async fn settle(self: &Arc<Self>, mut order: Order) -> Result<Settled, Refused> {
        let credential = keccak256(order.handed.token.as_bytes());
        match self.known_charge(order.key).await? {
            Known::Nothing => {}
            Known::Delivered => return Err(problem::used_up()),
            // Somebody's money is behind it, and it was not this credential that brought it.
            Known::Paying(paying) if paying.credential != credential => {
                return Err(problem::other_credential());
            }
            Known::Paying(Paying { settled: Some(settled), .. }) => return Ok(settled),
            Known::Paying(_) => order.handed.asked_before = true,
        }
        if order.method.is_repeatable() {
            let name = order.method.name().to_owned();
            let settled = Arc::clone(&order.method).verify(order.handed).await;
            return settled.map_err(|unsettled| told(&name, unsettled));
        }
        self.settle_once(order, credential).await
    }

    /// Asks a method that cannot find a payment again. Before that it is written down, and after it what came of it.
    async fn settle_once(self: &Arc<Self>, order: Order, credential: Key) -> Result<Settled, Refused> {
        let Order { method, handed, key, until, .. } = order;
        let asked_before = handed.asked_before;
        let mut paying = Paying {
            expires_ms: until.0,
            credential,
            method: method.name().into(),
            challenge: handed.credential.challenge.id.clone(),
            settled: None,
        };
        if !asked_before {
            self.tell_undelivered().await.map_err(|error| problem::engine(&error))?;
            self.note_paying(key, &paying).await.map_err(|error| problem::engine(&error))?;
        }
        match method.clone().verify(handed).await {
            Ok(settled) => {
                paying.settled = Some(settled.clone());
                if let Err(error) = self.note_paying(key, &paying).await {
                    let (method, reference) = (method.name(), settled.reference.as_str());
                    tracing::error!(%error, method, reference, "a payment came and could not be written down");
                    return Err(problem::charge_unknown());
                }
                Ok(settled)
            }
            // What it says now may be the echo of what it did then.
            Err(Unsettled::Refused(why)) if asked_before => {
                let unknown = Unsettled::Unknown(problem::charge_unknown());
                tracing::warn!(method = method.name(), why = why.detail, "a charge stays undecided");
                Err(told(method.name(), unknown))
            }
            Err(refused @ Unsettled::Refused(_)) => {
                self.forget_paying(key, until).await;
                Err(told(method.name(), refused))
            }
            Err(unknown @ Unsettled::Unknown(_)) => Err(told(method.name(), unknown)),
        }
    }

    /// Whether the operator's lists let an account pay.
    fn may_pay(self: &Arc<Self>) -> Arc<dyn Fn(Address) -> bool + Send + Sync> {
        let inner = Arc::clone(self);
        Arc::new(move |payer| {
            let party = Party { payer: Some(payer), signer: payer, channel: ChannelId(B256::ZERO) };
            inner.engine.limits().access.check(party, inner.clock.now()).is_ok()
        })
    }
}

/// What a client is told of a payment that was not made.
fn told(method: &str, unsettled: Unsettled) -> Box<Problem> {
    match unsettled {
        Unsettled::Refused(problem) => {
            count(method, "refused");
            problem
        }
        Unsettled::Unknown(problem) => {
            count(method, "unknown");
            problem
        }
    }
}

//! Whole answers: challenges, receipts without a body, problems.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use farebox_core::challenge::issued::Binding;
use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{Challenge, Problem, ProblemType, Receipt};
use farebox_core::channel::Snapshot;
use farebox_core::units::{Amount, B256, ChannelId};
use farebox_core::voucher::ProtocolVersion;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use metrics::counter;

use super::BoxError;
use super::charge::CHARGE_LIFETIME_MS;
use super::door::Inner;
use super::headers::PAYMENT_RECEIPT;
use super::method::{PaymentMethod, kind};
use super::offer::{Offer, Quote};
use super::reader::Reader;

/// The body of every answer that leaves the door.
pub type DoorBody = UnsyncBoxBody<Bytes, BoxError>;

/// Over how much time the expiries of challenges are spread, so that no two challenges of one route are
/// the same.
const EXPIRES_SPREAD_MS: u64 = 10_000;

/// A body of known bytes.
pub(super) fn full(bytes: impl Into<Bytes>) -> DoorBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What a receipt is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Balance {
    pub(super) channel: ChannelId,
    pub(super) accepted: Amount,
    pub(super) spent: Amount,
}

impl Balance {
    pub(super) fn of(channel: ChannelId, snapshot: &Snapshot) -> Self {
        Self { channel, accepted: snapshot.accepted, spent: snapshot.spent }
    }
}

impl Inner {
    /// A receipt, dated now.
    pub(super) fn receipt(
        &self,
        challenge_id: &str,
        balance: Balance,
        units: Option<u64>,
        tx_hash: Option<B256>,
    ) -> Receipt {
        Receipt {
            timestamp: UnixMillis(self.clock.unix_millis()),
            challenge_id: challenge_id.into(),
            channel: balance.channel,
            accepted: balance.accepted,
            spent: balance.spent,
            units,
            tx_hash,
        }
    }

    /// Fresh challenges for a route, those that the client can use, in its order; of the session's the ones that it
    /// spoke before come first.
    fn challenges(&self, offer: &Offer, reader: &Reader<'_>) -> Vec<Challenge> {
        let route = offer.route();
        if reader.wants_to_prove() {
            let proof = |tempo| self.charge_challenge(offer, tempo, Amount::ZERO, None);
            return self.tempo.iter().filter_map(|tempo| proof(tempo.as_ref())).collect();
        }
        let mut quotes: Vec<_> = offer.quotes().iter().collect();
        // Stable: otherwise the operator's order stays.
        quotes.sort_by_key(|quote| reader.spoken.is_some() && reader.spoken != Some(quote.escrow.protocol));
        let digest = reader.body_digest.filter(|_| route.binds_body);
        let binding = Binding { digest, opaque: offer.opaque() };
        let issue = |quote: &Quote| {
            let (keys, realm) = (&self.config.keys, &self.config.realm);
            let expires = self.expires(self.config.challenge_lifetime_ms, self.serial());
            let mut challenge = Challenge::issue_encoded(keys, realm, &quote.encoded, expires, binding);
            challenge.description.clone_from(&route.description);
            challenge
        };
        let mut challenges: Vec<Challenge> = quotes.into_iter().map(issue).collect();
        let charges = self.ways(route);
        challenges.extend(
            charges
                .filter_map(|(method, price)| self.charge_challenge(offer, method.as_ref(), price, digest)),
        );
        match &reader.accept {
            Some(accept) => {
                accept.choose(challenges, |challenge| (challenge.method.as_str(), challenge.intent.as_str()))
            }
            None => challenges,
        }
    }

    /// A fresh challenge of a charge.
    fn charge_challenge(
        &self,
        offer: &Offer,
        method: &dyn PaymentMethod,
        price: Amount,
        digest: Option<&str>,
    ) -> Option<Challenge> {
        let serial = self.serial();
        let request = method.request(price, offer.route(), self.charge_nonce(serial))?;
        let binding = Binding { digest, opaque: offer.opaque() };
        let (keys, realm) = (&self.config.keys, &self.config.realm);
        let expires = self.expires(CHARGE_LIFETIME_MS, serial);
        let mut challenge = Challenge::issue_for(keys, realm, kind(method), &request, expires, binding);
        challenge.description.clone_from(&offer.route().description);
        Some(challenge)
    }

    fn serial(&self) -> u64 {
        self.challenge_serial.fetch_add(1, Ordering::Relaxed)
    }

    /// When a challenge ends. No two of one route end in the same moment.
    fn expires(&self, lifetime_ms: u64, serial: u64) -> UnixMillis {
        let spread_ms = serial % EXPIRES_SPREAD_MS;
        UnixMillis(self.clock.unix_millis()).saturating_add(lifetime_ms.saturating_add(spread_ms))
    }

    /// The answer to a request that gets nothing.
    pub(super) fn refuse(&self, problem: &Problem, offer: &Offer, reader: &Reader<'_>) -> Response<DoorBody> {
        counter!("farebox_door_problems_total", "title" => problem.kind.title()).increment(1);
        let challenges =
            if problem.kind.offers_challenge() { self.challenges(offer, reader) } else { Vec::new() };
        let body = problem.to_json(challenges.first().map(|challenge| challenge.id.as_str()));
        let mut answer = problem_answer(problem, body);
        for challenge in &challenges {
            if let Ok(value) = HeaderValue::from_str(&challenge.to_header()) {
                answer.headers_mut().append(WWW_AUTHENTICATE, value);
            }
        }
        if problem.kind.status() == 402 {
            self.ask_exact(answer.headers_mut(), problem, offer, reader);
        }
        answer
    }

    /// The answer to a request that was served and cannot be charged. Too little money can be helped; for anything
    /// else a fresh challenge would promise what it cannot hold.
    pub(super) fn refuse_late(
        &self,
        problem: &Problem,
        offer: &Offer,
        protocol: ProtocolVersion,
    ) -> Response<DoorBody> {
        let mut problem = problem.clone();
        if problem.kind.offers_challenge() && problem.kind != ProblemType::InsufficientBalance {
            problem.kind = ProblemType::Conflict;
        }
        self.refuse(&problem, offer, &Reader { spoken: Some(protocol), ..Reader::default() })
    }
}

/// A problem as an answer, without challenges.
pub(super) fn problem_answer(problem: &Problem, body: String) -> Response<DoorBody> {
    let mut answer = Response::new(full(body));
    // The statuses of problems are constants between 400 and 503.
    *answer.status_mut() =
        StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// 204 with a receipt: the answer to a management request.
pub(super) fn managed(receipt: &Receipt) -> Response<DoorBody> {
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    headers.insert(PAYMENT_RECEIPT, receipt_value(receipt));
    answer
}

/// The value of the receipt header.
pub(super) fn receipt_value(receipt: &Receipt) -> HeaderValue {
    HeaderValue::from_str(&receipt.to_header()).expect("base64url is visible ASCII")
}

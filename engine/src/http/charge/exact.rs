//! x402 at the door: the same charge of the method `evm`, asked for in `PAYMENT-REQUIRED`, answered in `PAYMENT-SIGNATURE`, and
//! confirmed in `PAYMENT-RESPONSE` beside the receipt.
//!
//! A client of x402 answers no challenge: its authorization's own nonce takes the challenge's place. There is one delivery
//! for it, as for any other charge.

use std::sync::Arc;

use farebox_core::challenge::evm::EVM;
use farebox_core::challenge::rfc3339::{self, UnixMillis};
use farebox_core::challenge::x402::{self, PaymentSignature, Resource};
use farebox_core::challenge::{AnyCharge, Challenge, Echo, Problem, ProblemType, charge};
use farebox_core::units::Amount;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::super::door::Inner;
use super::super::evm::{self, EvmCharge};
use super::super::method::{Handed, PaymentMethod};
use super::super::problem::{self, Refused};
use super::super::reader::Reader;
use super::super::{Asked, Decision, Offer};
use super::Order;

/// What is asked.
const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// What a client answers: a bearer token.
pub(super) const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
/// What became of it.
pub(super) const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");

impl Inner {
    /// The method and the price of a route that clients of x402 can pay.
    fn exact<'a>(&'a self, offer: &Offer) -> Option<(&'a Arc<EvmCharge>, Amount)> {
        Some((self.exact.as_ref()?, offer.route().charge_by(EVM)?))
    }

    /// Asks clients of x402 for the same as the challenge of the method `evm`.
    pub(in crate::http) fn ask_exact(
        &self,
        headers: &mut HeaderMap,
        problem: &Problem,
        offer: &Offer,
        reader: &Reader<'_>,
    ) {
        let (Some((method, price)), Some(target)) = (self.exact(offer), reader.target) else { return };
        let url = method.url(target);
        let resource = Resource {
            url: &url,
            method: reader.method.map_or("GET", Method::as_str),
            digest: reader.body_digest.filter(|_| offer.route().binds_body),
            opaque: offer.opaque(),
        };
        let text = x402::payment_required(&method.requirements(price), &resource, &problem.detail);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(PAYMENT_REQUIRED, value);
        }
    }

    /// Whether a request brings a payment of x402 to a route that takes one.
    pub(in crate::http) fn brings_exact(&self, asked: &Asked<'_>, offer: &Offer) -> bool {
        asked.headers.contains_key(PAYMENT_SIGNATURE) && self.exact(offer).is_some()
    }

    /// Decides about a payment of x402.
    pub(in crate::http) async fn charged_exact(
        self: &Arc<Self>,
        asked: Asked<'_>,
        offer: &Offer,
    ) -> Result<Decision, Refused> {
        let (method, price) = self.exact(offer).ok_or_else(problem::payment_required)?;
        let mut values = asked.headers.get_all(PAYMENT_SIGNATURE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            let detail = "the request carries several PAYMENT-SIGNATURE headers, expected one";
            return Err(Box::new(Problem::new(ProblemType::BadRequest, detail)));
        };
        let text = value.to_str().unwrap_or_default();
        let payment = PaymentSignature::parse(text).map_err(problem::malformed)?;
        let url = asked.target.map(|target| method.url(target)).unwrap_or_default();
        let resource = Resource {
            url: &url,
            method: asked.method.as_str(),
            digest: asked.body_digest.filter(|_| offer.route().binds_body),
            opaque: offer.opaque(),
        };
        payment
            .check(&method.requirements(price), &resource)
            .map_err(|error| problem::other_payment(&error))?;
        if *asked.method == Method::HEAD {
            return Err(problem::other_challenge(false));
        }
        let authorization = &payment.authorization;
        let id = format!("x402:{:#x}", authorization.nonce);
        let now = UnixMillis(self.clock.unix_millis());
        // One that holds longer is refused below.
        let expires = UnixMillis(authorization.valid_before.min(evm::latest(now)).0.saturating_mul(1_000));
        let challenge = Challenge {
            id,
            realm: self.config.realm.to_string(),
            method: EVM.into(),
            intent: charge::INTENT.into(),
            request: method.terms().request(price),
            expires: Some(rfc3339::format_millis(expires)),
            digest: None,
            opaque: None,
            description: None,
        };
        let handed = Handed {
            credential: AnyCharge {
                challenge: Echo::of(&challenge),
                payload: authorization.to_payload(),
                source: None,
            },
            token: text.into(),
            is_x402: true,
            price,
            is_sponsored: offer.route().is_sponsored,
            now,
            expires,
            asked_before: false,
            may_pay: self.may_pay(),
        };
        let method = Arc::clone(method);
        method.check(&handed)?;
        let payer = authorization.from.to_string();
        self.take(Order::new(method, handed, Some(payer)), offer).await
    }
}

//! The method `evm`: a signed authorization to move a token (EIP-3009), which a facilitator of x402 sends to its chain.
//!
//! What an authorization says is checked here, signature included. Whether the money moved is the facilitator's word: it is
//! a party that the operator trusts, and the only one here that speaks with that chain. It cannot find an old payment again,
//! and what it says after a lost answer may be the echo of that payment: then nobody is served, and nobody is told to pay
//! again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use farebox_core::challenge::evm::{Authorization, EVM, EvmTerms, challenge_nonce};
use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{Problem, ProblemType, x402};
use farebox_core::units::{Amount, B256, ChainId, UnixSeconds};
use serde::Deserialize;
use serde_json::Value;

use super::Route;
use super::method::{Handed, Once, PaymentMethod, Settled, Unsettled};
use super::problem::{self, Refused};
use crate::chain::BoxFuture;

/// How long a client is given to pay, in the words of x402.
pub(super) const PAY_WITHIN_S: u64 = 300;
/// How much longer an authorization may hold, for clocks that differ: so long it is remembered.
const CLOCK_SPREAD_S: u64 = 600;

/// What a facilitator is asked to do with an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FacilitatorStep {
    /// To say whether it could be sent. Moves nothing.
    Verify,
    /// To send it, and to wait until the money has moved.
    Settle,
}

impl FacilitatorStep {
    /// Where the facilitator does it, below its base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Verify => "/verify",
            Self::Settle => "/settle",
        }
    }
}

/// A facilitator gave no answer that can be read. It may have done what it was asked all the same.
#[derive(Debug, thiserror::Error)]
#[error("the facilitator gave no answer: {what}")]
pub struct FacilitatorError {
    /// Why, without secrets.
    pub what: String,
}

/// Who sends authorizations to their chain: an HTTP client that posts JSON.
pub trait Facilitator: fmt::Debug + Send + Sync {
    /// Posts `order`, and gives the body of the answer, of whatever status below 500. It ends in time.
    fn ask(&self, step: FacilitatorStep, order: String) -> BoxFuture<'_, Result<Bytes, FacilitatorError>>;
}

/// Takes authorizations for one token.
#[derive(Debug)]
pub struct EvmCharge {
    terms: EvmTerms,
    facilitator: Arc<dyn Facilitator>,
    /// Where clients see this server: `https://api.example.com`, without a slash at its end.
    origin: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    is_valid: bool,
    invalid_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    success: bool,
    #[serde(default)]
    transaction: String,
    network: Option<String>,
    error_reason: Option<String>,
}

impl EvmCharge {
    /// Takes authorizations on these terms. `origin` is where clients see this server.
    pub fn new(terms: EvmTerms, facilitator: Arc<dyn Facilitator>, origin: impl Into<String>) -> Self {
        let origin: String = origin.into();
        Self { terms, facilitator, origin: origin.trim_end_matches('/').to_owned() }
    }

    /// What is asked in the words of x402.
    pub(super) fn requirements(&self, price: Amount) -> Value {
        x402::requirements(&self.terms, price, PAY_WITHIN_S)
    }

    pub(super) const fn terms(&self) -> &EvmTerms {
        &self.terms
    }

    /// Where clients see a request's path.
    pub(super) fn url(&self, target: &str) -> String {
        format!("{}{target}", self.origin)
    }

    fn read(handed: &Handed) -> Result<Authorization, Refused> {
        Authorization::read(&handed.credential.payload).map_err(problem::malformed)
    }

    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        step: FacilitatorStep,
        order: &str,
    ) -> Result<T, FacilitatorError> {
        let body = self.facilitator.ask(step, order.to_owned()).await?;
        serde_json::from_slice(&body).map_err(|_| FacilitatorError {
            what: format!("{} bytes that are no answer of x402 to {}", body.len(), step.path()),
        })
    }

    /// The facilitator's word on an authorization: the transaction that moved the money.
    async fn send(&self, challenge: &str, order: &str) -> Result<String, Unsettled> {
        let refused = |why: Option<&str>| {
            tracing::info!(challenge, why, "the facilitator did not take a payment");
            let why = why.filter(|why| is_reason(why)).unwrap_or("without a reason");
            let detail = format!("the facilitator did not take the payment: {why}");
            Unsettled::Refused(Box::new(Problem::new(ProblemType::VerificationFailed, detail)))
        };
        let unknown = |what: &str| {
            tracing::warn!(challenge, what, "the facilitator does not say whether a payment was made");
            Unsettled::Unknown(problem::charge_unknown())
        };
        let verified: Verified = match self.ask(FacilitatorStep::Verify, order).await {
            Ok(verified) => verified,
            Err(error) => {
                tracing::warn!(challenge, %error, "a payment was not verified");
                let detail = "the facilitator cannot be reached; nothing was charged, try again";
                let problem = Problem::new(ProblemType::Unavailable, detail);
                return Err(Unsettled::Refused(Box::new(problem.retry_after(5))));
            }
        };
        if !verified.is_valid {
            return Err(refused(verified.invalid_reason.as_deref()));
        }
        let sent: Sent =
            self.ask(FacilitatorStep::Settle, order).await.map_err(|error| unknown(&error.to_string()))?;
        let is_hash = sent.transaction.strip_prefix("0x").is_some_and(|digits| {
            digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let is_here = sent.network.is_none_or(|network| network == x402::network(&self.terms));
        match sent.success {
            true if is_hash && is_here => Ok(sent.transaction.to_ascii_lowercase()),
            true => Err(unknown("a success without a transaction of the right network")),
            // A transaction that it names, or something that it did not expect, may still move the money.
            false if !sent.transaction.is_empty() => Err(unknown("a failure that names a transaction")),
            false => match sent.error_reason.as_deref() {
                None => Err(unknown("a failure without a reason")),
                Some(why) if why.contains("unexpected") || why.contains("timeout") => Err(unknown(why)),
                why => Err(refused(why)),
            },
        }
    }
}

/// A reason as x402 names them: a word that may be repeated.
fn is_reason(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
}

/// Until when an authorization may hold that comes now.
pub(super) fn latest(now: UnixMillis) -> UnixSeconds {
    UnixSeconds(now.0 / 1_000).saturating_add(PAY_WITHIN_S + CLOCK_SPREAD_S)
}

impl PaymentMethod for EvmCharge {
    fn name(&self) -> &str {
        EVM
    }

    fn request(&self, price: Amount, _: &Route, _: B256) -> Option<String> {
        Some(self.terms.request(price))
    }

    fn check(&self, handed: &Handed) -> Result<(), Refused> {
        let challenge = &handed.credential.challenge;
        if challenge.request() != self.terms.request(handed.price) {
            return Err(problem::other_challenge(false));
        }
        let authorization = Self::read(handed)?;
        let nonce = (!handed.is_x402).then(|| challenge_nonce(&challenge.id, challenge.realm()));
        let now = UnixSeconds(handed.now.0 / 1_000);
        self.terms
            .check(&authorization, handed.price, nonce, now, latest(handed.now))
            .map_err(|error| Box::new(Problem::new(ProblemType::VerificationFailed, error.to_string())))?;
        if !(handed.may_pay)(authorization.from) {
            let detail = "the payer's account may not pay here";
            return Err(Box::new(Problem::new(ProblemType::Forbidden, detail)));
        }
        Ok(())
    }

    /// What the token's contract takes once: a nonce of a payer. So an authorization that answered a challenge buys nothing
    /// more in the words of x402, also where a facilitator says of one that it sent before that it was sent.
    fn once(&self, handed: &Handed) -> Once {
        let by_challenge = || Once { name: handed.credential.challenge.id.clone(), until: handed.expires };
        let EvmTerms { chain_id, token, .. } = &self.terms;
        Self::read(handed).map_or_else(
            |_| by_challenge(),
            |Authorization { from, nonce, valid_before, .. }| Once {
                name: format!("{chain_id}/{token}/{from}/{nonce}"),
                until: handed.expires.max(UnixMillis(valid_before.0.saturating_mul(1_000))),
            },
        )
    }

    fn verify(self: Arc<Self>, handed: Handed) -> BoxFuture<'static, Result<Settled, Unsettled>> {
        Box::pin(async move {
            let authorization = Self::read(&handed).map_err(Unsettled::Refused)?;
            let order = x402::order(&self.requirements(handed.price), &authorization);
            let reference = self.send(&handed.credential.challenge.id, &order).await?;
            Ok(Settled { reference, chain_id: Some(ChainId(self.terms.chain_id.0)) })
        })
    }
}

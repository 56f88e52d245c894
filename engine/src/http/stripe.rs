//! The method `stripe`: a Shared Payment Token, charged once by Stripe (draft-stripe-charge-00).
//!
//! The crate `mpp` speaks with Stripe: it makes a payment intent that is confirmed at once, under an idempotency key of the
//! challenge and the token. Here is what it leaves open: the terms of this server, how long an answer may take, and what a
//! failure means for the money. Stripe's own words go to the log, without what looks like a secret; a client hears ours.
//!
//! An answer that got lost is found again: Stripe says that this very payment was made before. That is only believed when
//! our own notes say that we asked for it; else somebody else with our key was paid.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farebox_core::challenge::{Problem, ProblemType};
use farebox_core::units::{Amount, B256};
use mpp::protocol::core::{PaymentCredential, parse_authorization};
use mpp::protocol::intents::ChargeRequest;
use mpp::protocol::methods::stripe::method::ChargeMethod;
use mpp::protocol::traits::{ChargeMethod as _, ErrorCode, VerificationError};
use serde::Serialize;

use super::Route;
use super::method::{Handed, PaymentMethod, Settled, Unsettled};
use super::problem::{self, Refused};
use crate::chain::BoxFuture;

/// The method's name.
pub const STRIPE: &str = "stripe";
/// How long Stripe may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// What every Shared Payment Token begins with.
const TOKEN_PREFIX: &str = "spt_";
/// The longest token, in characters: with the challenge's id it must fit into an idempotency key.
const TOKEN_CHARS_MAX: usize = 200;
/// What Stripe's secrets and bearer tokens begin with.
const SECRET_PREFIXES: [&str; 6] = ["sk_", "rk_", "spt_", "pm_", "pk_", "whsec_"];

/// How an account at Stripe is charged for.
#[derive(Clone)]
pub struct StripeConfig {
    /// The secret key of the account.
    pub secret_key: String,
    /// The profile in Stripe's business network that tokens are made for.
    pub network_id: String,
    /// What may be paid with, such as `card` and `link`.
    pub payment_method_types: Vec<String>,
    /// The currency of all prices: three lowercase letters.
    pub currency: String,
    /// Another address than Stripe's own.
    pub api_url: Option<String>,
}

impl fmt::Debug for StripeConfig {
    /// Everything but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network_id, payment_method_types, currency, api_url, .. } = self;
        f.debug_struct("StripeConfig")
            .field("network_id", network_id)
            .field("payment_method_types", payment_method_types)
            .field("currency", currency)
            .field("api_url", api_url)
            .finish_non_exhaustive()
    }
}

/// Charges Shared Payment Tokens. Prices are in the smallest unit of its currency.
pub struct StripeCharge {
    method: ChargeMethod,
    currency: String,
}

impl fmt::Debug for StripeCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeCharge").field("currency", &self.currency).finish_non_exhaustive()
    }
}

/// Members in the order of RFC 8785, so that plain serialization is canonical.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    amount: String,
    currency: &'a str,
    method_details: WireDetails<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireDetails<'a> {
    network_id: &'a str,
    payment_method_types: &'a [String],
}

impl StripeCharge {
    /// Prepares it. Nobody is asked yet.
    pub fn new(config: StripeConfig) -> Self {
        let StripeConfig { secret_key, network_id, payment_method_types, currency, api_url } = config;
        let mut method = ChargeMethod::new(secret_key, network_id, payment_method_types);
        if let Some(url) = api_url {
            method = method.with_api_base(url);
        }
        Self { method, currency }
    }

    fn asks(&self, price: Amount) -> String {
        let wire = Wire {
            amount: price.to_string(),
            currency: &self.currency,
            method_details: WireDetails {
                network_id: self.method.network_id(),
                payment_method_types: self.method.payment_method_types(),
            },
        };
        let json = serde_json::to_string(&wire).expect("strings always have a JSON form");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// The credential and its request in the words of `mpp`.
    fn read(handed: &Handed) -> Result<(PaymentCredential, ChargeRequest), Refused> {
        let unreadable = || refused("the credential cannot be read as one of the method stripe");
        let credential =
            parse_authorization(&format!("Payment {}", handed.token)).map_err(|_| unreadable())?;
        let request = credential.challenge.request.decode().map_err(|_| unreadable())?;
        Ok((credential, request))
    }
}

fn refused(detail: &str) -> Refused {
    Box::new(Problem::new(ProblemType::VerificationFailed, detail))
}

fn is_token(text: &str) -> bool {
    text.starts_with(TOKEN_PREFIX)
        && text.len() <= TOKEN_CHARS_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl PaymentMethod for StripeCharge {
    fn name(&self) -> &str {
        STRIPE
    }

    fn request(&self, price: Amount, _: &Route, _: B256) -> Option<String> {
        Some(self.asks(price))
    }

    fn check(&self, handed: &Handed) -> Result<(), Refused> {
        if handed.credential.challenge.request() != self.asks(handed.price) {
            return Err(problem::other_challenge(false));
        }
        let token = handed.credential.payload.get("spt").and_then(serde_json::Value::as_str);
        if !token.is_some_and(is_token) {
            return Err(refused(
                "payload.spt is no Shared Payment Token, expected spt_ and at most 196 letters, digits and _",
            ));
        }
        Self::read(handed).map(|_| ())
    }

    fn verify(self: Arc<Self>, handed: Handed) -> BoxFuture<'static, Result<Settled, Unsettled>> {
        Box::pin(async move {
            let (credential, request) = Self::read(&handed).map_err(Unsettled::Refused)?;
            let id = &handed.credential.challenge.id;
            let asked = self.method.verify(&credential, &request);
            match tokio::time::timeout(ANSWER_WAIT, asked).await {
                Ok(Ok(receipt)) => Ok(Settled { reference: receipt.reference, chain_id: None }),
                Ok(Err(error)) => judge(&error, handed.asked_before, id),
                Err(_) => {
                    tracing::warn!(challenge = %id, "Stripe did not answer in time");
                    Err(Unsettled::Unknown(problem::charge_unknown()))
                }
            }
        })
    }
}

/// What a failure says about the money.
fn judge(error: &VerificationError, asked_before: bool, challenge: &str) -> Result<Settled, Unsettled> {
    let why = without_secrets(&error.message);
    match error.code {
        // Stripe repeats what it did for this token and this challenge, and our notes say that it was for us. The intent
        // carries the challenge's id; its own number is not repeated.
        Some(ErrorCode::CredentialReplayed) if asked_before => {
            tracing::info!(challenge, "a payment at Stripe whose answer was lost was found");
            Ok(Settled { reference: challenge.into(), chain_id: None })
        }
        Some(ErrorCode::CredentialReplayed) => Err(Unsettled::Refused(problem::used_up())),
        Some(ErrorCode::PaymentActionRequired) => Err(Unsettled::Refused(refused(
            "the payment needs a confirmation by its owner that cannot be given here; nothing was charged",
        ))),
        Some(ErrorCode::NetworkError | ErrorCode::Internal) => {
            tracing::warn!(challenge, why, "Stripe gave no answer");
            Err(Unsettled::Unknown(problem::charge_unknown()))
        }
        // The money may still come, and this credential can never say so.
        _ if why.ends_with("status: processing") => {
            tracing::error!(challenge, "a payment at Stripe is neither made nor refused: look it up there");
            Err(Unsettled::Unknown(problem::charge_unknown()))
        }
        _ => {
            tracing::info!(challenge, why, "Stripe did not take a payment");
            Err(Unsettled::Refused(refused("Stripe did not take the payment; nothing was charged")))
        }
    }
}

/// A text without the words that look like keys or tokens.
fn without_secrets(text: &str) -> String {
    let word = |word: &'_ str| {
        let bare = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        if SECRET_PREFIXES.iter().any(|prefix| bare.starts_with(prefix)) {
            "(not shown)".to_owned()
        } else {
            word.to_owned()
        }
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_became_of_the_money() {
        let unknown =
            |error: &VerificationError| matches!(judge(error, false, "id"), Err(Unsettled::Unknown(_)));
        assert!(unknown(&VerificationError::network_error("reset")));
        assert!(unknown(&VerificationError::internal("HTTP 500")));
        assert!(unknown(&VerificationError::new("Stripe PaymentIntent status: processing")));
        for error in [
            VerificationError::new("Stripe PaymentIntent creation failed: declined"),
            VerificationError::new("Stripe PaymentIntent status: canceled"),
            VerificationError::payment_action_required("requires action"),
            VerificationError::credential_replayed("processed"),
        ] {
            assert!(matches!(judge(&error, false, "id"), Err(Unsettled::Refused(_))), "{error}");
        }
        let found = judge(&VerificationError::credential_replayed("processed"), true, "id");
        assert_eq!(found, Ok(Settled { reference: "id".into(), chain_id: None }));
    }

    #[test]
    fn keys_and_tokens_are_not_told() {
        let told =
            without_secrets("No such token: 'spt_123', key sk_test_x (rk_live_y) for \"pm_z\" at Stripe");
        assert_eq!(told, "No such token: (not shown) key (not shown) (not shown) for (not shown) at Stripe");
        let config = StripeConfig {
            secret_key: "sk_test_hunter2".into(),
            network_id: "profile_1".into(),
            payment_method_types: vec!["card".into()],
            currency: "usd".into(),
            api_url: None,
        };
        let shown = format!("{config:?} {:?}", StripeCharge::new(config.clone()));
        assert!(shown.contains("profile_1") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn tokens_fit_into_an_idempotency_key() {
        assert!(is_token("spt_1N4Zv32eZvKYlo2C"));
        for text in ["", "pm_1", "spt_a b", "spt_\u{e9}", &format!("spt_{}", "x".repeat(197))] {
            assert!(!is_token(text), "{text}");
        }
    }
}

//! The words of HTTP 402: challenge, credential, receipt, problem, and the events of a paid stream.
//!
//! Text in, types out, and back: the `Payment` scheme of draft-httpauth-payment-00 with the method
//! `tempo` and the intent `session` of draft-tempo-session-00. `engine::http` calls it for every
//! request, clients and tests use the same parsers from the other side.
//!
//! It never decides about money: whether a voucher is wanted is [`crate::channel`]'s matter, whether a
//! signature holds is [`crate::voucher`]'s. It never echoes a signature, a transaction or a key: errors
//! say where a credential is wrong, what kind of thing was found there and what is expected.
//!
//! | module | what it knows |
//! |---|---|
//! | [`request`] | what a challenge asks: price, token, payee, escrow |
//! | [`issued`] | a challenge: its id bound by HMAC, its header, its echo |
//! | [`key`] | the secret that binds ids |
//! | [`credential`] | what a client answers: open, top-up, voucher, close |
//! | [`charge`], [`proof`] | the intent `charge`: one transfer for one request, and the proof of an account |
//! | [`evm`], [`x402`] | a charge of the method `evm`, in its own words and in those of x402 |
//! | [`digest`] | the digest of a request's body |
//! | [`receipt`] | what a server says after a payment |
//! | [`snapshot`] | what a client is told of its channel |
//! | [`event`] | the two events that a metered stream adds |
//! | [`problem`] | every problem type of the two drafts |
//! | [`rfc3339`] | times as text |

mod auth_params;
mod base64url;
pub mod charge;
pub mod credential;
pub mod digest;
pub mod event;
pub mod evm;
mod fields;
pub mod issued;
pub mod key;
pub mod problem;
pub mod proof;
pub mod receipt;
pub mod request;
pub mod rfc3339;
mod scan;
pub mod snapshot;
pub mod x402;

pub use charge::{AnyCharge, ChargeCredential, ChargePayload, ChargeReceipt, ChargeRequest};
pub use credential::{Credential, CredentialError, Payload};
pub use event::NeedVoucher;
pub use fields::FieldError;
pub use issued::{Challenge, Echo, EchoError, Kind, Realm};
pub use key::{ChallengeKey, ChallengeKeys};
pub use problem::{Problem, ProblemType};
pub use receipt::Receipt;
pub use request::{MethodDetails, Request};

/// The payment method that most challenges here name.
pub const METHOD: &str = "tempo";
/// The payment intent that most challenges here name.
pub const INTENT: &str = "session";
/// The authentication scheme.
pub const SCHEME: &str = "Payment";

/// The longest credential that is taken, in characters of base64url. The draft asks for 4 KB at least; an
/// `open` with a sponsored transaction and a WebAuthn signature needs about 8 KB.
pub const CREDENTIAL_CHARS_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;

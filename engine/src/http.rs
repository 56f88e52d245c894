//! The door: 402 answers, paid requests, metered streams.
//!
//! A service hands every request to [`Door::decide`], with the [`Route`] that it asks for. The answer is
//! either a whole response (a challenge, a receipt for a management request, a problem) or a [`Paid`]
//! guard: the money is set aside, the service does its work, and [`Paid::deliver`] charges before a byte
//! leaves. The [`PaymentLayer`] does both for tower services.
//!
//! The door knows HTTP and nothing of money: every amount is decided by the books behind
//! [`crate::Engine`]. It never logs a credential, and an answer never repeats one.
//!
//! | part | what it does |
//! |---|---|
//! | [`Door`] | what all requests share, and what becomes of each |
//! | `checked` | reads the credential, and checks its challenge and its terms |
//! | `flow` | decides which of the flows below it is, as far as that needs no waiting, and then the rest |
//! | `open`, `manage` | `open`, `topUp`, `close`, and vouchers that buy nothing yet |
//! | [`Paid`] | a reservation, and how it ends: captured, or released when dropped |
//! | `charge` | one payment for one request, and the proof of an account |
//! | [`PaymentMethod`] | a way to pay for one request: what it asks for, and how it takes the money |
//! | `accept` | which challenges a client can use |
//! | [`sse`] | charges a stream of events as it is delivered, and pauses when the money is out |
//! | [`mcp`] | payments in JSON-RPC messages, for tools |
//! | [`websocket`] | the same for the messages of a WebSocket, with the words of payment on the socket itself |
//! | `bytes_meter`, [`usage`], `tally`, `till` | the meters: bytes, tokens, how pieces become units, and who pays for them |
//! | `failures` | turns away who fails too often |
//! | `endings` | ends streams when their channel stops to serve |
//! | `problem` | every refusal as a problem (RFC 9457), in one place |
//! | [`PaymentLayer`] | all of it as tower middleware |
//!
//! # Who picks which challenge
//!
//! A route offers one challenge for each escrow in [`DoorConfig::escrows`], in that order, each in its own
//! header line; all have the method `tempo` and the intent `session`. Current clients look at
//! `sessionProtocol` and take the one that they speak. A client that takes the first one blindly gets what
//! the operator lists first: v2, unless the configuration says otherwise. After a refused credential the
//! protocol that the client spoke comes first. A route may take a `charge` as well; its challenge is the last, unless
//! `Accept-Payment` says otherwise.

mod accept;
mod answer;
mod asked;
mod bytes_meter;
mod charge;
mod checked;
mod config;
mod deliver;
mod door;
mod endings;
mod evm;
mod failures;
mod flight;
mod flow;
mod headers;
mod layer;
mod manage;
pub mod mcp;
mod method;
mod offer;
mod open;
mod paid;
mod problem;
mod reader;
mod reserving;
mod route;
pub mod sse;
mod streams;
#[cfg(feature = "charge")]
mod stripe;
mod tally;
mod till;
pub mod usage;
pub mod websocket;

pub use answer::DoorBody;
pub use asked::Asked;
pub use charge::Charged;
pub use config::{DoorConfig, Escrow};
pub use door::{Decision, Door};
pub use evm::{EvmCharge, Facilitator, FacilitatorError, FacilitatorStep};
pub use failures::{FailureRate, RequestRate};
pub use headers::{IDEMPOTENCY_KEY_CHARS_MAX, PAYMENT_RECEIPT};
pub use layer::{PaymentLayer, PaymentService};
pub use method::{Handed, Once, PaymentMethod, Settled, Unsettled};
pub use offer::Offer;
pub use paid::{Captured, Paid, PaidStop};
pub use route::{Meter, Route, TokenPrice, TokenRates};
#[cfg(feature = "charge")]
pub use stripe::{STRIPE, StripeCharge, StripeConfig};

/// Refusals as problems, for a service that speaks with payers itself: the same words as the door's.
pub mod problems {
    pub use super::problem::{chain, close, engine, refusal, rejection};
}

/// An error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

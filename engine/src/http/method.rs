//! Ways to pay for one request at once, beside the session: what the door asks of each of them.
//!
//! The door issues the challenges, checks that an answered one is its own, and keeps what is due to a client in durable
//! notes: one delivery for a challenge, and no payment that is forgotten. A method knows what to ask for, what a
//! credential must say, and how to take the money. It never answers a client, and never sees a session.

use std::fmt;
use std::sync::Arc;

use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{AnyCharge, Kind, Problem, charge};
use farebox_core::units::{Address, Amount, B256, ChainId};
use serde::{Deserialize, Serialize};

use super::Route;
use crate::chain::BoxFuture;

/// A way to pay for one request at once.
pub trait PaymentMethod: fmt::Debug + Send + Sync {
    /// Its name in challenges: `tempo`, `stripe`. A route has at most one price for it.
    fn name(&self) -> &str;

    /// The intent of its challenges.
    fn intent(&self) -> &str {
        charge::INTENT
    }

    /// The `request` parameter of a fresh challenge for a route that costs `price`, or for a proof when that is zero.
    /// No two challenges are given one `nonce`. `None`: the method cannot be used here.
    fn request(&self, price: Amount, route: &Route, nonce: B256) -> Option<String>;

    /// Looks at a credential before anybody is asked and anything is written down: whether its challenge asks for this
    /// price on terms that still hold, and whether it is one that this method takes.
    ///
    /// # Errors
    ///
    /// Why it is refused. The door has checked that the challenge is its own and still holds.
    fn check(&self, handed: &Handed) -> Result<(), Box<Problem>>;

    /// Takes the money of a credential that [`Self::check`] found good. It runs to its end, also when the client leaves.
    ///
    /// # Errors
    ///
    /// The money was not taken, or nobody knows whether it was.
    fn verify(self: Arc<Self>, handed: Handed) -> BoxFuture<'static, Result<Settled, Unsettled>>;

    /// What of a credential pays once only. By default its challenge.
    fn once(&self, handed: &Handed) -> Once {
        Once { name: handed.credential.challenge.id.clone(), until: handed.expires }
    }

    /// Whether [`Self::verify`] of a credential that paid finds the same payment again, whenever it is asked. For a method
    /// that cannot the door writes down that it asks, and what came of it.
    fn is_repeatable(&self) -> bool {
        false
    }
}

/// A credential for one request of one route.
#[derive(Clone)]
pub struct Handed {
    /// What the client handed in.
    pub credential: AnyCharge,
    /// The same as it came, without the scheme. A bearer token: not for logs.
    pub token: String,
    /// Whether it came in the words of x402: then its own nonce stands for the challenge.
    pub is_x402: bool,
    /// What the route asks now.
    pub price: Amount,
    /// Whether the route has its fees paid.
    pub is_sponsored: bool,
    /// Now.
    pub now: UnixMillis,
    /// When the challenge ends.
    pub expires: UnixMillis,
    /// Whether this very credential was handed to this method before, and nobody knows what came of it.
    pub asked_before: bool,
    /// Whether the operator lets an account pay.
    pub may_pay: Arc<dyn Fn(Address) -> bool + Send + Sync>,
}

impl fmt::Debug for Handed {
    /// Names the challenge alone: the rest is a bearer token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handed({}, ..)", self.credential.challenge.id)
    }
}

/// What pays for one delivery and no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Its name among all that the door takes. No secret.
    pub name: String,
    /// Until when somebody could hand it in again.
    pub until: UnixMillis,
}

/// A payment that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Its name where it was made: a transaction, a number of the payment provider.
    pub reference: String,
    /// The chain, where receipts of the method name it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "chain")]
    pub chain_id: Option<ChainId>,
}

/// Why a credential bought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// The money was not taken, and will not be.
    Refused(Box<Problem>),
    /// Nobody knows whether the money was taken: the same credential may be handed in again.
    Unknown(Box<Problem>),
}

/// How the challenges of a method are called.
pub(super) fn kind(method: &dyn PaymentMethod) -> Kind<'_> {
    Kind { method: method.name(), intent: method.intent() }
}

/// A chain's number in a note.
mod chain {
    use farebox_core::units::ChainId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(chain: &Option<ChainId>, to: S) -> Result<S::Ok, S::Error> {
        chain.map(|chain| chain.0).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ChainId>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(ChainId))
    }
}

//! What one part of a service costs.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use farebox_core::challenge::METHOD;
use farebox_core::units::{Address, Amount};
use http::HeaderName;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meter {
    /// One request is one unit.
    Request,
    /// One server-sent event with data is one unit; see [`super::sse`]. An answer that is no event stream
    /// costs one unit.
    SseEvent,
    /// So many bytes of the answer's body are one unit; what is begun counts.
    Bytes {
        /// Bytes of one unit.
        bytes_per_unit: NonZeroU64,
    },
    /// The tokens that an OpenAI-style answer or stream says it used; see [`super::usage`].
    OpenAiUsage(TokenRates),
    /// The answer's header of this name says how many units it is.
    Header(HeaderName),
    /// One message of the service on a WebSocket is one unit; see [`super::websocket`]. Any other answer costs one unit.
    WebSocketMessage,
}

impl Meter {
    /// Whether the answer's body is looked into, so that it must not be encoded.
    pub const fn reads_body(&self) -> bool {
        matches!(self, Self::SseEvent | Self::OpenAiUsage(_))
    }

    /// Whether what an answer costs is known only while it is delivered.
    pub(super) const fn may_stream(&self) -> bool {
        matches!(self, Self::SseEvent | Self::OpenAiUsage(_) | Self::Bytes { .. } | Self::WebSocketMessage)
    }
}

/// How tokens become units: `(input * input_weight + output * output_weight) / tokens_per_unit`, rounded up once for a
/// whole answer. With `{ 1, 4, 1000 }` a unit is a thousand input tokens, and output is four times as dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRates {
    /// How much a token of the prompt weighs.
    pub input_weight: u64,
    /// How much a token of the answer weighs.
    pub output_weight: u64,
    /// The weight of one unit.
    pub tokens_per_unit: NonZeroU64,
}

impl Default for TokenRates {
    /// Every token is one unit.
    fn default() -> Self {
        Self { input_weight: 1, output_weight: 1, tokens_per_unit: NonZeroU64::MIN }
    }
}

/// The price of a route in one more token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrice {
    /// The TIP-20 token.
    pub token: Address,
    /// What one unit costs in it.
    pub price: Amount,
    /// What a new channel in it should hold.
    pub suggested_deposit: Option<Amount>,
}

/// The price of a route. Two routes with the same price, unit and terms share their challenges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What one unit costs.
    pub price: Amount,
    /// What a unit is, for clients: `request`, `event`, `llm_token`.
    pub unit: String,
    /// What is counted.
    pub meter: Meter,
    /// How many units are set aside before the service is asked; at least one. What an answer costs beyond it must be
    /// available at its end, or it is not delivered: set it to what a usual answer costs where that is not one unit.
    pub reserve_units: u64,
    /// What a new channel should hold.
    pub suggested_deposit: Option<Amount>,
    /// Other tokens that are taken, each with its price.
    pub other_tokens: Vec<TokenPrice>,
    /// What one request costs who pays it at once, by a transfer on chain (`charge`); `None` takes sessions alone.
    pub charge: Option<Amount>,
    /// What one request costs who pays it at once in other ways, by the names of the door's methods
    /// ([`super::DoorConfig::methods`]), in their units.
    pub other_charges: BTreeMap<String, Amount>,
    /// Words for people, in visible ASCII.
    pub description: Option<String>,
    /// The server's own words, which clients repeat unchanged: names in visible ASCII, and texts.
    pub opaque: BTreeMap<String, String>,
    /// Whether a challenge holds for one request body alone. It needs [`super::Asked::body_digest`].
    pub binds_body: bool,
    /// Whether the server pays the fees of `open` and `topUp` here, if it does at all ([`super::DoorConfig::fee_payer`]).
    pub is_sponsored: bool,
    /// Whether a `POST` without a body is a paid request here. Else it is how a voucher is handed in
    /// without buying anything; then `HEAD` is the way for that.
    pub pays_for_empty_post: bool,
}

impl Route {
    /// One price for each request.
    pub fn per_request(price: Amount) -> Self {
        Self::metered(price, "request", Meter::Request)
    }

    /// One price for each server-sent event with data.
    pub fn per_event(price: Amount) -> Self {
        Self::metered(price, "event", Meter::SseEvent)
    }

    /// A price for each unit that `meter` counts; `unit` is its name for clients.
    pub fn metered(price: Amount, unit: impl Into<String>, meter: Meter) -> Self {
        Self {
            price,
            unit: unit.into(),
            meter,
            reserve_units: 1,
            suggested_deposit: None,
            other_tokens: Vec::new(),
            charge: None,
            other_charges: BTreeMap::new(),
            description: None,
            opaque: BTreeMap::new(),
            binds_body: false,
            is_sponsored: true,
            pays_for_empty_post: false,
        }
    }

    /// Suggests a deposit for new channels.
    pub fn suggest_deposit(self, deposit: Amount) -> Self {
        Self { suggested_deposit: Some(deposit), ..self }
    }

    /// Sets so many units aside before the service is asked.
    pub fn reserve(self, units: NonZeroU64) -> Self {
        Self { reserve_units: units.get(), ..self }
    }

    /// Takes a transfer of `amount` for a request, beside the session.
    pub fn or_charge(self, amount: Amount) -> Self {
        Self { charge: Some(amount), ..self }
    }

    /// Takes a payment of `amount` by another method for a request, beside the session.
    pub fn or_charge_by(mut self, method: impl Into<String>, amount: Amount) -> Self {
        self.other_charges.insert(method.into(), amount);
        self
    }

    /// What one request costs who pays it at once by a method; `None` when it is not taken here.
    pub(super) fn charge_by(&self, method: &str) -> Option<Amount> {
        if method == METHOD { self.charge } else { self.other_charges.get(method).copied() }
    }

    /// Takes one more token.
    pub fn or_token(mut self, price: TokenPrice) -> Self {
        self.other_tokens.push(price);
        self
    }
}

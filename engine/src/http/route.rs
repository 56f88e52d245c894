//! What one part of a service costs.

use farebox_core::units::Amount;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meter {
    /// One request is one unit.
    Request,
    /// One server-sent event with data is one unit; see [`super::sse`]. An answer that is no event stream
    /// costs one unit.
    SseEvent,
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
    /// What a new channel should hold.
    pub suggested_deposit: Option<Amount>,
    /// Words for people, in visible ASCII.
    pub description: Option<String>,
    /// Whether a `POST` without a body is a paid request here. Else it is how a voucher is handed in
    /// without buying anything; then `HEAD` is the way for that.
    pub pays_for_empty_post: bool,
}

impl Route {
    /// One price for each request.
    pub fn per_request(price: Amount) -> Self {
        Self::new(price, "request", Meter::Request)
    }

    /// One price for each server-sent event with data.
    pub fn per_event(price: Amount) -> Self {
        Self::new(price, "event", Meter::SseEvent)
    }

    fn new(price: Amount, unit: &str, meter: Meter) -> Self {
        Self {
            price,
            unit: unit.into(),
            meter,
            suggested_deposit: None,
            description: None,
            pays_for_empty_post: false,
        }
    }

    /// Suggests a deposit for new channels.
    pub fn suggest_deposit(self, deposit: Amount) -> Self {
        Self { suggested_deposit: Some(deposit), ..self }
    }
}

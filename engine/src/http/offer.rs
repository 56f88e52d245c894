//! A route as one door offers it: its requests, made once and not for every challenge and credential.

use std::sync::Arc;

use farebox_core::challenge::{Request, issued};
use farebox_core::units::{Address, Amount};

use super::Route;
use super::config::{DoorConfig, Escrow};

/// A [`Route`] prepared by a door; see [`super::Door::offer`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Offer(Arc<Offered>);

#[derive(Debug)]
struct Offered {
    route: Route,
    quotes: Vec<Quote>,
    opaque: Option<String>,
}

/// One way to pay for a route: an escrow, a token, a price.
#[derive(Clone, Debug)]
pub(super) struct Quote {
    pub(super) escrow: Escrow,
    pub(super) token: Address,
    pub(super) price: Amount,
    pub(super) request: Request,
    /// `request` as it is on the wire.
    pub(super) encoded: String,
}

impl Offer {
    pub(super) fn new(config: &DoorConfig, route: Route) -> Self {
        let prices = std::iter::once((config.token, route.price, route.suggested_deposit)).chain(
            route.other_tokens.iter().map(|other| (other.token, other.price, other.suggested_deposit)),
        );
        let mut quotes = Vec::new();
        for (token, price, suggested_deposit) in prices {
            for escrow in &config.escrows {
                let request = Request {
                    amount: price,
                    currency: token,
                    suggested_deposit,
                    ..config.request(&route, escrow)
                };
                let encoded = request.encode();
                quotes.push(Quote { escrow: *escrow, token, price, request, encoded });
            }
        }
        let opaque = issued::encode_opaque(&route.opaque);
        Self(Arc::new(Offered { route, quotes, opaque }))
    }

    /// The route.
    pub fn route(&self) -> &Route {
        &self.0.route
    }

    /// All ways to pay, in the order in which they are offered.
    pub(super) fn quotes(&self) -> &[Quote] {
        &self.0.quotes
    }

    /// The `opaque` parameter of its challenges.
    pub(super) fn opaque(&self) -> Option<&str> {
        self.0.opaque.as_deref()
    }
}

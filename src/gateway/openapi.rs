//! `/openapi.json`: what there is to pay for, for clients that look for services (an OpenAPI document with
//! `x-payment-info`). It is made from the routes; with `discovery.upstream_document` the upstream's own document is shown,
//! with prices, and without what no route takes.
//!
//! Prices here are a hint. What counts is the challenge of the door.

use std::collections::BTreeMap;

use farebox_engine::core::units::Amount;
use farebox_engine::http::{Meter, TokenPrice};
use http::Method;
use serde_json::{Map, Value, json};

use crate::config::{Config, Discovery, Fare, Found, Price, Route, Routes, SERVES, Transport};

/// Where the document is.
pub const PATH: &str = "/openapi.json";
/// How long clients may keep it.
pub const CACHE_CONTROL: &str = "max-age=300";
/// The longest document of an upstream.
pub const UPSTREAM_BYTES_MAX: usize = 4 << 20;
/// The methods that an operation may have in OpenAPI.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
/// The version of OpenAPI.
const OPENAPI: &str = "3.1.0";

/// What is said beside the routes.
#[derive(Clone, Debug)]
pub struct Facts {
    discovery: Discovery,
    realm: String,
    token: String,
    /// The currency of each other method.
    currencies: BTreeMap<&'static str, String>,
}

impl Facts {
    /// Who offers it, and in which token.
    pub fn new(discovery: Discovery, config: &Config) -> Self {
        let stripe = config.stripe.as_ref().map(|stripe| ("stripe", stripe.currency.clone()));
        let evm = config.x402.as_ref().map(|x402| ("evm", x402.terms.token.to_string()));
        Self {
            discovery,
            realm: config.server.realm.as_ref().expect(SERVES).to_string(),
            token: format!("{:#x}", config.payee.token),
            currencies: stripe.into_iter().chain(evm).collect(),
        }
    }

    /// Where the upstream has a document of its own.
    pub fn upstream_document(&self) -> Option<&str> {
        self.discovery.upstream_document.as_deref()
    }

    /// The document for these routes, from nothing or from the upstream's own.
    pub fn document(&self, routes: &Routes, upstream: Option<Value>) -> Value {
        let mut document = match upstream {
            Some(Value::Object(document)) => document,
            _ => Map::new(),
        };
        let own = document.remove("paths").and_then(|paths| match paths {
            Value::Object(paths) => Some(paths),
            _ => None,
        });
        let paths = match own {
            Some(paths) => self.priced(routes, paths),
            None => self.paths(routes),
        };
        document.entry("openapi").or_insert_with(|| json!(OPENAPI));
        let title = self.discovery.title.as_deref().unwrap_or(&self.realm);
        let info = document.entry("info").or_insert_with(|| json!({ "version": self.discovery.version }));
        if let Some(info) = info.as_object_mut() {
            if self.discovery.title.is_some() || !info.contains_key("title") {
                info.insert("title".into(), json!(title));
            }
            info.entry("version").or_insert_with(|| json!(self.discovery.version));
        }
        document.insert("x-service-info".into(), self.service_info());
        document.insert("paths".into(), Value::Object(paths));
        Value::Object(document)
    }

    fn service_info(&self) -> Value {
        let Discovery { categories, homepage, api_reference, llms, .. } = &self.discovery;
        let mut info = Map::new();
        if !categories.is_empty() {
            info.insert("categories".into(), json!(categories));
        }
        let links = [("homepage", homepage), ("apiReference", api_reference), ("llms", llms)];
        let docs: Map<String, Value> =
            links.into_iter().filter_map(|(name, link)| Some((name.into(), json!(link.as_ref()?)))).collect();
        if !docs.is_empty() {
            info.insert("docs".into(), Value::Object(docs));
        }
        Value::Object(info)
    }

    /// The routes as operations. A route for everything below a path has a parameter for what is below.
    fn paths(&self, routes: &Routes) -> Map<String, Value> {
        let mut paths: Map<String, Value> = Map::new();
        for route in routes.as_slice() {
            let pattern = route.pattern.to_string();
            let (path, below) = match pattern.strip_suffix("/*") {
                Some(path) => (format!("{path}/{{path}}"), true),
                None => (pattern, false),
            };
            let item = paths.entry(path).or_insert_with(|| json!({}));
            let Some(item) = item.as_object_mut() else { continue };
            if below {
                item.insert(
                    "parameters".into(),
                    json!([{ "name": "path", "in": "path", "required": true, "schema": { "type": "string" } }]),
                );
            }
            for method in methods(route) {
                // The first route decides, as it does for requests.
                item.entry(method.to_ascii_lowercase())
                    .or_insert_with(|| self.operation(route, json!({}), &method));
            }
        }
        paths
    }

    /// The upstream's operations that a route takes, with their prices.
    fn priced(&self, routes: &Routes, own: Map<String, Value>) -> Map<String, Value> {
        let mut paths = Map::new();
        for (path, item) in own {
            let Value::Object(item) = item else { continue };
            let mut kept = Map::new();
            let mut is_served = false;
            for (name, value) in item {
                if !METHODS.contains(&name.as_str()) {
                    kept.insert(name, value);
                    continue;
                }
                let method = name.to_ascii_uppercase();
                let Ok(wanted) = Method::from_bytes(method.as_bytes()) else { continue };
                if let Found::Route(_, route) = routes.find(&wanted, &path) {
                    kept.insert(name, self.operation(route, value, &method));
                    is_served = true;
                }
            }
            if is_served {
                paths.insert(path, Value::Object(kept));
            }
        }
        paths
    }

    fn operation(&self, route: &Route, operation: Value, method: &str) -> Value {
        let Value::Object(mut operation) = operation else { return operation };
        // An upstream does not say what is paid here.
        operation.remove("x-payment-info");
        let responses = operation
            .entry("responses")
            .or_insert_with(|| json!({ "200": { "description": "Successful response" } }));
        let Fare::Paid(price) = &route.fare else { return Value::Object(operation) };
        if let Some(responses) = responses.as_object_mut() {
            responses.insert("402".into(), json!({ "description": "Payment Required" }));
        }
        if matches!(method, "POST" | "PUT" | "PATCH") {
            operation
                .entry("requestBody")
                .or_insert_with(|| json!({ "content": { "application/json": { "schema": {} } } }));
        }
        if let Some(description) = &price.description {
            operation.entry("summary").or_insert_with(|| json!(description));
        }
        let offers = self.offers(route, price);
        operation.insert("x-payment-info".into(), json!({ "offers": offers }));
        Value::Object(operation)
    }

    fn offers(&self, route: &Route, price: &Price) -> Vec<Value> {
        let words = per_unit(route, price);
        let offer = |amount: String, token: &str| {
            json!({
                "intent": "session",
                "method": "tempo",
                "amount": amount,
                "currency": token,
                "description": words,
            })
        };
        let at_once = |method: &str, amount: Amount, currency: &str| {
            json!({
                "intent": "charge",
                "method": method,
                "amount": amount.get().to_string(),
                "currency": currency,
                "description": "One request, whatever its answer",
            })
        };
        let charges = price.charge.map(|amount| at_once("tempo", amount, &self.token)).into_iter().chain(
            price.other_charges.iter().filter_map(|(method, amount)| {
                Some(at_once(method, *amount, self.currencies.get(method.as_str())?))
            }),
        );
        let first = offer(price.amount.get().to_string(), &self.token);
        let others = price
            .tokens
            .iter()
            .map(|TokenPrice { token, price, .. }| offer(price.get().to_string(), &format!("{token:#x}")));
        std::iter::once(first).chain(others).chain(charges).collect()
    }
}

/// What the amount is for: in a session it is the price of one unit.
fn per_unit(route: &Route, price: &Price) -> String {
    let counted = match (&price.meter, route.transport) {
        (_, Transport::Mcp) => "one call of a tool",
        (Meter::Request, Transport::WebSocket) => "one request, or one WebSocket",
        (Meter::Request, _) => "one request",
        (Meter::SseEvent, _) => "one server-sent event",
        (Meter::Bytes { .. }, _) => "bytes of the answer",
        (Meter::OpenAiUsage(_), _) => "tokens that the answer says it used",
        (Meter::Header(_), _) => "as the answer says",
        (Meter::WebSocketMessage, _) => "one message on a WebSocket",
    };
    format!("Per {} ({counted})", price.unit)
}

/// The methods of a route; one that takes all is shown with the two that everybody knows.
fn methods(route: &Route) -> Vec<String> {
    match (&route.methods, route.transport) {
        (Some(methods), _) => methods
            .iter()
            .map(|method| method.as_str().to_owned())
            .filter(|method| METHODS.contains(&method.to_ascii_lowercase().as_str()))
            .collect(),
        (None, Transport::Mcp) => vec!["POST".into()],
        (None, Transport::WebSocket) => vec!["GET".into()],
        (None, Transport::Http) => vec!["GET".into(), "POST".into()],
    }
}

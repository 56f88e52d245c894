//! Which paths cost what: patterns, their order, and how a request's path is read.
//!
//! The gateway asks [`Routes::find`] with the path of every request. A path is compared decoded, and a path
//! that two servers could read differently is refused: or a request could be matched here as one resource and
//! be served by the upstream as another, unpaid.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use farebox_core::units::Amount;
use farebox_engine::http::{Meter, TokenPrice};
use http::Method;

use super::expected::expected;
use super::parse;
use super::problem::{Problems, quoted};
use super::raw;

mod meter;
mod tokens;

/// The most texts in a route's `opaque`.
const OPAQUE_WORDS_MAX: usize = 16;
/// The most bytes of them: they travel in every challenge and every credential.
const OPAQUE_BYTES_MAX: usize = 1_024;
/// The most routes of one configuration: every request looks through them.
pub const ROUTES_MAX: usize = 1_000;

/// A path pattern: exact, or everything below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Without a trailing `/`; the root is empty.
    path: String,
    /// True for `path/*`.
    below: bool,
}

impl Pattern {
    /// Reads `/v1/chat` or `/v1/*`.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text.strip_suffix('/').unwrap_or(text), false),
        };
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"%?#*\\".contains(&byte));
        let starts = text.starts_with('/');
        let segments = path.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."));
        (starts && plain && segments).then(|| Self { path: path.into(), below })
    }

    /// Whether it matches a path that [`read_path`] gave. A trailing `/` makes no difference, and `/v1/*`
    /// takes `/v1` too.
    pub fn matches(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(rest) => self.below && rest.starts_with('/'),
            None => false,
        }
    }

    /// Whether everything that `other` matches is matched by `self`.
    fn covers(&self, other: &Self) -> bool {
        if self.below { self.matches(&other.path) } else { self == other }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.below) {
            ("", false) => f.write_str("/"),
            (path, false) => f.write_str(path),
            (path, true) => write!(f, "{path}/*"),
        }
    }
}

/// What a route asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fare {
    /// Nothing.
    Free,
    /// A price.
    Paid(Box<Price>),
}

/// The price of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// For one unit.
    pub amount: Amount,
    /// What one unit is called.
    pub unit: String,
    /// What one unit is.
    pub meter: Meter,
    /// What a client is advised to deposit.
    pub suggested_deposit: Option<Amount>,
    /// How many units are set aside before the upstream is asked.
    pub reserve_units: u64,
    /// Other tokens that are taken.
    pub tokens: Vec<TokenPrice>,
    /// What one request costs who pays by a transfer; `None` takes sessions alone.
    pub charge: Option<Amount>,
    /// What one request costs who pays it at once in other ways, by method.
    pub other_charges: BTreeMap<String, Amount>,
    /// Words for people.
    pub description: Option<String>,
    /// The server's own words.
    pub opaque: BTreeMap<String, String>,
    /// Whether a challenge holds for one request body alone.
    pub bind_body: bool,
    /// Whether the sponsor pays the fees of `open` and `topUp` here.
    pub sponsored: bool,
    /// Whether an empty `POST` is a paid request here.
    pub paid_empty_post: bool,
}

impl Price {
    /// Whether a request can be paid at once.
    pub fn is_charged(&self) -> bool {
        self.charge.is_some() || !self.other_charges.is_empty()
    }
}

/// How requests come to a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// By HTTP, and nothing else.
    #[default]
    Http,
    /// By HTTP, and by WebSocket where it is asked for.
    WebSocket,
    /// As JSON-RPC messages of the Model Context Protocol: calls of tools are paid.
    Mcp,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which paths.
    pub pattern: Pattern,
    /// Which methods; `None` is every method.
    pub methods: Option<Vec<Method>>,
    /// How its requests come.
    pub transport: Transport,
    /// At what price.
    pub fare: Fare,
}

impl Route {
    fn takes(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    fn covers(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(others)) => others.iter().all(|method| mine.contains(method)),
        };
        methods && self.pattern.covers(&other.pattern)
    }
}

/// All routes, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

/// What the routes say about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// This route decides; the number is its place in the configuration.
    Route(usize, &'a Route),
    /// The path is known, the method is not.
    OtherMethods(Vec<Method>),
    /// No route has this path.
    Nothing,
}

impl Routes {
    /// The first route that takes the method and the path.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let mut others = Vec::new();
        for (index, route) in self.0.iter().enumerate() {
            if !route.pattern.matches(path) {
                continue;
            }
            if route.takes(method) {
                return Found::Route(index, route);
            }
            others.extend(route.methods.iter().flatten().cloned());
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[Route] {
        &self.0
    }
}

/// A request's path, decoded; `None` when two servers could read it differently: encoded or empty segments,
/// dot segments, backslashes, control characters, broken encoding.
pub fn read_path(raw: &str) -> Option<String> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        let plain = if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            let value = u8::try_from(high * 16 + low).ok()?;
            if matches!(value, b'/' | b'%') {
                return None;
            }
            value
        } else {
            byte
        };
        if plain.is_ascii_control() || plain == b'\\' {
            return None;
        }
        decoded.push(plain);
    }
    let path = String::from_utf8(decoded).ok()?;
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    // Some servers cut parameters off before they look at dots: `..;x` is `..` to them.
    let name = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    let clear = inner.is_empty() && path.len() <= 1
        || inner.split('/').all(|segment| !matches!(name(segment).as_str(), "" | "." | ".."));
    clear.then_some(path)
}

/// The routes of the file.
pub(super) fn routes(raw: &[raw::Route], problems: &mut Problems) -> Option<Routes> {
    if raw.is_empty() || raw.len() > ROUTES_MAX {
        problems.add("route", format!("{} routes", raw.len()), expected("route"));
        return None;
    }
    let mut routes: Vec<Route> = Vec::with_capacity(raw.len());
    let mut all = true;
    for (index, entry) in raw.iter().enumerate() {
        let Some(next) = route(index, entry, problems) else {
            all = false;
            continue;
        };
        if let Some(earlier) = routes.iter().find(|earlier| earlier.covers(&next)) {
            problems.add(
                format!("route[{index}].path"),
                format!("{}, which is never reached", quoted(&entry.path)),
                &format!("no earlier route that takes the same requests ({} does)", earlier.pattern),
            );
        }
        routes.push(next);
    }
    all.then_some(Routes(routes))
}

fn route(index: usize, raw: &raw::Route, problems: &mut Problems) -> Option<Route> {
    let key = |name: &str| format!("route[{index}].{name}");
    let path_key = key("path");
    let pattern = problems.check(&path_key, &raw.path, expected(&path_key), Pattern::parse);
    let methods = match &raw.methods {
        None => Some(None),
        Some(names) => methods(&key("methods"), names, problems).map(Some),
    };
    let fare = if raw.free { free(&key, raw, problems) } else { price(&key, raw, problems) };
    let transport = transport(&key("transport"), raw.transport.as_deref(), fare.as_ref(), problems);
    Some(Route { pattern: pattern?, methods: methods?, transport: transport?, fare: fare? })
}

/// The transport of a route, which must go with what it counts.
fn transport(
    key: &str,
    name: Option<&str>,
    fare: Option<&Fare>,
    problems: &mut Problems,
) -> Option<Transport> {
    let transport = match name {
        None | Some("http") => Transport::Http,
        Some("websocket") => Transport::WebSocket,
        Some("mcp") => Transport::Mcp,
        Some(other) => {
            problems.add(key, quoted(other), expected(key));
            return None;
        }
    };
    let price = match fare {
        Some(Fare::Paid(price)) => Some(price),
        _ => None,
    };
    let meter = price.map(|price| &price.meter);
    let needed = match (transport, meter) {
        (Transport::WebSocket | Transport::Mcp, _) if price.is_some_and(|price| price.is_charged()) => {
            "\"http\" with a charge: it pays for one whole answer"
        }
        (Transport::Http | Transport::Mcp, Some(Meter::WebSocketMessage)) => {
            "\"websocket\" with meter = \"websocket_message\""
        }
        (Transport::WebSocket, Some(meter)) if !matches!(meter, Meter::Request | Meter::WebSocketMessage) => {
            "\"http\" with this meter; WebSockets are counted by \"request\" or \"websocket_message\""
        }
        (Transport::Mcp, None) if matches!(fare, Some(Fare::Free)) => "\"http\" on a route with free = true",
        (Transport::Mcp, Some(meter)) if *meter != Meter::Request => {
            "\"http\" with this meter; calls of tools are counted by \"request\""
        }
        (Transport::Mcp, _) if price.is_some_and(|price| price.bind_body) => {
            "\"http\" with bind_body = true: the credential of a call is in its body"
        }
        _ => return Some(transport),
    };
    problems.add(key, name.map_or("nothing".into(), quoted), needed);
    None
}

fn methods(key: &str, names: &[String], problems: &mut Problems) -> Option<Vec<Method>> {
    let mut methods = Vec::new();
    for name in names {
        let capitals = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase());
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) if capitals && method != Method::CONNECT && !methods.contains(&method) => {
                methods.push(method);
            }
            _ => {
                problems.add(key, quoted(name), expected(key));
                return None;
            }
        }
    }
    if methods.is_empty() {
        problems.add(key, "an empty list", expected(key));
        return None;
    }
    Some(methods)
}

/// A free route states no price: a price that is not asked would be a trap.
fn free(key: &impl Fn(&str) -> String, raw: &raw::Route, problems: &mut Problems) -> Option<Fare> {
    let stated = [
        ("amount", &raw.amount),
        ("unit", &raw.unit),
        ("meter", &raw.meter),
        ("suggested_deposit", &raw.suggested_deposit),
        ("charge", &raw.charge),
        ("stripe", &raw.stripe),
        ("x402", &raw.x402),
        ("description", &raw.description),
    ];
    let mut fare = Some(Fare::Free);
    for (name, value) in stated {
        if let Some(value) = value {
            problems.add(key(name), quoted(value), "no price on a route with free = true");
            fare = None;
        }
    }
    let flags = [("paid_empty_post", raw.paid_empty_post), ("bind_body", raw.bind_body)];
    for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
        problems.add(key(name), "true", "false on a route with free = true");
        fare = None;
    }
    let others = [
        ("tokens", raw.tokens.is_some()),
        ("opaque", raw.opaque.is_some()),
        ("reserve_units", raw.reserve_units.is_some()),
        ("bytes_per_unit", raw.bytes_per_unit.is_some()),
        ("input_weight", raw.input_weight.is_some()),
        ("output_weight", raw.output_weight.is_some()),
        ("tokens_per_unit", raw.tokens_per_unit.is_some()),
        ("units_header", raw.units_header.is_some()),
    ];
    for (name, _) in others.into_iter().filter(|(_, is_stated)| *is_stated) {
        problems.add(key(name), "a value", "no price on a route with free = true");
        fare = None;
    }
    fare
}

fn price(key: &impl Fn(&str) -> String, raw: &raw::Route, problems: &mut Problems) -> Option<Fare> {
    let amount = stated(key("amount"), raw.amount.as_deref(), parse::price, problems);
    let unit = stated(key("unit"), raw.unit.as_deref(), parse::unit, problems);
    let meter = meter::meter(key, raw, problems);
    let reserve_units =
        meter::number(&key("reserve_units"), raw.reserve_units.unwrap_or(1), problems).map(NonZeroU64::get);
    let tokens = tokens::tokens(&key("tokens"), raw.tokens.as_deref().unwrap_or_default(), problems);
    let opaque = match &raw.opaque {
        None => Some(BTreeMap::new()),
        Some(words) => opaque(&key("opaque"), words, problems),
    };
    let suggested_deposit = match raw.suggested_deposit.as_deref() {
        None => Some(None),
        some => stated(key("suggested_deposit"), some, parse::price, problems).map(Some),
    };
    let charge = match raw.charge.as_deref() {
        None => Some(None),
        some => stated(key("charge"), some, parse::price, problems).map(Some),
    };
    let mut other_charges = Some(BTreeMap::new());
    for (name, method, amount) in methods_of(raw) {
        let Some(amount) = amount else { continue };
        let amount = stated(key(name), Some(amount), parse::price, problems);
        other_charges = other_charges.zip(amount).map(|(mut charges, amount)| {
            charges.insert(method.to_owned(), amount);
            charges
        });
    }
    let description = match raw.description.as_deref() {
        None => Some(None),
        some => stated(key("description"), some, parse::description, problems).map(Some),
    };
    if let (Some(amount), Some(Some(deposit))) = (amount, suggested_deposit)
        && deposit < amount
    {
        let expected = format!("at least the price of one unit, {amount}");
        problems.add(key("suggested_deposit"), quoted(&deposit.to_string()), &expected);
    }
    Some(Fare::Paid(Box::new(Price {
        amount: amount?,
        unit: unit?,
        meter: meter?,
        reserve_units: reserve_units?,
        tokens: tokens?,
        suggested_deposit: suggested_deposit?,
        charge: charge?,
        other_charges: other_charges?,
        description: description?,
        opaque: opaque?,
        bind_body: raw.bind_body,
        sponsored: raw.sponsored,
        paid_empty_post: raw.paid_empty_post,
    })))
}

/// The keys of a route that price it for other methods, the methods, and what they hold.
fn methods_of(raw: &raw::Route) -> [(&'static str, &'static str, Option<&str>); 2] {
    [("stripe", "stripe", raw.stripe.as_deref()), ("x402", "evm", raw.x402.as_deref())]
}

/// A price for a method needs what is said once for all routes: the table of that name.
pub(super) fn check_methods(routes: &[raw::Route], tables: &[(&str, bool)], problems: &mut Problems) {
    for (index, route) in routes.iter().enumerate() {
        for (name, _, amount) in methods_of(route) {
            let is_there = tables.iter().any(|(table, is_there)| *table == name && *is_there);
            if let Some(amount) = amount.filter(|_| !is_there) {
                let needed = format!("no such price without a table [{name}]");
                problems.add(format!("route[{index}].{name}"), quoted(amount), &needed);
            }
        }
    }
}

fn stated<T>(
    key: String,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
    problems: &mut Problems,
) -> Option<T> {
    match value {
        Some(value) => problems.check(&key, value, expected(&key), parse),
        None => {
            problems.add(&key, "nothing", expected(&key));
            None
        }
    }
}

fn opaque(
    key: &str,
    words: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, String>> {
    let bytes: usize = words.iter().map(|(name, text)| name.len() + text.len()).sum();
    let named = words.keys().all(|name| parse::unit(name).is_some());
    if words.len() > OPAQUE_WORDS_MAX || bytes > OPAQUE_BYTES_MAX || !named {
        problems.add(key, format!("{} texts of {bytes} bytes", words.len()), expected(key));
        return None;
    }
    Some(words.clone())
}

#[cfg(test)]
mod tests;

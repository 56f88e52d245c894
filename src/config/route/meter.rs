//! What one unit is: the meter of a route, with the keys that belong to it and to no other.

use std::num::NonZeroU64;

use farebox_engine::http::{Meter, TokenRates};
use http::HeaderName;

use super::expected;
use super::{Problems, quoted, raw, stated};

/// Bytes of one unit when the route does not say it.
const BYTES_PER_UNIT_DEFAULT: u64 = 1_000;
/// The most that a number of a meter may be.
const NUMBER_MAX: u64 = 1_000_000_000;

/// The meter of a route.
pub(super) fn meter(
    key: &impl Fn(&str) -> String,
    raw: &raw::Route,
    problems: &mut Problems,
) -> Option<Meter> {
    let Some(name) = raw.meter.as_deref() else {
        let key = key("meter");
        problems.add(&key, "nothing", expected(&key));
        return None;
    };
    let is_alone = only_its_own(key, raw, name, problems);
    let meter = match name {
        "request" => Some(Meter::Request),
        "sse_event" => Some(Meter::SseEvent),
        "websocket_message" => Some(Meter::WebSocketMessage),
        "bytes" => {
            let bytes = raw.bytes_per_unit.unwrap_or(BYTES_PER_UNIT_DEFAULT);
            let bytes_per_unit = number(&key("bytes_per_unit"), bytes, problems)?;
            Some(Meter::Bytes { bytes_per_unit })
        }
        "openai_usage" => rates(key, raw, problems).map(Meter::OpenAiUsage),
        "header" => {
            let name = stated(key("units_header"), raw.units_header.as_deref(), header, problems);
            name.map(Meter::Header)
        }
        other => {
            let key = key("meter");
            problems.add(&key, quoted(other), expected(&key));
            None
        }
    };
    meter.filter(|_| is_alone)
}

/// Refuses keys of other meters: a number that nothing reads would be a trap.
fn only_its_own(
    key: &impl Fn(&str) -> String,
    raw: &raw::Route,
    meter: &str,
    problems: &mut Problems,
) -> bool {
    let keys = [
        ("bytes_per_unit", raw.bytes_per_unit.is_some(), "bytes"),
        ("input_weight", raw.input_weight.is_some(), "openai_usage"),
        ("output_weight", raw.output_weight.is_some(), "openai_usage"),
        ("tokens_per_unit", raw.tokens_per_unit.is_some(), "openai_usage"),
        ("units_header", raw.units_header.is_some(), "header"),
    ];
    let mut is_alone = true;
    for (name, is_stated, of) in keys {
        if is_stated && of != meter {
            problems.add(key(name), "a value", &format!("no such key with this meter; it belongs to {of:?}"));
            is_alone = false;
        }
    }
    is_alone
}

fn rates(key: &impl Fn(&str) -> String, raw: &raw::Route, problems: &mut Problems) -> Option<TokenRates> {
    let mut weight = |name: &str, value: Option<u64>| {
        let value = value.unwrap_or(1);
        let key = key(name);
        if value > NUMBER_MAX {
            problems.add(&key, value.to_string(), expected(&key));
        }
        (value <= NUMBER_MAX).then_some(value)
    };
    let (input, output) =
        (weight("input_weight", raw.input_weight), weight("output_weight", raw.output_weight));
    if (input, output) == (Some(0), Some(0)) {
        problems.add(key("output_weight"), "0", "another number: with both weights 0 nothing is paid");
        return None;
    }
    let per_unit = number(&key("tokens_per_unit"), raw.tokens_per_unit.unwrap_or(1), problems);
    Some(TokenRates { input_weight: input?, output_weight: output?, tokens_per_unit: per_unit? })
}

/// A number of at least one.
pub(super) fn number(key: &str, value: u64, problems: &mut Problems) -> Option<NonZeroU64> {
    let number = NonZeroU64::new(value).filter(|value| value.get() <= NUMBER_MAX);
    if number.is_none() {
        problems.add(key, value.to_string(), expected(key));
    }
    number
}

/// A response header that the upstream may set. Those of this protocol are ours.
fn header(text: &str) -> Option<HeaderName> {
    let name: HeaderName = text.parse().ok()?;
    let is_ours = name.as_str().starts_with("payment-");
    (!is_ours).then_some(name)
}

//! `Accept-Payment`: what a client says that it can pay with, as weighted ranges of `method/intent`.
//!
//! It chooses and orders challenges; it never changes what one of them asks. A header that cannot be read says nothing,
//! and one that leaves nothing over is ignored, as the core draft allows.

use http::header::{HeaderMap, HeaderName};

/// The request header.
const ACCEPT_PAYMENT: HeaderName = HeaderName::from_static("accept-payment");
/// The most ranges that are read; a longer header says nothing.
const RANGES_MAX: usize = 64;
/// A weight of 1, in thousandths.
const WEIGHT_MAX: u16 = 1_000;

/// The ranges of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accept(Vec<Range>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    /// `None` is any.
    method: Option<String>,
    /// `None` is any.
    intent: Option<String>,
    /// In thousandths.
    weight: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (method, intent) = parts.next()?.split_once('/')?;
        let weight = match parts.next() {
            None => WEIGHT_MAX,
            Some(weight) => thousandths(weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?)?,
        };
        let name = |text: &str| {
            let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte));
            (!text.is_empty() && is_name).then(|| text.to_ascii_lowercase())
        };
        let either = |text: &str| if text == "*" { Some(None) } else { name(text).map(Some) };
        let range = Self { method: either(method)?, intent: either(intent)?, weight };
        parts.next().is_none().then_some(range)
    }

    fn takes(&self, method: &str, intent: &str) -> bool {
        self.method.as_deref().is_none_or(|known| known == method)
            && self.intent.as_deref().is_none_or(|known| known == intent)
    }

    /// How closely it says what it takes: the method says more than the intent.
    fn precision(&self) -> u8 {
        2 * u8::from(self.method.is_some()) + u8::from(self.intent.is_some())
    }
}

/// A weight of RFC 9110: `0`, `1`, and up to three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number =
        matches!(whole, "0" | "1") && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = format!("{part:0<3}").parse::<u16>().ok()?;
    let weight = whole.parse::<u16>().ok()? * WEIGHT_MAX + part;
    (is_number && weight <= WEIGHT_MAX).then_some(weight)
}

impl Accept {
    /// What a request says; `None` when it says nothing that can be read.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut ranges = Vec::new();
        for value in headers.get_all(ACCEPT_PAYMENT) {
            for text in value.to_str().ok()?.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                if ranges.len() == RANGES_MAX {
                    return None;
                }
                ranges.push(Range::parse(text)?);
            }
        }
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// How much a way to pay is wanted, in thousandths: the closest range decides. Zero is not at all.
    pub(super) fn weight(&self, method: &str, intent: &str) -> u16 {
        let taking = self.0.iter().filter(|range| range.takes(method, intent));
        // Of two that say it equally closely, the first.
        let closest = taking.rev().max_by_key(|range| range.precision());
        closest.map_or(0, |range| range.weight)
    }

    /// Leaves out what is not wanted, and puts what is wanted more before the rest. When nothing would be left,
    /// everything stays.
    pub(super) fn choose<T>(&self, offered: Vec<T>, name: impl Fn(&T) -> (&str, &str)) -> Vec<T> {
        let weight = |one: &T| {
            let (method, intent) = name(one);
            self.weight(method, intent)
        };
        if offered.iter().all(|one| weight(one) == 0) {
            return offered;
        }
        let mut wanted: Vec<T> = offered.into_iter().filter(|one| weight(one) > 0).collect();
        // Stable: among equals the server's order stays.
        wanted.sort_by_key(|one| std::cmp::Reverse(weight(one)));
        wanted
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Option<Accept> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_PAYMENT, HeaderValue::from_static(value));
        }
        Accept::read(&headers)
    }

    const OFFERED: [(&str, &str); 4] =
        [("tempo", "session"), ("tempo", "charge"), ("solana", "charge"), ("stripe", "charge")];

    fn chosen(value: &'static str) -> Vec<String> {
        let accept = read(&[value]).unwrap();
        let chosen = accept.choose(OFFERED.to_vec(), |(method, intent)| (*method, *intent));
        chosen.into_iter().map(|(method, intent)| format!("{method}/{intent}")).collect()
    }

    /// The examples of the core draft.
    #[test]
    fn challenges_are_chosen_and_ordered() {
        assert_eq!(
            chosen("tempo/charge, tempo/session, stripe/charge;q=0.5, solana/charge;q=0.3"),
            ["tempo/session", "tempo/charge", "stripe/charge", "solana/charge"]
        );
        assert_eq!(chosen("tempo/charge, solana/charge"), ["tempo/charge", "solana/charge"]);
        assert_eq!(
            chosen("tempo/*, solana/*;q=0.6, stripe/charge;q=0.2"),
            ["tempo/session", "tempo/charge", "solana/charge", "stripe/charge"]
        );
        assert_eq!(
            chosen("tempo/charge, tempo/session;q=0, solana/charge;q=0.8, stripe/charge;q=0.4"),
            ["tempo/charge", "solana/charge", "stripe/charge"]
        );
        assert_eq!(
            chosen("*/*;q=0.1, tempo/charge"),
            ["tempo/charge", "tempo/session", "solana/charge", "stripe/charge"]
        );
        assert_eq!(chosen("card/charge").len(), 4, "what leaves nothing over is ignored");
        assert_eq!(chosen("*/*;q=0").len(), 4);
    }

    #[test]
    fn the_closest_range_decides() {
        let accept = read(&["*/session;q=0.3, tempo/*;q=0.6", "tempo/session;q=0, */*;q=0.125"]).unwrap();
        for (method, intent, weight) in [
            ("tempo", "session", 0),
            ("tempo", "charge", 600),
            ("other", "session", 300),
            ("other", "charge", 125),
        ] {
            assert_eq!(accept.weight(method, intent), weight, "{method}/{intent}");
        }
        assert_eq!(read(&["tempo/charge"]).unwrap().weight("stripe", "charge"), 0);
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["", " , "]), None);
        for text in
            ["tempo", "tempo/", "/charge", "tempo/charge;q=2", "tempo/charge;q=0.1234", "tempo/charge;x=1"]
        {
            assert_eq!(read(&[text]), None, "{text}");
        }
        for text in ["te mpo/charge", "tempo/charge;q=1;q=1", "tempo/charge;q=-0", "tempo/charge;q=1.001"] {
            assert_eq!(read(&[text]), None, "{text}");
        }
        let long: &'static str = vec!["a/b"; RANGES_MAX + 1].join(",").leak();
        assert_eq!(read(&[long]), None);
        assert_eq!(read(&["TEMPO/Charge;q=0.5"]).unwrap().weight("tempo", "charge"), 500);
    }
}

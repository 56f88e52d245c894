//! How many units an answer has used up, piece by piece. Units only grow: what was delivered was delivered.

use super::sse::SseEvent;
use super::usage::{TokenUsage, UsageReading, event_data, read_usage};
use super::{Meter, TokenRates};

/// Counts the units of one answer.
#[derive(Debug)]
pub(super) enum Tally {
    /// Events with data.
    Events,
    /// Bytes, of which so many are a unit.
    Bytes(Units),
    /// The weight of tokens.
    Tokens { rates: TokenRates, units: Units },
}

/// A quantity of which `per_unit` are one unit; what is begun counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    per_unit: u64,
    quantity: u64,
}

impl Units {
    pub(super) const fn new(per_unit: std::num::NonZeroU64) -> Self {
        Self { per_unit: per_unit.get(), quantity: 0 }
    }

    /// Units in all.
    const fn units(&self) -> u64 {
        self.quantity.div_ceil(self.per_unit)
    }

    /// Adds a quantity; how many units that adds.
    fn add(&mut self, more: u64) -> u64 {
        let before = self.units();
        self.quantity = self.quantity.saturating_add(more);
        self.units() - before
    }

    /// Raises the quantity; a lower one changes nothing.
    fn raise(&mut self, quantity: u64) -> u64 {
        self.add(quantity.saturating_sub(self.quantity))
    }
}

impl TokenRates {
    /// What tokens weigh. Beyond what a counter holds there is nothing that anybody could pay.
    fn weight(&self, usage: TokenUsage) -> u64 {
        let input = usage.input.saturating_mul(self.input_weight);
        input.saturating_add(usage.output.saturating_mul(self.output_weight))
    }

    /// What a whole answer costs, in units.
    pub(super) fn units(&self, usage: TokenUsage) -> u64 {
        Units::new(self.tokens_per_unit).raise(self.weight(usage))
    }
}

impl Tally {
    /// The tally of a stream of events.
    pub(super) fn of(meter: &Meter) -> Self {
        match meter {
            Meter::Bytes { bytes_per_unit } => Self::Bytes(Units::new(*bytes_per_unit)),
            Meter::OpenAiUsage(rates) => {
                Self::Tokens { rates: *rates, units: Units::new(rates.tokens_per_unit) }
            }
            Meter::SseEvent | Meter::Request | Meter::Header(_) | Meter::WebSocketMessage => Self::Events,
        }
    }

    /// How many units the next event adds.
    pub(super) fn event(&mut self, event: &SseEvent) -> u64 {
        match self {
            Self::Events => u64::from(event.is_billed),
            Self::Bytes(units) => units.add(event.bytes.len() as u64),
            Self::Tokens { rates, units } => {
                let Some(data) = event_data(&event.bytes) else { return 0 };
                let deltas = match read_usage(&data) {
                    // It speaks of the whole stream up to here, this event's text too.
                    Some(UsageReading { usage: Some(usage), .. }) => return units.raise(rates.weight(usage)),
                    Some(UsageReading { usage: None, deltas }) => deltas,
                    // Another language than the one that was configured: no reason to serve it for nothing.
                    None => u64::from(event.is_billed),
                };
                units.add(rates.weight(TokenUsage { input: 0, output: deltas }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use bytes::Bytes;

    use super::*;

    fn count(meter: &Meter, events: &[&str]) -> Vec<u64> {
        let mut tally = Tally::of(meter);
        let event = |text: &&str| SseEvent {
            bytes: Bytes::from(format!("data: {text}\n\n")),
            is_billed: **text != *"[DONE]",
            is_reserved: false,
        };
        events.iter().map(|text| tally.event(&event(text))).collect()
    }

    const DELTA: &str = r#"{"choices":[{"delta":{"content":"a"}}]}"#;

    #[test]
    fn tokens_are_counted_until_a_usage_says_more() {
        let rates = TokenRates::default();
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}"#;
        assert_eq!(count(&Meter::OpenAiUsage(rates), &[DELTA, DELTA, usage, "[DONE]"]), [1, 1, 6, 0]);
        let less = r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":1}}"#;
        assert_eq!(count(&Meter::OpenAiUsage(rates), &[DELTA, DELTA, less]), [1, 1, 0], "it was delivered");
        let each =
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;
        assert_eq!(count(&Meter::OpenAiUsage(rates), &[each, DELTA]), [6, 1], "nothing counts twice");
        assert_eq!(count(&Meter::OpenAiUsage(rates), &["hello", "{}"]), [1, 0], "no JSON is a piece of text");
    }

    #[test]
    fn weights_make_units_that_are_rounded_up_once() {
        let rates =
            TokenRates { input_weight: 1, output_weight: 4, tokens_per_unit: NonZeroU64::new(10).unwrap() };
        assert_eq!(count(&Meter::OpenAiUsage(rates), &[DELTA, DELTA, DELTA, DELTA, DELTA]), [1, 0, 1, 0, 0]);
        assert_eq!(rates.units(TokenUsage { input: 2, output: 2 }), 1);
        assert_eq!(rates.units(TokenUsage { input: 3, output: 2 }), 2);
        assert_eq!(rates.units(TokenUsage::default()), 0);
        assert_eq!(rates.units(TokenUsage { input: u64::MAX, output: u64::MAX }), u64::MAX.div_ceil(10));
    }

    #[test]
    fn bytes_of_events_are_counted_as_they_are() {
        let meter = Meter::Bytes { bytes_per_unit: NonZeroU64::new(10).unwrap() };
        // "data: " and two line ends are 8 bytes.
        assert_eq!(count(&meter, &["ab", "", "abc"]), [1, 1, 1]);
    }
}

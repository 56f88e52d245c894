//! What an OpenAI-style answer says it used: tokens of the prompt and of the answer.
//!
//! Three shapes are known: chat and text completions (`usage` with `prompt_tokens` and `completion_tokens`), the
//! responses API (`response.usage` or `usage` with `input_tokens` and `output_tokens`), and messages (`message.usage`
//! with the same names). In a stream each piece of text without a usage counts as one token of the answer, until a usage
//! says more exactly; a usage that says less changes nothing, for what it would give back was delivered.
//!
//! Pure: bytes in, numbers out. It takes any bytes.

use serde_json::{Map, Value};

/// The longest whole answer whose usage is read, in bytes.
pub const USAGE_BODY_BYTES_MAX: usize = 16 << 20;

/// Tokens that were used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

/// What one JSON text says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageReading {
    /// The usage, if it names one.
    pub usage: Option<TokenUsage>,
    /// How many pieces of text it brings, one for each choice at most.
    pub deltas: u64,
}

/// Reads an answer, or the data of one event. `None` when it is no JSON object.
pub fn read_usage(json: &[u8]) -> Option<UsageReading> {
    let Ok(Value::Object(object)) = serde_json::from_slice(json) else { return None };
    Some(UsageReading { usage: find(&object).and_then(usage), deltas: deltas(&object) })
}

/// The data of a server-sent event, its lines joined as clients join them. `None` without any.
pub fn event_data(event: &[u8]) -> Option<Vec<u8>> {
    let mut data: Option<Vec<u8>> = None;
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        let Some(rest) = line.strip_prefix(b"data") else { continue };
        let value = match rest.strip_prefix(b":") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if rest.is_empty() => rest,
            None => continue,
        };
        match &mut data {
            None => data = Some(value.to_vec()),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
    }
    data
}

fn find(object: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let of = |object: &'_ Map<String, Value>| object.get("usage").is_some_and(Value::is_object);
    if of(object) {
        return object["usage"].as_object();
    }
    let inner = ["response", "message"].into_iter().find_map(|name| object.get(name)?.as_object());
    inner?.get("usage")?.as_object()
}

fn usage(members: &Map<String, Value>) -> Option<TokenUsage> {
    let count = |names: [&str; 2]| names.into_iter().find_map(|name| members.get(name)?.as_u64());
    let input = count(["prompt_tokens", "input_tokens"]);
    let output = count(["completion_tokens", "output_tokens"]);
    let total = members.get("total_tokens").and_then(Value::as_u64);
    match (input, output, total) {
        (None, None, None) => None,
        // Embeddings and the like name no output; what is not named is the rest of the total.
        (Some(input), None, total) => {
            Some(TokenUsage { input, output: total.map_or(0, |total| total.saturating_sub(input)) })
        }
        (None, output, total) => {
            let output = output.unwrap_or(0);
            Some(TokenUsage { input: total.map_or(0, |total| total.saturating_sub(output)), output })
        }
        (Some(input), Some(output), _) => Some(TokenUsage { input, output }),
    }
}

fn deltas(object: &Map<String, Value>) -> u64 {
    if let Some(Value::Array(choices)) = object.get("choices") {
        return choices.iter().filter(|choice| brings_text(choice)).count() as u64;
    }
    // `"delta": "text"` of the responses API, `"delta": {"text": ...}` of messages.
    u64::from(object.get("delta").is_some_and(is_text_or_holds_text))
}

fn brings_text(choice: &Value) -> bool {
    choice.get("text").is_some_and(is_text) || choice.get("delta").is_some_and(is_text_or_holds_text)
}

fn is_text_or_holds_text(delta: &Value) -> bool {
    // A role says who speaks, and is no token.
    let holds = |members: &Map<String, Value>| {
        members.iter().any(|(name, value)| !matches!(name.as_str(), "role" | "type") && is_content(value))
    };
    is_text(delta) || delta.as_object().is_some_and(holds)
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn is_content(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_of(json: &str) -> Option<(u64, u64)> {
        read_usage(json.as_bytes())?.usage.map(|usage| (usage.input, usage.output))
    }

    #[test]
    fn every_shape_of_usage_is_read() {
        for (json, expected) in [
            (
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#,
                Some((9, 12)),
            ),
            (
                r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#,
                Some((3, 4)),
            ),
            (
                r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#,
                Some((3, 1)),
            ),
            (r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#, Some((8, 0))),
            (r#"{"usage":{"total_tokens":8}}"#, Some((8, 0))),
            (r#"{"usage":{"output_tokens":8}}"#, Some((0, 8))),
            (r#"{"usage":null,"choices":[]}"#, None),
            (r#"{"usage":{}}"#, None),
            (r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}"#, None),
            (r#"{"usage":{"prompt_tokens":18446744073709551616}}"#, None),
            ("[1]", None),
            ("not json", None),
        ] {
            assert_eq!(usage_of(json), expected, "{json}");
        }
    }

    #[test]
    fn pieces_of_text_are_counted_and_roles_are_not() {
        for (json, expected) in [
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, 0),
            (r#"{"choices":[{"delta":{"content":"Hi"}},{"delta":{"content":"Ho"}}]}"#, 2),
            (r#"{"choices":[{"delta":{"reasoning_content":"Hm"}}]}"#, 1),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#, 1),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, 0),
            (r#"{"choices":[{"text":"Hi"}]}"#, 1),
            (r#"{"type":"response.output_text.delta","delta":"Hi"}"#, 1),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#, 1),
            (r#"{"choices":"x","delta":7}"#, 0),
        ] {
            assert_eq!(read_usage(json.as_bytes()).unwrap().deltas, expected, "{json}");
        }
    }

    #[test]
    fn the_data_of_an_event_is_joined_as_clients_join_it() {
        let data = |event: &str| event_data(event.as_bytes()).map(|data| String::from_utf8(data).unwrap());
        assert_eq!(data("data: {\"a\":\ndata:1}\n\n").unwrap(), "{\"a\":\n1}");
        assert_eq!(data("event: x\r\ndata: a\r\n\r\n").unwrap(), "a");
        assert_eq!(data("data\n\n").unwrap(), "");
        assert_eq!(data("database: a\n: data: b\n\n"), None);
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let deep = "[".repeat(100_000);
        assert_eq!(read_usage(format!("{{\"usage\":{deep}").as_bytes()), None);
    }
}

//! Header names and values that the door reads and writes.

use farebox_core::challenge::SCHEME;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// The longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// The receipt of a payment.
pub const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");
/// The channel of a client.
pub(super) const PAYMENT_SESSION: HeaderName = HeaderName::from_static("payment-session");
/// What the books hold of it.
pub(super) const PAYMENT_SESSION_SNAPSHOT: HeaderName = HeaderName::from_static("payment-session-snapshot");
/// The client's own name of a paid request.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A client's idempotency key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdempotencyKeyError {
    #[error("the request carries {count} Idempotency-Key headers, expected one")]
    Several { count: usize },
    #[error("the Idempotency-Key has {found} characters, expected 1 to {IDEMPOTENCY_KEY_CHARS_MAX}")]
    Length { found: usize },
    #[error("the Idempotency-Key is not visible ASCII")]
    NotVisible,
}

/// The idempotency key of a request, if the client sent one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, IdempotencyKeyError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let others = values.count();
    if others > 0 {
        return Err(IdempotencyKeyError::Several { count: others + 1 });
    }
    let key = value.to_str().map_err(|_| IdempotencyKeyError::NotVisible)?;
    if !(1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()) {
        return Err(IdempotencyKeyError::Length { found: key.len() });
    }
    Ok(Some(key))
}

/// Takes Payment credentials out of a request before the service behind the door sees it: they are bearer
/// tokens, and none of its business. Other schemes stay.
pub(super) fn strip_credentials(headers: &mut HeaderMap) {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    // Nearly always one credential, and it is ours.
    if let (Some(value), None) = (all.next(), all.next())
        && is_payment(value.as_bytes().trim_ascii())
        && !value.as_bytes().contains(&b',')
    {
        headers.remove(AUTHORIZATION);
        return;
    }
    let values: Vec<HeaderValue> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
    headers.remove(AUTHORIZATION);
    for value in values {
        let parts = value.as_bytes().split(|byte| *byte == b',');
        let kept: Vec<&[u8]> = parts.filter(|part| !is_payment(part.trim_ascii())).collect();
        if kept.is_empty() {
            continue;
        }
        if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b',')) {
            headers.append(AUTHORIZATION, value);
        }
    }
}

fn is_payment(part: &[u8]) -> bool {
    let Some((scheme, rest)) = part.split_at_checked(SCHEME.len()) else { return false };
    scheme.eq_ignore_ascii_case(SCHEME.as_bytes())
        && rest.first().is_none_or(|byte| *byte == b' ' || *byte == b'\t')
}

/// Makes an answer private: adds the directives, and drops those that would let others store it.
pub(super) fn make_private(headers: &mut HeaderMap, directives: &'static [&'static str]) {
    // Nearly always: the service says nothing of caches, and the answer is no stream.
    if let ([only], false) = (directives, headers.contains_key(CACHE_CONTROL)) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(only));
        return;
    }
    let mut all: Vec<String> = directives.iter().map(ToString::to_string).collect();
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(value) = value.to_str() else { continue };
        for directive in value.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let name = directive.split('=').next().unwrap_or(directive).trim().to_ascii_lowercase();
            let is_shared = matches!(name.as_str(), "public" | "s-maxage" | "private");
            if !is_shared && !all.iter().any(|known| known.eq_ignore_ascii_case(directive)) {
                all.push(directive.into());
            }
        }
    }
    let value = HeaderValue::from_str(&all.join(", ")).unwrap_or(HeaderValue::from_static("private"));
    headers.insert(CACHE_CONTROL, value);
}

/// Whether an answer is a stream of server-sent events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn idempotency_keys_are_bounded() {
        let key = |values: &[&'static str]| {
            idempotency_key(&map(IDEMPOTENCY_KEY, values)).map(|key| key.map(String::from))
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["req_1"]), Ok(Some("req_1".into())));
        assert_eq!(key(&["a", "b"]), Err(IdempotencyKeyError::Several { count: 2 }));
        assert_eq!(key(&[""]), Err(IdempotencyKeyError::Length { found: 0 }));
        let long: &'static str = "k".repeat(256).leak();
        assert_eq!(key(&[long]), Err(IdempotencyKeyError::Length { found: 256 }));
    }

    #[test]
    fn credentials_do_not_reach_the_service() {
        let mut headers = map(AUTHORIZATION, &["Payment abc", "Bearer def", "Basic x, payment ghi"]);
        strip_credentials(&mut headers);
        let left: Vec<_> =
            headers.get_all(AUTHORIZATION).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(left, ["Bearer def", "Basic x"]);
    }

    #[test]
    fn paid_answers_are_private() {
        for (before, after) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["no-store", "s-maxage=9"], "private, no-store"),
            (&["private"], "private"),
        ] {
            let mut headers = map(CACHE_CONTROL, before);
            make_private(&mut headers, &["private"]);
            assert_eq!(headers.get(CACHE_CONTROL).unwrap(), after);
            assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
        }
        let mut headers = map(CACHE_CONTROL, &["no-cache"]);
        make_private(&mut headers, &["private", "no-cache", "no-transform"]);
        assert_eq!(headers.get(CACHE_CONTROL).unwrap(), "private, no-cache, no-transform");
    }

    #[test]
    fn event_streams_are_known_by_their_type() {
        for (value, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("application/json", false),
            ("text/event-streams", false),
        ] {
            assert_eq!(is_event_stream(&map(CONTENT_TYPE, &[value])), expected, "{value}");
        }
    }
}

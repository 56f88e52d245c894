//! What must hold for any bytes that the door's parsers get. The ordinary tests try random ones, the fuzz targets of the
//! same names search for others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farebox_core::challenge::evm::Authorization;
use farebox_core::challenge::x402::PaymentSignature;
use farebox_core::challenge::{
    AnyCharge, Challenge, ChargeCredential, ChargeRequest, Credential, Receipt, credential, digest, rfc3339,
};
use farebox_engine::http::mcp::Message;
use farebox_engine::http::sse::{EventTooLong, SseEvent, SseSplitter};
use farebox_engine::http::usage::{event_data, read_usage};

/// A check by the name of its fuzz target.
type Check = (&'static str, fn(&[u8]));

const CHECKS: [Check; 12] = [
    ("door_credential", credential_header),
    ("door_credential_json", credential_json),
    ("door_challenge", challenge),
    ("door_receipt", receipt),
    ("door_rfc3339", time),
    ("door_sse_split", sse_split),
    ("door_openai_usage", openai_usage),
    ("door_digest", content_digest),
    ("door_charge", charge_credential),
    ("door_charge_request", charge_request),
    ("door_x402", x402_payment),
    ("door_mcp", mcp_message),
];

/// Runs one check; it panics if a parser is wrong.
pub fn run(name: &str, bytes: &[u8]) {
    let check = CHECKS.iter().find(|(known, _)| *known == name);
    check.expect("the check has the name of its target").1(bytes);
}

/// A header is refused, or what was read can be written and read again.
fn credential_header(bytes: &[u8]) {
    let Ok(Some(token)) = credential::find([bytes]) else { return };
    let Ok(read) = Credential::parse(token) else { return };
    let header = read.to_header();
    let token = credential::find([header.as_bytes()]).expect("one credential").expect("a credential");
    assert!(Credential::parse(token).as_ref() == Ok(&read), "it is read as it was written");
    assert_eq!(read.request_key(None), read.request_key(None));
}

/// The one-pass reader and the whole one say the same about any JSON.
fn credential_json(bytes: &[u8]) {
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let (fast, whole) = (Credential::parse(&token), Credential::parse_json(bytes));
    if bytes.is_empty() {
        assert!(fast.is_err() && whole.is_err());
    } else {
        assert!(fast == whole, "{fast:?} and {whole:?}");
    }
}

/// Challenges of visible ASCII are written as they were read.
fn challenge(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else { return };
    let Some(challenges) = Challenge::parse_header(header) else { return };
    for challenge in challenges {
        // A request of ours or not: it may be anything.
        let _ = challenge.decode_request();
        let written = challenge.to_header();
        assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "it is a header value");
        if header.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            assert_eq!(Challenge::parse_header(&written), Some(vec![challenge]));
        }
    }
}

fn receipt(bytes: &[u8]) {
    if let Ok(read) = Receipt::parse_json(bytes) {
        assert_eq!(Receipt::parse_header(&read.to_header()).as_ref(), Ok(&read));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(read) = Receipt::parse_header(text) {
        assert_eq!(Receipt::parse_header(&read.to_header()), Ok(read));
    }
}

fn time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(time) = rfc3339::parse(text)
        && time <= rfc3339::UNIX_MILLIS_MAX
    {
        assert_eq!(rfc3339::parse(&rfc3339::format_millis(time)), Some(time));
    }
}

/// It does not matter in which pieces a stream comes, and nothing of it is lost.
fn sse_split(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else { return };
    let (head, tail) = stream.split_at(usize::from(*first) % (stream.len() + 1));
    let (whole, pieces) = (split(&[stream]), split(&[head, tail]));
    assert_eq!(whole, pieces);
    if let Ok(events) = whole {
        let joined: Vec<u8> = events.iter().flat_map(|event| event.bytes.to_vec()).collect();
        assert!(joined.starts_with(stream) && joined.len() <= stream.len() + 2);
    }
}

fn split(pieces: &[&[u8]]) -> Result<Vec<SseEvent>, EventTooLong> {
    let mut splitter = SseSplitter::default();
    let mut events = Vec::new();
    for piece in pieces {
        splitter.push(piece);
        while let Some(event) = splitter.next_event()? {
            events.push(event);
        }
    }
    events.extend(splitter.finish());
    Ok(events)
}

fn openai_usage(bytes: &[u8]) {
    if let Some(reading) = read_usage(bytes) {
        assert!(reading.deltas <= bytes.len() as u64, "a piece of text takes a byte at least");
    }
    if let Some(data) = event_data(bytes) {
        assert!(data.len() <= bytes.len());
        let _ = read_usage(&data);
    }
}

fn content_digest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(stated) = digest::sha256_of(text) {
        assert!(stated.starts_with("sha-256="));
    }
    assert_eq!(digest::sha256_of(&digest::body_digest(bytes)), Some(digest::body_digest(bytes)));
}

/// A charge is refused, or what was read of it can be written and read again; a session's credential is no charge.
fn charge_credential(bytes: &[u8]) {
    let token = URL_SAFE_NO_PAD.encode(bytes);
    assert!(Credential::parse(&token).is_err() || !AnyCharge::is_meant(&token), "one token, two intents");
    let Ok(read) = ChargeCredential::parse(&token) else { return };
    assert!(AnyCharge::parse(&token).is_ok(), "a transfer's is one of any kind");
    let header = read.to_header();
    let token = credential::find([header.as_bytes()]).expect("one credential").expect("a credential");
    assert!(ChargeCredential::parse(token).as_ref() == Ok(&read), "it is read as it was written");
}

fn charge_request(bytes: &[u8]) {
    if let Ok(read) = ChargeRequest::decode(&URL_SAFE_NO_PAD.encode(bytes)) {
        assert!(ChargeRequest::decode(&read.encode()).as_ref() == Ok(&read), "it is read as it was written");
    }
}

/// What the words of x402 say can be said in the words of a credential.
fn x402_payment(bytes: &[u8]) {
    let Ok(read) = PaymentSignature::parse(&URL_SAFE_NO_PAD.encode(bytes)) else { return };
    let written = read.authorization.to_payload();
    assert!(Authorization::read(&written).as_ref() == Ok(&read.authorization), "one authorization");
}

/// What goes to the service is a message of the same kind, and bears no credential.
fn mcp_message(bytes: &[u8]) {
    let Ok(read) = Message::read(bytes) else { return };
    let body = read.to_body();
    let passed = Message::read(&body).expect("what is passed on is a message");
    assert!(passed.headers().is_empty(), "the credential stays at the door");
    assert_eq!((passed.is_call(), passed.id()), (read.is_call(), read.id()));
    assert_eq!(passed.to_body(), body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of which texts of these kinds are made.
    const WORDS: [&str; 37] = [
        "Payment ",
        "{",
        "}",
        "\"",
        ":",
        ",",
        "\\",
        "\n",
        "\n\n",
        "data: ",
        "event: ",
        "id=\"a\"",
        "realm=\"b\"",
        "method=\"tempo\"",
        "intent=\"session\"",
        "request=\"e30\"",
        "\"challenge\":",
        "\"payload\":",
        "\"action\":\"voucher\"",
        "\"usage\":{\"prompt_tokens\":7}",
        "\"choices\":[{\"delta\":{\"content\":\"x\"}}]",
        "2027-01-01T00:00:00Z",
        "sha-256=:",
        "[DONE]",
        "0x",
        "null",
        " ",
        "\r",
        "\"x402Version\":2",
        "\"accepted\":{}",
        "\"authorization\":{",
        "\"type\":\"transaction\"",
        "\"jsonrpc\":\"2.0\",\"id\":1",
        "\"method\":\"tools/call\"",
        "\"params\":{\"_meta\":{",
        "\"org.paymentauth/credential\":{",
        "intent=\"charge\"",
    ];

    proptest! {
        #[test]
        fn no_bytes_break_a_parser(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for (name, _) in CHECKS {
                run(name, &bytes);
            }
        }

        #[test]
        fn no_words_break_a_parser(words in prop::collection::vec(0..WORDS.len(), 0..40)) {
            let text: String = words.into_iter().map(|word| WORDS[word]).collect();
            for (name, _) in CHECKS {
                run(name, text.as_bytes());
            }
        }
    }
}

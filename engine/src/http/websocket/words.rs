//! The words of payment on a socket: read and written, and nothing else.

use farebox_core::challenge::{NeedVoucher, Receipt};
use serde::Serialize;
use serde_json::Value;

/// What a client may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A credential, as it stands in the header `Authorization`.
    Authorization(String),
    /// The client wants to close its channel: the stream should end.
    CloseRequest,
    /// Text for the service, wrapped as the service's text is.
    Message(String),
    /// A word that only servers say, or one that lacks what belongs to it. It means nothing.
    Other,
}

impl Word {
    /// Reads a text message; `None` when it is no word of payment but the client's own text.
    pub fn read(text: &str) -> Option<Self> {
        // Most texts of a client are its own, and need no parser to be told apart.
        if !text.trim_ascii_start().starts_with('{') || !text.contains("\"mpp\"") {
            return None;
        }
        let said: Value = serde_json::from_str(text).ok()?;
        let field = |name: &str| said.get(name).and_then(Value::as_str);
        Some(match (field("mpp")?, field("authorization"), field("data")) {
            ("authorization", Some(credential), _) => Self::Authorization(credential.into()),
            ("payment-close-request", _, _) => Self::CloseRequest,
            ("message", _, Some(text)) => Self::Message(text.into()),
            (
                "authorization"
                | "message"
                | "payment-receipt"
                | "payment-need-voucher"
                | "payment-close-ready"
                | "payment-error",
                _,
                _,
            ) => Self::Other,
            // Somebody else's word.
            _ => return None,
        })
    }
}

/// A word of the server whose data is JSON already.
fn with_json(mpp: &str, json: &str) -> String {
    format!(r#"{{"mpp":"{mpp}","data":{json}}}"#)
}

/// Text of the service.
pub fn message(text: &str) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        mpp: &'static str,
        data: &'a str,
    }
    let message = Message { mpp: "message", data: text };
    serde_json::to_string(&message).expect("texts always have a JSON form")
}

/// What was taken so far.
pub fn receipt(receipt: &Receipt) -> String {
    with_json("payment-receipt", &receipt.to_json())
}

/// The stream has ended; this is what its client was charged, and what a close is for.
pub fn close_ready(receipt: &Receipt) -> String {
    with_json("payment-close-ready", &receipt.to_json())
}

/// The client has to sign more.
pub fn need_voucher(needed: &NeedVoucher) -> String {
    with_json("payment-need-voucher", &needed.to_json())
}

/// Nothing was taken, or nothing more can be.
pub fn error(status: u16, message: &str) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        mpp: &'static str,
        status: u16,
        message: &'a str,
    }
    let error = Error { mpp: "payment-error", status, message };
    serde_json::to_string(&error).expect("a number and texts always have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_from_what_a_client_has_to_say() {
        let read = |text: &str| Word::read(text);
        assert_eq!(
            read(r#"{"mpp":"authorization","authorization":"Payment abc"}"#),
            Some(Word::Authorization("Payment abc".into()))
        );
        assert_eq!(read(r#" {"mpp":"payment-close-request"}"#), Some(Word::CloseRequest));
        assert_eq!(read(r#"{"mpp":"message","data":"a\nb"}"#), Some(Word::Message("a\nb".into())));
        for nothing in [
            r#"{"mpp":"authorization"}"#,
            r#"{"mpp":"message","data":7}"#,
            r#"{"mpp":"payment-receipt","data":{}}"#,
        ] {
            assert_eq!(read(nothing), Some(Word::Other), "{nothing}");
        }
        for own in ["", "hello", r#"{"a":1}"#, r#"{"mpp":7}"#, r#"{"mpp":"own"}"#, r#"["mpp"]"#, r#"{"mpp":"#]
        {
            assert_eq!(read(own), None, "{own}");
        }
    }

    #[test]
    fn what_a_service_says_cannot_be_taken_for_ours() {
        let said = message(&error(402, "forged"));
        assert!(said.starts_with(r#"{"mpp":"message","data":"{\"mpp\":"#), "{said}");
        assert_eq!(error(402, "a \"b\""), r#"{"mpp":"payment-error","status":402,"message":"a \"b\""}"#);
    }
}

//! Payments in JSON-RPC messages: how tools of the Model Context Protocol are sold.
//!
//! A call of a tool without a credential gets error -32042 with the challenges, one with a credential that is refused
//! -32043. The credential comes in `_meta` of the call, as JSON and not as text; the receipt goes out in `_meta` of the
//! result. Both are turned into the words of HTTP here, so that [`Door::decide_offer`](super::Door::decide_offer) decides
//! about a call as about any request. This reads and writes messages, and decides nothing.
//!
//! What is passed on is written anew from what was read, as deep as it is looked into: a message that two readers could
//! take differently does not get through. What is below (the arguments of a call) goes through as it came, every digit of a
//! number too. Batches are refused.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farebox_core::challenge::{Challenge, Receipt, SCHEME};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::headers::PAYMENT_RECEIPT;

/// Where a call carries its credential.
pub const CREDENTIAL: &str = "org.paymentauth/credential";
/// Where a result carries its receipt.
pub const RECEIPT: &str = "org.paymentauth/receipt";
/// What names in `_meta` begin with that are ours to say.
const OURS: &str = "org.paymentauth/";
/// The method that is sold.
pub const TOOLS_CALL: &str = "tools/call";

/// The codes of JSON-RPC errors.
pub mod code {
    /// The message is no JSON.
    pub const PARSE: i64 = -32_700;
    /// It is JSON, and no message that is served.
    pub const INVALID_REQUEST: i64 = -32_600;
    /// The credential cannot be read.
    pub const INVALID_PARAMS: i64 = -32_602;
    /// Something failed here.
    pub const INTERNAL: i64 = -32_603;
    /// A payment comes first.
    pub const PAYMENT_REQUIRED: i64 = -32_042;
    /// The payment is refused.
    pub const VERIFICATION_FAILED: i64 = -32_043;
}

/// Why a body is no message that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is no JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// It is a batch, or something else than a message.
    #[error("the body is not one JSON-RPC message; batches are not served")]
    NotOneMessage,
    /// A call of a tool has no id: nobody could be told what it costs.
    #[error("a call of a tool needs an id that is a string or a number")]
    NoId,
    /// The credential is no object with a challenge.
    #[error("the credential in _meta is not an object with a challenge and a payload")]
    BadCredential,
}

impl MessageError {
    /// The JSON-RPC error for it.
    pub const fn code(self) -> i64 {
        match self {
            Self::NotJson => code::PARSE,
            Self::NotOneMessage | Self::NoId => code::INVALID_REQUEST,
            Self::BadCredential => code::INVALID_PARAMS,
        }
    }

    /// The whole message.
    pub fn to_message(self) -> Value {
        error(&Value::Null, self.code(), &self.to_string(), None)
    }
}

/// An object whose members are not looked into yet.
type Members = BTreeMap<String, Box<RawValue>>;

/// One message of a client.
#[derive(Clone)]
pub struct Message {
    members: Members,
    id: Value,
    /// The credential of a call as HTTP carries it.
    authorization: Option<HeaderValue>,
    is_call: bool,
}

impl fmt::Debug for Message {
    /// A call may carry a bearer token, so nothing of it is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message(call: {}, ..)", self.is_call)
    }
}

impl Message {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, MessageError> {
        let text = serde_json::from_slice::<&RawValue>(body).map_err(|_| MessageError::NotJson)?;
        let mut members = members(text)?.ok_or(MessageError::NotOneMessage)?;
        let member = |name: &str| members.get(name).map_or(Ok(Value::Null), |text| value(text));
        let (id, is_call) = (member("id")?, member("method")? == TOOLS_CALL);
        if is_call && !matches!(id, Value::String(_) | Value::Number(_)) {
            return Err(MessageError::NoId);
        }
        let mut nested = None;
        if let Some(params) = members.get_mut("params")
            && let Some(mut of) = self::members(params)?
        {
            nested = take_credential(&mut of)?;
            *params = raw(&of);
        }
        let credential = take_credential(&mut members)?.or(nested);
        let authorization = match credential {
            // A credential on what is free means nothing.
            Some(credential) if is_call => Some(to_header(credential).ok_or(MessageError::BadCredential)?),
            _ => None,
        };
        Ok(Self { members, id, authorization, is_call })
    }

    /// Whether this is a call of a tool, which is paid.
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// Its id; `null` when it has none.
    pub fn id(&self) -> Value {
        self.id.clone()
    }

    /// The headers of a request that asks for the same over HTTP.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }

    /// The message for the service: without the credential.
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.members).expect("what was read as JSON can be written as JSON")
    }

    /// The error for a call that the door refuses with these headers and this problem.
    pub fn refusal(&self, status: u16, headers: &HeaderMap, problem: &[u8]) -> Value {
        let problem: Value = serde_json::from_slice(problem).unwrap_or_default();
        let code = match (status, self.authorization.is_some()) {
            (402, false) => code::PAYMENT_REQUIRED,
            (500.., _) => code::INTERNAL,
            _ => code::VERIFICATION_FAILED,
        };
        let title = match code {
            code::PAYMENT_REQUIRED => "Payment Required",
            code::INTERNAL => "Internal payment error",
            _ => "Payment Verification Failed",
        };
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges = values.filter_map(Challenge::parse_header).flatten();
        let challenges: Vec<Value> = challenges.filter_map(|challenge| to_json(&challenge)).collect();
        let data = json!({ "httpStatus": status, "challenges": challenges, "problem": problem });
        error(&self.id(), code, title, Some(data))
    }

    /// The answer to a credential that bought no call: a top-up, a close, or a call that was delivered before.
    pub fn managed(&self, receipt: &Receipt) -> Value {
        let mut message = json!({ "jsonrpc": "2.0", "id": self.id(), "result": { "content": [] } });
        Answer::of(&self.id(), &mut message).add_receipt(receipt);
        message
    }
}

/// What a message of the service is to a call.
#[derive(Debug, PartialEq)]
pub enum Answer<'a> {
    /// Something else: a notification, or an answer to somebody else.
    Other,
    /// A refusal, or a result that says that the tool failed: it is free.
    Failed,
    /// The result.
    Result(&'a mut Map<String, Value>),
}

impl<'a> Answer<'a> {
    /// Looks at a message of the service. Words of payment in it are removed: they are not its to say.
    pub fn of(id: &Value, message: &'a mut Value) -> Self {
        let Some(message) = message.as_object_mut() else { return Self::Other };
        strip(message);
        if message.get("id") != Some(id) || message.contains_key("method") {
            return Self::Other;
        }
        match message.get_mut("result") {
            Some(Value::Object(result)) => {
                strip(result);
                match result.get("isError") {
                    Some(Value::Bool(true)) => Self::Failed,
                    _ => Self::Result(result),
                }
            }
            Some(_) | None => Self::Failed,
        }
    }

    /// Says what was paid.
    pub fn add_receipt(self, receipt: &Receipt) {
        let Self::Result(result) = self else { return };
        let receipt: Value = serde_json::from_str(&receipt.to_json()).unwrap_or_default();
        let meta = result.entry("_meta").or_insert_with(|| json!({}));
        match meta.as_object_mut() {
            Some(meta) => drop(meta.insert(RECEIPT.into(), receipt)),
            None => *meta = json!({ RECEIPT: receipt }),
        }
    }
}

/// The receipt in the headers of an answer of the door.
pub fn receipt_of(headers: &HeaderMap) -> Option<Receipt> {
    Receipt::parse_header(headers.get(PAYMENT_RECEIPT)?.to_str().ok()?).ok()
}

/// What a server that is paid through this says of itself in the result of `initialize`.
pub fn advertise(result: &mut Map<String, Value>) {
    let capabilities = result.entry("capabilities").or_insert_with(|| json!({}));
    let Some(capabilities) = capabilities.as_object_mut() else { return };
    let experimental = capabilities.entry("experimental").or_insert_with(|| json!({}));
    if let Some(experimental) = experimental.as_object_mut() {
        experimental.insert("payment".into(), json!({ "methods": { "tempo": { "intents": ["session"] } } }));
    }
}

fn error(id: &Value, code: i64, message: &str, data: Option<Value>) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(error), Some(data)) = (error.as_object_mut(), data) {
        error.insert("data".into(), data);
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

/// What a text says.
fn value(text: &RawValue) -> Result<Value, MessageError> {
    serde_json::from_str(text.get()).map_err(|_| MessageError::NotJson)
}

/// The members of an object; `None` for anything else. Of those with one name the last counts.
fn members(text: &RawValue) -> Result<Option<Members>, MessageError> {
    if !text.get().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(text.get()).map(Some).map_err(|_| MessageError::NotJson)
}

fn raw(written: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(written).expect("what was read as JSON can be written as JSON")
}

/// Takes all words of payment out of `_meta`, and gives the credential.
fn take_credential(of: &mut Members) -> Result<Option<Value>, MessageError> {
    let Some(mut meta) = of.get("_meta").map_or(Ok(None), |meta| members(meta))? else { return Ok(None) };
    let credential = meta.remove(CREDENTIAL);
    meta.retain(|name, _| !name.starts_with(OURS));
    if meta.is_empty() {
        of.remove("_meta");
    } else {
        of.insert("_meta".into(), raw(&meta));
    }
    credential.map(|text| value(&text)).transpose()
}

/// Takes our words out of what a service says: they are ours to say.
fn strip(of: &mut Map<String, Value>) {
    let Some(meta) = of.get_mut("_meta").and_then(Value::as_object_mut) else { return };
    meta.retain(|name, _| !name.starts_with(OURS));
    if meta.is_empty() {
        of.remove("_meta");
    }
}

/// A credential as HTTP carries it: `request` and `opaque` of its challenge as text. Objects are written with sorted
/// names, as they were when the challenge was signed (RFC 8785).
fn to_header(credential: Value) -> Option<HeaderValue> {
    let Value::Object(mut credential) = credential else { return None };
    let challenge = credential.get_mut("challenge")?.as_object_mut()?;
    for name in ["request", "opaque"] {
        if let Some(object) = challenge.get_mut(name).filter(|value| value.is_object()) {
            *object = Value::String(URL_SAFE_NO_PAD.encode(sorted(object).to_string()));
        }
    }
    credential.get("payload")?.as_object()?;
    let text = URL_SAFE_NO_PAD.encode(Value::Object(credential).to_string());
    HeaderValue::from_str(&format!("{SCHEME} {text}")).ok()
}

/// The same with sorted names, whether or not maps keep the order in which they were read.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&members[name]))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// A challenge as JSON-RPC carries it.
fn to_json(challenge: &Challenge) -> Option<Value> {
    let object =
        |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
    let mut members = Map::new();
    for (name, text) in [
        ("id", Some(&challenge.id)),
        ("realm", Some(&challenge.realm)),
        ("method", Some(&challenge.method)),
        ("intent", Some(&challenge.intent)),
        ("expires", challenge.expires.as_ref()),
        ("digest", challenge.digest.as_ref()),
        ("description", challenge.description.as_ref()),
    ] {
        if let Some(text) = text {
            members.insert(name.into(), Value::String(text.clone()));
        }
    }
    members.insert("request".into(), object(&challenge.request)?);
    if let Some(opaque) = &challenge.opaque {
        members.insert("opaque".into(), object(opaque)?);
    }
    Some(Value::Object(members))
}

#[cfg(test)]
mod tests;

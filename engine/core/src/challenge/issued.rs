//! A challenge: what a 402 answer offers, bound to its id, and how a client's echo of it is checked.
//!
//! The server keeps no list of challenges. The id is `base64url(HMAC-SHA256(key, realm | method | intent |
//! request | expires | digest | opaque))`, the slots of the core draft (section "Challenge Binding"), so
//! an echo proves itself. We issue neither digest nor opaque; their slots stay empty, and an echo that
//! carries one does not match.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::Value;

use super::fields::field;
use super::key::ChallengeKeys;
use super::request::RequestError;
use super::rfc3339::{self, UnixMillis};
use super::{FieldError, INTENT, METHOD, Request, SCHEME, auth_params};

/// The longest realm, in characters.
pub const REALM_CHARS_MAX: usize = 255;

/// The protection space: the server's name, as a visible text without `"`, `\` and `|` (the separator of
/// the HMAC's slots).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm(String);

/// The text is no realm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the realm {found:?} is refused, expected 1 to {REALM_CHARS_MAX} visible ASCII characters without quotes, backslashes and bars"
)]
pub struct RealmError {
    /// The text.
    pub found: String,
}

impl Realm {
    /// Checks a realm.
    pub fn new(text: &str) -> Result<Self, RealmError> {
        let fine = (1..=REALM_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\|".contains(&byte));
        if fine { Ok(Self(text.into())) } else { Err(RealmError { found: text.into() }) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One challenge as it stands in `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The id that binds the rest.
    pub id: String,
    /// The protection space.
    pub realm: String,
    /// The payment method.
    pub method: String,
    /// The payment intent.
    pub intent: String,
    /// The request as it is on the wire, in base64url.
    pub request: String,
    /// Until when it holds, as it is on the wire.
    pub expires: Option<String>,
    /// Words for people.
    pub description: Option<String>,
}

impl Challenge {
    /// Makes a challenge for `request` that holds until `expires`.
    ///
    /// Two challenges for the same request differ by `expires` alone: the caller sees to it that no two
    /// are the same.
    pub fn issue(keys: &ChallengeKeys, realm: &Realm, request: &Request, expires: UnixMillis) -> Self {
        let request = request.encode();
        let expires = rfc3339::format_millis(expires);
        let id = keys.sign(&[realm.as_str(), METHOD, INTENT, &request, &expires, "", ""]);
        Self {
            id,
            realm: realm.to_string(),
            method: METHOD.into(),
            intent: INTENT.into(),
            request,
            expires: Some(expires),
            description: None,
        }
    }

    /// The header value. One value a challenge: several challenges are several header lines.
    pub fn to_header(&self) -> String {
        let mut header = String::from(SCHEME);
        auth_params::push(&mut header, "id", &self.id);
        auth_params::push(&mut header, "realm", &self.realm);
        auth_params::push(&mut header, "method", &self.method);
        auth_params::push(&mut header, "intent", &self.intent);
        auth_params::push(&mut header, "request", &self.request);
        if let Some(description) = &self.description {
            auth_params::push(&mut header, "description", description);
        }
        if let Some(expires) = &self.expires {
            auth_params::push(&mut header, "expires", expires);
        }
        header
    }

    /// The `Payment` challenges of a header value, in order; `None` when it is not a list of challenges, or
    /// one of them lacks a required parameter.
    pub fn parse_header(header: &str) -> Option<Vec<Self>> {
        auth_params::parse(header)?.into_iter().map(Self::from_params).collect()
    }

    fn from_params(params: auth_params::Params) -> Option<Self> {
        let get = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        Some(Self {
            id: get("id").filter(|id| !id.is_empty())?,
            realm: get("realm")?,
            method: get("method")?,
            intent: get("intent")?,
            request: get("request")?,
            expires: get("expires"),
            description: get("description"),
        })
    }

    /// What the `request` parameter asks.
    pub fn decode_request(&self) -> Result<Request, RequestError> {
        Request::decode(&self.request)
    }
}

/// A challenge as a credential repeats it. Nothing in it is believed before [`Echo::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The id.
    pub id: String,
    realm: String,
    method: String,
    intent: String,
    request: String,
    expires: Option<String>,
    digest: Option<String>,
    opaque: Option<String>,
}

/// Why an echoed challenge is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EchoError {
    /// Its id is not ours, or something in it was changed.
    #[error("the challenge was not issued by this server, or it was changed")]
    Unknown,
    /// Its time is over.
    #[error("the challenge expired at {expires}")]
    Expired {
        /// When.
        expires: String,
    },
}

impl Echo {
    /// Reads `challenge` of a credential.
    pub(super) fn read(challenge: &serde_json::Map<String, Value>) -> Result<Self, FieldError> {
        let text = |path| field(challenge, path).text().map(ToString::to_string);
        let optional = |path| {
            field(challenge, path).optional(|field| field.text()).map(|text| text.map(ToString::to_string))
        };
        Ok(Self {
            id: text("challenge.id")?,
            realm: text("challenge.realm")?,
            method: text("challenge.method")?,
            intent: text("challenge.intent")?,
            request: text("challenge.request")?,
            expires: optional("challenge.expires")?,
            digest: optional("challenge.digest")?,
            opaque: optional("challenge.opaque")?,
        })
    }

    /// An echo of `challenge`, as a client makes it.
    pub fn of(challenge: &Challenge) -> Self {
        Self {
            id: challenge.id.clone(),
            realm: challenge.realm.clone(),
            method: challenge.method.clone(),
            intent: challenge.intent.clone(),
            request: challenge.request.clone(),
            expires: challenge.expires.clone(),
            digest: None,
            opaque: None,
        }
    }

    /// The JSON members of the echo.
    pub(super) fn to_value(&self) -> Value {
        let mut members = serde_json::Map::new();
        let mut add = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                members.insert(name.into(), Value::String(value.clone()));
            }
        };
        add("expires", &self.expires);
        add("id", &Some(self.id.clone()));
        add("intent", &Some(self.intent.clone()));
        add("method", &Some(self.method.clone()));
        add("realm", &Some(self.realm.clone()));
        add("request", &Some(self.request.clone()));
        add("digest", &self.digest);
        add("opaque", &self.opaque);
        Value::Object(members)
    }

    /// Checks that we issued this challenge for this realm and that its time is not over, and says what it
    /// asked. A challenge of ours always has an expiry and a readable request.
    pub fn verify(&self, keys: &ChallengeKeys, realm: &Realm, now: UnixMillis) -> Result<Request, EchoError> {
        let ours = self.realm == realm.as_str() && self.method == METHOD && self.intent == INTENT;
        let expires = self.expires.as_deref().unwrap_or_default();
        let slots = [
            self.realm.as_str(),
            &self.method,
            &self.intent,
            &self.request,
            expires,
            self.digest.as_deref().unwrap_or_default(),
            self.opaque.as_deref().unwrap_or_default(),
        ];
        if !ours || !keys.verify(&slots, &self.id) {
            return Err(EchoError::Unknown);
        }
        let until = rfc3339::parse(expires).ok_or(EchoError::Unknown)?;
        if now >= until {
            return Err(EchoError::Expired { expires: expires.into() });
        }
        Request::decode(&self.request).map_err(|_| EchoError::Unknown)
    }
}

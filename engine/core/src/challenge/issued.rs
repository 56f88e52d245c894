//! A challenge: what a 402 answer offers, bound to its id, and how a client's echo of it is checked.
//!
//! The server keeps no list of challenges. The id is `base64url(HMAC-SHA256(key, realm | method | intent |
//! request | expires | digest | opaque))`, the slots of the core draft (section "Challenge Binding"), so
//! an echo proves itself. What a challenge does not carry is an empty slot, so an echo that adds a digest or an
//! opaque does not match.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::Value;

use super::fields::field;
use super::key::ChallengeKeys;
use super::request::RequestError;
use super::rfc3339::{self, UnixMillis};
use super::{FieldError, INTENT, METHOD, Request, SCHEME, auth_params, base64url};

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
    /// The digest of the one request body that it holds for (RFC 9530).
    pub digest: Option<String>,
    /// The server's own words, in base64url.
    pub opaque: Option<String>,
    /// Words for people.
    pub description: Option<String>,
}

/// How a challenge wants to be paid: the method, and what the money is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind<'a> {
    /// The payment method.
    pub method: &'a str,
    /// The payment intent.
    pub intent: &'a str,
}

impl Kind<'static> {
    /// The session, which most challenges here ask for.
    pub const SESSION: Self = Self { method: METHOD, intent: INTENT };
}

/// What a challenge is bound to beside its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The digest of the one request body that it holds for (RFC 9530).
    pub digest: Option<&'a str>,
    /// What [`encode_opaque`] made of the server's own words.
    pub opaque: Option<&'a str>,
}

impl Challenge {
    /// Makes a challenge for `request` that holds until `expires`.
    ///
    /// Two challenges for the same request differ by `expires` alone: the caller sees to it that no two
    /// are the same.
    pub fn issue(keys: &ChallengeKeys, realm: &Realm, request: &Request, expires: UnixMillis) -> Self {
        Self::issue_encoded(keys, realm, &request.encode(), expires, Binding::default())
    }

    /// The same for a request that was encoded before, with what else it is bound to.
    pub fn issue_encoded(
        keys: &ChallengeKeys,
        realm: &Realm,
        request: &str,
        expires: UnixMillis,
        binding: Binding<'_>,
    ) -> Self {
        Self::issue_for(keys, realm, Kind::SESSION, request, expires, binding)
    }

    /// The same for another method or intent.
    pub fn issue_for(
        keys: &ChallengeKeys,
        realm: &Realm,
        kind: Kind<'_>,
        request: &str,
        expires: UnixMillis,
        binding: Binding<'_>,
    ) -> Self {
        let expires = rfc3339::format_millis(expires);
        let slot = |value: Option<&'_ str>| value.map(ToString::to_string);
        let Binding { digest, opaque } = binding;
        let id = keys.sign(&[
            realm.as_str(),
            kind.method,
            kind.intent,
            request,
            &expires,
            digest.unwrap_or_default(),
            opaque.unwrap_or_default(),
        ]);
        Self {
            id,
            realm: realm.to_string(),
            method: kind.method.into(),
            intent: kind.intent.into(),
            request: request.into(),
            expires: Some(expires),
            digest: slot(digest),
            opaque: slot(opaque),
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
        if let Some(digest) = &self.digest {
            auth_params::push(&mut header, "digest", digest);
        }
        if let Some(opaque) = &self.opaque {
            auth_params::push(&mut header, "opaque", opaque);
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
            digest: get("digest"),
            opaque: get("opaque"),
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
            digest: challenge.digest.clone(),
            opaque: challenge.opaque.clone(),
        }
    }

    /// An echo of realm, method, intent and request, and of expiry, digest and opaque as far as they are there.
    pub(super) fn from_parts(id: &str, fixed: [&str; 4], optional: [Option<&str>; 3]) -> Self {
        let [realm, method, intent, request] = fixed.map(ToString::to_string);
        let [expires, digest, opaque] = optional.map(|text| text.map(ToString::to_string));
        Self { id: id.into(), realm, method, intent, request, expires, digest, opaque }
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

    /// How it says that it was to be paid.
    pub fn kind(&self) -> Kind<'_> {
        Kind { method: &self.method, intent: &self.intent }
    }

    /// The realm that it names.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The request as it is on the wire.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Until when the challenge holds, as it is on the wire.
    pub fn expires(&self) -> Option<&str> {
        self.expires.as_deref()
    }

    /// The digest of the body that the challenge holds for.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The server's own words.
    pub fn opaque(&self) -> Option<&str> {
        self.opaque.as_deref()
    }

    /// Checks that we issued this challenge for this realm and that its time is not over, and says what it
    /// asked. A challenge of ours always has an expiry and a readable request.
    pub fn verify(&self, keys: &ChallengeKeys, realm: &Realm, now: UnixMillis) -> Result<Request, EchoError> {
        self.authenticate(keys, realm, now)?;
        Request::decode(&self.request).map_err(|_| EchoError::Unknown)
    }

    /// [`Self::verify`] for who knows the request by its text.
    pub fn authenticate(
        &self,
        keys: &ChallengeKeys,
        realm: &Realm,
        now: UnixMillis,
    ) -> Result<(), EchoError> {
        self.authenticate_for(Kind::SESSION, keys, realm, now)
    }

    /// The same for a challenge of another method or intent.
    pub fn authenticate_for(
        &self,
        kind: Kind<'_>,
        keys: &ChallengeKeys,
        realm: &Realm,
        now: UnixMillis,
    ) -> Result<(), EchoError> {
        let ours = self.realm == realm.as_str() && self.method == kind.method && self.intent == kind.intent;
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
        Ok(())
    }
}

/// The `opaque` parameter for the server's own words: base64url of their canonical JSON. `None` without any.
pub fn encode_opaque(words: &BTreeMap<String, String>) -> Option<String> {
    if words.is_empty() {
        return None;
    }
    // RFC 8785 sorts names by their UTF-16 units, which for ASCII names is the map's own order.
    let json = serde_json::to_string(words).expect("strings always have a JSON form");
    Some(base64url::encode(json))
}

//! The words of x402 (version 2, scheme `exact`) for a charge of the method `evm`: the same token, payee and amount, asked
//! for in `PAYMENT-REQUIRED`, answered in `PAYMENT-SIGNATURE`, and confirmed in `PAYMENT-RESPONSE`.
//!
//! x402 has no challenges: its authorization carries a nonce of its own. What ties one to a request is the resource that it
//! names; a client of the TypeScript SDK also makes the nonce of the resource and of the `mppx` extension, which names the
//! HTTP method, the body's digest and the server's own words. Both are checked here as that SDK's server does it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::evm::{Authorization, EvmTerms};
use super::fields::{Field, Found, field};
use super::{CREDENTIAL_CHARS_MAX, CredentialError, FieldError, base64url};
use crate::units::{Amount, B256};

/// The only version that is spoken.
const VERSION: u64 = 2;
/// The extension that ties a payment to a request.
const EXTENSION: &str = "mppx";

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a payment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Where it is, as its clients see it.
    pub url: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// The digest of the one body that it is asked for, if there is to be one.
    pub digest: Option<&'a str>,
    /// The server's own words.
    pub opaque: Option<&'a str>,
}

impl Resource<'_> {
    fn extension(&self, nonce: Option<&str>) -> Value {
        let members = [
            ("digest", self.digest),
            ("method", Some(self.method)),
            ("nonce", nonce),
            ("opaque", self.opaque),
        ];
        let info: Map<String, Value> =
            members.into_iter().filter_map(|(name, text)| Some((name.to_string(), text?.into()))).collect();
        json!({ EXTENSION: { "info": info, "schema": { "required": ["method"], "type": "object" } } })
    }
}

/// What one way to pay asks (`accepts`, `accepted`).
pub fn requirements(terms: &EvmTerms, price: Amount, timeout_s: u64) -> Value {
    json!({
        "amount": price.to_string(),
        "asset": terms.token.to_string(),
        "extra": {
            "assetTransferMethod": "eip3009",
            "name": terms.token_name,
            "version": terms.token_version,
        },
        "maxTimeoutSeconds": timeout_s,
        "network": network(terms),
        "payTo": terms.payee.to_string(),
        "scheme": "exact",
    })
}

/// The chain as CAIP-2 names it.
pub fn network(terms: &EvmTerms) -> String {
    alloc::format!("eip155:{}", terms.chain_id)
}

/// The value of `PAYMENT-REQUIRED`.
pub fn payment_required(requirements: &Value, resource: &Resource<'_>, error: &str) -> String {
    let value = json!({
        "accepts": [requirements],
        "error": error,
        "extensions": resource.extension(None),
        "resource": { "url": resource.url },
        "x402Version": VERSION,
    });
    STANDARD.encode(value.to_string())
}

/// The value of `PAYMENT-RESPONSE` after a payment.
pub fn payment_response(terms: &EvmTerms, payer: &str, transaction: &str) -> String {
    let value = json!({
        "network": network(terms),
        "payer": payer,
        "success": true,
        "transaction": transaction,
    });
    STANDARD.encode(value.to_string())
}

/// What a facilitator is asked: to verify or to settle an authorization.
pub fn order(requirements: &Value, authorization: &Authorization) -> String {
    let payload = json!({
        "authorization": authorization.to_value(),
        "signature": authorization.signature_text(),
    });
    let payment = json!({ "accepted": requirements, "payload": payload, "x402Version": VERSION });
    let order = json!({
        "paymentPayload": payment,
        "paymentRequirements": requirements,
        "x402Version": VERSION,
    });
    order.to_string()
}

/// What a client sent in `PAYMENT-SIGNATURE`.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentSignature {
    /// The authorization.
    pub authorization: Authorization,
    accepted: Value,
    resource: Option<Value>,
    extensions: Option<Map<String, Value>>,
}

impl core::fmt::Debug for PaymentSignature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PaymentSignature({:?}, ..)", self.authorization)
    }
}

/// Why a payment is not one for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// It accepts something else.
    #[error("accepted is not what this resource asks for now")]
    Requirements,
    /// It is for another resource.
    #[error("resource.url is not the one of this request")]
    Resource,
    /// It is for another request of this resource.
    #[error("the extension mppx is not the one of this request")]
    Extension,
    /// Its nonce is not made of what it is for.
    #[error("the nonce of the authorization is not the one of resource and extensions")]
    Nonce,
    /// This resource is paid for one body, or with the server's words, and the payment does not name them.
    #[error(
        "the payment does not name the request that it is for: resource.url, and extensions.mppx for one body"
    )]
    Unbound,
}

impl PaymentSignature {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// What is wrong with it; never what is in it.
    pub fn parse(header: &str) -> Result<Self, CredentialError> {
        if header.len() > CREDENTIAL_CHARS_MAX {
            return Err(CredentialError::TooLong { found_chars: header.len() });
        }
        let json = TOLERANT.decode(header.trim()).map_err(|_| CredentialError::NotBase64Url)?;
        let value: Value = serde_json::from_slice(&json)
            .map_err(|error| CredentialError::NotJson { line: error.line(), column: error.column() })?;
        let object = value.as_object().ok_or(CredentialError::NotAnObject)?;
        let found = field(object, "x402Version").integer()?;
        if found != VERSION {
            let (field, expected) = ("x402Version", "2");
            return Err(FieldError::Unexpected { field, found: Found::Number, expected }.into());
        }
        let payload = field(object, "payload").object()?;
        let authorization = field(payload, "payload.authorization").object()?;
        Ok(Self {
            authorization: Authorization::read_members(authorization, payload)?,
            accepted: Value::Object(field(object, "accepted").object()?.clone()),
            resource: field(object, "resource").optional(Field::object)?.cloned().map(Value::Object),
            extensions: field(object, "extensions").optional(Field::object)?.cloned(),
        })
    }

    /// Whether it is for this request.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    pub fn check(&self, requirements: &Value, resource: &Resource<'_>) -> Result<(), BindingError> {
        if self.accepted != *requirements {
            return Err(BindingError::Requirements);
        }
        let named = self.resource.as_ref().map(|named| named.get("url").and_then(Value::as_str));
        if named.is_some_and(|url| url != Some(resource.url)) {
            return Err(BindingError::Resource);
        }
        match self.salt() {
            Some(salt) => self.check_bound(salt, requirements, resource),
            None if resource.digest.is_some() => Err(BindingError::Unbound),
            None if resource.opaque.is_some() && named.is_none() => Err(BindingError::Unbound),
            None => Ok(()),
        }
    }

    /// What the client made its nonce with, if it ties it to the request.
    fn salt(&self) -> Option<&str> {
        self.extensions.as_ref()?.get(EXTENSION)?.get("info")?.get("nonce")?.as_str()
    }

    fn check_bound(
        &self,
        salt: &str,
        requirements: &Value,
        resource: &Resource<'_>,
    ) -> Result<(), BindingError> {
        let extensions = resource.extension(Some(salt));
        let place = json!({ "url": resource.url });
        if self.resource.as_ref() != Some(&place) {
            return Err(BindingError::Resource);
        }
        if self.extensions.as_ref() != extensions.as_object() {
            return Err(BindingError::Extension);
        }
        let parts = [requirements, &place, &extensions].map(|part| base64url::encode(canonical(part)));
        let nonce = B256::from_slice(&Sha256::digest(parts.join("|")));
        if nonce == self.authorization.nonce { Ok(()) } else { Err(BindingError::Nonce) }
    }
}

/// The text of RFC 8785. Only for what is made here: names in ASCII, numbers that are whole.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|one, other| one.0.cmp(other.0));
            let text = |(name, value): (&String, &Value)| {
                alloc::format!("{}:{}", Value::String(name.clone()), canonical(value))
            };
            alloc::format!("{{{}}}", members.into_iter().map(text).collect::<Vec<_>>().join(","))
        }
        Value::Array(elements) => {
            alloc::format!("[{}]", elements.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Address, ChainId, UnixSeconds};

    const URL: &str = "https://api.example.com/v1/quote?n=1";

    fn terms() -> EvmTerms {
        EvmTerms {
            chain_id: ChainId(84_532),
            token: Address::repeat_byte(0x03),
            token_name: "USDC".into(),
            token_version: "2".into(),
            payee: Address::repeat_byte(0x70),
            decimals: 6,
        }
    }

    fn resource() -> Resource<'static> {
        Resource { url: URL, method: "GET", digest: None, opaque: None }
    }

    fn authorization(nonce: B256) -> Authorization {
        Authorization {
            from: Address::repeat_byte(0x11),
            to: terms().payee,
            value: Amount::new(1_000),
            valid_after: UnixSeconds(0),
            valid_before: UnixSeconds(2_000),
            nonce,
            signature: alloc::vec![7; 65],
        }
    }

    fn asked() -> Value {
        requirements(&terms(), Amount::new(1_000), 300)
    }

    fn header(nonce: B256, resource: Option<Value>, extensions: Option<Value>) -> String {
        let own = authorization(nonce);
        let payload = json!({ "authorization": own.to_value(), "signature": own.signature_text() });
        let mut value = json!({ "accepted": asked(), "payload": payload, "x402Version": 2 });
        for (name, member) in [("resource", resource), ("extensions", extensions)] {
            if let Some(member) = member {
                value[name] = member;
            }
        }
        STANDARD.encode(value.to_string())
    }

    fn check(header: &str, resource: &Resource<'_>) -> Result<(), BindingError> {
        PaymentSignature::parse(header).expect("readable").check(&asked(), resource)
    }

    #[test]
    fn what_is_asked_is_readable() {
        let json = STANDARD.decode(payment_required(&asked(), &resource(), "why")).expect("base64");
        let value: Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!((&value["x402Version"], &value["resource"]["url"]), (&2.into(), &URL.into()));
        assert_eq!(value["accepts"][0]["network"], "eip155:84532");
        assert_eq!(value["accepts"][0]["amount"], "1000");
        assert_eq!(value["extensions"]["mppx"]["info"], json!({ "method": "GET" }));
    }

    #[test]
    fn a_payment_is_for_what_it_names() {
        let nonce = B256::repeat_byte(9);
        let here = || Some(json!({ "url": URL, "description": "words" }));
        let plain = header(nonce, here(), None);
        assert_eq!(check(&plain, &resource()), Ok(()));
        assert_eq!(check(&header(nonce, None, None), &resource()), Ok(()), "x402 leaves it open");
        let elsewhere = Resource { url: "https://api.example.com/v1/other", ..resource() };
        assert_eq!(check(&plain, &elsewhere), Err(BindingError::Resource));
        assert_eq!(check(&header(nonce, Some(json!({})), None), &resource()), Err(BindingError::Resource));
        let worded = Resource { opaque: Some("e30"), ..resource() };
        assert_eq!(check(&plain, &worded), Ok(()));
        assert_eq!(check(&header(nonce, None, None), &worded), Err(BindingError::Unbound));
        let bodied = Resource { digest: Some("sha-256=:x:"), ..resource() };
        assert_eq!(check(&plain, &bodied), Err(BindingError::Unbound));
        let dearer = requirements(&terms(), Amount::new(1_001), 300);
        let read = PaymentSignature::parse(&plain).expect("readable");
        assert_eq!(read.check(&dearer, &resource()), Err(BindingError::Requirements));
    }

    /// The nonce was made by mppx 0.11 (`RouteBinding.nonce`) of these very parts.
    #[test]
    fn a_bound_payment_is_for_one_request_alone() {
        let bound = Resource { digest: Some("sha-256=:x:"), opaque: Some("e30"), ..resource() };
        let extensions = bound.extension(Some("00ff"));
        let place = || Some(json!({ "url": URL }));
        let good = header(NONCE, place(), Some(extensions.clone()));
        assert_eq!(check(&good, &bound), Ok(()));
        assert_eq!(check(&good, &Resource { method: "POST", ..bound }), Err(BindingError::Extension));
        let other_body = Resource { digest: Some("sha-256=:y:"), ..bound };
        assert_eq!(check(&good, &other_body), Err(BindingError::Extension));
        let other = header(B256::repeat_byte(9), place(), Some(extensions.clone()));
        assert_eq!(check(&other, &bound), Err(BindingError::Nonce));
        let nowhere = header(NONCE, None, Some(extensions));
        assert_eq!(check(&nowhere, &bound), Err(BindingError::Resource));
    }

    const NONCE: B256 =
        B256::new(alloy_primitives::hex!("1b7e2ab43212d2d7d4591acb8527b2d0d111e56ed304f7199a52c7cd610d64c9"));

    #[test]
    fn what_is_no_payment_is_named_and_not_repeated() {
        let parse = |value: Value| PaymentSignature::parse(&STANDARD.encode(value.to_string()));
        let error = |value| parse(value).expect_err("refused").to_string();
        assert!(error(json!({ "x402Version": 1 })).starts_with("x402Version is a number"));
        assert!(error(json!({ "x402Version": 2 })).starts_with("payload is missing"));
        let permit = json!({ "x402Version": 2, "payload": { "permit2Authorization": {} } });
        assert!(error(permit).starts_with("payload.authorization is missing"));
        assert!(PaymentSignature::parse("!!").is_err());
        assert!(PaymentSignature::parse(&"A".repeat(CREDENTIAL_CHARS_MAX + 1)).is_err());
        let shown = alloc::format!("{:?}", parse_good());
        assert!(!shown.contains("0707"), "{shown}");
    }

    fn parse_good() -> PaymentSignature {
        PaymentSignature::parse(&header(B256::ZERO, None, None)).expect("readable")
    }
}

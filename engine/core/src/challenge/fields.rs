//! Reads fields out of JSON, one at a time, and says of each what was wrong with it.
//!
//! An error names the field, the kind of what was found and what is expected. It never carries the value
//! itself: a credential is a bearer token, and parts of one do not belong into answers or logs.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value};

use super::rfc3339::{self, UnixMillis};
use crate::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use crate::voucher::v2::Descriptor;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// It is not there.
    #[error("{field} is missing, expected {expected}")]
    Missing {
        /// Where, as a path.
        field: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// It is something else.
    #[error("{field} is {found}, expected {expected}")]
    Unexpected {
        /// Where, as a path.
        field: &'static str,
        /// What kind of thing is there.
        found: Found,
        /// What should be there.
        expected: &'static str,
    },
}

/// The kind and size of a JSON value, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string with so many characters.
    Text(usize),
    /// An array with so many elements.
    Array(usize),
    /// An object with so many members.
    Object(usize),
}

impl From<&Value> for Found {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(text) => Self::Text(text.chars().count()),
            Value::Array(elements) => Self::Array(elements.len()),
            Value::Object(members) => Self::Object(members.len()),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean => f.write_str("a boolean"),
            Self::Number => f.write_str("a number"),
            Self::Text(length) => write!(f, "a string of {length} characters"),
            Self::Array(length) => write!(f, "an array of {length} elements"),
            Self::Object(length) => write!(f, "an object with {length} members"),
        }
    }
}

/// One field of an object: its path for errors, its value if it is there and not `null`.
pub(super) struct Field<'a> {
    path: &'static str,
    value: Option<&'a Value>,
}

/// Finds `path`'s last segment in `object`.
pub(super) fn field<'a>(object: &'a Map<String, Value>, path: &'static str) -> Field<'a> {
    let name = path.rsplit('.').next().unwrap_or(path);
    Field { path, value: object.get(name).filter(|value| !value.is_null()) }
}

impl<'a> Field<'a> {
    /// Its value through `read`, which must be there.
    fn required<T>(
        self,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, FieldError> {
        let value = self.value.ok_or(FieldError::Missing { field: self.path, expected })?;
        read(value).ok_or(FieldError::Unexpected { field: self.path, found: value.into(), expected })
    }

    /// `read` of the field when it is there.
    pub(super) fn optional<T>(
        self,
        read: impl FnOnce(Self) -> Result<T, FieldError>,
    ) -> Result<Option<T>, FieldError> {
        if self.value.is_none() { Ok(None) } else { read(self).map(Some) }
    }

    /// An object.
    pub(super) fn object(self) -> Result<&'a Map<String, Value>, FieldError> {
        self.required("an object", Value::as_object)
    }

    /// Any string.
    pub(super) fn text(self) -> Result<&'a str, FieldError> {
        self.required("a string", Value::as_str)
    }

    /// The string `literal`.
    pub(super) fn literal(self, literal: &'static str) -> Result<(), FieldError> {
        self.required(literal, |value| (value.as_str() == Some(literal)).then_some(()))
    }

    /// `true` or `false`.
    pub(super) fn boolean(self) -> Result<bool, FieldError> {
        self.required("a boolean", Value::as_bool)
    }

    /// An unsigned integer.
    pub(super) fn integer(self) -> Result<u64, FieldError> {
        self.required("an unsigned integer", Value::as_u64)
    }

    /// Seconds since 1970, as a decimal string.
    pub(super) fn seconds(self) -> Result<UnixSeconds, FieldError> {
        self.required("a decimal string of seconds since 1970", |value| {
            let text = value.as_str()?;
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten().map(UnixSeconds)
        })
    }

    /// An amount of at most `maximum`.
    pub(super) fn amount(self, maximum: Amount) -> Result<Amount, FieldError> {
        let expected = if maximum == Amount::MAX_V2 {
            "a decimal string of base units, at most 2^96 - 1"
        } else {
            "a decimal string of base units, at most 2^128 - 1"
        };
        self.required(expected, |value| {
            value.as_str()?.parse::<Amount>().ok().filter(|amount| *amount <= maximum)
        })
    }

    /// An address, in any letter case.
    pub(super) fn address(self) -> Result<Address, FieldError> {
        self.required("an address (0x and 40 hex digits)", |value| fixed(value.as_str()?).map(Address::new))
    }

    /// Thirty-two bytes, in any letter case.
    pub(super) fn word(self) -> Result<B256, FieldError> {
        self.required("32 bytes (0x and 64 hex digits)", |value| fixed(value.as_str()?).map(B256::new))
    }

    /// A channel id.
    pub(super) fn channel(self) -> Result<ChannelId, FieldError> {
        self.word().map(ChannelId)
    }

    /// A time.
    pub(super) fn time(self) -> Result<UnixMillis, FieldError> {
        self.required("an RFC 3339 time", |value| rfc3339::parse(value.as_str()?))
    }

    /// Bytes of any length but none.
    pub(super) fn bytes(self) -> Result<Vec<u8>, FieldError> {
        self.required("bytes (0x and an even number of hex digits, at least 2)", |value| {
            let bytes = alloy_primitives::hex::decode(unprefixed(value.as_str()?)?).ok()?;
            (!bytes.is_empty()).then_some(bytes)
        })
    }

    /// A v2 channel descriptor at `payload.descriptor`.
    pub(super) fn descriptor(self) -> Result<Descriptor, FieldError> {
        let object = self.object()?;
        Ok(Descriptor {
            payer: field(object, "payload.descriptor.payer").address()?,
            payee: field(object, "payload.descriptor.payee").address()?,
            operator: field(object, "payload.descriptor.operator").address()?,
            token: field(object, "payload.descriptor.token").address()?,
            salt: field(object, "payload.descriptor.salt").word()?,
            authorized_signer: field(object, "payload.descriptor.authorizedSigner").address()?,
            expiring_nonce_hash: field(object, "payload.descriptor.expiringNonceHash").word()?,
        })
    }
}

/// What follows `0x`. The decoder would take text without the prefix, or with two of them.
fn unprefixed(text: &str) -> Option<&str> {
    text.strip_prefix("0x").filter(|digits| !digits.starts_with("0x"))
}

/// Exactly `N` bytes of hex.
fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    alloy_primitives::hex::decode_to_array(unprefixed(text)?).ok()
}

/// An address as it goes out: lowercase.
pub(super) fn lowercase(address: Address) -> String {
    alloc::format!("{address:#x}")
}

/// An amount as it goes out: decimal digits.
pub(super) fn decimal(amount: Amount) -> String {
    amount.to_string()
}

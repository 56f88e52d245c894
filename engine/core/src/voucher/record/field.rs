//! One field of a record: as it came, by what name, and how a refusal shows it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Reason;

/// The most characters of a malformed field that a refusal repeats.
const FOUND_CHARS_MAX: usize = 80;

/// A field as it stood in the record, before anybody asked whether it makes sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field {
    /// It was not there.
    #[default]
    Missing,
    /// A text.
    Text(String),
    /// A whole number from 0 on.
    Number(u64),
    /// Something else, by the name of its kind.
    Other(&'static str),
}

impl Field {
    /// Reads a text field, or says what it held instead.
    pub(super) fn read<T>(
        &self,
        name: FieldName,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Reason> {
        let value = match self {
            Self::Text(text) => parse(text),
            _ => None,
        };
        value.ok_or_else(|| Reason::Malformed { field: name, found: Found::of(self) })
    }
}

/// The fields of a [`super::VoucherRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// `protocol`.
    Protocol,
    /// `chainId`.
    ChainId,
    /// `escrow`.
    Escrow,
    /// `channelId`.
    ChannelId,
    /// `cumulativeAmount`.
    CumulativeAmount,
    /// `signature`.
    Signature,
    /// `expectedSigner`.
    ExpectedSigner,
}

impl FieldName {
    /// The code of a refusal of this field.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Protocol => "malformed_protocol",
            Self::ChainId => "malformed_chain_id",
            Self::Escrow => "malformed_escrow",
            Self::ChannelId => "malformed_channel_id",
            Self::CumulativeAmount => "malformed_cumulative_amount",
            Self::Signature => "malformed_signature",
            Self::ExpectedSigner => "malformed_expected_signer",
        }
    }

    /// What should stand there.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Protocol => "\"v1\" or \"v2\"",
            Self::ChainId => "a whole number below 2^64",
            Self::Escrow | Self::ExpectedSigner => "an address, 0x and 40 hex digits",
            Self::ChannelId => "a channel id, 0x and 64 hex digits",
            Self::CumulativeAmount => "base units below 2^128 as a text of decimal digits",
            Self::Signature => "a text of 0x and an even number of hex digits",
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "protocol",
            Self::ChainId => "chainId",
            Self::Escrow => "escrow",
            Self::ChannelId => "channelId",
            Self::CumulativeAmount => "cumulativeAmount",
            Self::Signature => "signature",
            Self::ExpectedSigner => "expectedSigner",
        })
    }
}

/// What a malformed field held, cut to a length that a log can bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found(Field);

impl Found {
    fn of(field: &Field) -> Self {
        Self(match field {
            Field::Text(text) => match text.char_indices().nth(FOUND_CHARS_MAX) {
                Some((end, _)) => Field::Text(text[..end].to_owned() + "…"),
                None => field.clone(),
            },
            other => other.clone(),
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Field::Missing => f.write_str("nothing"),
            Field::Number(number) => write!(f, "the number {number}"),
            Field::Other(kind) => f.write_str(kind),
            Field::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyKind)
    }
}

/// Takes whatever a format can hold, so that one wrong field does not hide the others.
struct AnyKind;

impl<'de> Visitor<'de> for AnyKind {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Field, E> {
        Ok(u64::try_from(number).map_or(Field::Other("a negative number"), Field::Number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other("a number that is not whole or too large"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other("a boolean"))
    }

    fn visit_unit<E: Error>(self) -> Result<Field, E> {
        Ok(Field::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other("an object"))
    }
}

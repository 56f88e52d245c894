//! What a challenge asks: the JSON object in its `request` parameter.
//!
//! It goes out in the canonical form of RFC 8785 (members by name, no white space), because clients may
//! read it and write it again, and the challenge's id binds the text.

use alloc::string::{String, ToString};

use serde::Serialize;
use serde_json::{Map, Value};

use super::fields::{decimal, field, lowercase};
use super::{FieldError, base64url};
use crate::units::{Address, Amount, ChainId};
use crate::voucher::{Protocol, ProtocolVersion, V1, V2};

/// The chain that a request without `chainId` means: Tempo mainnet.
pub const CHAIN_ID_DEFAULT: ChainId = ChainId(4217);

/// What is asked for one unit of service, and where it is to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The price of one unit.
    pub amount: Amount,
    /// The TIP-20 token.
    pub currency: Address,
    /// The payee.
    pub recipient: Address,
    /// What a unit is: `request`, `event`, `llm_token`.
    pub unit_type: Option<String>,
    /// What a new channel should hold.
    pub suggested_deposit: Option<Amount>,
    /// The escrow and its rules.
    pub details: MethodDetails,
}

/// `methodDetails`: what the method `tempo` adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodDetails {
    /// The chain of the escrow.
    pub chain_id: ChainId,
    /// The escrow contract.
    pub escrow: Address,
    /// The protocol of the escrow.
    pub protocol: ProtocolVersion,
    /// Who else may settle and close, for new v2 channels; zero when nobody may.
    pub operator: Address,
    /// The least by which vouchers should rise; zero when any rise will do.
    pub voucher_delta_min: Amount,
    /// Whether the server pays the fees of `open` and `topUp`.
    pub fee_payer: bool,
}

/// Why a `request` parameter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is not base64url.
    #[error("the challenge's request is not base64url")]
    NotBase64Url,
    /// It is not a JSON object.
    #[error("the challenge's request is not a JSON object")]
    NotJson,
    /// One of its fields is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Members in the order of RFC 8785, so that plain serialization is canonical.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    amount: String,
    currency: String,
    method_details: WireDetails,
    recipient: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggested_deposit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_type: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireDetails {
    chain_id: u64,
    escrow_contract: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fee_payer: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_voucher_delta: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    session_protocol: &'static str,
}

impl Request {
    /// The canonical JSON text.
    pub fn to_json(&self) -> String {
        let details = &self.details;
        let wire = Wire {
            amount: decimal(self.amount),
            currency: lowercase(self.currency),
            method_details: WireDetails {
                chain_id: details.chain_id.0,
                escrow_contract: lowercase(details.escrow),
                fee_payer: details.fee_payer.then_some(true),
                min_voucher_delta: (!details.voucher_delta_min.is_zero())
                    .then(|| decimal(details.voucher_delta_min)),
                operator: (!details.operator.is_zero()).then(|| lowercase(details.operator)),
                session_protocol: details.protocol.name(),
            },
            recipient: lowercase(self.recipient),
            suggested_deposit: self.suggested_deposit.map(decimal),
            unit_type: self.unit_type.as_deref(),
        };
        serde_json::to_string(&wire).expect("strings, numbers and booleans always have a JSON form")
    }

    /// The text of the `request` parameter.
    pub fn encode(&self) -> String {
        base64url::encode(self.to_json())
    }

    /// Reads a `request` parameter, in whatever order and letter case its members are.
    pub fn decode(text: &str) -> Result<Self, RequestError> {
        let object = &decode_object(text)?;
        let details = field(object, "request.methodDetails").object()?;
        let protocol =
            field(details, "request.methodDetails.sessionProtocol").optional(|field| field.text())?;
        // Absent means v1; an unknown name is nothing that we can speak.
        let protocol = match protocol.map(str::parse::<ProtocolVersion>) {
            None => ProtocolVersion::V1,
            Some(Ok(protocol)) => protocol,
            Some(Err(_)) => {
                return Err(FieldError::Unexpected {
                    field: "request.methodDetails.sessionProtocol",
                    found: (&details["sessionProtocol"]).into(),
                    expected: "v1 or v2",
                }
                .into());
            }
        };
        let maximum = amount_max(protocol);
        Ok(Self {
            amount: field(object, "request.amount").amount(maximum)?,
            currency: field(object, "request.currency").address()?,
            recipient: field(object, "request.recipient").address()?,
            unit_type: field(object, "request.unitType")
                .optional(|field| field.text())?
                .map(ToString::to_string),
            suggested_deposit: field(object, "request.suggestedDeposit")
                .optional(|field| field.amount(maximum))?,
            details: MethodDetails {
                chain_id: chain_id(details)?,
                escrow: field(details, "request.methodDetails.escrowContract").address()?,
                protocol,
                operator: field(details, "request.methodDetails.operator")
                    .optional(|field| field.address())?
                    .unwrap_or_default(),
                voucher_delta_min: field(details, "request.methodDetails.minVoucherDelta")
                    .optional(|field| field.amount(maximum))?
                    .unwrap_or_default(),
                fee_payer: fee_payer(details)?,
            },
        })
    }

    /// Whether both pay the same payee in the same token through the same escrow: what a voucher, a top-up
    /// or a close needs, whatever the price was.
    pub fn same_terms(&self, other: &Self) -> bool {
        self.currency == other.currency
            && self.recipient == other.recipient
            && self.details.chain_id == other.details.chain_id
            && self.details.escrow == other.details.escrow
            && self.details.protocol == other.details.protocol
            && self.details.operator == other.details.operator
    }

    /// Whether both ask the same price for the same unit, on the same terms: what a paid request needs.
    /// Hints (suggested deposit, minimum delta, who pays fees) may differ.
    pub fn same_price(&self, other: &Self) -> bool {
        self.same_terms(other) && self.amount == other.amount && self.unit_type == other.unit_type
    }
}

/// The JSON object in a `request` parameter, of whatever method.
pub(super) fn decode_object(text: &str) -> Result<Map<String, Value>, RequestError> {
    let json = base64url::decode(text).ok_or(RequestError::NotBase64Url)?;
    serde_json::from_slice(&json).map_err(|_| RequestError::NotJson)
}

/// The chain of `methodDetails`.
pub(super) fn chain_id(details: &Map<String, Value>) -> Result<ChainId, FieldError> {
    let chain_id = field(details, "request.methodDetails.chainId").optional(|field| field.integer())?;
    Ok(chain_id.map_or(CHAIN_ID_DEFAULT, ChainId))
}

/// Whether `methodDetails` promise to pay the fees.
pub(super) fn fee_payer(details: &Map<String, Value>) -> Result<bool, FieldError> {
    let fee_payer = field(details, "request.methodDetails.feePayer").optional(|field| field.boolean())?;
    Ok(fee_payer.unwrap_or_default())
}

/// The largest amount that the protocol's escrow can hold.
pub(super) const fn amount_max(protocol: ProtocolVersion) -> Amount {
    match protocol {
        ProtocolVersion::V1 => <V1 as Protocol>::AMOUNT_MAX,
        ProtocolVersion::V2 => <V2 as Protocol>::AMOUNT_MAX,
    }
}

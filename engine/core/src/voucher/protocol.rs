//! What distinguishes the two session protocols, as types.
//!
//! Code that knows its protocol is generic over [`Protocol`]; code that holds both uses
//! [`super::AnyDomain`]. The trait is sealed: a third protocol is a decision, not an extension.

use core::fmt::{self, Debug, Display};
use core::hash::Hash;
use core::str::FromStr;

use super::signed::{SignatureRef, sealed::Sealed};
use super::{VoucherError, v1, v2};
use crate::units::{Address, Amount, ChainId, ChannelId};

/// One of the two session protocols: what its vouchers hash to, hold, and are signed with.
pub trait Protocol: Sealed + Clone + Copy + Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// The same, as a value.
    const VERSION: ProtocolVersion;
    /// The name in the EIP-712 domain.
    const DOMAIN_NAME: &'static str;
    /// The version in the EIP-712 domain.
    const DOMAIN_VERSION: &'static str;
    /// The EIP-712 type of a voucher.
    const VOUCHER_TYPE: &'static str;
    /// The largest amount that the escrow can hold.
    const AMOUNT_MAX: Amount;
    /// A signature that the escrow accepts, parsed and in range.
    type Signature: SignatureScheme;
    /// What hashes to a channel id.
    type Terms: Terms;
}

/// The immutable terms of a channel.
pub trait Terms: Sealed + Clone + Debug + PartialEq + Eq {
    /// The hash of the terms, the escrow and the chain.
    fn channel_id(&self, chain_id: ChainId, escrow: Address) -> ChannelId;
    /// The only address whose vouchers count: the authorized signer, or the payer when there is none.
    fn expected_signer(&self) -> Address;
}

/// A parsed signature of one protocol.
pub trait SignatureScheme: Sealed + Clone + Debug + PartialEq + Eq {
    /// Reads a signature from the wire; refuses what the escrow would refuse without looking at a digest.
    fn parse(bytes: &[u8]) -> Result<Self, VoucherError>;
    /// What there is to verify.
    #[doc(hidden)]
    fn as_ref(&self) -> SignatureRef<'_>;
    /// The bytes that the escrow takes: secp256k1 as `r ‖ s ‖ v`, the others as they came.
    fn to_chain_bytes(&self) -> super::Signature {
        self.as_ref().to_chain_bytes()
    }
}

/// The legacy escrow contract (`TempoStreamChannel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum V1 {}

/// The TIP-1034 channel reserve, the canonical protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum V2 {}

impl Sealed for V1 {}
impl Sealed for V2 {}

impl Protocol for V1 {
    const VERSION: ProtocolVersion = ProtocolVersion::V1;
    const DOMAIN_NAME: &'static str = "Tempo Stream Channel";
    const DOMAIN_VERSION: &'static str = "1";
    const VOUCHER_TYPE: &'static str = "Voucher(bytes32 channelId,uint128 cumulativeAmount)";
    const AMOUNT_MAX: Amount = Amount::MAX;
    type Signature = v1::EcdsaSignature;
    type Terms = v1::Terms;
}

impl Protocol for V2 {
    const VERSION: ProtocolVersion = ProtocolVersion::V2;
    const DOMAIN_NAME: &'static str = "TIP20 Channel Reserve";
    const DOMAIN_VERSION: &'static str = "1";
    const VOUCHER_TYPE: &'static str = "Voucher(bytes32 channelId,uint96 cumulativeAmount)";
    const AMOUNT_MAX: Amount = Amount::MAX_V2;
    type Signature = v2::PrimitiveSignature;
    type Terms = v2::Descriptor;
}

/// Which session protocol a channel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// The legacy escrow contract ([`V1`]).
    V1,
    /// The TIP-1034 channel reserve ([`V2`]).
    V2,
}

impl ProtocolVersion {
    /// The name on the wire: `v1` or `v2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names neither protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session protocol is \"v1\" or \"v2\"")]
pub struct UnknownProtocol;

impl FromStr for ProtocolVersion {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(UnknownProtocol),
        }
    }
}

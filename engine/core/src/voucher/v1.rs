//! The legacy escrow: the terms of its channels, and the signatures that it takes.

use farebox_crypto::ecdsa;

use super::hash::{address_word, chain_word, keccak_words};
use super::protocol::{self, SignatureScheme};
use super::signature::refuse_wrapper;
use super::signed::{SignatureRef, sealed::Sealed};
use super::{Curve, VoucherError};
use crate::units::{Address, B256, ChainId, ChannelId};

/// The lengths that a v1 signature can have, for the reader of a refusal.
const LENGTHS: &str = "65 bytes (r, s, v) or 64 bytes (EIP-2098)";

/// The immutable terms of a v1 channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Who locked the deposit.
    pub payer: Address,
    /// Who gets what was spent.
    pub payee: Address,
    /// The TIP-20 token.
    pub token: Address,
    /// What makes channels of the same parties differ.
    pub salt: B256,
    /// Who signs vouchers; zero when the payer does.
    pub authorized_signer: Address,
}

impl Terms {
    /// The channel's id: `keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, escrow, chainId))`.
    pub fn channel_id(&self, chain_id: ChainId, escrow: Address) -> ChannelId {
        ChannelId(keccak_words([
            address_word(self.payer),
            address_word(self.payee),
            address_word(self.token),
            self.salt,
            address_word(self.authorized_signer),
            address_word(escrow),
            chain_word(chain_id),
        ]))
    }

    /// The only address whose vouchers count: the authorized signer, or the payer when there is none.
    pub fn expected_signer(&self) -> Address {
        if self.authorized_signer.is_zero() { self.payer } else { self.authorized_signer }
    }
}

impl Sealed for Terms {}

impl protocol::Terms for Terms {
    fn channel_id(&self, chain_id: ChainId, escrow: Address) -> ChannelId {
        Self::channel_id(self, chain_id, escrow)
    }

    fn expected_signer(&self) -> Address {
        Self::expected_signer(self)
    }
}

/// A v1 signature: secp256k1 and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcdsaSignature(ecdsa::Signature);

impl Sealed for EcdsaSignature {}

impl SignatureScheme for EcdsaSignature {
    /// Takes 65 bytes `r ‖ s ‖ v` with `v` 27 or 28, or the 64 bytes of EIP-2098.
    fn parse(bytes: &[u8]) -> Result<Self, VoucherError> {
        if let Some(parsed) = parse_secp256k1(bytes) {
            return parsed.map(Self);
        }
        refuse_wrapper(bytes)?;
        Err(VoucherError::WrongLength { found_bytes: bytes.len(), expected: LENGTHS })
    }

    fn as_ref(&self) -> SignatureRef<'_> {
        SignatureRef::Secp256k1(&self.0)
    }
}

/// Reads the two secp256k1 encodings; `None` when the length is that of neither.
pub(super) fn parse_secp256k1(bytes: &[u8]) -> Option<Result<ecdsa::Signature, VoucherError>> {
    let parsed = if let Ok(rsv) = <&[u8; 65]>::try_from(bytes) {
        ecdsa::Signature::from_rsv(rsv)
    } else {
        ecdsa::Signature::from_eip2098(bytes.try_into().ok()?)
    };
    Some(parsed.map_err(from_crypto))
}

/// A refusal of the crypto crate, as one of ours.
fn from_crypto(error: ecdsa::SignatureError) -> VoucherError {
    let curve = Curve::Secp256k1;
    match error {
        ecdsa::SignatureError::ZeroR => VoucherError::ZeroR { curve },
        ecdsa::SignatureError::RNotInRange => VoucherError::ROutOfRange { curve },
        ecdsa::SignatureError::ZeroS => VoucherError::ZeroS { curve },
        ecdsa::SignatureError::HighS => VoucherError::HighS { curve },
        ecdsa::SignatureError::BadV { found } => VoucherError::BadV { found },
    }
}

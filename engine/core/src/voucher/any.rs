//! Both protocols behind one type, for code that holds channels of both.

use super::{Domain, ProtocolVersion, Signature, SignedVoucher, V1, V2, Voucher, VoucherError};
use crate::units::{Address, B256, ChainId};

/// One escrow on one chain, of either protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyDomain {
    /// A legacy escrow.
    V1(Domain<V1>),
    /// A channel reserve.
    V2(Domain<V2>),
}

/// A well-formed signed voucher of either protocol, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnySignedVoucher {
    /// For a legacy escrow.
    V1(SignedVoucher<V1>),
    /// For a channel reserve.
    V2(SignedVoucher<V2>),
}

impl AnyDomain {
    /// The domain of the escrow at `escrow`.
    pub fn new(version: ProtocolVersion, chain_id: ChainId, escrow: Address) -> Self {
        match version {
            ProtocolVersion::V1 => Self::V1(Domain::new(chain_id, escrow)),
            ProtocolVersion::V2 => Self::V2(Domain::new(chain_id, escrow)),
        }
    }

    /// Which protocol its vouchers speak.
    pub const fn version(&self) -> ProtocolVersion {
        match self {
            Self::V1(_) => ProtocolVersion::V1,
            Self::V2(_) => ProtocolVersion::V2,
        }
    }

    /// The chain that the escrow lives on.
    pub const fn chain_id(&self) -> ChainId {
        match self {
            Self::V1(domain) => domain.chain_id(),
            Self::V2(domain) => domain.chain_id(),
        }
    }

    /// The contract that holds the deposits.
    pub const fn escrow(&self) -> Address {
        match self {
            Self::V1(domain) => domain.escrow(),
            Self::V2(domain) => domain.escrow(),
        }
    }

    /// The hash that the payer signs; see [`Domain::digest`].
    pub fn digest(&self, voucher: &Voucher) -> Result<B256, VoucherError> {
        match self {
            Self::V1(domain) => domain.digest(voucher),
            Self::V2(domain) => domain.digest(voucher),
        }
    }

    /// Reads a signed voucher of this domain's protocol; see [`SignedVoucher::parse`].
    pub fn parse(&self, voucher: Voucher, signature: &[u8]) -> Result<AnySignedVoucher, VoucherError> {
        AnySignedVoucher::parse(self.version(), voucher, signature)
    }

    /// Who signed a voucher; see [`Domain::recover_signer`].
    pub fn recover_signer(&self, voucher: &AnySignedVoucher) -> Result<Address, VoucherError> {
        match (self, voucher) {
            (Self::V1(domain), AnySignedVoucher::V1(voucher)) => domain.recover_signer(voucher),
            (Self::V2(domain), AnySignedVoucher::V2(voucher)) => domain.recover_signer(voucher),
            _ => Err(self.mismatch(voucher)),
        }
    }

    pub(super) fn mismatch(&self, voucher: &AnySignedVoucher) -> VoucherError {
        VoucherError::ProtocolMismatch { found: voucher.version(), expected: self.version() }
    }
}

impl AnySignedVoucher {
    /// Reads a signed voucher; see [`SignedVoucher::parse`].
    pub fn parse(version: ProtocolVersion, voucher: Voucher, signature: &[u8]) -> Result<Self, VoucherError> {
        match version {
            ProtocolVersion::V1 => SignedVoucher::parse(voucher, signature).map(Self::V1),
            ProtocolVersion::V2 => SignedVoucher::parse(voucher, signature).map(Self::V2),
        }
    }

    /// Which protocol it speaks.
    pub const fn version(&self) -> ProtocolVersion {
        match self {
            Self::V1(_) => ProtocolVersion::V1,
            Self::V2(_) => ProtocolVersion::V2,
        }
    }

    /// What was signed, if the signature holds.
    pub const fn voucher(&self) -> &Voucher {
        match self {
            Self::V1(signed) => signed.voucher(),
            Self::V2(signed) => signed.voucher(),
        }
    }

    /// The signature in the form that the escrow takes.
    pub fn to_chain_bytes(&self) -> Signature {
        match self {
            Self::V1(signed) => signed.to_chain_bytes(),
            Self::V2(signed) => signed.to_chain_bytes(),
        }
    }
}

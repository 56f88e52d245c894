//! The immutable terms of a channel: who pays whom, in what, and who signs.

use crate::units::{Address, ChainId, ChannelId};
use crate::voucher::{ProtocolVersion, v1, v2};

/// Everything that hashes to a channel id. It never changes while the channel lives, and it is the
/// only source of the expected signer: a claim in a payload is never believed (rule 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain that the escrow lives on.
    pub chain_id: ChainId,
    /// The escrow contract that holds the deposit.
    pub escrow: Address,
    /// The terms, as the escrow's protocol states them.
    pub terms: Terms,
}

/// The terms of a channel in the form of its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terms {
    /// The legacy escrow contract.
    V1(v1::Terms),
    /// The TIP-1034 channel reserve.
    V2(v2::Descriptor),
}

impl Identity {
    /// Which protocol the channel speaks.
    pub fn protocol(&self) -> ProtocolVersion {
        match self.terms {
            Terms::V1(_) => ProtocolVersion::V1,
            Terms::V2(_) => ProtocolVersion::V2,
        }
    }

    /// The hash of the terms, the escrow and the chain.
    pub fn channel_id(&self) -> ChannelId {
        match &self.terms {
            Terms::V1(terms) => terms.channel_id(self.chain_id, self.escrow),
            Terms::V2(descriptor) => descriptor.channel_id(self.chain_id, self.escrow),
        }
    }

    /// The only address whose vouchers count: the authorized signer, or the payer when there is none.
    pub fn expected_signer(&self) -> Address {
        match &self.terms {
            Terms::V1(terms) => terms.expected_signer(),
            Terms::V2(descriptor) => descriptor.expected_signer(),
        }
    }

    /// Who locked the deposit and gets the refund.
    pub fn payer(&self) -> Address {
        match &self.terms {
            Terms::V1(terms) => terms.payer,
            Terms::V2(descriptor) => descriptor.payer,
        }
    }

    /// Who gets what was spent.
    pub fn payee(&self) -> Address {
        match &self.terms {
            Terms::V1(terms) => terms.payee,
            Terms::V2(descriptor) => descriptor.payee,
        }
    }

    /// The TIP-20 token that is locked.
    pub fn token(&self) -> Address {
        match &self.terms {
            Terms::V1(terms) => terms.token,
            Terms::V2(descriptor) => descriptor.token,
        }
    }

    /// Who else may settle and close (v2 only; zero when nobody may).
    pub fn operator(&self) -> Address {
        match &self.terms {
            Terms::V1(_) => Address::ZERO,
            Terms::V2(descriptor) => descriptor.operator,
        }
    }
}

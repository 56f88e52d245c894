//! The immutable terms of a channel: who pays whom, in what, and who signs.

use super::rejection::Rejection;
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

/// What a server told its clients: the terms that a channel must have to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The chain.
    pub chain_id: ChainId,
    /// The escrow contract.
    pub escrow: Address,
    /// Who is to be paid (`recipient`).
    pub payee: Address,
    /// In which token (`currency`).
    pub token: Address,
    /// Who settles and closes for the payee (`methodDetails.operator`); zero when none was named.
    pub operator: Address,
}

impl Identity {
    /// Refuses a channel whose terms differ from what was advertised: such a channel pays somebody
    /// else, in something else, or lets somebody else empty it.
    ///
    /// # Errors
    ///
    /// The first term that differs.
    pub fn check(&self, advertised: &Advertised) -> Result<(), Rejection> {
        if self.chain_id != advertised.chain_id {
            return Err(Rejection::OpenMismatch { what: "the channel lives on another chain" });
        }
        same("escrow", self.escrow, advertised.escrow)?;
        same("payee", self.payee(), advertised.payee)?;
        same("token", self.token(), advertised.token)?;
        self.check_operator(advertised.operator)
    }

    /// Refuses an operator that was not advertised (rule 11): an operator may close a v2 channel at any
    /// time for nothing, so a payer who names his own can take all money back under a running stream.
    /// `advertised` is zero when none was. A v1 channel has no operator: only its payee can close it.
    ///
    /// # Errors
    ///
    /// [`Rejection::TermMismatch`].
    pub fn check_operator(&self, advertised: Address) -> Result<(), Rejection> {
        match &self.terms {
            Terms::V1(_) => Ok(()),
            Terms::V2(descriptor) => same("operator", descriptor.operator, advertised),
        }
    }

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

fn same(term: &'static str, found: Address, expected: Address) -> Result<(), Rejection> {
    if found == expected { Ok(()) } else { Err(Rejection::TermMismatch { term, found, expected }) }
}

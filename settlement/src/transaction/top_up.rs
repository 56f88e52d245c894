//! A transaction that tops up a channel.
//!
//! | | calls |
//! |---|---|
//! | v2 | `topUp(descriptor, additionalDeposit)`, and nothing else |
//! | v1 | `approve` of the token, then `topUp(channelId, additionalDeposit)` |

use alloy::primitives::Address;
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Amount, ChannelId};
use farebox_core::voucher::v2;

use super::envelope::ClientCall;
use super::open::{approves_otherwise, arguments, check_approval};
use super::{ClientTransaction, TransactionError};
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;

/// What the calls of a top-up must be, for the reader of a refusal.
const CALLS_EXPECTED: &str = "1 (v2: topUp) or 2 (v1: approve, topUp)";

/// A transaction that tops up one channel, read and not yet compared with anything.
#[derive(Clone, Debug)]
pub struct DecodedTopUp {
    /// The transaction.
    pub transaction: ClientTransaction,
    /// The escrow.
    pub escrow: Address,
    /// The channel.
    pub channel: ChannelId,
    /// By how much.
    pub additional_deposit: Amount,
    /// The approval of a v1 top-up.
    approve: Option<ClientCall>,
}

impl DecodedTopUp {
    /// Reads hex with the prefix `0x`.
    pub fn parse(text: &str) -> Result<Self, TransactionError> {
        Self::from_transaction(ClientTransaction::parse(text)?)
    }

    /// Reads the bytes of a signed transaction.
    pub fn decode(bytes: &[u8]) -> Result<Self, TransactionError> {
        Self::from_transaction(ClientTransaction::decode(bytes)?)
    }

    fn from_transaction(transaction: ClientTransaction) -> Result<Self, TransactionError> {
        let (escrow, channel, additional_deposit, approve) = match transaction.calls.as_slice() {
            [call] => {
                let top_up: ITIP20ChannelReserve::topUpCall =
                    arguments(0, call, "topUp of the channel reserve (v2)")?;
                let channel = descriptor(&top_up.descriptor).channel_id(transaction.chain_id, call.to);
                (call.to, channel, Amount::new(top_up.additionalDeposit.to()), None)
            }
            [approve, call] => {
                let top_up: ITempoStreamChannel::topUpCall = arguments(1, call, "topUp of the escrow (v1)")?;
                let bad = TransactionError::BadArguments { index: 1, function: "topUp(bytes32,uint256)" };
                let amount = u128::try_from(top_up.additionalDeposit).map_err(|_| bad)?;
                (call.to, ChannelId(top_up.channelId), Amount::new(amount), Some(approve.clone()))
            }
            calls => {
                return Err(TransactionError::CallCount { found: calls.len(), expected: CALLS_EXPECTED });
            }
        };
        Ok(Self { transaction, escrow, channel, additional_deposit, approve })
    }

    /// Whether it approves something else than it deposits (v1).
    pub fn approves_otherwise(&self) -> bool {
        approves_otherwise(&self.transaction.calls, self.additional_deposit)
    }

    /// Compares it with the channel that it must top up. Only the payer can: the escrow says so, and it is
    /// cheaper to say it before a broadcast.
    pub fn check(
        &self,
        channel: ChannelId,
        identity: &Identity,
        amount: Amount,
    ) -> Result<(), TransactionError> {
        let wrong = |field, found, expected| Err(TransactionError::WrongAddress { field, found, expected });
        if self.transaction.chain_id != identity.chain_id {
            let (found, expected) = (self.transaction.chain_id, identity.chain_id);
            return Err(TransactionError::WrongChain { found, expected });
        }
        if self.escrow != identity.escrow {
            return wrong("escrow", self.escrow, identity.escrow);
        }
        if self.transaction.sender != identity.payer() {
            return wrong("sender", self.transaction.sender, identity.payer());
        }
        if self.channel != channel {
            return Err(TransactionError::WrongChannel { found: self.channel, expected: channel });
        }
        if self.additional_deposit != amount {
            return Err(TransactionError::WrongAmount { found: self.additional_deposit, expected: amount });
        }
        match (&identity.terms, &self.approve) {
            (Terms::V1(terms), Some(approve)) => check_approval(approve, terms.token, self.escrow, amount),
            (Terms::V2(_), None) => Ok(()),
            (Terms::V1(_), None) => {
                Err(TransactionError::CallCount { found: 1, expected: "2 (v1: approve, topUp)" })
            }
            (Terms::V2(_), Some(_)) => {
                Err(TransactionError::CallCount { found: 2, expected: "1 (v2: topUp)" })
            }
        }
    }
}

/// The descriptor of a call, in our words.
fn descriptor(said: &ITIP20ChannelReserve::ChannelDescriptor) -> v2::Descriptor {
    v2::Descriptor {
        payer: said.payer,
        payee: said.payee,
        operator: said.operator,
        token: said.token,
        salt: said.salt,
        authorized_signer: said.authorizedSigner,
        expiring_nonce_hash: said.expiringNonceHash,
    }
}

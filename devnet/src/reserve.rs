//! What the reserve must be told before it can open or top up a channel.
//!
//! On the real chain the reserve is a precompile: it knows the hash of the transaction that it runs in, and it
//! moves the payer's tokens without an approval. Here it is a contract, so two storage slots stand in:
//!
//! - the reserve's context mapping, keyed by payer and salt, holds the hash of the opening transaction. The salt
//!   in the key lets one payer open several channels at the same time. (Two transactions of one payer with
//!   one salt, both pending, would take each other's hash; a random salt never does that.)
//! - the token's allowance from the payer to the reserve is made unlimited.
//!
//! Only calls that a transaction makes itself are seen, not calls that its contracts make.

use alloy_consensus::{Transaction as _, crypto::RecoveryError, transaction::SignerRecoverable};
use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use farebox_contracts::{
    bytecode::RESERVE_OPEN_CONTEXTS_SLOT,
    v2::{ITIP20ChannelReserve, RESERVE},
};
use tempo_primitives::{TempoTxEnvelope, is_tip20_prefix};

/// The slot of a TIP-20 token's mapping from owner and spender to allowance.
const TOKEN_ALLOWANCES_SLOT: u64 = 10;

/// One storage slot to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotWrite {
    pub(crate) account: Address,
    pub(crate) slot: B256,
    pub(crate) value: B256,
}

/// What must be written before a signed transaction may run. Empty for most transactions.
pub(crate) fn preparation(transaction: &TempoTxEnvelope) -> Result<Vec<SlotWrite>, RecoveryError> {
    let calls = calls_to_reserve(transaction);
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let sender = transaction.recover_signer()?;
    // keccak256(encodeForSigning ++ sender), for every type of transaction.
    let hash = transaction.unique_tx_identifier(sender);
    Ok(calls.into_iter().flat_map(|input| preparation_of_call(sender, input, hash)).collect())
}

/// What must be pretended before a call may be simulated. The transaction does not exist yet, so its hash is
/// any number but zero; a simulated open returns a channel id that will not be the real one.
pub(crate) fn pretence(sender: Address, to: Option<Address>, input: &[u8]) -> Vec<SlotWrite> {
    if to != Some(RESERVE) {
        return Vec::new();
    }
    preparation_of_call(sender, input, B256::with_last_byte(1))
}

fn preparation_of_call(sender: Address, input: &[u8], hash: B256) -> Vec<SlotWrite> {
    if let Ok(open) = ITIP20ChannelReserve::openCall::abi_decode(input) {
        let mut writes = vec![context(sender, open.salt, hash)];
        writes.extend(allowance(open.token, sender));
        writes
    } else if let Ok(top_up) = ITIP20ChannelReserve::topUpCall::abi_decode(input) {
        allowance(top_up.descriptor.token, sender).into_iter().collect()
    } else {
        Vec::new()
    }
}

fn calls_to_reserve(transaction: &TempoTxEnvelope) -> Vec<&[u8]> {
    match transaction {
        TempoTxEnvelope::AA(signed) => {
            let calls = signed.tx().calls.iter();
            calls.filter(|call| call.to == TxKind::Call(RESERVE)).map(|call| call.input.as_ref()).collect()
        }
        other if other.kind() == TxKind::Call(RESERVE) => vec![other.input().as_ref()],
        _ => Vec::new(),
    }
}

fn context(payer: Address, salt: B256, hash: B256) -> SlotWrite {
    let key = keccak256((payer, salt).abi_encode());
    let slot = keccak256((key, U256::from(RESERVE_OPEN_CONTEXTS_SLOT)).abi_encode());
    SlotWrite { account: RESERVE, slot, value: hash }
}

/// None for what is not a token: a caller may name any address, and its storage is not ours to write.
fn allowance(token: Address, owner: Address) -> Option<SlotWrite> {
    let of_owner = keccak256((owner, U256::from(TOKEN_ALLOWANCES_SLOT)).abi_encode());
    let slot = keccak256((RESERVE, of_owner).abi_encode());
    is_tip20_prefix(token).then_some(SlotWrite { account: token, slot, value: B256::repeat_byte(0xff) })
}

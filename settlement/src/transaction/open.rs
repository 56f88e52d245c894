//! A transaction that opens a channel.
//!
//! | | calls |
//! |---|---|
//! | v2 | `open` of the channel reserve, and nothing else |
//! | v1 | `approve` of the token for at least the deposit, then `open` of the escrow |

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Amount, ChannelId};
use farebox_core::voucher::{v1, v2};

use super::envelope::ClientCall;
use super::{ClientTransaction, TransactionError};
use farebox_contracts::tip20::ITIP20;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;

/// What the calls of an open must be, for the reader of a refusal.
const CALLS_EXPECTED: &str = "1 (v2: open) or 2 (v1: approve, open)";

/// A transaction that opens one channel, read and not yet compared with anything.
#[derive(Clone, Debug)]
pub struct DecodedOpen {
    /// The transaction.
    pub transaction: ClientTransaction,
    /// The channel's terms, as the chain will know them.
    pub identity: Identity,
    /// Their hash.
    pub channel: ChannelId,
    /// What the escrow will hold.
    pub deposit: Amount,
}

impl DecodedOpen {
    /// Reads hex with the prefix `0x`.
    pub fn parse(text: &str) -> Result<Self, TransactionError> {
        Self::from_transaction(ClientTransaction::parse(text)?)
    }

    /// Reads the bytes of a signed transaction.
    pub fn decode(bytes: &[u8]) -> Result<Self, TransactionError> {
        Self::from_transaction(ClientTransaction::decode(bytes)?)
    }

    /// Whether it approves something else than it deposits (v1).
    pub fn approves_otherwise(&self) -> bool {
        approves_otherwise(&self.transaction.calls, self.deposit)
    }

    fn from_transaction(transaction: ClientTransaction) -> Result<Self, TransactionError> {
        let (escrow, terms, deposit) = match transaction.calls.as_slice() {
            [open] => read_v2(&transaction, open)?,
            [approve, open] => read_v1(&transaction, approve, open)?,
            calls => {
                return Err(TransactionError::CallCount { found: calls.len(), expected: CALLS_EXPECTED });
            }
        };
        if deposit.is_zero() {
            return Err(TransactionError::ZeroDeposit);
        }
        let identity = Identity { chain_id: transaction.chain_id, escrow, terms };
        let channel = identity.channel_id();
        Ok(Self { transaction, identity, channel, deposit })
    }
}

fn read_v2(
    transaction: &ClientTransaction,
    call: &ClientCall,
) -> Result<(Address, Terms, Amount), TransactionError> {
    let open: ITIP20ChannelReserve::openCall = arguments(0, call, "open of the channel reserve (v2)")?;
    if !transaction.has_expiring_nonce {
        return Err(TransactionError::NonceNotExpiring);
    }
    let descriptor = v2::Descriptor {
        payer: transaction.sender,
        payee: open.payee,
        operator: open.operator,
        token: open.token,
        salt: open.salt,
        authorized_signer: open.authorizedSigner,
        expiring_nonce_hash: transaction.expiring_nonce_hash,
    };
    Ok((call.to, Terms::V2(descriptor), Amount::new(open.deposit.to())))
}

fn read_v1(
    transaction: &ClientTransaction,
    approve: &ClientCall,
    call: &ClientCall,
) -> Result<(Address, Terms, Amount), TransactionError> {
    let open: ITempoStreamChannel::openCall = arguments(1, call, "open of the escrow (v1)")?;
    let deposit = Amount::new(open.deposit);
    check_approval(approve, open.token, call.to, deposit)?;
    let terms = v1::Terms {
        payer: transaction.sender,
        payee: open.payee,
        token: open.token,
        salt: open.salt,
        authorized_signer: open.authorizedSigner,
    };
    Ok((call.to, Terms::V1(terms), deposit))
}

/// Checks the first call of a v1 transaction: it lets the escrow take the deposit.
pub(super) fn check_approval(
    call: &ClientCall,
    token: Address,
    escrow: Address,
    deposit: Amount,
) -> Result<(), TransactionError> {
    let approve: ITIP20::approveCall = arguments(0, call, "approve of the token")?;
    if call.to != token {
        let field = "approved token";
        return Err(TransactionError::WrongAddress { field, found: call.to, expected: token });
    }
    if approve.spender != escrow {
        return Err(TransactionError::ApproveSpender { found: approve.spender, expected: escrow });
    }
    if approve.amount < alloy::primitives::U256::from(deposit.get()) {
        return Err(TransactionError::ApproveAmount { found: approve.amount, expected: deposit });
    }
    Ok(())
}

/// Whether the first call of a transaction approves something else than `deposit`. One without an approval does not.
pub(super) fn approves_otherwise(calls: &[ClientCall], deposit: Amount) -> bool {
    let [approve, _] = calls else { return false };
    let approve: Result<ITIP20::approveCall, _> = arguments(0, approve, "approve of the token");
    approve.map_or(true, |approve| approve.amount != alloy::primitives::U256::from(deposit.get()))
}

/// Reads the arguments of one function, in their canonical encoding and no other.
pub(super) fn arguments<C: SolCall>(
    index: usize,
    call: &ClientCall,
    expected: &'static str,
) -> Result<C, TransactionError> {
    if !call.input.starts_with(&C::SELECTOR) {
        return Err(TransactionError::WrongFunction { index, expected });
    }
    let bad = TransactionError::BadArguments { index, function: C::SIGNATURE };
    let decoded = C::abi_decode_validate(&call.input).map_err(|_| bad.clone())?;
    if decoded.abi_encode() != call.input {
        return Err(bad);
    }
    Ok(decoded)
}

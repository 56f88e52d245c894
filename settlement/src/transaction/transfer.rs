//! A transaction that pays for one request: `transferWithMemo` of the token, and nothing else.

use alloy::primitives::{Address, B256, U256};
use farebox_contracts::tip20::ITIP20;
use farebox_engine::chain::ChargeOrder;

use super::open::arguments;
use super::{ClientTransaction, TransactionError};

/// What the calls of a charge must be, for the reader of a refusal.
const CALLS_EXPECTED: &str = "1 (transferWithMemo)";

/// A transaction with one transfer, read and not yet compared with anything.
#[derive(Clone, Debug)]
pub struct DecodedTransfer {
    /// The transaction.
    pub transaction: ClientTransaction,
    /// The token.
    pub token: Address,
    /// Who gets it.
    pub to: Address,
    /// How much.
    pub amount: U256,
    /// What it carries.
    pub memo: B256,
}

impl DecodedTransfer {
    /// Reads the bytes of a signed transaction.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, TransactionError> {
        let transaction = ClientTransaction::decode(bytes)?;
        let [call] = transaction.calls.as_slice() else {
            let found = transaction.calls.len();
            return Err(TransactionError::CallCount { found, expected: CALLS_EXPECTED });
        };
        let transfer: ITIP20::transferWithMemoCall = arguments(0, call, "transferWithMemo of the token")?;
        let token = call.to;
        Ok(Self { transaction, token, to: transfer.to, amount: transfer.amount, memo: transfer.memo })
    }

    /// Compares it with what was ordered.
    ///
    /// # Errors
    ///
    /// The first thing that differs.
    pub fn check(&self, order: &ChargeOrder) -> Result<(), TransactionError> {
        let wrong = |field, found, expected| Err(TransactionError::WrongAddress { field, found, expected });
        if self.token != order.token {
            return wrong("token", self.token, order.token);
        }
        if self.to != order.payee {
            return wrong("payee", self.to, order.payee);
        }
        if self.amount != U256::from(order.amount.get()) {
            return Err(TransactionError::WrongTransfer { found: self.amount, expected: order.amount });
        }
        if self.memo != order.memo && !order.attribution.is_in(&self.memo) {
            return Err(TransactionError::WrongMemo { found: self.memo, expected: order.memo });
        }
        if !self.transaction.has_expiring_nonce {
            return Err(TransactionError::NonceNotExpiring);
        }
        match self.transaction.valid_before {
            Some(valid_before) if valid_before > order.expires => {
                Err(TransactionError::OutlivesChallenge { valid_before, expires: order.expires })
            }
            _ => Ok(()),
        }
    }
}

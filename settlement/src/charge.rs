//! Charges: the client's transfer is checked, broadcast, and believed only by its receipt.

use farebox_core::units::B256;
use farebox_engine::chain::{ChainRefusal, ChargeOrder};

use crate::opener::{Opener, check_chain, check_sponsorship};
use crate::submit::{Submitted, expired};
use crate::transaction::{DecodedTransfer, TransactionError};

impl Opener {
    /// See [`farebox_engine::chain::Chain::charge`].
    pub(crate) async fn charge(&self, order: ChargeOrder) -> Result<B256, ChainRefusal> {
        let transfer = DecodedTransfer::decode(&order.transaction)?;
        let transaction = &transfer.transaction;
        check_sponsorship(transaction.sponsorship, order.is_sponsored)?;
        check_chain(transaction.chain_id, self.client.chain_id())?;
        transfer.check(&order)?;
        if !(order.may_pay)(transaction.sender) {
            return Err(TransactionError::NotAllowed { payer: transaction.sender }.into());
        }
        match self.submit(transaction, false, "charge").await? {
            // One call without conditions: executed, it transferred exactly what was ordered.
            Submitted::Mined(receipt) if receipt.success => Ok(receipt.tx_hash),
            Submitted::Mined(receipt) => Err(ChainRefusal::Reverted { tx_hash: receipt.tx_hash }),
            Submitted::Expired { .. } => Err(expired()),
        }
    }
}

//! The method `tempo`: a transfer on chain, which the server sends.
//!
//! The challenge carries a memo that no other has, and the transfer must repeat it, or carry the one that its client made of
//! the challenge's id: so a transaction pays for one challenge of one server, wherever it was sent before. A transaction
//! that was executed is found again whenever it is asked for, so nothing but its delivery is written down.

use std::sync::Arc;

use farebox_core::challenge::{ChargePayload, ChargeRequest, METHOD, Realm};
use farebox_core::units::{Address, Amount, B256, ChainId, UnixSeconds};

use super::super::method::{Handed, PaymentMethod, Settled, Unsettled};
use super::super::problem::{self, Refused};
use super::super::{DoorConfig, Route};
use crate::chain::{Attribution, BoxFuture, Chain, ChainRefusal, ChargeOrder};

/// Transfers of the door's token to its payee.
pub(in crate::http) struct TempoCharge {
    chain: Arc<dyn Chain>,
    realm: Realm,
    token: Address,
    payee: Address,
    /// That of the first escrow.
    pub(super) chain_id: ChainId,
    fee_payer: bool,
}

impl std::fmt::Debug for TempoCharge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TempoCharge").field("chain_id", &self.chain_id).finish_non_exhaustive()
    }
}

impl TempoCharge {
    /// `None` without an escrow: there is no chain to pay on.
    pub(in crate::http) fn new(config: &DoorConfig, chain: &Arc<dyn Chain>) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            chain: Arc::clone(chain),
            realm: config.realm.clone(),
            token: config.token,
            payee: config.payee,
            chain_id: config.escrows.first()?.chain_id,
            fee_payer: config.fee_payer,
        }))
    }

    /// Whether a request is for a transfer that this server still takes, of whatever amount.
    pub(super) fn asks(&self, request: &ChargeRequest) -> bool {
        (request.currency, request.recipient, request.chain_id) == (self.token, self.payee, self.chain_id)
    }

    /// What the challenge of a credential asks, and the transaction that answers it.
    fn read(&self, handed: &Handed) -> Result<(ChargeRequest, Vec<u8>), Refused> {
        let other = || problem::other_challenge(false);
        let request = ChargeRequest::decode(handed.credential.challenge.request()).map_err(|_| other())?;
        // A proof buys nothing.
        if !self.asks(&request) || request.amount.is_zero() || request.amount != handed.price {
            return Err(other());
        }
        match handed.credential.tempo().map_err(problem::malformed)? {
            ChargePayload::Transaction(transaction) => Ok((request, transaction)),
            ChargePayload::Hash(_) | ChargePayload::Proof(_) => Err(problem::charge_mode()),
        }
    }
}

impl PaymentMethod for TempoCharge {
    fn name(&self) -> &str {
        METHOD
    }

    fn request(&self, price: Amount, route: &Route, nonce: B256) -> Option<String> {
        let is_paid = !price.is_zero();
        let request = ChargeRequest {
            amount: price,
            currency: self.token,
            recipient: self.payee,
            chain_id: self.chain_id,
            memo: is_paid.then_some(nonce),
            fee_payer: is_paid && self.fee_payer && route.is_sponsored,
        };
        Some(request.encode())
    }

    fn check(&self, handed: &Handed) -> Result<(), Refused> {
        self.read(handed).map(|_| ())
    }

    fn verify(self: Arc<Self>, handed: Handed) -> BoxFuture<'static, Result<Settled, Unsettled>> {
        Box::pin(async move {
            let (request, transaction) = self.read(&handed).map_err(Unsettled::Refused)?;
            let order = ChargeOrder {
                transaction,
                token: request.currency,
                payee: request.recipient,
                amount: request.amount,
                memo: request.memo.unwrap_or_default(),
                attribution: Attribution::new(self.realm.as_str(), &handed.credential.challenge.id),
                expires: UnixSeconds(handed.expires.0 / 1_000),
                is_sponsored: request.fee_payer && self.fee_payer && handed.is_sponsored,
                may_pay: handed.may_pay,
            };
            let taken = self.chain.charge(order).await;
            let tx_hash = taken.map_err(|refusal| {
                let problem = problem::charge(&refusal);
                match refusal {
                    ChainRefusal::Unknown { .. } => Unsettled::Unknown(problem),
                    _ => Unsettled::Refused(problem),
                }
            })?;
            Ok(Settled { reference: format!("{tx_hash:#x}"), chain_id: None })
        })
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

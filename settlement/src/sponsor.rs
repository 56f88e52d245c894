//! Pays the fees of a client's transaction.
//!
//! What a stranger wrote is signed here with an account that holds money, so the order matters: the calls are known to
//! be an open or a top-up of ours (the opener read them), the policy judges what the rest may cost, the cost is set
//! aside, a dry run must succeed, and only then the transaction leaves. What it did cost is taken from the receipt.
//! Signing is deterministic: a client that asks again with the same transaction finds the same one on chain, and
//! costs nothing more. That is why the key is a local one: key services sign differently every time.
//!
//! The signature never leaves without a broadcast, and no refusal shows it.

use std::sync::Arc;

use alloy::primitives::{Bytes, U256};
use farebox_core::units::{Address, Amount};
use farebox_engine::Clock;
use farebox_engine::chain::ChainRefusal;
use farebox_engine::sponsor::{Budget, Policy, Refusal, Reservation, Wish, fee};
use metrics::counter;
use parking_lot::Mutex;

use crate::client::{Client, ClientError, Receipt};
use crate::config::SponsorConfig;
use crate::signer::LocalKey;
use crate::submit::{Submitted, submit};
use crate::transaction::{ClientTransaction, TransactionError};

/// The account that pays fees, with its limits.
#[derive(Debug)]
pub(crate) struct Sponsor {
    key: LocalKey,
    policy: Policy,
    budget: Arc<Mutex<Budget>>,
}

/// What is set aside for one transaction. Dropped without a word it counts as spent: the transaction may be on its way.
struct Held<'a> {
    budget: Arc<Mutex<Budget>>,
    clock: &'a dyn Clock,
    reservation: Option<Reservation>,
}

impl Sponsor {
    pub(crate) fn new(config: SponsorConfig) -> Self {
        let SponsorConfig { key, policy, budget } = config;
        let policy = Policy { sponsor: key.address(), ..policy };
        Self { key, policy, budget: Arc::new(Mutex::new(Budget::new(budget))) }
    }

    /// Gets a transaction that waits for a fee payer into a block, or finds it there. Its calls were judged before.
    pub(crate) async fn submit(
        &self,
        client: &Client,
        clock: &dyn Clock,
        transaction: &ClientTransaction,
        approves_otherwise: bool,
        action: &'static str,
    ) -> Result<Submitted, ChainRefusal> {
        let submitted = self.try_submit(client, clock, transaction, approves_otherwise).await;
        let result = match &submitted {
            Ok(Submitted::Mined(receipt)) if receipt.success => "paid",
            Ok(Submitted::Mined(_)) => "reverted",
            Ok(Submitted::Expired { .. }) => "expired",
            Err(ChainRefusal::NotSponsored(refusal)) => {
                counter!("farebox_sponsor_refused_total", "reason" => refusal.name()).increment(1);
                tracing::info!(%refusal, payer = %transaction.sender, action, "fees are not paid");
                "refused"
            }
            Err(_) => "failed",
        };
        counter!("farebox_sponsored_total", "action" => action, "result" => result).increment(1);
        submitted
    }

    async fn try_submit(
        &self,
        client: &Client,
        clock: &dyn Clock,
        transaction: &ClientTransaction,
        approves_otherwise: bool,
    ) -> Result<Submitted, ChainRefusal> {
        let wish = wish(transaction, approves_otherwise);
        let most = self.policy.check_terms(&wish)?;
        let sign = |hash| self.key.sign_hash(hash).ok();
        let signed = transaction.sponsored(self.policy.fee_token, sign);
        let signed = signed.ok_or(TransactionError::SponsorshipNotOffered)?;
        // A client that got no answer asks again: what is on chain was paid then.
        if let Some(receipt) = find(client, &signed).await? {
            return Ok(Submitted::Mined(receipt));
        }
        self.policy.check_time(&wish, clock.now())?;
        let held = self.hold(wish.sender, most, clock)?;
        if let Err(refusal) = self.rehearse(client, transaction, &wish).await {
            held.settle(Amount::ZERO);
            return Err(refusal);
        }
        let submitted = submit(client, &signed, clock.now()).await;
        match &submitted {
            Ok(Submitted::Mined(receipt)) => held.settle(paid(receipt)),
            Ok(Submitted::Expired { .. }) => held.settle(Amount::ZERO),
            // It may still happen (rule 10): all of it counts.
            Err(ChainRefusal::Unknown { .. }) => drop(held),
            // No node took it.
            Err(_) => held.settle(Amount::ZERO),
        }
        submitted
    }

    /// A dry run of the calls, and a look into the purse.
    async fn rehearse(
        &self,
        client: &Client,
        transaction: &ClientTransaction,
        wish: &Wish,
    ) -> Result<(), ChainRefusal> {
        let calls: Vec<(Address, Bytes)> =
            transaction.calls.iter().map(|call| (call.to, call.input.clone())).collect();
        let gas = client.rehearse(transaction.sender, &calls, wish.valid_before).await;
        let gas = gas.map_err(|error| match error {
            ClientError::Reverts { .. } => Refusal::WouldRevert { what: error.to_string() }.into(),
            error => unavailable(&error),
        })?;
        self.policy.check_run(wish, gas)?;
        let token = self.policy.fee_token;
        let balance =
            client.balance(token, self.policy.sponsor).await.map_err(|error| unavailable(&error))?;
        let reserved = self.budget.lock().reserved();
        if balance < U256::from(reserved.get()) {
            tracing::warn!(sponsor = %self.policy.sponsor, %token, %balance, "the sponsor's account is empty");
            return Err(Refusal::Empty.into());
        }
        Ok(())
    }

    fn hold<'a>(&self, payer: Address, most: Amount, clock: &'a dyn Clock) -> Result<Held<'a>, Refusal> {
        let reservation = self.budget.lock().reserve(payer, most, clock.now())?;
        Ok(Held { budget: Arc::clone(&self.budget), clock, reservation: Some(reservation) })
    }
}

impl Held<'_> {
    /// Exchanges it for what was paid.
    fn settle(mut self, paid: Amount) {
        self.exchange(Some(paid));
    }

    fn exchange(&mut self, paid: Option<Amount>) {
        let Some(reservation) = self.reservation.take() else { return };
        let paid = paid.unwrap_or(reservation.most());
        let spent = u64::try_from(paid.get()).unwrap_or(u64::MAX);
        counter!("farebox_sponsor_fees_total").increment(spent);
        self.budget.lock().settle(reservation, paid, self.clock.now());
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.exchange(None);
    }
}

/// What the transaction asks of its sponsor.
fn wish(transaction: &ClientTransaction, approves_too_much: bool) -> Wish {
    Wish {
        sender: transaction.sender,
        is_by_access_key: transaction.is_by_access_key,
        authorizes_key: transaction.authorizes_key,
        has_expiring_nonce: transaction.has_expiring_nonce,
        approves_too_much,
        fee_token: transaction.fee_token,
        gas_limit: transaction.gas_limit,
        gas_price: transaction.gas_price,
        priority_fee: transaction.priority_fee,
        valid_after: transaction.valid_after,
        valid_before: transaction.valid_before,
    }
}

async fn find(client: &Client, signed: &ClientTransaction) -> Result<Option<Receipt>, ChainRefusal> {
    let tx_hash = signed.tx_hash.ok_or(TransactionError::SponsorshipNotOffered)?;
    client.receipt(tx_hash).await.map_err(|error| unavailable(&error))
}

fn unavailable(error: &ClientError) -> ChainRefusal {
    ChainRefusal::Unavailable { what: error.to_string() }
}

/// What the sponsor paid.
fn paid(receipt: &Receipt) -> Amount {
    fee(receipt.gas_used, receipt.gas_price)
}

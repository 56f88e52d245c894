//! Opening and topping up: the client's transaction is checked, broadcast, and believed only by its
//! receipt, its event, and the channel's state.

use std::sync::Arc;

use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{ProtocolVersion, v2};
use farebox_engine::Clock;
use farebox_engine::chain::{
    ChainRefusal, ClaimedTerms, OpenRequest, OpenedOnChain, TopUpRequest, ToppedUpOnChain,
};

use crate::client::{ChannelOnChain, Client, Head, Receipt};
use crate::fact::{Fact, FactKind};
use crate::opening::Openings;
use crate::sponsor::Sponsor;
use crate::submit::{Submitted, expired, submit};
use crate::transaction::{ClientTransaction, DecodedOpen, DecodedTopUp, Sponsorship, TransactionError};

/// Opens and tops up channels for the door.
pub(crate) struct Opener {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) openings: Openings,
    /// Who pays the fees of those that ask for it.
    pub(crate) sponsor: Option<Sponsor>,
}

impl Opener {
    /// See [`farebox_engine::chain::Chain::open`].
    pub(crate) async fn open(&self, request: OpenRequest) -> Result<OpenedOnChain, ChainRefusal> {
        let open = DecodedOpen::decode(&request.transaction)?;
        check_open(&open, &request, self.client.chain_id())?;
        // From here on the watcher keeps what it hears of this channel.
        let _coming = self.openings.begin(open.channel).ok_or_else(too_many)?;
        let receipt = match self.submit(&open.transaction, open.approves_otherwise(), "open").await? {
            Submitted::Mined(receipt) => receipt,
            Submitted::Expired { head, tx_hash } => {
                return Err(self.conclude_expired(&open, head, tx_hash).await);
            }
        };
        let tx_hash = receipt.tx_hash;
        if !receipt.success {
            return Err(ChainRefusal::Reverted { tx_hash });
        }
        let event = opened_event(&receipt, &open)?;
        let (deposit, settled) = self.read_open(&open, &receipt).await?;
        check_deposit(deposit.saturating_sub(settled), request.deposit_min)?;
        Ok(OpenedOnChain { identity: open.identity, deposit, settled, position: event.position, tx_hash })
    }

    /// Gets a client's transaction into a block, with a fee payer if it asks for one.
    pub(crate) async fn submit(
        &self,
        transaction: &ClientTransaction,
        approves_otherwise: bool,
        action: &'static str,
    ) -> Result<Submitted, ChainRefusal> {
        match (transaction.sponsorship, &self.sponsor) {
            (Sponsorship::Wanted, Some(sponsor)) => {
                sponsor.submit(&self.client, &*self.clock, transaction, approves_otherwise, action).await
            }
            _ => submit(&self.client, transaction, self.clock.now()).await,
        }
    }

    /// The validity ended without a receipt. Only the channel's state can say that it never happened: a
    /// receipt may be hidden by a node that is behind.
    async fn conclude_expired(&self, open: &DecodedOpen, head: Head, tx_hash: B256) -> ChainRefusal {
        let identity = &open.identity;
        let state =
            self.client.channel_at(identity.protocol(), identity.escrow, open.channel, head.number).await;
        match state {
            Ok(ChannelOnChain::Absent) => expired(),
            _ => ChainRefusal::Unknown { tx_hash },
        }
    }

    /// The new channel's state, which must be open without a close request.
    async fn read_open(
        &self,
        open: &DecodedOpen,
        receipt: &Receipt,
    ) -> Result<(Amount, Amount), ChainRefusal> {
        let state = self.read(&open.identity, open.channel, receipt).await?;
        match state {
            ChannelOnChain::Open { deposit, settled, close_requested_at: None } => Ok((deposit, settled)),
            ChannelOnChain::Open { close_requested_at: Some(at), .. } => {
                let what = format!("a close of its channel was requested on chain at {}", at.0);
                Err(ChainRefusal::BadTransaction { what })
            }
            ChannelOnChain::Absent | ChannelOnChain::Finalized => {
                let what = "its channel is closed already; open a new one".to_owned();
                Err(ChainRefusal::BadTransaction { what })
            }
        }
    }

    /// See [`farebox_engine::chain::Chain::top_up`].
    pub(crate) async fn top_up(&self, request: TopUpRequest) -> Result<ToppedUpOnChain, ChainRefusal> {
        let TopUpRequest { transaction, channel, identity, additional_deposit, is_sponsored } = request;
        let top_up = DecodedTopUp::decode(&transaction)?;
        check_sponsorship(top_up.transaction.sponsorship, is_sponsored)?;
        check_chain(top_up.transaction.chain_id, self.client.chain_id())?;
        top_up.check(channel, &identity, additional_deposit)?;
        let submitted = self.submit(&top_up.transaction, top_up.approves_otherwise(), "topUp").await?;
        let Submitted::Mined(receipt) = submitted else {
            return Err(expired());
        };
        let tx_hash = receipt.tx_hash;
        if !receipt.success {
            return Err(ChainRefusal::Reverted { tx_hash });
        }
        let facts = Fact::of_channel(&receipt.logs, identity.protocol(), identity.escrow, channel);
        let state = self.read(&identity, channel, &receipt).await?;
        let ChannelOnChain::Open { deposit: deposit_now, .. } = state else {
            let what = "its channel is closed; open a new one".to_owned();
            return Err(ChainRefusal::BadTransaction { what });
        };
        let cancels_close = facts.iter().any(|fact| fact.kind == FactKind::CloseRequestCancelled);
        let event = facts.iter().find_map(|fact| match fact.kind {
            FactKind::ToppedUp { additional, deposit } if additional == additional_deposit => {
                Some((deposit, fact.position))
            }
            _ => None,
        });
        let (deposit, position) = match event {
            Some(event) => event,
            // A top-up of nothing, with no close request to cancel, says nothing and changes nothing.
            None if additional_deposit.is_zero() => (deposit_now, start_of(&receipt)),
            None => {
                let what = "it was executed, and the escrow says nothing of a top-up".to_owned();
                return Err(ChainRefusal::BadTransaction { what });
            }
        };
        Ok(ToppedUpOnChain { deposit, cancels_close, position, tx_hash })
    }

    /// Reads the channel at or after the block of the receipt. When no node can say, the transaction has
    /// happened all the same: the client is told so, and asks again.
    async fn read(
        &self,
        identity: &Identity,
        channel: ChannelId,
        receipt: &Receipt,
    ) -> Result<ChannelOnChain, ChainRefusal> {
        let read = self.client.channel(identity.protocol(), identity.escrow, channel, receipt.block).await;
        match read {
            Ok((state, _)) => Ok(state),
            Err(error) => {
                tracing::warn!(%channel, %error, "the channel cannot be read after its transaction");
                Err(ChainRefusal::Unknown { tx_hash: receipt.tx_hash })
            }
        }
    }
}

/// The place before all logs of a receipt's block.
fn start_of(receipt: &Receipt) -> farebox_core::channel::ChainPosition {
    farebox_core::channel::ChainPosition { block: receipt.block, log_index: 0 }
}

fn too_many() -> ChainRefusal {
    ChainRefusal::Unavailable { what: "too many channels are being opened at this moment".to_owned() }
}

/// The event of this very open: the same channel, the same terms, the same deposit.
fn opened_event(receipt: &Receipt, open: &DecodedOpen) -> Result<Fact, ChainRefusal> {
    let identity = &open.identity;
    let facts = Fact::of_channel(&receipt.logs, identity.protocol(), identity.escrow, open.channel);
    facts.into_iter().find(|fact| fact.kind.is_open_of(identity, open.deposit)).ok_or_else(|| {
        let what = "it was executed, and the escrow says nothing of this open".to_owned();
        ChainRefusal::BadTransaction { what }
    })
}

/// Everything that can be said of an open before it is broadcast.
pub(crate) fn check_open(
    open: &DecodedOpen,
    request: &OpenRequest,
    chain_id: ChainId,
) -> Result<(), TransactionError> {
    check_sponsorship(open.transaction.sponsorship, request.is_sponsored)?;
    check_chain(open.identity.chain_id, chain_id)?;
    let protocol = match request.terms {
        ClaimedTerms::V1 { .. } => ProtocolVersion::V1,
        ClaimedTerms::V2(_) => ProtocolVersion::V2,
    };
    if open.identity.protocol() != protocol {
        let found = open.identity.protocol();
        return Err(TransactionError::WrongProtocol { found, expected: protocol });
    }
    same_address("escrow", open.identity.escrow, request.escrow)?;
    same_address("payee", open.identity.payee(), request.payee)?;
    same_address("token", open.identity.token(), request.token)?;
    // Rule 11: an operator of the payer's choice could close the channel and take everything back.
    same_address("operator", open.identity.operator(), request.operator)?;
    match (&open.identity.terms, &request.terms) {
        (Terms::V2(actual), ClaimedTerms::V2(claimed)) => check_descriptor(claimed, actual)?,
        (Terms::V1(actual), ClaimedTerms::V1 { authorized_signer: Some(claimed) }) => {
            // Clients name the payer, too, when the payer signs.
            let signer = if actual.authorized_signer.is_zero() && !claimed.is_zero() {
                actual.expected_signer()
            } else {
                actual.authorized_signer
            };
            same_address("authorizedSigner", *claimed, signer)?;
        }
        _ => {}
    }
    if open.channel != request.channel {
        return Err(TransactionError::WrongChannel { found: request.channel, expected: open.channel });
    }
    if open.deposit < request.deposit_min {
        let (found, expected) = (open.deposit, request.deposit_min);
        return Err(TransactionError::DepositTooSmall { found, expected });
    }
    Ok(())
}

/// Compares the payload's descriptor with the one that the transaction makes, field by field.
fn check_descriptor(claimed: &v2::Descriptor, actual: &v2::Descriptor) -> Result<(), TransactionError> {
    same_address("descriptor's payer", claimed.payer, actual.payer)?;
    same_address("descriptor's payee", claimed.payee, actual.payee)?;
    same_address("descriptor's operator", claimed.operator, actual.operator)?;
    same_address("descriptor's token", claimed.token, actual.token)?;
    same_address("descriptor's authorizedSigner", claimed.authorized_signer, actual.authorized_signer)?;
    same_word("salt", claimed.salt, actual.salt)?;
    same_word("expiringNonceHash", claimed.expiring_nonce_hash, actual.expiring_nonce_hash)
}

fn check_deposit(available: Amount, deposit_min: Amount) -> Result<(), TransactionError> {
    if available < deposit_min {
        return Err(TransactionError::DepositTooSmall { found: available, expected: deposit_min });
    }
    Ok(())
}

/// Whoever asks for a fee payer must have been promised one.
pub(crate) fn check_sponsorship(sponsorship: Sponsorship, is_promised: bool) -> Result<(), TransactionError> {
    match sponsorship {
        Sponsorship::None | Sponsorship::Paid(_) => Ok(()),
        Sponsorship::Wanted if is_promised => Ok(()),
        Sponsorship::Wanted => Err(TransactionError::SponsorshipNotOffered),
    }
}

pub(crate) fn check_chain(found: ChainId, expected: ChainId) -> Result<(), TransactionError> {
    if found != expected {
        return Err(TransactionError::WrongChain { found, expected });
    }
    Ok(())
}

fn same_address(field: &'static str, found: Address, expected: Address) -> Result<(), TransactionError> {
    if found != expected {
        return Err(TransactionError::WrongAddress { field, found, expected });
    }
    Ok(())
}

fn same_word(field: &'static str, found: B256, expected: B256) -> Result<(), TransactionError> {
    if found != expected {
        return Err(TransactionError::WrongWord { field, found, expected });
    }
    Ok(())
}

//! `open`: checks the client's transaction as far as words go, sends it once, and enters the channel.
//!
//! The voucher is verified before anything is broadcast: a client whose first voucher is worth nothing
//! costs the chain, and whoever pays its fees, nothing. In v2 its signer comes from the descriptor that
//! hashes to the channel id. In v1 the terms are in the transaction, which the chain's side reads: the door
//! finds out who signed the voucher, and the chain's side checks, before it broadcasts, that this is who the
//! transaction makes the signer.

use std::sync::Arc;

use farebox_core::challenge::credential::Open;
use farebox_core::channel::{Advertised, Party, Rejection};
use farebox_core::units::{Address, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion};
use farebox_crypto::keccak256;

use super::checked::Checked;
use super::door::Inner;
use super::flight::Landed;
use super::problem::{self, Refused};
use crate::Verdict;
use crate::chain::{ChainRefusal, ClaimedTerms, OpenRequest};

impl Inner {
    /// Sees to it that the books know the channel. A channel that they know already is left as it is: a
    /// replayed `open` is worth its voucher, no more (rule 6).
    pub(super) async fn open(
        self: &Arc<Self>,
        checked: &Checked,
        open: &Open,
        voucher: &AnySignedVoucher,
    ) -> Result<Landed, Refused> {
        let channel = checked.channel;
        let terms = self.terms(open, checked, voucher)?;
        let escrow = checked.escrow;
        let request = OpenRequest {
            transaction: open.transaction.clone(),
            channel,
            terms,
            escrow: escrow.address,
            payee: self.config.payee,
            token: checked.token,
            operator: escrow.operator,
            // A deposit below the first voucher, or one that the operator refuses, would be broadcast for nothing.
            deposit_min: checked.price.max(open.voucher.cumulative).max(self.engine.limits().deposit_min),
            is_sponsored: checked.is_sponsored,
        };
        let advertised = self.config.advertised(&escrow, checked.token);
        let flight = (channel, keccak256(&request.transaction));
        let shared = Arc::clone(self);
        let send = move || async move {
            let known = shared.engine.read(channel).await.map_err(|error| problem::engine(&error))?;
            if let Some(known) = known {
                let terms = known.identity.check(&advertised);
                terms.map_err(|rejection| problem::rejection(&rejection, channel))?;
                return Ok(Landed { tx_hash: None });
            }
            shared.send_open(request, &advertised).await
        };
        self.transactions.join(flight, send).await
    }

    /// Sends an open and enters what the chain says about it.
    async fn send_open(&self, request: OpenRequest, advertised: &Advertised) -> Result<Landed, Refused> {
        let channel = request.channel;
        // Before anything is broadcast: money of somebody who may not pay here would only be locked.
        let access = self.engine.limits().access.check(party(&request.terms, channel), self.clock.now());
        access.map_err(|rejection| problem::limited(&rejection, channel))?;
        let opened =
            self.chain.open(request).await.map_err(|refusal| self.chain_refused(&refusal, channel))?;
        let tx_hash = Some(opened.tx_hash);
        // What the chain's side read must be what was asked for, or it is not this channel.
        if opened.identity.channel_id() != channel {
            return Err(problem::other_channel_id(channel));
        }
        opened.identity.check(advertised).map_err(|rejection| problem::rejection(&rejection, channel))?;
        let (payer, token) = (opened.identity.payer(), opened.identity.token());
        let entered =
            self.engine.open(opened.identity, opened.deposit, opened.settled, opened.position).await;
        match entered {
            Ok(Verdict::Accepted(_)) => {
                self.remember(payer, token, channel).await;
                Ok(Landed { tx_hash })
            }
            Ok(Verdict::Rejected(refusal)) => Err(problem::refusal(&refusal, channel)),
            Err(error) => Err(problem::engine(&error)),
        }
    }

    /// A deposit that the operator's minimum refused is a refusal of that limit, and counted so.
    fn chain_refused(&self, refusal: &ChainRefusal, channel: ChannelId) -> Refused {
        match refusal {
            ChainRefusal::DepositTooSmall { deposit, .. } if *deposit < self.engine.limits().deposit_min => {
                let (deposit, minimum) = (*deposit, self.engine.limits().deposit_min);
                problem::limited(&Rejection::DepositTooSmall { deposit, minimum }, channel)
            }
            refusal => problem::chain(refusal, channel),
        }
    }

    /// The terms as the payload states them, with a signer whose voucher this is.
    fn terms(
        &self,
        open: &Open,
        checked: &Checked,
        voucher: &AnySignedVoucher,
    ) -> Result<ClaimedTerms, Refused> {
        let stated = open.authorized_signer;
        match (checked.escrow.protocol, open.voucher.descriptor) {
            (ProtocolVersion::V2, Some(descriptor)) => {
                if stated.is_some_and(|signer| signer != descriptor.authorized_signer) {
                    return Err(problem::other_signer(checked.channel));
                }
                self.verify(checked, voucher, descriptor.expected_signer())?;
                Ok(ClaimedTerms::V2(descriptor))
            }
            _ => {
                let signer = match stated.filter(|signer| !signer.is_zero()) {
                    Some(signer) => self.verify(checked, voucher, signer).map(|()| signer)?,
                    None => signer_of(checked, voucher)?,
                };
                Ok(ClaimedTerms::V1 { authorized_signer: Some(signer) })
            }
        }
    }

    fn verify(&self, checked: &Checked, voucher: &AnySignedVoucher, signer: Address) -> Result<(), Refused> {
        let verified = self.verifier.verify_one(&domain(checked), voucher, signer);
        verified.map(|_| ()).map_err(|error| problem::voucher(&error, checked.channel))
    }
}

/// Whom the lists are asked about. The payer of a v1 channel is known only to the chain's side: if he is listed, the
/// channel enters the books, buys nothing, and can be closed at once.
fn party(terms: &ClaimedTerms, channel: ChannelId) -> Party {
    match terms {
        ClaimedTerms::V2(descriptor) => {
            Party { payer: Some(descriptor.payer), signer: descriptor.expected_signer(), channel }
        }
        ClaimedTerms::V1 { authorized_signer } => {
            Party { payer: None, signer: authorized_signer.unwrap_or_default(), channel }
        }
    }
}

/// Who signed a v1 voucher.
fn signer_of(checked: &Checked, voucher: &AnySignedVoucher) -> Result<Address, Refused> {
    let signer = domain(checked).recover_signer(voucher);
    signer.map_err(|error| problem::voucher(&error, checked.channel))
}

fn domain(checked: &Checked) -> AnyDomain {
    let escrow = checked.escrow;
    AnyDomain::new(escrow.protocol, escrow.chain_id, escrow.address)
}

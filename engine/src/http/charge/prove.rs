//! A charge of nothing: who proves an account is told of its newest channel.

use bytes::Bytes;
use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::snapshot::SessionSnapshot;
use farebox_core::challenge::{AnyCharge, ChargePayload, ChargeReceipt, METHOD, proof};
use farebox_core::channel::{Phase, Terms};
use farebox_core::units::{Address, B256, ChainId, ChannelId};
use farebox_core::voucher::ProtocolVersion;
use http::header::HeaderMap;
use http::{Response, StatusCode};

use super::super::Decision;
use super::super::answer::full;
use super::super::door::Inner;
use super::super::flow::add_snapshot;
use super::super::headers::{self, PAYMENT_RECEIPT};
use super::super::problem::{self, Refused};
use super::value;

/// What the keys of payers' channels begin with.
const PAYER: &[u8] = b"payer/";

impl Inner {
    /// Answers who proved an account with what the books hold of its newest channel.
    pub(super) async fn prove(
        &self,
        credential: &AnyCharge,
        chain_id: ChainId,
        token: Address,
    ) -> Result<Decision, Refused> {
        let ChargePayload::Proof(signature) = credential.tempo().map_err(problem::malformed)? else {
            return Err(problem::charge_mode());
        };
        let id = &credential.challenge.id;
        let realm = self.config.realm.as_str();
        let account = proof::verify(credential.source.as_deref(), &signature, chain_id, id, realm)
            .map_err(|error| problem::bad_proof(&error))?;
        let receipt = ChargeReceipt {
            method: METHOD.into(),
            chain_id: None,
            timestamp: UnixMillis(self.clock.unix_millis()),
            challenge_id: id.clone(),
            reference: id.clone(),
        };
        let mut answer = Response::new(full(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        headers::make_private(answer.headers_mut(), &["private", "no-store"]);
        answer.headers_mut().insert(PAYMENT_RECEIPT, value(&receipt));
        if let Some(channel) = self.channel_of(account, token).await? {
            self.add_channel(answer.headers_mut(), channel, account).await?;
        }
        Ok(Decision::Answer(answer))
    }

    /// Remembers the newest channel of a payer, for one that lost it. Without it the channel is as good, and only not
    /// found; so a failure is no refusal.
    pub(in crate::http) async fn remember(&self, payer: Address, token: Address, channel: ChannelId) {
        if let Err(error) = self.engine.put_note(&payer_key(payer, token), channel.0.to_vec()).await {
            tracing::warn!(%channel, %error, "a payer's channel was not noted");
        }
    }

    async fn channel_of(&self, payer: Address, token: Address) -> Result<Option<ChannelId>, Refused> {
        let notes = self.engine.notes(&payer_key(payer, token)).await;
        let notes = notes.map_err(|error| problem::engine(&error))?;
        let channel = notes.first().and_then(|note| <[u8; 32]>::try_from(note.bytes.as_slice()).ok());
        Ok(channel.map(|id| ChannelId(B256::new(id))))
    }

    /// Tells of a channel that still serves, to the account that opened it.
    async fn add_channel(
        &self,
        headers: &mut HeaderMap,
        channel: ChannelId,
        account: Address,
    ) -> Result<(), Refused> {
        let found = self.engine.read(channel).await.map_err(|error| problem::engine(&error))?;
        let Some(found) = found else { return Ok(()) };
        let books = &found.snapshot;
        let Terms::V2(descriptor) = &found.identity.terms else { return Ok(()) };
        let serves = books.phase == Phase::Open && books.close_requested_at.is_none();
        let is_offered = self.config.escrows.iter().any(|escrow| {
            escrow.protocol == ProtocolVersion::V2
                && found.identity.check(&self.config.advertised(escrow, self.config.token)).is_ok()
        });
        if serves && is_offered && descriptor.payer == account {
            let snapshot = SessionSnapshot {
                channel,
                chain_id: found.identity.chain_id,
                escrow: found.identity.escrow,
                descriptor,
                books,
                required: books.spent.checked_add(books.reserved).unwrap_or(books.accepted),
            };
            add_snapshot(headers, &snapshot);
        }
        Ok(())
    }
}

fn payer_key(payer: Address, token: Address) -> Vec<u8> {
    [PAYER, payer.as_slice(), token.as_slice()].concat()
}

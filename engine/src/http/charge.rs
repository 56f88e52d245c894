//! `charge`: one transfer pays for one request, beside the session; and a charge of nothing proves whose channel is
//! asked for.
//!
//! The challenge carries a memo that no other has, and the transfer must repeat it, or carry the one that its client made of
//! the challenge's id: so a transaction pays for one challenge
//! of one server, wherever it was sent before. Per challenge there is at most one delivery. That is kept in a durable
//! note, written before the answer leaves; a service that gives no good answer leaves the credential good for another try
//! until the challenge expires.
//!
//! The session's books know nothing of charges: the money is the payee's when the chain has executed the transfer.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use farebox_core::challenge::rfc3339::{self, UnixMillis};
use farebox_core::challenge::snapshot::SessionSnapshot;
use farebox_core::challenge::{ChargeCredential, ChargePayload, ChargeReceipt, ChargeRequest, charge, proof};
use farebox_core::channel::{Party, Phase, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_crypto::keccak256;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::answer::{DoorBody, full};
use super::door::{Inner, add_snapshot};
use super::headers::{self, PAYMENT_RECEIPT};
use super::problem::{self, Refused};
use super::{Asked, BoxError, Decision, Offer, Route, deliver};
use crate::chain::{Attribution, ChargeOrder};

/// How long a charge's challenge holds. Its transaction ends before that.
pub(super) const CHARGE_LIFETIME_MS: u64 = 300_000;
/// Charges that may be under way at once.
const RUNNING_MAX: usize = 1_024;
/// Notes of expired challenges that are removed with each new one: more than one, so that they become fewer.
const REMOVED_AT_ONCE_MAX: usize = 4;
/// What the keys of delivered charges begin with.
const DELIVERED: &[u8] = b"charge/";
/// What the keys of payers' channels begin with.
const PAYER: &[u8] = b"payer/";

/// A challenge, hashed.
type Key = [u8; 32];

/// The charges under way, and those that were delivered and not forgotten.
#[derive(Debug, Default)]
pub(super) struct Charges {
    running: Mutex<HashSet<Key>>,
    /// By the end of their challenges, in milliseconds.
    delivered: OnceCell<Mutex<BTreeSet<(u64, Key)>>>,
}

/// Keeps everybody else from the same challenge.
#[derive(Debug)]
struct Turn {
    charges: Arc<Charges>,
    key: Key,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.charges.running.lock().remove(&self.key);
    }
}

/// A request that is paid for by a transfer. Dropped without a good answer, its credential may be used again.
pub struct Charged {
    inner: Arc<Inner>,
    turn: Turn,
    expires: UnixMillis,
    receipt: ChargeReceipt,
    offer: Offer,
}

impl std::fmt::Debug for Charged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charged({}, ..)", self.receipt.reference)
    }
}

impl Charged {
    /// The route that is paid for.
    pub fn route(&self) -> &Route {
        self.offer.route()
    }

    /// Makes the request ready for the service behind the door: the credential stays here.
    pub fn prepare(&self, headers: &mut HeaderMap) {
        headers::strip_credentials(headers);
    }

    /// Gives the service's answer a receipt, after it is written down that the charge is used up.
    ///
    /// An answer that is no success (2xx), or none at all, leaves the charge good for another try with the same
    /// credential, until its challenge expires.
    pub async fn deliver<B, E>(self, answer: Result<Response<B>, E>) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let error: BoxError = error.into();
                tracing::warn!(%error, "the service gave no answer to a charge");
                return deliver::bad_gateway(
                    "the service gave no answer; the same credential may be used again",
                );
            }
        };
        if !answer.status().is_success() {
            return deliver::unpaid(answer);
        }
        if let Err(error) = self.inner.use_up(self.turn.key, self.expires).await {
            let problem = problem::engine(&error);
            return super::answer::problem_answer(&problem, problem.to_json(None));
        }
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(PAYMENT_RECEIPT, value(&self.receipt));
        headers::make_private(&mut parts.headers, &["private"]);
        Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
    }
}

fn value(receipt: &ChargeReceipt) -> HeaderValue {
    HeaderValue::from_str(&receipt.to_header()).expect("base64url is visible ASCII")
}

impl Inner {
    /// The chain that charges are paid on: that of the first escrow.
    fn charge_chain(&self) -> Option<ChainId> {
        self.config.escrows.first().map(|escrow| escrow.chain_id)
    }

    /// What a fresh challenge asks of who pays `amount` at once, or proves an account for nothing.
    pub(super) fn charge_request(&self, amount: Amount, route: &Route, serial: u64) -> Option<ChargeRequest> {
        let chain_id = self.charge_chain()?;
        let is_paid = !amount.is_zero();
        let mut text = b"farebox charge".to_vec();
        text.extend_from_slice(self.config.realm.as_str().as_bytes());
        text.extend_from_slice(&serial.to_be_bytes());
        text.extend_from_slice(&self.clock.unix_millis().to_be_bytes());
        Some(ChargeRequest {
            amount,
            currency: self.config.token,
            recipient: self.config.payee,
            chain_id,
            memo: is_paid.then(|| B256::new(keccak256(&text))),
            fee_payer: is_paid && self.config.fee_payer && route.is_sponsored,
        })
    }

    /// Decides about a credential of a charge.
    pub(super) async fn charged(
        self: &Arc<Self>,
        asked: Asked<'_>,
        offer: &Offer,
        token: &str,
    ) -> Result<Decision, Refused> {
        let credential = ChargeCredential::parse(token).map_err(problem::malformed)?;
        let now = UnixMillis(self.clock.unix_millis());
        let (keys, realm) = (&self.config.keys, &self.config.realm);
        let echo = &credential.challenge;
        echo.authenticate_for(charge::INTENT, keys, realm, now)
            .map_err(|error| problem::bad_challenge(&error, false))?;
        let other = || problem::other_challenge(false);
        let request = ChargeRequest::decode(echo.request()).map_err(|_| other())?;
        let is_ours = request.currency == self.config.token
            && request.recipient == self.config.payee
            && Some(request.chain_id) == self.charge_chain();
        let is_head = *asked.method == Method::HEAD;
        if !is_ours {
            return Err(other());
        }
        if request.amount.is_zero() {
            // A proof buys nothing.
            return if is_head { self.prove(&credential, &request).await } else { Err(other()) };
        }
        if is_head || offer.route().charge != Some(request.amount) {
            return Err(other());
        }
        super::door::check_body(asked, offer.route(), echo.digest())?;
        let ChargePayload::Transaction(transaction) = credential.payload else {
            return Err(problem::charge_mode());
        };
        let expires = echo.expires().and_then(rfc3339::parse).ok_or_else(other)?;
        self.take(offer, echo.id.clone(), request, transaction, expires).await
    }

    /// Takes the money, and lets one request through.
    async fn take(
        self: &Arc<Self>,
        offer: &Offer,
        challenge_id: String,
        request: ChargeRequest,
        transaction: Vec<u8>,
        expires: UnixMillis,
    ) -> Result<Decision, Refused> {
        let key = keccak256(challenge_id.as_bytes());
        let turn = self.turn(key)?;
        let receipt = |reference: String| ChargeReceipt {
            timestamp: UnixMillis(self.clock.unix_millis()),
            challenge_id: challenge_id.clone(),
            reference,
        };
        let shared = Arc::clone(self);
        let attribution = Attribution::new(self.config.realm.as_str(), &challenge_id);
        let is_sponsored = request.fee_payer && self.config.fee_payer && offer.route().is_sponsored;
        // In a task of its own: what was broadcast is followed to its fate, also when the client leaves.
        let taking = tokio::spawn(async move {
            if shared.is_used_up(key).await? {
                return Ok((turn, None));
            }
            let guard = Arc::clone(&shared);
            let may_pay = move |payer| guard.may_pay(payer);
            let order = ChargeOrder {
                transaction,
                token: request.currency,
                payee: request.recipient,
                amount: request.amount,
                memo: request.memo.unwrap_or_default(),
                attribution,
                expires: UnixSeconds(expires.0 / 1_000),
                is_sponsored,
                may_pay: Arc::new(may_pay),
            };
            let taken = shared.chain.charge(order).await;
            let tx_hash = taken.map_err(|refusal| problem::charge(&refusal))?;
            Ok((turn, Some(tx_hash)))
        });
        let (turn, tx_hash) = taking.await.unwrap_or_else(|_| Err(problem::lost_task()))?;
        let Some(tx_hash) = tx_hash else {
            return Err(problem::used_up());
        };
        let receipt = receipt(format!("{tx_hash:#x}"));
        let charged = Charged { inner: Arc::clone(self), turn, expires, receipt, offer: offer.clone() };
        Ok(Decision::Charged(Box::new(charged)))
    }

    /// Whether the operator's lists let an account pay.
    fn may_pay(&self, payer: Address) -> bool {
        let party = Party { payer: Some(payer), signer: payer, channel: ChannelId(B256::ZERO) };
        self.engine.limits().access.check(party, self.clock.now()).is_ok()
    }

    fn turn(&self, key: Key) -> Result<Turn, Refused> {
        let mut running = self.charges.running.lock();
        if running.len() >= RUNNING_MAX {
            return Err(problem::too_many_transactions());
        }
        if !running.insert(key) {
            return Err(problem::charge_in_flight());
        }
        Ok(Turn { charges: Arc::clone(&self.charges), key })
    }

    async fn is_used_up(&self, key: Key) -> Result<bool, Refused> {
        let notes = self.engine.notes(&note_key(key)).await.map_err(|error| problem::engine(&error))?;
        Ok(!notes.is_empty())
    }

    /// Writes down that a challenge was delivered, and forgets some that nobody can use any more.
    async fn use_up(&self, key: Key, expires: UnixMillis) -> Result<(), crate::EngineError> {
        let load = || async {
            let notes = self.engine.notes(DELIVERED).await?;
            let read = notes.iter().filter_map(|note| {
                let key: Key = note.key.strip_prefix(DELIVERED)?.try_into().ok()?;
                Some((u64::from_be_bytes(note.bytes.as_slice().try_into().ok()?), key))
            });
            Ok::<_, crate::EngineError>(Mutex::new(read.collect()))
        };
        let delivered = self.charges.delivered.get_or_try_init(load).await?;
        self.engine.put_note(&note_key(key), expires.0.to_be_bytes().to_vec()).await?;
        let now_ms = self.clock.unix_millis();
        let expired: Vec<(u64, Key)> = {
            let mut delivered = delivered.lock();
            delivered.insert((expires.0, key));
            let over = delivered.iter().take_while(|(expires_ms, _)| *expires_ms <= now_ms);
            over.take(REMOVED_AT_ONCE_MAX).copied().collect()
        };
        for (expires_ms, key) in expired {
            // One that stays is removed after the next start.
            if self.engine.remove_note(&note_key(key)).await.is_ok() {
                delivered.lock().remove(&(expires_ms, key));
            }
        }
        Ok(())
    }

    /// Answers who proved an account with what the books hold of its newest channel.
    async fn prove(
        &self,
        credential: &ChargeCredential,
        request: &ChargeRequest,
    ) -> Result<Decision, Refused> {
        let ChargePayload::Proof(signature) = &credential.payload else {
            return Err(problem::charge_mode());
        };
        let id = &credential.challenge.id;
        let realm = self.config.realm.as_str();
        let account = proof::verify(credential.source.as_deref(), signature, request.chain_id, id, realm)
            .map_err(|error| problem::bad_proof(&error))?;
        let receipt = ChargeReceipt {
            timestamp: UnixMillis(self.clock.unix_millis()),
            challenge_id: id.clone(),
            reference: id.clone(),
        };
        let mut answer = Response::new(full(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        headers::make_private(answer.headers_mut(), &["private", "no-store"]);
        answer.headers_mut().insert(PAYMENT_RECEIPT, value(&receipt));
        if let Some(channel) = self.channel_of(account, request.currency).await? {
            self.add_channel(answer.headers_mut(), channel, account).await?;
        }
        Ok(Decision::Answer(answer))
    }

    /// Remembers the newest channel of a payer, for one that lost it. Without it the channel is as good, and only not
    /// found; so a failure is no refusal.
    pub(super) async fn remember(&self, payer: Address, token: Address, channel: ChannelId) {
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

fn note_key(key: Key) -> Vec<u8> {
    [DELIVERED, &key].concat()
}

fn payer_key(payer: Address, token: Address) -> Vec<u8> {
    [PAYER, payer.as_slice(), token.as_slice()].concat()
}

//! Claims for somebody else's server, when that one does not: a second pair of eyes that only claims.
//!
//! The watchtower reads another process's books, and never writes to them. At every look it compares the channels that
//! are not over with the chain; a close request that nobody answered for a while is claimed with what those books hold,
//! before the grace period ends. Its own books hold these channels alone, with its intents, so that a crash of the
//! watchtower is found out about like any other.
//!
//! # Why it never claims a half
//!
//! A claim is only right with all that the followed books ever charged, and those change until the close request (service
//! ends with it, rule 7). So a channel is copied when its request is old enough, and copied again when the followed books
//! say something else; settlement leaves a request alone until a few looks later. A note says which channel is being
//! copied: after a crash in between, settlement starts only when the copy is finished.
//!
//! Two that claim at once do no harm: the escrow executes one close, and the other finds the channel over.

use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{ChainPosition, Phase, Snapshot, Spend, State};
use farebox_core::units::{Address, Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::{AnyDomain, ProtocolVersion, Voucher};
use farebox_engine::ledger::{CHANNELS_PAGE_MAX, LedgerRead, StoredChannel, recover};
use farebox_engine::{Channel, Clock, Engine, EngineError, LedgerError, Refusal, Step, SystemClock, Verdict};
use farebox_settlement_plan::planner::Policy;
use tokio::sync::watch;

use crate::account::sender_of;
use crate::client::{ChannelOnChain, Client, ClientError};
use crate::config::Config;
use crate::intent::retry_busy;
use crate::settlement::{Settlement, StartError};
use crate::signer::PayeeSigner;

/// What the keys of notes begin with that name channels which are being copied.
const COPYING: &[u8] = b"copying/";
/// Channels of one question to the chain.
const QUESTION_CHANNELS: usize = 256;
/// Looks that a copy may take before settlement claims.
const LOOKS_BEFORE_CLAIM: u64 = 3;
/// Where in a block the facts stand that were read as a state and not as an event: behind every event.
const BEHIND_ALL: u32 = u32::MAX;

/// Opens the followed books as they are now.
pub type OpenBooks = dyn Fn() -> Result<Box<dyn LedgerRead>, LedgerError> + Send + Sync;

/// How a watchtower is set up.
#[derive(Clone, Copy, Debug)]
pub struct WatchtowerConfig {
    /// How old a close request must be before the watchtower claims: the followed server had its chance.
    pub after_s: u64,
    /// The pause between two looks.
    pub look_ms: u64,
}

impl Default for WatchtowerConfig {
    /// Half of the grace period for the followed server, half for the watchtower.
    fn default() -> Self {
        Self { after_s: 450, look_ms: 10_000 }
    }
}

/// Why a look or a copy failed. It is tried again at the next look.
#[derive(Debug, thiserror::Error)]
pub enum WatchtowerError {
    /// The followed books cannot be read.
    #[error("the followed books cannot be read: {0}")]
    Books(#[from] LedgerError),
    /// The chain cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its own books failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Settlement does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its own books refuse what the followed ones hold.
    #[error("channel {channel} cannot be copied: {why}")]
    Refused {
        /// The channel.
        channel: ChannelId,
        /// Why.
        why: String,
    },
}

/// A channel that has to be in its own books as the followed ones have it.
struct Wanted {
    stored: StoredChannel,
    deposit: Amount,
    settled: Amount,
    requested_at: Option<UnixSeconds>,
    block: u64,
}

/// Watches. [`Watchtower::run`] does everything.
pub struct Watchtower {
    /// What settlement is told; its policy is replaced by one that only answers close requests.
    pub config: Config,
    /// When the watchtower steps in.
    pub watch: WatchtowerConfig,
    /// Its own books; nobody else writes to them.
    pub engine: Engine,
    /// The chain.
    pub client: Client,
    /// The key of the payee or the operator.
    pub signer: PayeeSigner,
    /// The followed books.
    pub books: Arc<OpenBooks>,
}

impl Watchtower {
    /// Watches until told to stop; then gives claims that are under way a moment.
    ///
    /// # Errors
    ///
    /// Its own books failed: only a restart helps.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), WatchtowerError> {
        let mut settlement: Option<Settlement> = None;
        loop {
            match self.look(&mut settlement).await {
                Ok(()) => metrics::gauge!("farebox_watchtower_failures").set(0.0),
                Err(WatchtowerError::Engine(
                    error @ (EngineError::Stopped | EngineError::Poisoned { .. }),
                )) => {
                    return Err(error.into());
                }
                Err(error) => {
                    metrics::gauge!("farebox_watchtower_failures").increment(1.0);
                    tracing::error!(%error, "ALARM: the watchtower cannot see");
                }
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(Duration::from_millis(self.watch.look_ms)) => {}
            }
        }
        if let Some(settlement) = settlement {
            settlement.stop().await;
        }
        Ok(())
    }

    /// One look: copies what has to be claimed, and starts settlement when nothing is half there.
    async fn look(&self, settlement: &mut Option<Settlement>) -> Result<(), WatchtowerError> {
        let looked = async {
            for wanted in self.wanted().await? {
                self.copy(&wanted).await?;
            }
            Ok::<_, WatchtowerError>(())
        };
        let looked = looked.await;
        // What a former process left half copied must not be claimed; everything else goes on without a look.
        if settlement.is_none() && self.engine.notes(COPYING).await?.is_empty() {
            let (engine, client, signer) = (self.engine.clone(), self.client.clone(), self.signer.clone());
            *settlement = Some(Settlement::start(self.settings(), engine, client, signer).await?);
        }
        looked
    }

    /// Settlement that only answers close requests, and those late.
    fn settings(&self) -> Config {
        let mut config = self.config.clone();
        config.work.policy = Policy {
            amount_min: Amount::ZERO,
            age_s_max: 0,
            units_max: 0,
            exposure_max: Amount::ZERO,
            idle_s_max: 0,
            ..config.work.policy
        };
        let looks_s = (LOOKS_BEFORE_CLAIM * self.watch.look_ms).div_ceil(1_000);
        config.work.close_request_rest_s = self.watch.after_s.saturating_add(looks_s);
        config
    }

    /// Channels with close requests that are old enough, and those whose copy was begun, as far as its own books do not hold
    /// them as they are.
    async fn wanted(&self) -> Result<Vec<Wanted>, WatchtowerError> {
        let (books, config, signer) = (Arc::clone(&self.books), self.config.clone(), self.signer.address());
        let read = tokio::task::spawn_blocking(move || living(&*books, &config, signer)).await;
        let living = read.map_err(|error| LedgerError::Io {
            action: "read the followed books",
            cause: error.to_string().into(),
        })??;
        let mut wanted = Vec::new();
        for escrow in &self.config.escrows {
            let ours: Vec<&StoredChannel> =
                living.iter().filter(|stored| stored.identity.escrow == escrow.address).collect();
            for some in ours.chunks(QUESTION_CHANNELS) {
                wanted.extend(self.wanted_among(escrow.protocol, escrow.address, some).await?);
            }
        }
        Ok(wanted)
    }

    async fn wanted_among(
        &self,
        protocol: ProtocolVersion,
        escrow: Address,
        some: &[&StoredChannel],
    ) -> Result<Vec<Wanted>, WatchtowerError> {
        let ids: Vec<ChannelId> = some.iter().map(|stored| stored.channel).collect();
        let (states, block) = self.client.channels(protocol, escrow, &ids, 0).await?;
        let now = SystemClock.now().max(self.client.timestamp(block).await?);
        let mut wanted = Vec::new();
        for (stored, state) in some.iter().zip(states) {
            let ChannelOnChain::Open { deposit, settled, close_requested_at: requested_at } = state else {
                continue;
            };
            let is_old = requested_at.is_some_and(|at| now >= at.saturating_add(self.watch.after_s));
            let is_half = !self.engine.notes(&note_key(stored.channel)).await?.is_empty();
            if !is_half && !is_old {
                continue;
            }
            let own = retry_busy(|| self.engine.read(stored.channel)).await?;
            let is_there = own.is_some_and(|own| is_copy(&own.snapshot, &stored.state));
            if is_half || !is_there {
                wanted.push(Wanted { stored: (*stored).clone(), deposit, settled, requested_at, block });
            }
        }
        Ok(wanted)
    }

    /// Copies a channel: what was accepted, what was charged, what the chain says; the close request last. Begun before and
    /// not finished, it goes on where it stopped.
    async fn copy(&self, wanted: &Wanted) -> Result<(), WatchtowerError> {
        let StoredChannel { channel, identity, state } = &wanted.stored;
        let (channel, block) = (*channel, wanted.block);
        let at = |log_index| ChainPosition { block, log_index };
        let key = note_key(channel);
        retry_busy(|| self.engine.put_note(&key, Vec::new())).await?;
        // Settled comes after the vouchers: one that is public already could not be taken any more (rule 4).
        let opened = retry_busy(|| {
            let start = ChainPosition::default();
            self.engine.open(identity.as_ref().clone(), wanted.deposit, Amount::ZERO, start)
        });
        must(channel, opened.await?)?;
        let own = self.own(channel).await?.snapshot;
        if own.phase != Phase::Open {
            // A claim is on its way already, or the channel is over.
            return Ok(retry_busy(|| self.engine.remove_note(&key)).await?);
        }
        if own.close_requested_at.is_some() {
            // A pending request refuses vouchers (rule 7); it comes back below.
            self.step(channel, Step::CloseRequestCancelled { position: at(BEHIND_ALL - 1) }).await?;
        }
        let (deposit, cancels_close) = (wanted.deposit, false);
        self.step(channel, Step::ToppedUp { deposit, position: at(BEHIND_ALL - 1), cancels_close }).await?;
        self.copy_vouchers(channel, state).await?;
        let spent = self.own(channel).await?.snapshot.spent;
        if let Some(rest) = state.spent.checked_sub(spent).filter(|rest| !rest.is_zero()) {
            let charge = Spend::Charge { key: None, amount: rest, units: 0 };
            self.step(channel, Step::Spend(charge)).await?;
        }
        let settled = Step::Settled { settled: wanted.settled, position: at(BEHIND_ALL - 1) };
        self.step(channel, settled).await?;
        let own = self.own(channel).await?.snapshot;
        if !is_same_money(&own, state) {
            let why = format!("{} of {} spent came over", own.spent, state.spent);
            return Err(WatchtowerError::Refused { channel, why });
        }
        if let Some(requested_at) = wanted.requested_at {
            let position = at(BEHIND_ALL);
            self.step(channel, Step::CloseRequested { at: requested_at, position }).await?;
            let (requested_at, spent) = (requested_at.0, state.spent);
            tracing::warn!(%channel, requested_at, %spent, "a close request is left alone; it is claimed from here");
            metrics::counter!("farebox_watchtower_copies_total").increment(1);
        }
        Ok(retry_busy(|| self.engine.remove_note(&key)).await?)
    }

    /// Hands in every voucher that the followed books kept, the lowest first.
    async fn copy_vouchers(&self, channel: ChannelId, state: &State) -> Result<(), WatchtowerError> {
        let identity = self.own(channel).await?.identity;
        let domain = AnyDomain::new(identity.protocol(), identity.chain_id, identity.escrow);
        for kept in state.kept.iter() {
            if self.own(channel).await?.snapshot.accepted >= kept.amount {
                continue;
            }
            let voucher = Voucher { channel_id: channel, cumulative_amount: kept.amount };
            let refused = |why: String| WatchtowerError::Refused { channel, why };
            let voucher = domain
                .parse(voucher, kept.signature.as_bytes())
                .map_err(|error| refused(error.to_string()))?;
            let verdict = retry_busy(|| self.engine.submit(channel, voucher.clone(), Spend::Nothing)).await?;
            must(channel, verdict)?;
        }
        Ok(())
    }

    async fn own(&self, channel: ChannelId) -> Result<Channel, WatchtowerError> {
        let found = retry_busy(|| self.engine.read(channel)).await?;
        found.ok_or_else(|| WatchtowerError::Refused { channel, why: "it is not there".into() })
    }

    async fn step(&self, channel: ChannelId, step: Step) -> Result<(), WatchtowerError> {
        let verdict = retry_busy(|| self.engine.apply(channel, step)).await?;
        must(channel, verdict)
    }
}

/// The channels of the followed books that are not over, and that this key may claim.
fn living(books: &OpenBooks, config: &Config, signer: Address) -> Result<Vec<StoredChannel>, LedgerError> {
    let view = books()?;
    let recovered = recover(&*view)?;
    let mut living = Vec::new();
    let mut after = None;
    loop {
        let page = recovered.page(&*view, after, CHANNELS_PAGE_MAX)?;
        after = page.last().map(|stored| stored.channel);
        let is_last = page.len() < CHANNELS_PAGE_MAX;
        living.extend(page.into_iter().filter(|stored| {
            let identity = &stored.identity;
            !matches!(stored.state.phase, Phase::Closed(_))
                && config.protocol_of(identity.escrow) == Some(identity.protocol())
                && sender_of(signer, identity).is_some()
        }));
        if is_last {
            return Ok(living);
        }
    }
}

/// Whether its own books hold all of a channel, or a claim of it is on its way.
fn is_copy(own: &Snapshot, followed: &State) -> bool {
    own.phase != Phase::Open || own.close_requested_at.is_some() && is_same_money(own, followed)
}

fn is_same_money(own: &Snapshot, followed: &State) -> bool {
    own.spent == followed.spent && own.accepted >= followed.accepted
}

fn must(channel: ChannelId, verdict: Verdict) -> Result<(), WatchtowerError> {
    let refused = |refusal: Refusal| WatchtowerError::Refused { channel, why: refusal.to_string() };
    verdict.accepted().map(drop).map_err(refused)
}

fn note_key(channel: ChannelId) -> Vec<u8> {
    [COPYING, channel.0.as_slice()].concat()
}

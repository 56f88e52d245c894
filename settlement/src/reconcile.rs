//! Compares restored books with the chain, before they are served again.
//!
//! A backup is older than the chain: channels were topped up, settled or closed since, and payers asked to
//! close. Books that do not know would give service for money that is gone. So before a restored store is
//! served, every channel that it calls open is read from its escrow, and the books are told what they missed,
//! through the same engine and the same journal as always.
//!
//! # The rules
//!
//! - **The chain is right** where it is ahead: deposits, settled amounts, close requests, ends.
//! - **A channel of which the chain paid out more than the books charged is closed**, for `settled` and not a
//!   unit more. What was paid out was spent in the time that the books forgot, and how much more was, nobody
//!   knows. Left open, its next voucher would buy that service a second time.
//! - **Where the chain is behind the books, nothing is believed**: a node that is behind, another chain, the
//!   books of somebody else. These are listed, and the store stays closed.
//!
//! Vouchers that were accepted after the backup are lost; nothing here can know of them. Their channels go on
//! from what the backup holds, so `spent` may be behind the truth. It is never ahead, so no payer pays twice.

use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{ChainPosition, Identity, Phase, Snapshot};
use farebox_core::units::{Amount, ChainId, ChannelId, UnixSeconds};
use farebox_engine::{Channel, Engine, EngineError, Step, Verdict};
use tokio::task::JoinSet;

use crate::client::{ChannelOnChain, Client, ClientError};
use crate::config::Config;
use crate::feed::Feed;
use crate::missed::{Living, missed};
use crate::opening::Openings;
use crate::watcher::{LookError, Watcher};

/// Channels of one page of the books.
const PAGE_CHANNELS: usize = 1_024;
/// How often the nodes are asked again whether they have the block whose state was read.
const LOOKS_BEHIND_MAX: u32 = 60;
/// The most channels that are listed, of those that were corrected and of those that do not fit.
pub const LISTED_MAX: usize = 10_000;

/// Which channels are closed instead of served again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retire {
    /// Those of which the chain paid out more than the books charged.
    #[default]
    PaidOutAbove,
    /// All: no voucher that the books forgot buys anything again, and none that they forgot is claimed.
    All,
}

/// Why the comparison did not come to its end. It can be begun again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The chain cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The books failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The books refuse what the chain says.
    #[error("the books of channel {channel} refuse what the chain says: {refusal}")]
    Refused {
        /// The channel.
        channel: ChannelId,
        /// Why.
        refusal: Box<farebox_engine::Refusal>,
    },
    /// A task ended that should not.
    #[error("a task that compares ended early")]
    TaskLost,
}

impl From<LookError> for ReconcileError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Client(error) => error.into(),
            LookError::Engine(error) => error.into(),
            LookError::TaskLost => Self::TaskLost,
        }
    }
}

/// What was found, and what the books were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// The newest block whose state was read.
    pub block: u64,
    /// Channels that the books called open or closing.
    pub compared: u64,
    /// What the books were told, at most [`LISTED_MAX`].
    pub corrections: Vec<(ChannelId, Correction)>,
    /// What does not fit, at most [`LISTED_MAX`]. While there is any, the books must not be served.
    pub conflicts: Vec<(ChannelId, Conflict)>,
    /// Corrections and conflicts beyond those that are listed.
    pub left_out: u64,
}

/// What the books were told of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The deposit grew.
    Deposit {
        /// What the books had.
        was: Amount,
        /// What the escrow holds.
        is: Amount,
    },
    /// More was paid out.
    Settled {
        /// What the books had.
        was: Amount,
        /// What the escrow paid out.
        is: Amount,
    },
    /// The payer asked to close.
    CloseRequested {
        /// When.
        at: UnixSeconds,
    },
    /// The payer took a close request back.
    CloseRequestCancelled,
    /// It is over.
    Closed {
        /// What the payee got over its life.
        captured: Amount,
        /// What was spent, as far as the books know, and not claimed.
        lost: Amount,
    },
    /// It is being closed: more was paid out than the books charged, or all are.
    Retired {
        /// What the escrow paid out.
        settled: Amount,
        /// What the books charged.
        spent: Amount,
    },
}

/// Where books and chain cannot both be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The channel lives on a chain or in an escrow that is not configured.
    Elsewhere {
        /// Its chain.
        chain_id: ChainId,
    },
    /// The escrow holds less than the books say was deposited.
    DepositBehind {
        /// The books'.
        books: Amount,
        /// The chain's.
        chain: Amount,
    },
    /// The escrow paid out less than the books say.
    SettledBehind {
        /// The books'.
        books: Amount,
        /// The chain's.
        chain: Amount,
    },
    /// The escrow knows no such channel, and no event says how it ended.
    Unknown,
}

/// Compares every channel that is not over with the chain, tells the books what they missed, and says so.
/// The engine must serve nobody meanwhile.
///
/// # Errors
///
/// [`ReconcileError`]. What was told until then stands, and does no harm when it is told again.
pub async fn reconcile(
    engine: &Engine,
    client: &Client,
    config: Config,
    retire: Retire,
) -> Result<Reconciliation, ReconcileError> {
    client.check().await?;
    let config = Arc::new(config);
    let not_before = client.head().await?.number;
    let mut done = Reconciliation { block: not_before, ..Reconciliation::default() };
    let mut ended = Vec::new();
    let mut after = None;
    loop {
        let page = engine.channels_page(after, PAGE_CHANNELS).await?;
        after = page.last().map(|channel| channel.id);
        let is_last = page.len() < PAGE_CHANNELS;
        let living = page.into_iter().filter(|channel| !matches!(channel.snapshot.phase, Phase::Closed(_)));
        let one = One { engine: engine.clone(), client: client.clone(), config: Arc::clone(&config), retire };
        compare_all(&one, living, &mut done, &mut ended).await?;
        if is_last {
            break;
        }
    }
    catch_up(engine, client, &config, done.block).await?;
    for channel in ended {
        match engine.read(channel).await?.map(|found| found.snapshot.phase) {
            Some(Phase::Closed(closure)) => {
                done.correct(channel, Correction::Closed { captured: closure.captured, lost: closure.lost });
            }
            _ => done.conflict(channel, Conflict::Unknown),
        }
    }
    Ok(done)
}

/// Compares the channels of a page, some at the same time.
async fn compare_all(
    one: &One,
    mut waiting: impl Iterator<Item = Channel>,
    done: &mut Reconciliation,
    ended: &mut Vec<ChannelId>,
) -> Result<(), ReconcileError> {
    let mut running = JoinSet::new();
    loop {
        while running.len() < one.config.watch.channels_in_flight_max
            && let Some(channel) = waiting.next()
        {
            let (one, not_before) = (one.clone(), done.block);
            running.spawn(async move { (channel.id, one.compare(channel, not_before).await) });
        }
        let Some(joined) = running.join_next().await else { return Ok(()) };
        let (channel, compared) = joined.map_err(|_| ReconcileError::TaskLost)?;
        let (compared, block) = compared?;
        done.compared += 1;
        done.block = done.block.max(block);
        match compared {
            Compared::Corrected(corrections) => {
                corrections.into_iter().for_each(|correction| done.correct(channel, correction));
            }
            Compared::Ended => ended.push(channel),
            Compared::Conflict(conflict) => done.conflict(channel, conflict),
        }
    }
}

/// Reads the escrows' events from where the books had read them up to block `until` at least: how channels
/// ended stands there.
async fn catch_up(
    engine: &Engine,
    client: &Client,
    config: &Arc<Config>,
    until: u64,
) -> Result<(), ReconcileError> {
    // Nobody is woken: closes are for the server.
    let feed = Arc::new(Feed::default());
    let (mut watcher, _) = Watcher::new(
        client.clone(),
        Arc::clone(config),
        engine.clone(),
        Openings::default(),
        feed,
        Arc::default(),
        until,
    );
    let mut behind = 0;
    loop {
        let is_caught_up = watcher.look().await?;
        let next_block = engine.cursor().map_or(0, |cursor| cursor.next_block.0);
        if is_caught_up && next_block > until {
            return Ok(());
        }
        if is_caught_up {
            behind += 1;
            if behind > LOOKS_BEHIND_MAX {
                return Err(ClientError::Behind { wanted: until, found: next_block.saturating_sub(1) }.into());
            }
            tokio::time::sleep(Duration::from_millis(config.watch.poll_ms)).await;
        }
    }
}

impl Reconciliation {
    fn correct(&mut self, channel: ChannelId, correction: Correction) {
        if self.corrections.len() < LISTED_MAX {
            self.corrections.push((channel, correction));
        } else {
            self.left_out += 1;
        }
    }

    fn conflict(&mut self, channel: ChannelId, conflict: Conflict) {
        if self.conflicts.len() < LISTED_MAX {
            self.conflicts.push((channel, conflict));
        } else {
            self.left_out += 1;
        }
    }
}

/// What came of one channel.
enum Compared {
    Corrected(Vec<Correction>),
    /// The escrow does not know it any more.
    Ended,
    Conflict(Conflict),
}

/// Compares one channel.
#[derive(Clone)]
struct One {
    engine: Engine,
    client: Client,
    config: Arc<Config>,
    retire: Retire,
}

impl One {
    /// Gives the block too whose state was read.
    async fn compare(&self, channel: Channel, not_before: u64) -> Result<(Compared, u64), ReconcileError> {
        let Channel { id, identity, snapshot } = channel;
        if !self.is_ours(&identity) {
            let elsewhere = Conflict::Elsewhere { chain_id: identity.chain_id };
            return Ok((Compared::Conflict(elsewhere), not_before));
        }
        let read = self.client.channel(identity.protocol(), identity.escrow, id, not_before).await?;
        let (living, block) = match read {
            (ChannelOnChain::Open { deposit, settled, close_requested_at }, block) => {
                (Living { deposit, settled, close_requested_at }, block)
            }
            (ChannelOnChain::Absent | ChannelOnChain::Finalized, block) => {
                return Ok((Compared::Ended, block));
            }
        };
        if let Some(conflict) = conflict(&snapshot, living) {
            return Ok((Compared::Conflict(conflict), block));
        }
        // The state after the whole block: no event up to it is newer.
        let position = ChainPosition { block, log_index: u32::MAX };
        let mut corrections = Vec::new();
        for (correction, step) in missed(&snapshot, living, position) {
            self.tell(id, step).await?;
            corrections.push(correction);
        }
        let Snapshot { spent, phase, .. } = snapshot;
        if phase == Phase::Open && (self.retire == Retire::All || living.settled > spent) {
            self.tell(id, Step::BeginCloseForced).await?;
            corrections.push(Correction::Retired { settled: living.settled, spent });
        }
        Ok((Compared::Corrected(corrections), block))
    }

    fn is_ours(&self, identity: &Identity) -> bool {
        let protocol = self.config.protocol_of(identity.escrow);
        identity.chain_id == self.config.chain_id && protocol == Some(identity.protocol())
    }

    async fn tell(&self, channel: ChannelId, step: Step) -> Result<(), ReconcileError> {
        match self.engine.apply(channel, step).await? {
            Verdict::Accepted(_) => Ok(()),
            Verdict::Rejected(refusal) => {
                Err(ReconcileError::Refused { channel, refusal: Box::new(refusal) })
            }
        }
    }
}

/// Where the chain is behind the books.
fn conflict(books: &Snapshot, chain: Living) -> Option<Conflict> {
    if chain.deposit < books.deposit {
        return Some(Conflict::DepositBehind { books: books.deposit, chain: chain.deposit });
    }
    let is_behind = chain.settled < books.settled;
    is_behind.then_some(Conflict::SettledBehind { books: books.settled, chain: chain.settled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_core::channel::{Event, State, Terms};
    use farebox_core::units::{Address, B256};
    use farebox_core::voucher::v2::Descriptor;

    const POSITION: ChainPosition = ChainPosition { block: 9, log_index: u32::MAX };

    fn books(deposit: u128, settled: u128, close_requested_at: Option<u64>) -> Snapshot {
        let terms = Descriptor {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            operator: Address::ZERO,
            token: Address::repeat_byte(3),
            salt: B256::ZERO,
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        let identity =
            Identity { chain_id: ChainId(7), escrow: Address::repeat_byte(5), terms: Terms::V2(terms) };
        let opened = Event::Opened {
            identity: Box::new(identity),
            deposit: Amount::new(deposit),
            settled: Amount::new(settled),
            at: UnixSeconds(1),
            position: ChainPosition::default(),
        };
        let state = State::from_opened(&opened).unwrap();
        Snapshot { close_requested_at: close_requested_at.map(UnixSeconds), ..Snapshot::from(&state) }
    }

    fn chain(deposit: u128, settled: u128, close_requested_at: Option<u64>) -> Living {
        Living {
            deposit: Amount::new(deposit),
            settled: Amount::new(settled),
            close_requested_at: close_requested_at.map(UnixSeconds),
        }
    }

    fn told(books: &Snapshot, chain: Living) -> Vec<Correction> {
        missed(books, chain, POSITION).into_iter().map(|(correction, _)| correction).collect()
    }

    #[test]
    fn books_that_know_everything_are_told_nothing() {
        for request in [None, Some(50)] {
            assert_eq!(told(&books(100, 40, request), chain(100, 40, request)), []);
        }
    }

    #[test]
    fn what_the_chain_has_more_is_told() {
        let (was, is) = (Amount::new(100), Amount::new(150));
        assert_eq!(told(&books(100, 0, None), chain(150, 0, None)), [Correction::Deposit { was, is }]);
        let (was, is) = (Amount::new(40), Amount::new(60));
        assert_eq!(told(&books(100, 40, None), chain(100, 60, None)), [Correction::Settled { was, is }]);
        let requested = Correction::CloseRequested { at: UnixSeconds(70) };
        assert_eq!(told(&books(100, 0, None), chain(100, 0, Some(70))), [requested]);
        // Cancelled and asked for again.
        assert_eq!(told(&books(100, 0, Some(50)), chain(100, 0, Some(70))), [requested]);
        let cancelled = told(&books(100, 0, Some(50)), chain(100, 0, None));
        assert_eq!(cancelled, [Correction::CloseRequestCancelled]);
        assert_eq!(told(&books(100, 0, None), chain(150, 60, Some(70))).len(), 3);
    }

    #[test]
    fn a_chain_that_is_behind_is_not_believed() {
        let books = books(100, 40, None);
        assert_eq!(conflict(&books, chain(100, 40, None)), None);
        assert_eq!(conflict(&books, chain(150, 60, Some(7))), None);
        let behind = Conflict::DepositBehind { books: Amount::new(100), chain: Amount::new(99) };
        assert_eq!(conflict(&books, chain(99, 40, None)), Some(behind));
        let behind = Conflict::SettledBehind { books: Amount::new(40), chain: Amount::new(39) };
        assert_eq!(conflict(&books, chain(150, 39, None)), Some(behind));
    }
}

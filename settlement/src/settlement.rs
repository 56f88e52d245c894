//! The handle: starts the watcher and the worker, gives the door its port, stops in order.

use std::sync::Arc;

use farebox_core::channel::{Claim, Identity};
use farebox_core::journal::Cursor;
use farebox_core::units::{B256, BlockNumber, ChainId, ChannelId};
use farebox_engine::chain::{
    BoxFuture, Chain, ChainRefusal, ChargeOrder, CloseFailure, ClosedOnChain, OpenRequest, OpenedOnChain,
    TopUpRequest, ToppedUpOnChain,
};
use farebox_engine::{Clock, Engine, SystemClock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::cross_check::CrossCheck;
use crate::feed::Feed;
use crate::heads::{self, Heads};
use crate::history::History;
use crate::intent::{Intent, IntentError};
use crate::opener::Opener;
use crate::opening::Openings;
use crate::quarantine::Quarantine;
use crate::sender::Sender;
use crate::signer::{KeyHealth, PayeeSigner};
use crate::sponsor::Sponsor;
use crate::watcher::{Watcher, WatcherHealth};
use crate::worker::{Ask, Tools, Worker};

/// Closes that the door may have asked for and the worker not yet taken up.
const ASKS_MAX: usize = 4_096;

/// Why settlement does not start.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration and the client speak of two chains.
    #[error("settlement is configured for chain {configured}, its client for chain {client}")]
    TwoChains {
        /// The configuration's.
        configured: ChainId,
        /// The client's.
        client: ChainId,
    },
    /// There is no escrow to serve.
    #[error("no escrow is configured")]
    NoEscrow,
    /// An endpoint serves another chain, or none answers and the books do not say where to begin.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What a former process was about to send is not known.
    #[error(transparent)]
    Intents(#[from] IntentError),
    /// The books cannot be asked.
    #[error(transparent)]
    Engine(#[from] farebox_engine::EngineError),
}

/// Settlement, running. Dropping it stops the tasks without waiting; [`Settlement::stop`] waits.
#[derive(Debug)]
pub struct Settlement {
    port: Arc<Port>,
    feed: Arc<Feed>,
    stop: watch::Sender<bool>,
    watcher: JoinHandle<()>,
    worker: JoinHandle<()>,
    follower: JoinHandle<()>,
    cross_check: JoinHandle<()>,
    /// Listens for new blocks, if a node tells of them.
    heads: Option<JoinHandle<()>>,
    watcher_health: watch::Receiver<WatcherHealth>,
    signer: PayeeSigner,
}

/// How settlement is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementHealth {
    /// How the watcher is doing.
    pub watcher: WatcherHealth,
    /// False when a task ended that should run: only a restart helps.
    pub is_running: bool,
    /// How the key that signs claims is doing.
    pub key: KeyHealth,
}

impl Settlement {
    /// Starts to follow the escrows and to claim what is due.
    pub async fn start(
        config: Config,
        engine: Engine,
        client: Client,
        signer: PayeeSigner,
    ) -> Result<Self, StartError> {
        if config.chain_id != client.chain_id() {
            return Err(StartError::TwoChains { configured: config.chain_id, client: client.chain_id() });
        }
        if config.escrows.is_empty() {
            return Err(StartError::NoEscrow);
        }
        let start = first_block(&config, &engine, &client).await?;
        if signer.address() != config.payee {
            tracing::info!(signer = %signer.address(), payee = %config.payee, "closing as operator");
        }
        let config = Arc::new(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let openings = Openings::default();
        let (open, stuck) = left_open(&engine).await?;
        let feed = Arc::new(Feed::default());
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (stop, stopped) = watch::channel(false);
        let sender = Sender {
            client: client.clone(),
            config: Arc::clone(&config),
            signer: signer.clone(),
            clock: Arc::clone(&clock),
            engine: engine.clone(),
            history: History::open(config.history, &engine).await?,
        };
        let opener = Opener {
            client: client.clone(),
            clock: Arc::clone(&clock),
            openings: openings.clone(),
            sponsor: config.sponsor.clone().map(Sponsor::new),
        };
        let heads = Arc::<Heads>::default();
        let (watcher, watcher_health) = Watcher::new(
            client.clone(),
            Arc::clone(&config),
            engine.clone(),
            openings,
            Arc::clone(&feed),
            Arc::clone(&heads),
            start,
        );
        let told = config.heads.clone().map(|url| tokio::spawn(heads::follow(url.0, heads, stopped.clone())));
        let cross_check = CrossCheck {
            engine: engine.clone(),
            client: client.clone(),
            config: Arc::clone(&config),
            feed: Arc::clone(&feed),
        };
        let tools = Tools { engine: engine.clone(), client, sender, clock, config };
        let mut worker = Worker::new(Arc::new(tools), asked, Arc::clone(&feed));
        worker.take_up(open, stuck);
        let following = stopped.clone();
        Ok(Self {
            port: Arc::new(Port { opener, asks }),
            feed: Arc::clone(&feed),
            follower: tokio::spawn(async move { feed.follow(engine, following).await }),
            cross_check: tokio::spawn(cross_check.run(stopped.clone())),
            watcher: tokio::spawn(watcher.run(stopped.clone())),
            worker: tokio::spawn(worker.run(stopped)),
            heads: told,
            stop,
            watcher_health,
            signer,
        })
    }

    /// The port for the door.
    pub fn chain(&self) -> Arc<dyn Chain> {
        Arc::clone(&self.port) as Arc<dyn Chain>
    }

    /// Has a channel settled soon, whatever the policy says: the operator wants it. A channel of which nothing can be
    /// settled is left alone.
    pub fn settle_now(&self, channel: ChannelId) {
        self.feed.want(channel);
    }

    /// How it is doing.
    pub fn health(&self) -> SettlementHealth {
        let is_running = !self.watcher.is_finished() && !self.worker.is_finished();
        SettlementHealth {
            watcher: self.watcher_health.borrow().clone(),
            is_running,
            key: self.signer.health(),
        }
    }

    /// Stops following, gives closes that are under way a moment, and returns when the tasks are over.
    /// Call it before the engine is shut down.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let tasks = [
            ("watcher", self.watcher),
            ("worker", self.worker),
            ("follower", self.follower),
            ("cross check", self.cross_check),
        ];
        let heads = self.heads.map(|task| ("heads", task));
        for (name, task) in tasks.into_iter().chain(heads) {
            if let Err(error) = task.await {
                tracing::error!(name, %error, "a settlement task ended with a failure");
            }
        }
    }
}

/// What a former process was about to send, and what the chain refused it.
async fn left_open(engine: &Engine) -> Result<(Vec<Intent>, Vec<Quarantine>), IntentError> {
    let open = Intent::open(engine).await?;
    if !open.is_empty() {
        tracing::info!(transactions = open.len(), "claims of a former process are followed to their fate");
    }
    let stuck = Quarantine::all(engine).await?;
    Ok((open, stuck))
}

/// Checks the endpoints and finds where to begin. Books that know how far they are need no node for that:
/// a server can start, and serve the channels it has, while its nodes are away.
async fn first_block(config: &Config, engine: &Engine, client: &Client) -> Result<u64, StartError> {
    let checked = client.check().await;
    if let Some(cursor) = engine.cursor() {
        return match checked {
            Err(error @ ClientError::WrongChain { .. }) => Err(error.into()),
            Err(error) => {
                tracing::error!(%error, "no RPC endpoint answers; serving what the books hold");
                Ok(cursor.next_block.0)
            }
            Ok(()) => Ok(cursor.next_block.0),
        };
    }
    checked?;
    let start = match config.start_block {
        Some(block) => block,
        None => client.head().await?.number,
    };
    // Set before anything is served, so that the first open's frame says where to follow from.
    engine.set_cursor(Cursor { next_block: BlockNumber(start), parent: B256::ZERO });
    Ok(start)
}

/// What the door sees of settlement.
struct Port {
    opener: Opener,
    asks: mpsc::Sender<Ask>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}

impl Chain for Port {
    fn open(&self, request: OpenRequest) -> BoxFuture<'_, Result<OpenedOnChain, ChainRefusal>> {
        Box::pin(self.opener.open(request))
    }

    fn top_up(&self, request: TopUpRequest) -> BoxFuture<'_, Result<ToppedUpOnChain, ChainRefusal>> {
        Box::pin(self.opener.top_up(request))
    }

    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, Result<B256, ChainRefusal>> {
        Box::pin(self.opener.charge(order))
    }

    fn close(
        &self,
        channel: ChannelId,
        identity: Arc<Identity>,
        claim: Claim,
    ) -> BoxFuture<'_, Result<ClosedOnChain, CloseFailure>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            if self.asks.send(Ask { channel, identity, claim, reply }).await.is_err() {
                return Err(CloseFailure::NotSent { what: "settlement is stopping".to_owned() });
            }
            // A worker that ends in between may have sent it: the next start finds out.
            answer.await.unwrap_or(Err(CloseFailure::Unknown { tx_hash: B256::ZERO }))
        })
    }
}

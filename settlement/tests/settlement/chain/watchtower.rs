//! A second process claims what the first one leaves alone, from the first one's books, and writes nothing into them.

use std::sync::Arc;

use farebox_core::channel::Phase;
use farebox_core::units::Amount;
use farebox_engine::ledger::{LedgerRead, MemoryStore};
use farebox_engine::{Engine, MemoryLedger, SystemClock};
use farebox_settlement::{Client, OpenBooks, PayeeSigner, Watchtower, WatchtowerConfig, WatchtowerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::world::{DEPOSIT, World, eventually, quick};

/// An endpoint that nobody serves.
const NOBODY: &str = "http://127.0.0.1:9";

struct Running {
    engine: Engine,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), WatchtowerError>>,
}

impl Running {
    /// A watchtower over the world's books, with books of its own.
    fn start(world: &World, own: &MemoryStore, after_s: u64) -> Self {
        let config = farebox_engine::Config { shards: 1, ..farebox_engine::Config::default() };
        let engine = Engine::start(config, MemoryLedger::open(own), SystemClock).expect("the books open");
        let followed = world.store.clone();
        // What another process sees: what is durable.
        let books: Arc<OpenBooks> =
            Arc::new(move || Ok(Box::new(followed.after_crash(false)) as Box<dyn LedgerRead>));
        let tower = Watchtower {
            config: world.config.clone(),
            watch: WatchtowerConfig { after_s, look_ms: 200 },
            engine: engine.clone(),
            client: Client::new(world.config.chain_id, quick(vec![world.url()])).expect("a client"),
            signer: PayeeSigner::from_signer(world.payee.key.clone()),
            books,
        };
        let (stop, stopped) = watch::channel(false);
        Self { engine, stop, task: tokio::spawn(tower.run(stopped)) }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("no panic").expect("its books are well");
        self.engine.shutdown().await.expect("the books close");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchtower_claims_exactly_what_the_blind_server_charged() {
    let world = World::start().await;
    let (v2, v1, quiet) = (world.open_v2(), world.open_v1(), world.open_v2());
    for opened in [&v2, &v1, &quiet] {
        world.open(opened).await.expect("an open");
        world.pay(opened, 500, 500).await;
    }
    // The server sees nothing of the chain from here on; its payers go on for a while.
    let world = world.restart(vec![NOBODY.to_owned()]).await;
    world.pay(&v2, 900, 100).await;
    world.pay(&v1, 800, 300).await;
    let own = MemoryStore::default();
    let tower = Running::start(&world, &own, 2);
    for opened in [&v2, &v1] {
        assert!(world.send(&world.payer.request_close(opened)).await.success);
    }
    let frames = world.store.standing().expect("reads").last_frame;
    for (opened, captured) in [(&v2, 600), (&v1, 800)] {
        let closure = eventually("the claim", async || {
            let found = tower.engine.read(opened.channel).await.expect("running")?;
            match found.snapshot.phase {
                Phase::Closed(closure) => Some(closure),
                Phase::Open | Phase::Closing { .. } => None,
            }
        })
        .await;
        assert_eq!(closure.captured, Amount::new(captured));
        assert_eq!(closure.refunded, Amount::new(DEPOSIT - captured));
    }
    assert_eq!(tower.engine.read(quiet.channel).await.expect("running"), None, "nobody asked to close it");
    assert_eq!(world.store.standing().expect("reads").last_frame, frames, "nothing was written there");
    // The server that sees again finds that it is over.
    let url = world.url();
    let world = world.restart(vec![url]).await;
    for opened in [&v2, &v1] {
        world
            .books_until(opened.channel, "the end is heard", |books| {
                matches!(books.snapshot.phase, Phase::Closed(_))
            })
            .await;
    }
    tower.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_taken_back_is_not_claimed_with_what_was_copied_before() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    let world = world.restart(vec![NOBODY.to_owned()]).await;
    world.pay(&opened, 500, 500).await;
    assert!(world.send(&world.payer.request_close(&opened)).await.success);
    let own = MemoryStore::default();
    // The copy is made, and the watchtower ends before it claims.
    let tower = Running::start(&world, &own, 0);
    eventually("the copy", async || {
        let found = tower.engine.read(opened.channel).await.expect("running")?;
        found.snapshot.close_requested_at.map(drop)
    })
    .await;
    tower.task.abort();
    tower.engine.shutdown().await.expect("the books close");
    // Meanwhile more is spent than the copy knows.
    world.pay(&opened, 700, 200).await;
    let tower = Running::start(&world, &own, 0);
    let closure = eventually("the claim", async || {
        let found = tower.engine.read(opened.channel).await.expect("running")?;
        match found.snapshot.phase {
            Phase::Closed(closure) => Some(closure),
            Phase::Open | Phase::Closing { .. } => None,
        }
    })
    .await;
    assert_eq!(closure.captured, Amount::new(700), "all that the followed books charged");
    tower.stop().await;
    world.stop().await;
}

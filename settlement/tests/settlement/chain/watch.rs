//! What the chain says reaches the books, and what a payer asks for is answered.

use farebox_core::channel::{Closure, Phase};
use farebox_core::units::Amount;
use farebox_engine::Channel;
use farebox_engine::chain::TopUpRequest;

use crate::support::world::{DEPOSIT, World, eventually};

fn closure(books: &Channel) -> Option<Closure> {
    match books.snapshot.phase {
        Phase::Closed(closure) => Some(closure),
        Phase::Open | Phase::Closing { .. } => None,
    }
}

/// Rule 7: a close request stops service and starts the claim, for both protocols.
#[tokio::test]
async fn a_close_request_makes_the_claim() {
    let world = World::start().await;
    for opened in [world.open_v2(), world.open_v1()] {
        world.open(&opened).await.expect("an open");
        world.pay(&opened, 300_000, 300_000).await;
        assert!(world.send(&world.payer.request_close(&opened)).await.success);
        let books =
            world.books_until(opened.channel, "the forced close", |books| closure(books).is_some()).await;
        let closure = closure(&books).expect("waited for it");
        assert_eq!(closure.captured, Amount::new(300_000));
        assert_eq!(closure.refunded, Amount::new(DEPOSIT - 300_000));
        assert_eq!(closure.lost, Amount::ZERO);
    }
    world.stop().await;
}

/// The payer asks to close between our look at the new channel and the moment the books know it.
#[tokio::test]
async fn a_close_request_before_the_books_know_the_channel_is_not_lost() {
    let world = World::start().await;
    let opened = world.open_v2();
    let on_chain = world.settlement.chain().open(world.request(&opened)).await.expect("an open");
    let asked = world.send(&world.payer.request_close(&opened)).await;
    assert!(asked.success);
    eventually("the watcher is past the request", async || {
        let head = world.client.head().await.expect("a head");
        (head.number > asked.block + 3).then_some(())
    })
    .await;
    let cursor = world.engine.cursor().expect("following").next_block.0;
    assert!(cursor <= asked.block, "the cursor {cursor} stays before the held fact in {}", asked.block);
    world
        .engine
        .open(on_chain.identity, on_chain.deposit, on_chain.settled, on_chain.position)
        .await
        .expect("running books");
    world.books_until(opened.channel, "the forced close", |books| closure(books).is_some()).await;
    eventually("the cursor moves on", async || {
        (world.engine.cursor()?.next_block.0 > asked.block).then_some(())
    })
    .await;
    world.stop().await;
}

/// Events of channels that nobody opened here are read and forgotten.
#[tokio::test]
async fn channels_of_others_change_nothing() {
    let world = World::start().await;
    let opened = world.open_v2();
    assert!(world.send(&opened.bytes).await.success);
    let asked = world.send(&world.payer.request_close(&opened)).await;
    eventually("the watcher is past the request", async || {
        (world.engine.cursor()?.next_block.0 > asked.block).then_some(())
    })
    .await;
    assert_eq!(world.engine.read(opened.channel).await.expect("running books"), None);
    let health = world.settlement.health();
    assert!(health.is_running && health.watcher.is_following, "{health:?}");
    world.stop().await;
}

/// A top-up takes the close request back, when no claim is on its way.
#[tokio::test]
async fn a_top_up_cancels_a_close_request() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    // Nobody closes while settlement is down.
    let (store, engine) = (world.store.clone(), world.engine.clone());
    let World { devnet, settlement, config, payee, payer, stranger, client, .. } = world;
    settlement.stop().await;
    drop((store, stranger));
    let asked = payer.request_close(&opened);
    let sent = client.broadcast(&asked, alloy::primitives::keccak256(&asked)).await;
    eventually(&format!("the request is mined: {sent:?}"), async || {
        client.receipt(alloy::primitives::keccak256(&asked)).await.ok().flatten()
    })
    .await;
    let signer = farebox_settlement::PayeeSigner::from_signer(payee.key.clone());
    // The close is estimated first; a node that refuses estimates keeps it from being sent.
    let node =
        crate::support::node::Node::before(Some(devnet.info().rpc_url.clone()), |method, _| match method {
            "eth_estimateGas" => crate::support::node::Answer::Error(-32_603, "busy"),
            _ => crate::support::node::Answer::Forward,
        })
        .await;
    let blind = farebox_settlement::Client::new(
        config.chain_id,
        crate::support::world::quick(vec![node.url.clone()]),
    )
    .expect("a client");
    let settlement = farebox_settlement::Settlement::start(config, engine.clone(), blind, signer)
        .await
        .expect("settlement starts");
    eventually("the books hear of the request, the close fails", async || {
        let books = engine.read(opened.channel).await.ok()??;
        let is_open = books.snapshot.phase == Phase::Open && books.snapshot.close_requested_at.is_some();
        (is_open && node.count("eth_estimateGas") > 0).then_some(())
    })
    .await;
    let request = TopUpRequest {
        transaction: payer.top_up(&opened, 1),
        channel: opened.channel,
        identity: std::sync::Arc::new(opened.identity.clone()),
        additional_deposit: Amount::new(1),
        is_sponsored: false,
    };
    let raised = settlement.chain().top_up(request).await.expect("a top-up");
    assert!(raised.cancels_close);
    // The transaction has two events, and the books hear of one after the other.
    eventually("service goes on, with the larger deposit", async || {
        let books = engine.read(opened.channel).await.ok()??.snapshot;
        let goes_on = books.phase == Phase::Open && books.close_requested_at.is_none();
        (goes_on && books.deposit == Amount::new(DEPOSIT + 1)).then_some(())
    })
    .await;
    settlement.stop().await;
    engine.shutdown().await.expect("the books close");
    devnet.stop().await;
}

/// The payer withdraws after the grace period: the channel is over, and the books say what was lost.
#[tokio::test]
async fn a_withdrawal_ends_the_channel_in_the_books() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 40, 40).await;
    let url = world.url();
    // Nobody answers the close request: settlement cannot reach the chain for the whole grace period.
    let world = world.restart(vec!["http://127.0.0.1:9".to_owned()]).await;
    assert!(world.send(&world.payer.request_close(&opened)).await.success);
    world.advance_clock(1_000).await;
    let chain_time = world.client.head().await.expect("a head").timestamp.0;
    assert!(world.send(&world.payer.withdraw(&opened, chain_time + 20)).await.success);
    let world = world.restart(vec![url]).await;
    let books = world.books_until(opened.channel, "the end", |books| closure(books).is_some()).await;
    let closure = closure(&books).expect("waited for it");
    assert_eq!((closure.captured, closure.refunded), (Amount::ZERO, Amount::new(DEPOSIT)));
    assert_eq!(closure.lost, Amount::new(40));
    world.stop().await;
}

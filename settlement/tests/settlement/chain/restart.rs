//! Crashes and restarts.

use farebox_core::channel::Phase;
use farebox_core::units::Amount;
use farebox_engine::{Step, Verdict};

use crate::support::world::{World, eventually};

/// The crash between closing in the books and the broadcast: the next start finishes the close.
#[tokio::test]
async fn a_channel_left_closing_is_closed_after_a_restart() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 500, 400).await;
    let url = world.url();
    // The books begin to close, and the process ends before anything is sent.
    let begun = world.engine.begin_close(opened.channel, world.payer.voucher(&opened, 500)).await;
    assert!(matches!(begun, Ok(Verdict::Accepted(_))), "{begun:?}");
    let world = world.restart(vec![url]).await;
    let books = world
        .books_until(opened.channel, "the close is finished", |books| {
            matches!(books.snapshot.phase, Phase::Closed(_))
        })
        .await;
    let Phase::Closed(closure) = books.snapshot.phase else { unreachable!("waited for it") };
    assert_eq!((closure.captured, closure.lost), (Amount::new(400), Amount::ZERO));
    world.stop().await;
}

/// Nobody listens while a payer asks to close: the cursor brings it after the restart.
#[tokio::test]
async fn a_close_request_of_the_time_between_is_found() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 11, 11).await;
    let url = world.url();
    let asked = world.payer.request_close(&opened);
    // Started on an endpoint that nobody serves: blind, but running on what the books hold.
    let world = world.restart(vec!["http://127.0.0.1:9".to_owned()]).await;
    assert!(world.send(&asked).await.success);
    eventually("the watcher says that it cannot follow", async || {
        let health = world.settlement.health();
        (health.watcher.failures > 1 && !health.watcher.last_error.is_empty()).then_some(())
    })
    .await;
    assert_eq!(world.books(opened.channel).await.snapshot.close_requested_at, None);
    let world = world.restart(vec![url]).await;
    let books = world
        .books_until(opened.channel, "the forced close", |books| {
            matches!(books.snapshot.phase, Phase::Closed(_))
        })
        .await;
    let Phase::Closed(closure) = books.snapshot.phase else { unreachable!("waited for it") };
    assert_eq!(closure.captured, Amount::new(11));
    world.stop().await;
}

/// A close request that only the books know (its fact was told, then everything stopped) is acted on.
#[tokio::test]
async fn a_pending_close_request_in_the_books_is_taken_up_at_the_start() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    let url = world.url();
    let blind = world.restart(vec!["http://127.0.0.1:9".to_owned()]).await;
    let asked = blind.send(&blind.payer.request_close(&opened)).await;
    let at = blind.client.timestamp(asked.block).await.expect("a time");
    let position = farebox_core::channel::ChainPosition { block: asked.block, log_index: 0 };
    let told = blind.engine.apply(opened.channel, Step::CloseRequested { at, position }).await;
    assert!(matches!(told, Ok(Verdict::Accepted(_))), "{told:?}");
    let world = blind.restart(vec![url]).await;
    world
        .books_until(opened.channel, "the forced close", |books| {
            matches!(books.snapshot.phase, Phase::Closed(_))
        })
        .await;
    world.stop().await;
}

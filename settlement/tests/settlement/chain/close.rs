//! Closes: partial captures, nothing to claim, races, hidden receipts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::primitives::U256;
use farebox_core::channel::{Answer as BooksAnswer, Claim, Phase};
use farebox_core::units::Amount;
use farebox_engine::chain::{CloseFailure, ClosedOnChain};
use farebox_engine::{Step, Verdict};
use serde_json::Value;

use crate::support::node::{Answer, Node};
use crate::support::payer::Opened;
use crate::support::world::{DEPOSIT, World, devnet, eventually};

/// Has the books fix a claim.
async fn claim(world: &World, opened: &Opened) -> Claim {
    match world.engine.apply(opened.channel, Step::BeginCloseForced).await {
        Ok(Verdict::Accepted(reply)) => match reply.answer {
            BooksAnswer::Close(claim) => claim,
            other => panic!("not a claim: {other:?}"),
        },
        other => panic!("not accepted: {other:?}"),
    }
}

async fn close(world: &World, opened: &Opened, claim: Claim) -> Result<ClosedOnChain, CloseFailure> {
    let identity = Arc::new(opened.identity.clone());
    world.settlement.chain().close(opened.channel, identity, claim).await
}

/// Rule 2: a v2 close captures what was spent, never the whole voucher.
#[tokio::test]
async fn a_v2_close_captures_what_was_spent_and_refunds_the_rest() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 500_000, 300_000).await;
    let (payer, payee) = (world.balance(&world.payer).await, world.balance(&world.payee).await);
    let claim = claim(&world, &opened).await;
    assert_eq!((claim.cumulative, claim.capture), (Amount::new(500_000), Amount::new(300_000)));
    let closed = close(&world, &opened, claim).await.expect("a close");
    assert_eq!((closed.captured, closed.refunded), (Amount::new(300_000), Amount::new(DEPOSIT - 300_000)));
    assert_eq!(world.balance(&world.payer).await, payer + U256::from(DEPOSIT - 300_000));
    let gained = world.balance(&world.payee).await - payee;
    assert!(gained <= U256::from(300_000) && gained > U256::from(200_000), "less the fee: {gained}");
    let books = world
        .books_until(opened.channel, "the watcher tells the end", |books| {
            matches!(books.snapshot.phase, Phase::Closed(_))
        })
        .await;
    let Phase::Closed(closure) = books.snapshot.phase else { unreachable!("waited for it") };
    assert_eq!((closure.captured, closure.lost), (Amount::new(300_000), Amount::ZERO));
    world.stop().await;
}

/// A v1 close pays a whole voucher, so it goes with the highest kept one not above what was spent.
#[tokio::test]
async fn v1_closes_pay_a_kept_voucher_or_nothing() {
    let world = World::start().await;
    let opened = world.open_v1();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 300_000, 300_000).await;
    world.pay(&opened, 500_000, 100_000).await;
    let payer = world.balance(&world.payer).await;
    let closed = close(&world, &opened, claim(&world, &opened).await).await.expect("a close");
    assert_eq!((closed.captured, closed.refunded), (Amount::new(300_000), Amount::new(DEPOSIT - 300_000)));
    assert_eq!(world.balance(&world.payer).await, payer + U256::from(DEPOSIT - 300_000));

    for opened in [world.open_v1(), world.open_v2()] {
        world.open(&opened).await.expect("an open");
        let closed = close(&world, &opened, claim(&world, &opened).await).await.expect("a close of nothing");
        assert_eq!((closed.captured, closed.refunded), (Amount::ZERO, Amount::new(DEPOSIT)));
    }
    world.stop().await;
}

#[tokio::test]
async fn closes_of_one_channel_go_one_at_a_time_and_agree() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 7, 7).await;
    let claim = claim(&world, &opened).await;
    let before = node.count("eth_sendRawTransaction");
    let (first, second) =
        tokio::join!(close(&world, &opened, claim.clone()), close(&world, &opened, claim.clone()));
    let (first, second) = (first.expect("a close"), second.expect("the same close"));
    assert_eq!((first.captured, first.position), (second.captured, second.position));
    assert_eq!(first.tx_hash, second.tx_hash);
    assert_eq!(node.count("eth_sendRawTransaction") - before, 1);
    world.stop().await;
}

/// The receipt stays hidden, the broadcast's answer is lost: the channel's own state tells the truth.
#[tokio::test]
async fn a_close_without_answer_and_receipt_is_found_on_chain() {
    let devnet = devnet().await;
    let is_hidden = Arc::new(AtomicBool::new(false));
    let hidden = Arc::clone(&is_hidden);
    let node = Node::before(Some(devnet.info().rpc_url.clone()), move |method, _| match method {
        "eth_getTransactionReceipt" if hidden.load(Ordering::SeqCst) => Answer::Result(Value::Null),
        "eth_sendRawTransaction" if hidden.load(Ordering::SeqCst) => Answer::ForwardAndDrop,
        _ => Answer::Forward,
    })
    .await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    world.config.close.validity_seconds = 4;
    let mut world = world.restart(vec![node.url.clone()]).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 9, 9).await;
    is_hidden.store(true, Ordering::SeqCst);
    let claim = claim(&world, &opened).await;
    let closed = close(&world, &opened, claim).await.expect("found by its event");
    assert_eq!(closed.captured, Amount::new(9));
    is_hidden.store(false, Ordering::SeqCst);
    world.receipt(closed.tx_hash, "the transaction that closed it").await;
    world.config.close.validity_seconds = 25;
    world.stop().await;
}

/// A broadcast that reached nobody: after the validity the channel is seen to be open, so it surely failed.
#[tokio::test]
async fn a_close_that_never_reached_the_chain_is_known_to_have_failed() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |method, params| match method {
        "eth_sendRawTransaction" if is_close(params) => Answer::Drop,
        _ => Answer::Forward,
    })
    .await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    world.config.close.validity_seconds = 4;
    let world = world.restart(vec![node.url.clone()]).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    let claim = claim(&world, &opened).await;
    let failure = close(&world, &opened, claim).await.expect_err("never on chain");
    assert!(matches!(&failure, CloseFailure::NotSent { what } if what.contains("expired")), "{failure:?}");
    world.stop().await;
}

/// True for a raw transaction that calls the reserve's `close`.
fn is_close(params: &Value) -> bool {
    let bytes = params[0].as_str().expect("hex");
    let selector =
        <farebox_contracts::v2::ITIP20ChannelReserve::closeCall as alloy::sol_types::SolCall>::SELECTOR;
    bytes.contains(&alloy::primitives::hex::encode(selector))
}

#[tokio::test]
async fn claims_that_do_not_fit_the_chain_are_not_sent() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 10, 10).await;
    let good = claim(&world, &opened).await;
    let before = node.count("eth_sendRawTransaction");
    let too_much = Amount::new(DEPOSIT + 1);
    let above = Claim { cumulative: too_much, capture: too_much, ..good.clone() };
    let forged = Claim { cumulative: Amount::new(11), capture: Amount::new(11), ..good.clone() };
    for (what, claim) in [("the escrow holds", above), ("revert", forged)] {
        let failure = close(&world, &opened, claim).await.expect_err(what);
        assert!(
            matches!(&failure, CloseFailure::NotSent { what: found } if found.contains(what)),
            "{failure:?}"
        );
    }
    let stranger =
        world.payer.open_v2(opened.identity.escrow, world.stranger.key.address(), Default::default(), 5);
    let failure = close(&world, &stranger, good.clone()).await.expect_err("not our channel");
    assert!(
        matches!(&failure, CloseFailure::NotSent { what } if what.contains("may not close")),
        "{failure:?}"
    );
    assert_eq!(node.count("eth_sendRawTransaction"), before);
    assert_eq!(close(&world, &opened, good).await.expect("a close").captured, Amount::new(10));
    world.stop().await;
}

/// Rule 10: while a close may still happen the channel stays closing, whatever fails after it; and the
/// worker brings it to its end when the chain can be reached again.
#[tokio::test]
async fn a_close_in_doubt_keeps_the_channel_closing_and_is_driven_to_its_end() {
    let devnet = devnet().await;
    let (is_cut, is_blind) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (cut, blind) = (Arc::clone(&is_cut), Arc::clone(&is_blind));
    let node = Node::before(Some(devnet.info().rpc_url.clone()), move |method, params| match method {
        "eth_sendRawTransaction" if cut.load(Ordering::SeqCst) && is_close(params) => Answer::Drop,
        "eth_estimateGas" if blind.load(Ordering::SeqCst) => Answer::Error(-32_603, "busy"),
        _ => Answer::Forward,
    })
    .await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    world.config.close.receipt_wait_ms = 300;
    let world = world.restart(vec![node.url.clone()]).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 20, 15).await;
    let claim = claim(&world, &opened).await;
    let failure = close(&world, &opened, claim).await.expect_err("nobody says anything");
    assert!(matches!(failure, CloseFailure::Unknown { .. }), "{failure:?}");
    is_blind.store(true, Ordering::SeqCst);
    let before = node.count("eth_estimateGas");
    eventually("the worker tries, and surely fails, twice", async || {
        (node.count("eth_estimateGas") >= before + 2).then_some(())
    })
    .await;
    let books = world.books(opened.channel).await;
    assert!(matches!(books.snapshot.phase, Phase::Closing { .. }), "{books:?}");
    is_blind.store(false, Ordering::SeqCst);
    is_cut.store(false, Ordering::SeqCst);
    let closed = |books: &farebox_engine::Channel| matches!(books.snapshot.phase, Phase::Closed(_));
    let books = world.books_until(opened.channel, "the worker closes", closed).await;
    let Phase::Closed(closure) = books.snapshot.phase else { unreachable!("waited for it") };
    assert_eq!(closure.captured, Amount::new(15));
    world.stop().await;
}

/// The receipt's status is looked at: a close that reverted paid nobody.
#[tokio::test]
async fn a_close_that_reverts_is_no_close() {
    let devnet = devnet().await;
    // A node that promises gas for everything, so that a bad claim gets as far as a block.
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |method, _| match method {
        "eth_estimateGas" => Answer::Result(serde_json::json!("0x40000")),
        _ => Answer::Forward,
    })
    .await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 10, 10).await;
    let good = claim(&world, &opened).await;
    let forged = Claim { cumulative: Amount::new(11), capture: Amount::new(11), ..good.clone() };
    let failure = close(&world, &opened, forged).await.expect_err("a forged voucher");
    let CloseFailure::Reverted { tx_hash } = failure else { panic!("{failure:?}") };
    assert!(!world.receipt(tx_hash, "the reverted close").await.success);
    assert_eq!(close(&world, &opened, good).await.expect("a close").captured, Amount::new(10));
    world.stop().await;
}

/// The chain judges a transaction's validity by its own clock, so a close goes by that one.
#[tokio::test]
async fn a_chain_whose_clock_is_ahead_takes_closes() {
    let world = World::start().await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 30, 30).await;
    world.advance_clock(500).await;
    let closed = close(&world, &opened, claim(&world, &opened).await).await.expect("a close");
    assert_eq!(closed.captured, Amount::new(30));
    world.stop().await;
}

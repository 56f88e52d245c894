//! The program is killed (SIGKILL) at every step of a claim. The next start finds out what happened: every claim comes
//! through, once, for exactly what was spent.

use farebox_contracts::v2::ITIP20ChannelReserve;
use farebox_settlement::fail_points::{ALL, DIE_AT_VARIABLE, FailPoint};
use serde_json::Value;

mod support;

use support::hand::{Hand, Opened};
use support::{Protocol, REQUEST_PRICE, World, amount, assert_closed, until};

/// Settles whatever waits, however little it brings.
const SETTLES: [(&str, &str); 2] =
    [("FAREBOX__SETTLEMENT__AMOUNT_MIN", "1"), ("FAREBOX__SETTLEMENT__PROFIT_PERCENT_MIN", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_is_claimed_once_wherever_the_process_dies() {
    let mut world = World::start().await;
    let before = world.balances().await;
    for (round, point) in ALL.into_iter().enumerate() {
        let opened = spend(&world).await;
        world.stop_server().await;
        let call = ITIP20ChannelReserve::requestCloseCall { descriptor: opened.descriptor() };
        world.chain.send(world.payer.address, world.chain.info().escrow_v2, call).await;
        world.start_server_with(&[(DIE_AT_VARIABLE, &format!("{point:?}"))]);
        world.killed().await;
        world.start_server();
        let closed = until("the channel is closed in the books", || async {
            world.channel(opened.channel).await.filter(|books| books["phase"] == "closed")
        })
        .await;
        assert_closed(&closed, 2 * REQUEST_PRICE);
        assert_eq!(world.gate.claims(), round + 1, "{point:?}: one transaction a claim");
        assert_eq!(world.chain.state_v2(opened.channel).await.deposit.to::<u128>(), 0);
    }
    world.balances().await.assert_paid(&before, ALL.len() as u128 * 2 * REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_settled_once_wherever_the_process_dies() {
    let mut world = World::start().await;
    let before = world.balances().await;
    let points = [
        FailPoint::Fixed,
        FailPoint::IntentKept,
        FailPoint::Broadcast,
        FailPoint::FateKnown,
        FailPoint::BooksTold,
        FailPoint::Forgotten,
    ];
    for (round, point) in points.into_iter().enumerate() {
        let opened = spend(&world).await;
        world.stop_server().await;
        let point = format!("{point:?}");
        world.start_server_with(&[SETTLES[0], SETTLES[1], (DIE_AT_VARIABLE, &point)]);
        world.killed().await;
        world.start_server_with(&SETTLES);
        let settled: Value = until("what was spent is settled", || async {
            world.channel(opened.channel).await.filter(|books| amount(books, "settled") > 0)
        })
        .await;
        assert_eq!(amount(&settled, "settled"), 2 * REQUEST_PRICE, "{settled}");
        assert_eq!(settled["phase"], "open", "{settled}");
        assert_eq!(world.gate.claims(), round + 1, "{point}: one transaction a claim");
        // The next round's server settles nothing by itself.
        world.stop_server().await;
        world.start_server();
    }
    let after = world.balances().await;
    assert_eq!(after.payee, before.payee + points.len() as u128 * 2 * REQUEST_PRICE);
}

/// A channel in which two requests were paid.
async fn spend(world: &World) -> Opened {
    let payer = Hand::new(world, &world.payer);
    let opened = payer.open(world, Protocol::V2).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, reqwest::StatusCode::OK);
    opened
}

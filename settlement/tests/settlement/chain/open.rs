//! Opens and top-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::primitives::{Address, keccak256};
use farebox_core::channel::Terms;
use farebox_core::units::Amount;
use farebox_core::voucher::v2;
use farebox_engine::chain::{ChainRefusal, ClaimedTerms, OpenRequest, TopUpRequest};
use farebox_settlement::client::ChannelOnChain;
use serde_json::Value;

use crate::support::node::{Answer, Node};
use crate::support::payer::{Opened, now};
use crate::support::world::{DEPOSIT, World, devnet};

async fn top_up(world: &World, opened: &Opened, amount: u128) -> farebox_engine::chain::ToppedUpOnChain {
    let request = TopUpRequest {
        transaction: world.payer.top_up(opened, amount),
        channel: opened.channel,
        identity: Arc::new(opened.identity.clone()),
        additional_deposit: Amount::new(amount),
        is_sponsored: false,
    };
    world.settlement.chain().top_up(request).await.expect("a top-up")
}

#[tokio::test]
async fn channels_of_both_protocols_are_opened_and_topped_up() {
    let world = World::start().await;
    for opened in [world.open_v2(), world.open_v1()] {
        let on_chain = world.open(&opened).await.expect("an open");
        assert_eq!((on_chain.deposit, on_chain.settled), (Amount::new(DEPOSIT), Amount::ZERO));
        assert_eq!(on_chain.identity, opened.identity);
        assert_eq!(on_chain.tx_hash, keccak256(&opened.bytes));
        // The client got no answer and sends the credential again: the transaction is mined, and accepted.
        let again = world.open(&opened).await.expect("the same open");
        assert_eq!(again.position, on_chain.position);

        let raised = top_up(&world, &opened, 500).await;
        assert_eq!((raised.deposit, raised.cancels_close), (Amount::new(DEPOSIT + 500), false));
        assert!(raised.position > on_chain.position);
        let told = world
            .books_until(opened.channel, "the watcher tells the top-up", |books| {
                books.snapshot.deposit == raised.deposit
            })
            .await;
        assert_eq!(told.snapshot.deposit, raised.deposit);
    }
    // A top-up of nothing, with nothing to cancel, is said by no event of the reserve.
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    let raised = top_up(&world, &opened, 0).await;
    assert_eq!((raised.deposit, raised.cancels_close), (Amount::new(DEPOSIT), false));
    world.stop().await;
}

/// Rule 11: the payer's own operator could take everything back at any time.
#[tokio::test]
async fn what_was_not_promised_is_refused_before_broadcast() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let escrow = world.devnet.info().escrow_v2;
    let payee = world.payee.key.address();
    let stranger = world.stranger.key.address();
    let honest = world.open_v2();
    let descriptor = honest.descriptor();
    let request = || world.request(&honest);

    let theft = world.payer.open_v2(escrow, payee, stranger, DEPOSIT);
    let elsewhere = world.payer.open_v2(escrow, stranger, Address::ZERO, DEPOSIT);
    let call = world.payer.open_call(escrow, payee, Address::ZERO, DEPOSIT);
    let expired = world.payer.sign_until(vec![call.clone()], now() - 1);
    let twice = world.payer.sign(vec![call.clone(), call]);
    let claim = |descriptor| OpenRequest { terms: ClaimedTerms::V2(descriptor), ..request() };
    let expired_open = farebox_settlement::DecodedOpen::decode(&expired).expect("our own");
    let Terms::V2(expired_terms) = expired_open.identity.terms else { panic!("v2") };
    let recorded: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/clients.json")).expect("a fixture");
    let sponsored = recorded.iter().find(|one| one["name"] == "v2-feepayer open").expect("recorded");
    let sponsored = sponsored["transaction"].as_str().expect("hex");
    let sponsored = alloy::primitives::hex::decode(sponsored).expect("hex");
    let other_salt = v2::Descriptor { salt: keccak256("other"), ..descriptor };
    let other_hash = v2::Descriptor { expiring_nonce_hash: keccak256("other"), ..descriptor };
    let cases = [
        ("operator", world.request(&theft)),
        ("payee", world.request(&elsewhere)),
        ("token", OpenRequest { token: stranger, ..request() }),
        ("escrow", OpenRequest { escrow: stranger, ..request() }),
        ("salt", claim(other_salt)),
        ("expiringNonceHash", claim(other_hash)),
        (
            "v2 channel, expected v1",
            OpenRequest { terms: ClaimedTerms::V1 { authorized_signer: None }, ..request() },
        ),
        ("channel id", OpenRequest { channel: theft.channel, ..request() }),
        ("open of the escrow (v1)", OpenRequest { transaction: twice, ..request() }),
        ("type", OpenRequest { transaction: vec![2, 1], ..request() }),
        ("sponsorship", OpenRequest { transaction: sponsored, ..request() }),
        (
            "expired",
            OpenRequest {
                transaction: expired,
                channel: expired_open.channel,
                terms: ClaimedTerms::V2(expired_terms),
                ..request()
            },
        ),
    ];
    for (what, request) in cases {
        let refused = world.settlement.chain().open(request).await.expect_err(what);
        let ChainRefusal::BadTransaction { what: found } = &refused else { panic!("{what}: {refused:?}") };
        assert!(found.contains(what), "{what}: {found}");
    }
    let too_much = OpenRequest { deposit_min: Amount::new(DEPOSIT + 1), ..request() };
    let refused = world.settlement.chain().open(too_much).await.expect_err("a small deposit");
    let (deposit, minimum) = (Amount::new(DEPOSIT), Amount::new(DEPOSIT + 1));
    assert!(
        matches!(refused, ChainRefusal::DepositTooSmall { deposit: found, minimum: asked } if (found, asked) == (deposit, minimum)),
        "{refused:?}"
    );
    assert_eq!(node.count("eth_sendRawTransaction"), 0);
    world.open(&honest).await.expect("an honest open");
    assert_eq!(node.count("eth_sendRawTransaction"), 1);
    world.stop().await;
}

#[tokio::test]
async fn an_open_that_reverts_is_no_channel() {
    let world = World::start().await;
    let escrow = world.devnet.info().escrow_v2;
    let fortune = (1 << 96) - 1;
    let opened = world.payer.open_v2(escrow, world.payee.key.address(), Address::ZERO, fortune);
    let refused = world.open(&opened).await.expect_err("more than the payer has");
    assert!(matches!(refused, ChainRefusal::Reverted { .. }), "{refused:?}");
    assert_eq!(world.engine.read(opened.channel).await.expect("running books"), None);
    let again = world.open(&opened).await.expect_err("the receipt says the same");
    assert!(matches!(again, ChainRefusal::Reverted { .. }), "{again:?}");
    world.stop().await;
}

/// Rule 10: a receipt that does not come is neither success nor failure; the credential can be sent again.
#[tokio::test]
async fn a_receipt_that_does_not_come_is_no_answer() {
    let devnet = devnet().await;
    let is_hidden = Arc::new(AtomicBool::new(true));
    let hidden = Arc::clone(&is_hidden);
    let node = Node::before(Some(devnet.info().rpc_url.clone()), move |method, _| match method {
        "eth_getTransactionReceipt" if hidden.load(Ordering::SeqCst) => Answer::Result(Value::Null),
        "eth_sendRawTransaction" if hidden.load(Ordering::SeqCst) => Answer::ForwardAndDrop,
        _ => Answer::Forward,
    })
    .await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    let chain_id = world.config.chain_id;
    let config = farebox_settlement::ClientConfig {
        receipt_wait_ms: 1_000,
        ..crate::support::world::quick(vec![node.url.clone()])
    };
    let client = farebox_settlement::Client::new(chain_id, config).expect("a client");
    let signer = farebox_settlement::PayeeSigner::from_signer(world.payee.key.clone());
    let patient = std::mem::replace(
        &mut world.settlement,
        farebox_settlement::Settlement::start(world.config.clone(), world.engine.clone(), client, signer)
            .await
            .expect("settlement starts"),
    );
    patient.stop().await;

    let opened = world.open_v2();
    let unknown = world.open(&opened).await.expect_err("no receipt");
    assert!(matches!(unknown, ChainRefusal::Unknown { tx_hash } if tx_hash == keccak256(&opened.bytes)));
    is_hidden.store(false, Ordering::SeqCst);
    let on_chain = world.open(&opened).await.expect("the receipt was there all the time");
    assert_eq!(on_chain.deposit, Amount::new(DEPOSIT));
    assert_eq!(node.count("eth_sendRawTransaction"), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_channel_that_is_closing_or_closed_on_chain_is_not_taken() {
    let world = World::start().await;
    let opened = world.open_v2();
    assert!(world.send(&opened.bytes).await.success);
    assert!(world.send(&world.payer.request_close(&opened)).await.success);
    let refused = world.settlement.chain().open(world.request(&opened)).await.expect_err("a close request");
    assert!(
        matches!(&refused, ChainRefusal::BadTransaction { what } if what.contains("requested")),
        "{refused:?}"
    );
    assert!(world.send(&world.payee.close_for_nothing(&opened)).await.success);
    let (state, _) = world
        .client
        .channel(opened.identity.protocol(), opened.identity.escrow, opened.channel, 0)
        .await
        .expect("a state");
    assert_eq!(state, ChannelOnChain::Absent);
    let refused = world.settlement.chain().open(world.request(&opened)).await.expect_err("closed");
    assert!(
        matches!(&refused, ChainRefusal::BadTransaction { what } if what.contains("closed")),
        "{refused:?}"
    );
    world.stop().await;
}

/// A node refuses what it has executed already; the receipt says that all is well.
#[tokio::test]
async fn an_open_that_the_nodes_refuse_because_they_have_it_is_accepted() {
    let devnet = devnet().await;
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let node = Node::before(Some(devnet.info().rpc_url.clone()), move |method, _| match method {
        // The first look comes from a node that is behind.
        "eth_getTransactionReceipt" if looks.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::Result(Value::Null)
        }
        "eth_sendRawTransaction" => Answer::Error(-32_000, "nonce too low"),
        _ => Answer::Forward,
    })
    .await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = world.open_v2();
    assert!(world.send(&opened.bytes).await.success);
    let on_chain = world.open(&opened).await.expect("it is mined");
    assert_eq!(on_chain.deposit, Amount::new(DEPOSIT));
    assert_eq!(node.count("eth_sendRawTransaction"), 1);
    let other = world.open_v2();
    let refused = world.open(&other).await.expect_err("this one is not");
    assert!(
        matches!(&refused, ChainRefusal::BadTransaction { what } if what.contains("nonce too low")),
        "{refused:?}"
    );
    world.stop().await;
}

/// Nobody hands the open on to the chain: after its validity the client may sign a new one.
#[tokio::test]
async fn an_open_that_no_block_took_is_refused_when_it_has_expired() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |method, _| match method {
        "eth_sendRawTransaction" => Answer::Drop,
        _ => Answer::Forward,
    })
    .await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let payee = world.payee.key.address();
    let call = world.payer.open_call(world.devnet.info().escrow_v2, payee, Address::ZERO, DEPOSIT);
    let opened = crate::support::payer::opened(world.payer.sign_until(vec![call], now() + 3));
    let refused = world.open(&opened).await.expect_err("never in a block");
    let is_expired = |what: &String| what.contains("expired before a block");
    assert!(matches!(&refused, ChainRefusal::BadTransaction { what } if is_expired(what)), "{refused:?}");
    world.stop().await;
}

//! Charges: one transfer, exactly as ordered, and nothing else.

use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_engine::chain::{Attribution, ChainRefusal, ChargeOrder};
use tempo_primitives::transaction::Call;

use crate::support::node::{Answer, Node};
use crate::support::payer::now;
use crate::support::world::{World, devnet};

const AMOUNT: u128 = 2_000;
const MEMO: B256 = B256::repeat_byte(0x3E);

fn order(world: &World, transaction: Vec<u8>) -> ChargeOrder {
    ChargeOrder {
        transaction,
        token: world.payee.token,
        payee: world.payee.key.address(),
        amount: Amount::new(AMOUNT),
        memo: MEMO,
        attribution: Attribution::new("bench.example", "challenge"),
        expires: UnixSeconds(now() + 300),
        is_sponsored: false,
        may_pay: Arc::new(|_| true),
    }
}

fn transfer(world: &World, amount: u128, memo: B256) -> Call {
    world.payer.transfer_with_memo(world.payee.key.address(), amount, memo)
}

#[tokio::test]
async fn a_transfer_as_ordered_is_taken_once() {
    let world = World::start().await;
    let signed = world.payer.sign(vec![transfer(&world, AMOUNT, MEMO)]);
    let before = world.balance(&world.payee).await;
    let tx_hash = world.settlement.chain().charge(order(&world, signed.clone())).await.expect("a charge");
    assert_eq!(world.balance(&world.payee).await - before, U256::from(AMOUNT));
    // The client got no answer and asks again: the same transaction, and no more money.
    let again = world.settlement.chain().charge(order(&world, signed)).await.expect("the same charge");
    assert_eq!((again, world.balance(&world.payee).await - before), (tx_hash, U256::from(AMOUNT)));

    let fortune = world.payer.sign(vec![transfer(&world, u128::MAX, MEMO)]);
    let order = ChargeOrder { amount: Amount::MAX, ..order(&world, fortune) };
    let reverted = world.settlement.chain().charge(order).await.expect_err("more than the payer holds");
    assert!(matches!(reverted, ChainRefusal::Reverted { .. }), "{reverted:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_was_not_ordered_is_refused_before_broadcast() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let (payer, stranger) = (&world.payer, world.stranger.key.address());
    let exact = || transfer(&world, AMOUNT, MEMO);
    let sign = |calls| payer.sign(calls);
    let elsewhere = payer.transfer_with_memo(stranger, AMOUNT, MEMO);
    let other_token = Call { to: alloy::primitives::TxKind::Call(stranger), ..exact() };
    let late = payer.sign_until(vec![exact()], now() + 301);
    let cases = [
        ("transfers 1999", sign(vec![transfer(&world, AMOUNT - 1, MEMO)])),
        ("transfers 2001", sign(vec![transfer(&world, AMOUNT + 1, MEMO)])),
        ("memo", sign(vec![transfer(&world, AMOUNT, B256::ZERO)])),
        ("payee", sign(vec![elsewhere])),
        ("token", sign(vec![other_token])),
        ("2 calls", sign(vec![exact(), exact()])),
        ("transferWithMemo", sign(vec![payer.transfer(world.payee.key.address(), AMOUNT)])),
        ("valid until", late),
        ("type", vec![2, 1]),
    ];
    for (what, transaction) in cases {
        let refused = world.settlement.chain().charge(order(&world, transaction)).await.expect_err(what);
        let ChainRefusal::BadTransaction { what: found } = &refused else { panic!("{what}: {refused:?}") };
        assert!(found.contains(what), "{what}: {found}");
    }
    let denied = ChargeOrder { may_pay: Arc::new(|_: Address| false), ..order(&world, sign(vec![exact()])) };
    let refused = world.settlement.chain().charge(denied).await.expect_err("denied");
    assert!(matches!(refused, ChainRefusal::BadTransaction { .. }), "{refused:?}");
    assert_eq!(node.count("eth_sendRawTransaction"), 0);
    world.stop().await;
}

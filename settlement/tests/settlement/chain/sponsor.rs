//! Paying clients' fees: what is paid for, and every way to make the sponsor pay for something else.

use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use alloy::signers::SignerSync;
use farebox_core::channel::Terms;
use farebox_core::units::Amount;
use farebox_engine::chain::{ChainRefusal, ClaimedTerms, OpenRequest, OpenedOnChain, TopUpRequest};
use farebox_engine::sponsor::{BudgetLimits, Policy, Refusal};
use farebox_settlement::{LocalKey, PayeeSigner, SponsorConfig};
use serde_json::{Value, json};
use tempo_primitives::transaction::{Call, KeychainSignature, PrimitiveSignature};
use tempo_primitives::{TempoSignature, TempoTransaction};

use crate::support::node::{Answer, Node};
use crate::support::payer::{Form, Opened, Payer, now, opened};
use crate::support::world::{DEPOSIT, World, devnet, quick};

/// What a transaction of [`Payer::sponsored`] costs at most: 2,000,000 gas at 50 * 10^9.
const MOST: u128 = 100_000;

/// The account that pays fees.
fn sponsor(world: &World) -> Payer {
    let info = world.devnet.info();
    Payer::new(info.accounts[4].private_key, info.chain_id, info.token)
}

async fn sponsored_world(budget: BudgetLimits, node: Option<&Node>, devnet: farebox_devnet::Devnet) -> World {
    let info = devnet.info().clone();
    let key = Payer::new(info.accounts[4].private_key, info.chain_id, info.token).key;
    let endpoint = node.map_or(info.rpc_url, |node| node.url.clone());
    World::tuned(devnet, vec![endpoint], |config| {
        // A v1 open of the test needs more than a thrifty operator would pay.
        let fee_max = budget.payer.min(Amount::new(200_000));
        let policy = Policy { fee_token: info.token, fee_max, ..Policy::default() };
        let key = LocalKey::from_signer(key);
        config.sponsor = Some(SponsorConfig { key, policy, budget });
    })
    .await
}

fn budget(payer: u128, all: u128) -> BudgetLimits {
    BudgetLimits { payer: Amount::new(payer), all: Amount::new(all) }
}

fn wide() -> BudgetLimits {
    budget(10_000_000, 100_000_000)
}

fn open_call(world: &World, payer: &Payer) -> Vec<Call> {
    let escrow = world.devnet.info().escrow_v2;
    vec![payer.open_call(escrow, world.payee.key.address(), Address::ZERO, DEPOSIT)]
}

fn plain(_: &mut TempoTransaction) {}

/// For two calls, which the local chain estimates generously.
fn more_gas(tx: &mut TempoTransaction) {
    tx.gas_limit = 3_500_000;
}

/// An open for a fee payer as clients send it today.
fn open_v2(world: &World, payer: &Payer) -> Opened {
    opened(payer.sponsored(Form::Envelope(payer.key.address()), open_call(world, payer), plain))
}

fn request(world: &World, opened: &Opened) -> OpenRequest {
    OpenRequest { is_sponsored: true, ..world.request(opened) }
}

async fn open(world: &World, opened: &Opened) -> Result<OpenedOnChain, ChainRefusal> {
    world.settlement.chain().open(request(world, opened)).await
}

#[tokio::test]
async fn the_fees_of_opens_and_top_ups_are_paid_once() {
    let world = sponsored_world(wide(), None, devnet().await).await;
    let info = world.devnet.info().clone();
    let (payer, sponsor) = (&world.payer, sponsor(&world));
    let me = payer.key.address();
    let calls_v1 = || payer.open_calls_v1(info.escrow_v1, world.payee.key.address(), DEPOSIT, DEPOSIT);
    let opens = [
        open_v2(&world, payer),
        opened(payer.sponsored(Form::Placeholder, open_call(&world, payer), plain)),
        opened(payer.sponsored(Form::EmptySignature, open_call(&world, payer), plain)),
        opened(payer.sponsored(Form::Envelope(me), calls_v1(), more_gas)),
        opened(payer.sponsored(Form::Placeholder, calls_v1(), more_gas)),
    ];
    for opened in &opens {
        let before = (world.balance(payer).await, world.balance(&sponsor).await);
        let on_chain = open(&world, opened).await.expect("an open");
        assert_eq!((&on_chain.identity, on_chain.deposit), (&opened.identity, Amount::new(DEPOSIT)));
        let after = (world.balance(payer).await, world.balance(&sponsor).await);
        assert_eq!(before.0 - after.0, U256::from(DEPOSIT), "the payer pays its deposit and no fee");
        assert!(after.1 < before.1, "the sponsor pays the fee");

        let again = open(&world, opened).await.expect("the same open");
        assert_eq!((again.tx_hash, again.position), (on_chain.tx_hash, on_chain.position));
        assert_eq!(world.balance(&sponsor).await, after.1, "a retry costs nothing");

        let top_up = TopUpRequest {
            transaction: payer.sponsored(Form::Envelope(me), payer.top_up_calls(opened, 500), more_gas),
            channel: opened.channel,
            identity: Arc::new(opened.identity.clone()),
            additional_deposit: Amount::new(500),
            is_sponsored: true,
        };
        let raised = world.settlement.chain().top_up(top_up.clone()).await.expect("a top-up");
        assert_eq!(raised.deposit, Amount::new(DEPOSIT + 500));
        let paid = world.balance(&sponsor).await;
        assert!(paid < after.1);
        let again = world.settlement.chain().top_up(top_up).await.expect("the same top-up");
        assert_eq!((again.tx_hash, world.balance(&sponsor).await), (raised.tx_hash, paid));
        assert_eq!(after.0 - world.balance(payer).await, U256::from(500));
    }
    world.stop().await;
}

/// A transaction that somebody could drain the sponsor with, and the words of its refusal.
type Attack = (&'static str, Vec<u8>, fn(&ChainRefusal) -> bool);

fn bad(refusal: &ChainRefusal) -> bool {
    matches!(refusal, ChainRefusal::BadTransaction { .. })
}

fn named(name: &'static str, refusal: &ChainRefusal) -> bool {
    matches!(refusal, ChainRefusal::NotSponsored(found) if found.name() == name)
}

fn attacks(world: &World) -> Vec<Attack> {
    let payer = &world.payer;
    let (me, stranger) = (payer.key.address(), world.stranger.key.address());
    let info = world.devnet.info();
    let payee = world.payee.key.address();
    let form = Form::Envelope(me);
    let sign = |calls, change: fn(&mut TempoTransaction)| payer.sponsored(form, calls, change);
    let one = || open_call(world, payer);
    let with = |more: Call| one().into_iter().chain([more]).collect::<Vec<_>>();
    let v1 = |approved| payer.open_calls_v1(info.escrow_v1, payee, DEPOSIT, approved);
    let elsewhere = |escrow, to| vec![payer.open_call(escrow, to, Address::ZERO, DEPOSIT)];
    let fortune = vec![payer.open_call(info.escrow_v2, payee, Address::ZERO, (1 << 96) - 1)];
    let other_token = payer.sponsored(Form::EmptySignature, one(), |tx| {
        tx.fee_token = Some(Address::repeat_byte(0x20));
    });
    let access_key = payer.sponsored_by(form, one(), plain, |tx| {
        let hash = KeychainSignature::signing_hash(tx.signature_hash(), me);
        let inner = PrimitiveSignature::Secp256k1(world.stranger.key.sign_hash_sync(&hash).expect("signs"));
        TempoSignature::Keychain(KeychainSignature::new(me, inner))
    });
    let sponsors_own = sponsor(world);
    let own = Form::Envelope(sponsors_own.key.address());
    vec![
        ("an extra call behind", sign(with(payer.transfer(stranger, 1)), plain), bad),
        ("two opens", sign([one(), one()].concat(), plain), bad),
        ("a transfer alone", sign(vec![payer.transfer(stranger, 1)], plain), bad),
        ("a foreign target", sign(elsewhere(stranger, payee), plain), bad),
        ("a foreign payee", sign(elsewhere(info.escrow_v2, stranger), plain), bad),
        ("three calls of v1", sign([v1(DEPOSIT), vec![payer.transfer(stranger, 1)]].concat(), plain), bad),
        ("an approval without end", sign(v1(u128::MAX), plain), |found| named("approval", found)),
        ("another fee token", other_token, |found| named("fee_token", found)),
        ("huge gas", sign(one(), |tx| tx.gas_limit = 4_000_001), |found| named("gas", found)),
        ("a huge price", sign(one(), |tx| tx.max_fee_per_gas = 1 << 100), |found| named("gas_price", found)),
        ("a huge tip", sign(one(), |tx| tx.max_priority_fee_per_gas = 1 << 100), |found| {
            named("gas_price", found)
        }),
        ("a huge fee", sign(one(), |tx| tx.max_fee_per_gas = 60_000_000_000), |found| named("fee", found)),
        ("too little gas", sign(one(), |tx| tx.gas_limit = 60_000), |found| named("gas", found)),
        ("far validity", sign(one(), |tx| tx.valid_before = (now() + 3_600).try_into().ok()), |found| {
            named("validity", found)
        }),
        ("validity that is over", sign(one(), |tx| tx.valid_before = (now() - 1).try_into().ok()), |found| {
            named("validity", found)
        }),
        ("validity to come", sign(one(), |tx| tx.valid_after = (now() + 20).try_into().ok()), |found| {
            named("validity", found)
        }),
        ("no end (v1)", sign(v1(DEPOSIT), |tx| tx.valid_before = None), |found| named("nonce", found)),
        ("a nonce in a lane (v1)", sign(v1(DEPOSIT), |tx| tx.nonce_key = U256::from(7)), |found| {
            named("nonce", found)
        }),
        ("the account's own nonce (v1)", sign(v1(DEPOSIT), |tx| tx.nonce_key = U256::ZERO), |found| {
            named("nonce", found)
        }),
        ("an access list", sign(one(), |tx| tx.access_list.0.push(Default::default())), bad),
        ("an access key", access_key, |found| named("access_key", found)),
        ("more than the payer holds", sign(fortune, plain), |found| named("dry_run", found)),
        ("the sponsor's own", sponsors_own.sponsored(own, open_call(world, &sponsors_own), plain), |found| {
            named("own_transaction", found)
        }),
        ("a sender who did not sign", payer.sponsored(Form::Envelope(stranger), one(), plain), bad),
    ]
}

/// What a door would ask for these bytes; for those that are no open, what it would ask for `honest`.
fn claimed(world: &World, bytes: &[u8], honest: &Opened) -> OpenRequest {
    let asked = match farebox_settlement::DecodedOpen::decode(bytes) {
        Ok(open) => {
            let terms = match open.identity.terms {
                Terms::V1(_) => ClaimedTerms::V1 { authorized_signer: None },
                Terms::V2(descriptor) => ClaimedTerms::V2(descriptor),
            };
            let info = world.devnet.info();
            let escrow = match open.identity.terms {
                Terms::V1(_) => info.escrow_v1,
                Terms::V2(_) => info.escrow_v2,
            };
            OpenRequest { channel: open.channel, terms, escrow, ..request(world, honest) }
        }
        Err(_) => request(world, honest),
    };
    OpenRequest { transaction: bytes.to_vec(), ..asked }
}

#[tokio::test]
async fn what_could_drain_the_sponsor_is_refused_before_broadcast() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    // Room for one: what a refusal did not give back would be missing at the end.
    let world = sponsored_world(budget(MOST, MOST), Some(&node), devnet).await;
    let sponsor = sponsor(&world);
    let before = world.balance(&sponsor).await;
    let honest = open_v2(&world, &world.payer);
    for (name, bytes, is_expected) in attacks(&world) {
        let refused = world.settlement.chain().open(claimed(&world, &bytes, &honest)).await.expect_err(name);
        assert!(is_expected(&refused), "{name}: {refused:?}");
    }
    let refused = world.settlement.chain().open(world.request(&honest)).await.expect_err("not promised");
    assert!(bad(&refused), "{refused:?}");
    assert_eq!(node.count("eth_sendRawTransaction"), 0);
    assert_eq!(world.balance(&sponsor).await, before);
    open(&world, &honest).await.expect("an honest open, with the whole budget");
    world.stop().await;
}

#[tokio::test]
async fn top_ups_are_judged_as_opens_are() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let world = sponsored_world(wide(), Some(&node), devnet).await;
    let (payer, form) = (&world.payer, Form::Envelope(world.payer.key.address()));
    let channel = open_v2(&world, payer);
    open(&world, &channel).await.expect("an open");
    let sent = node.count("eth_sendRawTransaction");
    let calls = || payer.top_up_calls(&channel, 500);
    let stranger = world.stranger.sponsored(
        Form::Envelope(world.stranger.key.address()),
        world.stranger.top_up_calls(&channel, 500),
        plain,
    );
    let attacks = [
        (
            "an extra call",
            payer.sponsored(form, [calls(), vec![payer.transfer(Address::ZERO, 1)]].concat(), plain),
        ),
        ("another amount", payer.sponsored(form, payer.top_up_calls(&channel, 501), plain)),
        ("huge gas", payer.sponsored(form, calls(), |tx| tx.gas_limit = 30_000_000)),
        (
            "far validity",
            payer.sponsored(form, calls(), |tx| tx.valid_before = (now() + 3_600).try_into().ok()),
        ),
        ("somebody else's", stranger),
    ];
    let ask = |transaction, is_sponsored| TopUpRequest {
        transaction,
        channel: channel.channel,
        identity: Arc::new(channel.identity.clone()),
        additional_deposit: Amount::new(500),
        is_sponsored,
    };
    for (name, transaction) in attacks {
        world.settlement.chain().top_up(ask(transaction, true)).await.expect_err(name);
    }
    let honest = payer.sponsored(form, calls(), plain);
    let refused =
        world.settlement.chain().top_up(ask(honest.clone(), false)).await.expect_err("not promised");
    assert!(bad(&refused), "{refused:?}");
    assert_eq!(node.count("eth_sendRawTransaction"), sent);
    world.settlement.chain().top_up(ask(honest, true)).await.expect("an honest top-up");
    world.stop().await;
}

/// All ask at once; the budget holds one, and what is left of it after that one was mined does not hold another.
#[tokio::test]
async fn requests_that_come_together_do_not_overrun_the_budget() {
    let world = sponsored_world(budget(MOST, 10 * MOST), None, devnet().await).await;
    let sponsor = sponsor(&world);
    let before = world.balance(&sponsor).await;
    let opens: Vec<Opened> = (0..6).map(|_| open_v2(&world, &world.payer)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for opened in &opens {
        let (chain, request) = (world.settlement.chain(), request(&world, opened));
        tasks.spawn(async move { chain.open(request).await });
    }
    let results = tasks.join_all().await;
    let paid = results.iter().filter(|result| result.is_ok()).count();
    let refused = results.iter().filter(|result| {
        matches!(result, Err(ChainRefusal::NotSponsored(Refusal::PayerBudget { retry_after_s: 1..=300 })))
    });
    assert_eq!((paid, refused.count()), (1, 5), "{results:?}");
    assert!(before - world.balance(&sponsor).await <= U256::from(MOST));

    // Somebody else has an hour of his own.
    open(&world, &open_v2(&world, &world.stranger)).await.expect("the stranger's first");
    world.stop().await;

    // And all together have one, too.
    let world = sponsored_world(budget(MOST, MOST), None, devnet().await).await;
    open(&world, &open_v2(&world, &world.payer)).await.expect("the first");
    let second = open(&world, &open_v2(&world, &world.stranger)).await.expect_err("the hour is used up");
    assert!(named("budget", &second), "{second:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_revert_that_the_dry_run_did_not_see_counts() {
    let devnet = devnet().await;
    let lie = |method: &str, _: &Value| match method {
        "eth_estimateGas" => Answer::Result(json!("0x5208")),
        _ => Answer::Forward,
    };
    let node = Node::before(Some(devnet.info().rpc_url.clone()), lie).await;
    let world = sponsored_world(budget(MOST, 10 * MOST), Some(&node), devnet).await;
    let (payer, sponsor) = (&world.payer, sponsor(&world));
    let before = world.balance(&sponsor).await;
    let escrow = world.devnet.info().escrow_v2;
    let fortune = payer.open_call(escrow, world.payee.key.address(), Address::ZERO, (1 << 96) - 1);
    let form = Form::Envelope(payer.key.address());
    let reverts = opened(payer.sponsored(form, vec![fortune], plain));
    let refused = open(&world, &reverts).await.expect_err("more than the payer holds");
    assert!(matches!(refused, ChainRefusal::Reverted { .. }), "{refused:?}");
    assert!(world.balance(&sponsor).await < before, "the sponsor paid for nothing");
    let next = open(&world, &open_v2(&world, payer)).await.expect_err("the payer's hour is used up");
    assert!(named("payer_budget", &next), "{next:?}");
    world.stop().await;
}

/// Rule 10: a transaction whose fate is not known may still cost all that it may cost.
#[tokio::test]
async fn a_fate_that_is_not_known_counts_in_full() {
    let devnet = devnet().await;
    let silent = |method: &str, _: &Value| match method {
        "eth_getTransactionReceipt" => Answer::Result(Value::Null),
        _ => Answer::Forward,
    };
    let node = Node::before(Some(devnet.info().rpc_url.clone()), silent).await;
    let mut world = sponsored_world(budget(MOST, 10 * MOST), Some(&node), devnet).await;
    let client = farebox_settlement::ClientConfig { receipt_wait_ms: 500, ..quick(vec![node.url.clone()]) };
    let client = farebox_settlement::Client::new(world.config.chain_id, client).expect("a client");
    let signer = PayeeSigner::from_signer(world.payee.key.clone());
    let patient =
        farebox_settlement::Settlement::start(world.config.clone(), world.engine.clone(), client, signer);
    let former = std::mem::replace(&mut world.settlement, patient.await.expect("settlement starts"));
    former.stop().await;
    let unknown = open(&world, &open_v2(&world, &world.payer)).await.expect_err("nobody says");
    assert!(matches!(unknown, ChainRefusal::Unknown { .. }), "{unknown:?}");
    let next = open(&world, &open_v2(&world, &world.payer)).await.expect_err("the payer's hour is used up");
    assert!(named("payer_budget", &next), "{next:?}");
    world.stop().await;
}

#[tokio::test]
async fn an_empty_sponsor_says_so_and_signs_nothing() {
    let devnet = devnet().await;
    let token = devnet.info().token;
    let poor = Payer::new(B256::repeat_byte(0x77), devnet.info().chain_id, token);
    let endpoint = devnet.info().rpc_url.clone();
    let world = World::tuned(devnet, vec![endpoint], |config| {
        let policy = Policy { fee_token: token, ..Policy::default() };
        let key = LocalKey::from_signer(poor.key.clone());
        config.sponsor = Some(SponsorConfig { key, policy, budget: budget(MOST, MOST) });
    })
    .await;
    for _ in 0..2 {
        let refused = open(&world, &open_v2(&world, &world.payer)).await.expect_err("no money");
        assert!(named("empty", &refused), "{refused:?}");
    }
    world.stop().await;
}

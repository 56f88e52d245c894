//! What settling costs the engine: the same vouchers with and without settlement beside the books.
//!
//! `FAREBOX_VOUCHERS` says how many vouchers a channel brings; `make bench-settlement` asks for many and prints the
//! processor time of each. Here it is held to the money alone: what was charged is settled, to the unit.

use std::time::{Duration, Instant};

use farebox_core::channel::{RequestKey, Spend};
use farebox_core::units::{Amount, ChannelId};
use farebox_core::voucher::AnySignedVoucher;
use farebox_engine::Verdict;
use farebox_settlement::{Client, PayeeSigner, Settlement};
use serde_json::json;

use super::batch::{open_many, spent_in};
use crate::support::payer::{Opened, Payer};
use crate::support::world::{World, bench_keep, devnet, eventually, quick};

/// Channels that pay.
const CHANNELS: usize = 20;
/// Vouchers of a channel in one measurement, when nothing is said.
const VOUCHERS_DEFAULT: u64 = 20;
/// What one voucher pays.
const PRICE: u128 = 10;
/// Measurements of each kind, in turn.
const ROUNDS: u64 = 4;
/// How many times a second every channel pays.
const RATE_PER_S: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn settling_beside_the_books_is_exact_and_what_it_costs_is_printed() {
    let asked = std::env::var("FAREBOX_VOUCHERS").ok();
    let vouchers = asked.as_ref().map_or(VOUCHERS_DEFAULT, |text| text.parse().expect("a number"));
    let devnet = devnet().await;
    let url = devnet.info().rpc_url.clone();
    let world = World::tuned(devnet, vec![url], |config| {
        // As often as a channel brought so much, whatever it costs.
        config.work.policy.amount_min = Amount::new(PRICE * u128::from(vouchers) / 2);
        config.work.policy.profit_percent_min = 0;
        config.watch.poll_ms = 500;
        config.work.follow_ms = 1_000;
    })
    .await;
    let opened = open_many(&world, (0..CHANNELS).map(|_| world.open_v2())).await;
    let World { devnet, engine, settlement, config, payee, payer, client, .. } = world;
    settlement.stop().await;

    let mut cpu_us = [0.0, 0.0];
    for round in 0..2 * ROUNDS {
        let with = round % 2 == 1;
        let signed = sign(&payer, &opened, round, vouchers);
        let settlement = if with {
            let client =
                Client::new(config.chain_id, quick(vec![devnet.info().rpc_url.clone()])).expect("a client");
            let signer = PayeeSigner::from_signer(payee.key.clone());
            let started = Settlement::start(config.clone(), engine.clone(), client, signer).await;
            Some(started.expect("settlement starts"))
        } else {
            None
        };
        let before = cpu_now_us();
        pay(&engine, round, signed).await;
        cpu_us[usize::from(with)] += cpu_now_us() - before;
        if let Some(settlement) = settlement {
            settlement.stop().await;
        }
    }

    // In the end everything is claimed, to the unit.
    let signer = PayeeSigner::from_signer(payee.key.clone());
    let mut config = config;
    config.work.policy.amount_min = Amount::new(1);
    let settlement =
        Settlement::start(config, engine.clone(), client, signer).await.expect("settlement starts");
    for (number, one) in opened.iter().enumerate() {
        let spent = Amount::new(spent_in(number) + PRICE * u128::from(2 * ROUNDS * vouchers));
        eventually("all that was spent is settled", async || {
            let books = engine.read(one.channel).await.ok()??.snapshot;
            assert_eq!(books.spent, spent);
            (books.settled == spent).then_some(())
        })
        .await;
    }
    settlement.stop().await;
    engine.shutdown().await.expect("the books close");
    devnet.stop().await;
    if asked.is_some() {
        let each = cpu_us.map(|us| us / (ROUNDS * vouchers * CHANNELS as u64) as f64);
        let more_percent = (each[1] / each[0] - 1.0) * 100.0;
        println!(
            "CPU a voucher: {:.2} us alone, {:.2} us with settlement ({more_percent:+.1} %)",
            each[0], each[1]
        );
        bench_keep(
            "engine",
            &json!({ "cpuMicrosecondsAlone": each[0], "cpuMicrosecondsWithSettlement": each[1], "morePercent": more_percent }),
        );
    }
}

/// The vouchers of one measurement, by time.
fn sign(
    payer: &Payer,
    opened: &[Opened],
    round: u64,
    vouchers: u64,
) -> Vec<Vec<(ChannelId, AnySignedVoucher)>> {
    let one = |number: u64| {
        let each = opened.iter().enumerate().map(move |(place, one)| {
            let paid = PRICE * u128::from(round * vouchers + number + 1);
            (one.channel, payer.voucher(one, spent_in(place) + paid))
        });
        each.collect()
    };
    (0..vouchers).map(one).collect()
}

/// All channels pay at the same time, so many times a second.
async fn pay(engine: &farebox_engine::Engine, round: u64, signed: Vec<Vec<(ChannelId, AnySignedVoucher)>>) {
    let begin = Instant::now();
    for (number, together) in (0_u64..).zip(signed) {
        let due = begin + Duration::from_micros(number * 1_000_000 / RATE_PER_S);
        tokio::time::sleep_until(due.into()).await;
        let mut batch = tokio::task::JoinSet::new();
        for (channel, voucher) in together {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&round.to_le_bytes());
            // Other names than those of the first charges.
            key[8..].copy_from_slice(&(number | 1 << 63).to_le_bytes());
            let charge = Spend::Charge { key: Some(RequestKey(key)), amount: Amount::new(PRICE), units: 1 };
            let engine = engine.clone();
            batch.spawn(async move { engine.submit(channel, voucher, charge).await });
        }
        while let Some(verdict) = batch.join_next().await {
            let verdict = verdict.expect("no panic");
            assert!(matches!(verdict, Ok(Verdict::Accepted(_))), "{verdict:?}");
        }
    }
}

/// The processor time of this process, in microseconds: the node runs in another one.
fn cpu_now_us() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

//! `farebox settle --watch`: the server of the books dies, its payers ask to close, and the watchtower claims for it exactly
//! what was spent.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;

mod program;
mod support;

use program::Running;
use support::hand::Hand;
use support::{Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, World};

/// How old a close request must be before the watchtower steps in.
const AFTER_S: &str = "2";
/// A test that waits longer for the claims has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The server's configuration with books of its own.
fn tower_config(world: &World) -> PathBuf {
    let text = std::fs::read_to_string(&world.config).expect("the configuration");
    let file = world.config.with_file_name("tower.toml");
    assert!(text.contains("farebox-data"));
    std::fs::write(&file, text.replace("farebox-data", "tower-data")).expect("writes");
    file
}

fn watch(config: &Path, books: &Path) -> Running {
    let paths = [config, books].map(|path| path.to_str().expect("a path"));
    let command = program::command(&["settle", "-c", paths[0], "--watch", paths[1], "--after", AFTER_S]);
    let running = Running::start(command, config.parent().expect("a folder"));
    running.unwrap_or_else(|ended| panic!("the watchtower ended: {ended:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchtower_claims_for_a_server_that_died() {
    let mut world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let mut channels = Vec::new();
    let mut spent = 0;
    for (protocol, requests) in [(Protocol::V2, 4), (Protocol::V1, 3), (Protocol::V2, 2)] {
        let opened = payer.open(&world, protocol).await;
        for number in 2..=requests {
            let answer = payer.pay(&opened, number * REQUEST_PRICE).await;
            assert_eq!(answer.status, reqwest::StatusCode::OK, "{answer:?}");
        }
        spent += requests * REQUEST_PRICE;
        channels.push((opened, requests * REQUEST_PRICE));
    }
    // Promised, and nothing was delivered for it: not the payee's.
    let (first, _) = &channels[0];
    let promised = payer.promise(first, 9 * REQUEST_PRICE).await;
    assert!(promised.status.is_success(), "{promised:?}");

    let config = tower_config(&world);
    let books = world.config.with_file_name("farebox-data");
    let tower = watch(&config, &books);
    world.kill_server();
    let info = world.chain.info().clone();
    // The last one is left alone: nobody asked for it.
    for (opened, _) in &channels[..2] {
        match opened.protocol() {
            Protocol::V2 => {
                let call = ITIP20ChannelReserve::requestCloseCall { descriptor: opened.descriptor() };
                world.chain.send(world.payer.address, info.escrow_v2, call).await
            }
            Protocol::V1 => {
                let call = ITempoStreamChannel::requestCloseCall { channelId: opened.channel };
                world.chain.send(world.payer.address, info.escrow_v1, call).await
            }
        };
    }
    let begin = Instant::now();
    loop {
        let v2 = world.chain.state_v2(channels[0].0.channel).await;
        let v1 = world.chain.state_v1(channels[1].0.channel).await;
        if v2.deposit.is_zero() && v1.finalized {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "nothing was claimed: {}", tower.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let (quiet, quiet_spent) = &channels[2];
    let state = world.chain.state_v2(quiet.channel).await;
    assert_eq!((state.deposit.to::<u128>(), state.settled.to::<u128>()), (SUGGESTED_DEPOSIT, 0));
    let after = world.balances().await;
    assert_eq!(after.payee, before.payee + spent - quiet_spent, "the payee got exactly what was spent");
    assert_eq!(
        after.payer,
        before.payer - (spent - quiet_spent) - SUGGESTED_DEPOSIT,
        "the payer got the rest"
    );
    assert_eq!(after.escrow, before.escrow + SUGGESTED_DEPOSIT);

    // The server comes back to its own books, which nobody wrote to, and learns from the chain what became of them.
    let ended = tower.end("TERM");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    world.start_server();
    for (opened, spent) in &channels[..2] {
        let closed = support::until("the server hears of the claim", || async {
            let books = world.channel(opened.channel).await?;
            (books["phase"] == "closed").then_some(books)
        });
        support::assert_closed(&closed.await, *spent);
    }
    let books = world.channel(quiet.channel).await.expect("a known channel");
    assert_eq!((&books["phase"], support::amount(&books, "spent")), (&"open".into(), *quiet_spent));
}

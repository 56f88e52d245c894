//! `farebox export` explains every unit of a channel's life; `farebox reconcile` finds books, journal and chain to agree,
//! and names the channel and the amount when one of them was altered.

use std::process::{Command, Output};

use farebox_engine::RocksLedger;
use farebox_engine::core::units::{Amount, ChannelId};
use farebox_engine::ledger::{Ledger, LedgerRead};
use serde_json::Value;

mod support;

use support::hand::Hand;
use support::{Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, World, amount, farebox, text, until};

/// Runs a command on a world's configuration.
fn run(world: &World, arguments: &[&str]) -> Output {
    let mut program = Command::new(farebox());
    let (command, rest) = arguments.split_first().expect("a command");
    program.arg(command).arg("-c").arg(&world.config).args(rest);
    program.output().expect("runs farebox")
}

fn rows(world: &World, arguments: &[&str]) -> Vec<Value> {
    let output = run(world, &[&["export", "--format", "jsonl"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn sum(rows: &[Value], kinds: &[&str], field: &str) -> u128 {
    let wanted = rows.iter().filter(|row| kinds.iter().any(|kind| row["kind"] == *kind));
    wanted.map(|row| row[field].as_str().expect("an amount").parse::<u128>().expect("digits")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_explains_every_unit_and_what_was_altered_is_named() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    let other = payer.open(&world, Protocol::V2).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, reqwest::StatusCode::OK);
    assert_eq!(payer.close(&opened, 2 * REQUEST_PRICE).await.status, reqwest::StatusCode::NO_CONTENT);

    // Beside the running server, as soon as it filed the transaction.
    let all = until("the transaction is filed", || async {
        let all = rows(&world, &[]);
        all.iter().any(|row| row["kind"] == "transaction_succeeded").then_some(all)
    })
    .await;
    let channel = opened.channel.to_string();
    let of = rows(&world, &["--channel", &channel]);
    let paid = sum(&of, &["charged", "captured", "captured_finally"], "amount");
    assert_eq!(paid, 2 * REQUEST_PRICE, "{of:#?}");
    assert_eq!(sum(&of, &["claim_close"], "total"), 2 * REQUEST_PRICE);
    assert_eq!(sum(&of, &["closed"], "total"), 2 * REQUEST_PRICE);
    assert_eq!(sum(&of, &["closed"], "refund"), SUGGESTED_DEPOSIT - 2 * REQUEST_PRICE);
    let fee = sum(&all, &["transaction_succeeded"], "fee");
    let payee = world.chain.info().token;
    assert!(fee > 0, "the fee is known");
    let ended = all.iter().find(|row| row["kind"] == "transaction_succeeded").expect("found");
    assert_eq!(ended["feeToken"], format!("{payee:#x}"));
    let claimed = of.iter().find(|row| row["kind"] == "claim_close").expect("found");
    assert_eq!(claimed["transaction"], ended["transaction"]);

    let csv = text(&run(&world, &["export"]).stdout);
    let columns = csv.lines().next().expect("a header").split(',').count();
    assert_eq!(csv.lines().count(), all.len() + 1);
    assert!(csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
    assert_eq!(rows(&world, &["--since", "4000000000"]), Vec::<Value>::new());

    let agreed = run(&world, &["reconcile"]);
    assert!(agreed.status.success(), "{}{}", text(&agreed.stdout), text(&agreed.stderr));
    assert!(text(&agreed.stdout).contains("compared 2 channels"), "{}", text(&agreed.stdout));

    // A balance is altered on the disk: by 7 units.
    world.stop_server().await;
    let id = ChannelId(other.channel);
    let path = world.config.with_file_name("farebox-data");
    let ledger = RocksLedger::open(&path).expect("opens");
    let mut stored = ledger.load(id).expect("reads").expect("there");
    let before = stored.state.spent;
    stored.state.spent = Amount::new(before.get() - 7);
    ledger.store_images(&[stored]).expect("stores");
    let mark = ledger.standing().expect("reads").mark;
    ledger.set_mark(&mark).expect("flushes");
    drop(ledger);
    let found = run(&world, &["reconcile"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let expected = format!("DIFFERENT: {id}: spent: books {}, journal {before}", before.get() - 7);
    assert!(text(&found.stdout).contains(&expected), "{}", text(&found.stdout));
    assert_eq!(text(&found.stdout).matches("DIFFERENT").count(), 1, "{}", text(&found.stdout));

    let json = run(&world, &["reconcile", "--json"]);
    let document: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(document["differences"][0]["channelId"], id.to_string());
    assert_eq!(document["differences"][0]["with"], "journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_knows_and_the_books_do_not_is_named() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    assert_eq!(amount(&world.channel(opened.channel).await.expect("there"), "deposit"), SUGGESTED_DEPOSIT);
    world.stop_server().await;
    let call = farebox_contracts::v2::ITIP20ChannelReserve::topUpCall {
        descriptor: opened.descriptor(),
        additionalDeposit: 5.try_into().expect("96 bits"),
    };
    let escrow = world.chain.info().escrow_v2;
    let approve = farebox_contracts::tip20::ITIP20::approveCall {
        spender: escrow,
        amount: alloy_primitives::U256::from(5),
    };
    world.chain.send(world.payer.address, world.chain.info().token, approve).await;
    world.chain.send(world.payer.address, escrow, call).await;
    let found = run(&world, &["reconcile"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let (books, chain) = (SUGGESTED_DEPOSIT, SUGGESTED_DEPOSIT + 5);
    let expected = format!("DIFFERENT: {:#x}: deposit: books {books}, chain {chain}", opened.channel);
    assert!(text(&found.stdout).contains(&expected), "{}", text(&found.stdout));
}

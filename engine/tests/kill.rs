//! A server on a real disk that is killed in the middle of its work, again and again.
#![cfg(feature = "rocksdb")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use farebox_core::channel::Spend;
use farebox_core::units::Amount;
use farebox_engine::ledger::recover;
use farebox_engine::{Config, Engine, RocksLedger, SystemClock};
use support::*;

/// Where the child finds the ledger; without it, its test has nothing to do.
const FOLDER: &str = "FAREBOX_TEST_KILL_FOLDER";
const PAYERS: u32 = 8;
const KILLS: usize = 5;
/// Acknowledged vouchers after which the child is killed; a little more each time.
const ACKNOWLEDGED_MIN: usize = 150;

#[test]
fn a_killed_server_has_everything_that_it_acknowledged() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut acknowledged: HashMap<u32, u128> = HashMap::new();
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_until_it_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < ACKNOWLEDGED_MIN + 37 * round {
            let line = lines.next().expect("the child goes on until it is killed").unwrap();
            seen += usize::from(note(&line, &mut acknowledged));
        }
        // SIGKILL: no destructor runs, nothing is flushed.
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line, &mut acknowledged);
        }
        child.wait().unwrap();
        check(folder.path(), &acknowledged);
    }
}

/// Reads `ack <payer> <amount>`; a line that the kill cut has no end mark and is no word of the child.
fn note(line: &str, acknowledged: &mut HashMap<u32, u128>) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    let ["ack", payer, amount, "."] = words[..] else { return false };
    acknowledged.insert(payer.parse().unwrap(), amount.parse().unwrap());
    true
}

fn check(folder: &Path, acknowledged: &HashMap<u32, u128>) {
    let ledger = RocksLedger::open(folder).unwrap();
    let books = recover(&ledger).unwrap();
    let page = books.page(&ledger, None, 1_000).unwrap();
    for (number, amount) in acknowledged {
        let channel = Payer::v2(*number).channel;
        let stored = page.iter().find(|stored| stored.channel == channel).expect("the channel is there");
        let (accepted, spent) = (stored.state.accepted.get(), stored.state.spent.get());
        assert!(
            accepted >= *amount && spent >= *amount,
            "{number}: {amount} acknowledged, {accepted} stored"
        );
        // One voucher more may be durable than was acknowledged, never a part of one.
        assert!(accepted <= amount + 1 && spent == accepted, "{number}: {accepted} accepted, {spent} spent");
    }
}

/// The child: pays one unit after the other on every channel, and says so after each answer.
#[test]
fn serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let config =
            Config { shards: 2, checkpoint_frames: 16, journal_keep_frames: Some(8), ..Config::default() };
        let engine = Engine::start(config, RocksLedger::open(folder).unwrap(), SystemClock).unwrap();
        // The test harness left a line unfinished.
        println!();
        let tasks: Vec<_> = (0..PAYERS).map(|number| tokio::spawn(serve(engine.clone(), number))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn serve(engine: Engine, number: u32) {
    let payer = Payer::v2(number);
    payer.open(&engine).await;
    let mut amount = payer.snapshot(&engine).await.accepted.get();
    // What is read is durable as well.
    println!("ack {number} {amount} .");
    loop {
        amount += 1;
        let then = Spend::Charge { key: Some(key(amount as u64)), amount: Amount::new(1), units: 1 };
        accepted(engine.submit(payer.channel, payer.sign(amount), then).await.unwrap());
        println!("ack {number} {amount} .");
    }
}

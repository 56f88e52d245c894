//! `farebox backup`, `check` and `restore`, on the books of a server that was paid on a local chain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use farebox_contracts::v2::ITIP20ChannelReserve;
use reqwest::StatusCode;
use serde_json::Value;

mod support;

use support::hand::{Hand, Opened};
use support::{Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, World, amount, farebox, text, until};

/// What every voucher of the load adds, in base units: hundreds of them fit into a deposit.
const VOUCHER_STEP: u128 = 10;

const SOUND: i32 = 0;
const WRONG: i32 = 1;
const BAD_INPUT: i32 = 2;
const CANNOT_START: i32 = 4;

/// Where the books of a world are, and beside them room for backups.
fn beside(world: &World, name: &str) -> PathBuf {
    world.config.parent().expect("a folder").join(name)
}

fn ledger(world: &World) -> PathBuf {
    beside(world, "farebox-data")
}

/// Runs a command on the world's configuration.
fn run(world: &World, command: &str, arguments: &[&str]) -> Output {
    let mut program = Command::new(farebox());
    program.arg(command).arg("-c").arg(&world.config).args(arguments);
    program.output().expect("runs farebox")
}

fn back_up(world: &World, to: &Path, admin: &str) -> Output {
    run(world, "backup", &["--to", path(to), "--admin", admin])
}

fn restore(world: &World, from: &Path) -> Output {
    run(world, "restore", &["--from", path(from)])
}

/// `farebox check --json` of a folder.
fn check(folder: &Path) -> (i32, Value) {
    let output = Command::new(farebox()).args(["check", "--json", "--path", path(folder)]).output();
    let output = output.expect("runs farebox");
    (code(&output), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| text(&output.stderr).into()))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

#[track_caller]
fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"))
}

/// Asserts how a command ended, and that it said something.
#[track_caller]
fn assert_ended(output: &Output, expected: i32, says: &str) {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(code(output), expected, "{said}");
    assert!(said.contains(says), "expected {says:?} in {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_a_whole_prefix_and_the_server_goes_on() {
    let mut world = World::start().await;
    // As many vouchers as the client can sign, also those that pay for nothing.
    world.stop_server().await;
    let limits = "[risk]\nvouchers_per_second_max = 0\n[limits]\nfailures_per_minute_max = 0\n";
    let config = fs::read_to_string(&world.config).expect("reads it") + limits;
    fs::write(&world.config, config).expect("writes it");
    world.start_server();
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    let other = payer.open(&world, Protocol::V1).await;
    let admin = world.server().admin_listen.to_string();
    let backup = beside(&world, "backup");

    // Without the right address it says where it looked; the store is another process's.
    let nowhere = back_up(&world, &backup, "127.0.0.1:9");
    assert_ended(&nowhere, CANNOT_START, "its admin API at 127.0.0.1:9 does not take a snapshot");
    fs::remove_dir_all(&backup).expect("nothing was copied");

    let mut paid = REQUEST_PRICE;
    let taken = {
        let (program, config) = (farebox(), world.config.clone());
        let (to, admin) = (backup.clone(), admin.clone());
        let mut taking = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(program);
            command.arg("backup").arg("-c").arg(config).arg("--to").arg(to).args(["--admin", &admin]);
            command.output().expect("runs farebox")
        });
        loop {
            tokio::select! {
                biased;
                taken = &mut taking => break taken.expect("no panic"),
                answer = payer.pay(&opened, paid + VOUCHER_STEP), if paid < SUGGESTED_DEPOSIT => {
                    // A voucher that is too low to pay is still taken: cheap load, each in a frame.
                    assert!(answer.status == StatusCode::PAYMENT_REQUIRED || answer.status == StatusCode::OK, "{answer:?}");
                    paid += VOUCHER_STEP;
                }
            }
        }
    };
    assert_ended(&taken, 0, "2 channels up to frame ");
    assert!(paid > REQUEST_PRICE, "vouchers were taken meanwhile");
    assert!(!ledger(&world).join("farebox.snapshot").exists(), "the snapshot is gone");
    // The server did not notice.
    assert_eq!(payer.pay(&other, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    let books = world.channels().await;
    let (status, said) = check(&backup);
    assert_eq!((status, said["channels"].as_u64()), (SOUND, Some(2)), "{said}");
    assert_eq!(said["vouchers"].as_u64().map(|count| count >= 2), Some(true), "{said}");
    assert_ended(&back_up(&world, &backup, &admin), BAD_INPUT, "nothing is overwritten");
    // Also beside the running server, and of its own store.
    assert_ended(&run(&world, "check", &[]), SOUND, "channels: 2 (2 open, 0 closing, 0 closed)");

    // Restoring where books are is refused, whether a server runs or not.
    assert_ended(&restore(&world, &backup), BAD_INPUT, "nothing is overwritten");
    world.stop_server().await;
    assert_ended(&restore(&world, &backup), BAD_INPUT, "nothing is overwritten");
    fs::rename(ledger(&world), beside(&world, "lost")).expect("moves the books away");
    assert_ended(&restore(&world, &backup), 0, "restored 2 channels");
    let restored = listed(&world);
    for (now, then) in books.iter().zip(&restored) {
        assert_eq!(now["channelId"], then["channelId"]);
        for field in ["accepted", "spent", "deposit", "settled"] {
            assert!(amount(then, field) <= amount(now, field), "{field} of {then} is ahead of {now}");
        }
        assert!(amount(then, "spent") >= REQUEST_PRICE, "what was paid before the backup is in it: {then}");
    }

    // No server before the chain was asked.
    assert_ended(&run(&world, "serve", &[]), CANNOT_START, "not compared with the chain yet");
    let more = back_up(&world, &beside(&world, "backup2"), &admin);
    assert_ended(&more, CANNOT_START, "not compared with the chain yet");
    assert_ended(
        &run(&world, "restore", &["--reconcile"]),
        0,
        "compared 2 channels with the chain at block ",
    );
    world.start_server();
    let payer = Hand::new(&world, &world.payer);
    assert_eq!(payer.pay(&other, 3 * REQUEST_PRICE).await.status, StatusCode::OK);
    // Offline, without the server.
    world.stop_server().await;
    assert_ended(&back_up(&world, &beside(&world, "offline"), "127.0.0.1:9"), 0, "2 channels up to frame ");
    let json = run(&world, "backup", &["--json", "--to", path(&beside(&world, "json"))]);
    assert_ended(&json, 0, "\"channels\":2");
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{json}");
    assert_eq!(json["backup"], path(&beside(&world, "json")));
    assert_eq!(check(&beside(&world, "offline")).0, SOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_on_chain_since_the_backup_is_told_before_anybody_is_served() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let mut channels = Vec::new();
    for _ in 0..5 {
        channels.push(payer.open(&world, Protocol::V2).await);
    }
    let [same, topped_up, settled, asked, closed] = channels.as_slice() else { unreachable!("five") };
    let backup = beside(&world, "backup");
    let admin = world.server().admin_listen.to_string();
    assert_ended(&back_up(&world, &backup, &admin), 0, "5 channels");

    // What the backup does not know.
    assert_eq!(payer.top_up(topped_up, 5_000).await.status, StatusCode::NO_CONTENT);
    assert_eq!(payer.pay(settled, 4 * REQUEST_PRICE).await.status, StatusCode::OK);
    assert_eq!(payer.close(closed, REQUEST_PRICE).await.status, StatusCode::NO_CONTENT);
    world.kill_server();
    settle(&world, &payer, settled, 4 * REQUEST_PRICE).await;
    let call = ITIP20ChannelReserve::requestCloseCall { descriptor: asked.descriptor() };
    world.chain.send(world.payer.address, world.chain.info().escrow_v2, call).await;
    fs::remove_dir_all(ledger(&world)).expect("loses the books");
    assert_ended(&restore(&world, &backup), 0, "restored 5 channels");

    let reconciled = run(&world, "restore", &["--reconcile"]);
    let said = text(&reconciled.stdout);
    assert_ended(&reconciled, 0, "compared 5 channels");
    let told = |opened: &Opened| -> Vec<&str> {
        let id = opened.channel.to_string();
        said.lines().filter_map(|line| line.split_once(&id)).map(|(_, what)| &what[2..]).collect()
    };
    assert_eq!(told(same), [""; 0], "{said}");
    assert_eq!(told(topped_up), ["deposit 10000 -> 15000"], "{said}");
    assert_eq!(told(settled)[0], "settled 0 -> 4000", "{said}");
    assert!(
        told(settled)[1].starts_with("is being closed: 4000 were paid out, these books charged 1000"),
        "{said}"
    );
    assert!(told(asked)[0].starts_with("the payer asked to close at Unix time "), "{said}");
    assert_eq!(told(closed), ["closed on chain, 1000 captured, 0 spent and not claimed"], "{said}");
    // A second time there is nothing to tell.
    assert_ended(&run(&world, "restore", &["--reconcile"]), 0, "0 corrections, 0 conflicts");

    world.start_server();
    let payer = Hand::new(&world, &world.payer);
    assert_eq!(payer.pay(same, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    assert_eq!(payer.pay(topped_up, 12 * REQUEST_PRICE).await.status, StatusCode::OK);
    // What was paid out buys nothing a second time: the channel is closed for what was settled.
    // Until the chain has taken the close it is a conflict, then the channel is gone.
    let refused = payer.pay(settled, 5 * REQUEST_PRICE).await;
    assert!([StatusCode::CONFLICT, StatusCode::GONE].contains(&refused.status), "{refused:?}");
    for (opened, captured) in [(settled, 4 * REQUEST_PRICE), (asked, REQUEST_PRICE), (closed, REQUEST_PRICE)]
    {
        let books = until("the channel is closed", || async {
            world.channel(opened.channel).await.filter(|books| books["phase"] == "closed")
        });
        assert_eq!(amount(&books.await, "captured"), captured);
        payer.pay(opened, 5 * REQUEST_PRICE).await.assert_refused(410, "channel-finalized");
    }
}

/// The payee settles with the voucher that the payer signed.
async fn settle(world: &World, payer: &Hand, opened: &Opened, cumulative: u128) {
    use mpp::protocol::methods::tempo::session::SessionCredentialPayload::Voucher;
    let Voucher { signature, .. } = payer.voucher(opened, cumulative).await else {
        unreachable!("a voucher was made")
    };
    let call = ITIP20ChannelReserve::settleCall {
        descriptor: opened.descriptor(),
        cumulativeAmount: cumulative.try_into().expect("96 bits"),
        signature: signature.parse().expect("hex"),
    };
    world.chain.send(world.payee.address, world.chain.info().escrow_v2, call).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_unfinished_and_foreign_backups_are_refused_and_named() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    let backup = beside(&world, "backup");
    let admin = world.server().admin_listen.to_string();
    assert_ended(&back_up(&world, &backup, &admin), 0, "1 channels");
    world.stop_server().await;
    fs::remove_dir_all(ledger(&world)).expect("loses the books");

    // A bit in any file.
    let mut files: Vec<PathBuf> = entries(&backup.join("store"));
    files.push(backup.join("manifest.json"));
    assert!(files.len() > 5, "{files:?}");
    for file in &files {
        let bytes = fs::read(file).expect("reads it");
        let Some(middle) = bytes.len().checked_sub(1).map(|last| last / 2) else { continue };
        let mut flipped = bytes.clone();
        flipped[middle] ^= 0x10;
        fs::write(file, &flipped).expect("damages it");
        let name = file.file_name().and_then(|name| name.to_str()).expect("ASCII");
        assert_ended(&restore(&world, &backup), BAD_INPUT, name);
        let (status, said) = check(&backup);
        assert_eq!(status, WRONG, "{name}: {said}");
        assert!(said["findings"].to_string().contains(name), "{name}: {said}");
        fs::write(file, &bytes).expect("mends it");
    }
    assert!(!ledger(&world).exists(), "a refused restore leaves nothing behind");

    assert_ended(&restore(&world, &beside(&world, "none")), BAD_INPUT, "expected a backup");
    let manifest = backup.join("manifest.json");
    fs::rename(&manifest, beside(&world, "aside")).expect("as if it was stopped");
    assert_ended(&restore(&world, &backup), BAD_INPUT, "the backup was not finished");
    assert_eq!(check(&backup).0, WRONG);
    fs::rename(beside(&world, "aside"), &manifest).expect("puts it back");

    let mut foreign = Command::new(farebox());
    foreign.args(["restore", "-c"]).arg(&world.config).arg("--from").arg(&backup);
    foreign.env("FAREBOX__CHAIN__ID", "4217");
    let foreign = foreign.output().expect("runs farebox");
    assert_ended(&foreign, BAD_INPUT, "the backup is of chain 31337, chain.id says 4217");

    // A copy that was put in its place by hand is known for what it is.
    copy(&backup.join("store"), &ledger(&world));
    assert_ended(&run(&world, "serve", &[]), CANNOT_START, "not compared with the chain yet");
    fs::remove_dir_all(ledger(&world)).expect("removes it");
    let missing = run(&world, "check", &[]);
    assert_ended(&missing, CANNOT_START, "there is no ledger at ");
    assert_ended(&run(&world, "restore", &["--reconcile"]), CANNOT_START, "there is no ledger at ");

    // And the good one is still good; here nobody is served twice.
    assert_ended(
        &run(&world, "restore", &["--from", path(&backup), "--reconcile", "--close-all"]),
        0,
        "is being closed: 0 were paid out, these books charged 2000",
    );
    world.start_server();
    let books = until("the channel is closed", || async {
        world.channel(opened.channel).await.filter(|books| books["phase"] == "closed")
    });
    assert_eq!(amount(&books.await, "captured"), 2 * REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_store_is_found_or_touches_nothing() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    world.stop_server().await;
    let store = ledger(&world);
    let (status, sound) = check(&store);
    assert_eq!(status, SOUND, "{sound}");
    let books = listed(&world);
    let mut found = 0;
    for file in entries(&store) {
        let bytes = fs::read(&file).expect("reads it");
        for part in 1..8 {
            let mut flipped = bytes.clone();
            let Some(byte) = flipped.get_mut(bytes.len() * part / 8) else { continue };
            *byte ^= 0x04;
            fs::write(&file, &flipped).expect("damages it");
            let (status, said) = check(&store);
            if status == WRONG {
                found += 1;
                continue;
            }
            // The log's end may be lost where images hold the same, and some bytes mean nothing.
            assert_eq!(status, SOUND, "{} at {part}/8: {said}", file.display());
            assert_eq!(listed(&world), books, "{} at {part}/8", file.display());
        }
        fs::write(&file, &bytes).expect("mends it");
    }
    assert!(found > 10, "only {found} flips were found");
    assert_eq!(check(&store), (SOUND, sound));
}

/// The files in a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("lists it");
    entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("makes it");
    for file in entries(from) {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copies it");
    }
}

/// `farebox channels --json`.
fn listed(world: &World) -> Vec<Value> {
    let output = run(world, "channels", &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    listed["channels"].as_array().expect("channels").clone()
}

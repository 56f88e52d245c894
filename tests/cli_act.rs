//! `farebox channel`, `settle-now`, `close`, `completions` and `man`, run as programs; the first three on the books of a
//! server that is paid on a local chain.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;

mod support;

use support::hand::Hand;
use support::{Protocol, REQUEST_PRICE, World, amount, assert_closed, farebox, text, until};

const KEY: &str = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";

fn write_key(world: &World, digits: &str) {
    let path = world.config.parent().expect("a folder").join("admin.key");
    fs::write(&path, digits).expect("writes it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("is its owner");
}

fn run(world: &World, arguments: &[&str]) -> Output {
    let mut program = Command::new(farebox());
    program.args(arguments).arg("-c").arg(&world.config);
    program.output().expect("runs farebox")
}

#[track_caller]
fn assert_ended(output: &Output, code: i32, says: &str) {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "expected {says:?} in {said}");
    assert!(!said.contains(KEY), "the key is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_channel_is_shown_settled_and_closed_by_hand() {
    let mut world = World::start().await;
    world.stop_server().await;
    let config = fs::read_to_string(&world.config).expect("reads it");
    let config = config.replacen("[server]\n", "[server]\nadmin_key_file = \"admin.key\"\n", 1);
    fs::write(&world.config, config).expect("writes it");
    write_key(&world, KEY);
    world.start_server();
    let opened = Hand::new(&world, &world.payer).open(&world, Protocol::V2).await;
    let id = opened.channel.to_string();
    let mut admin = world.server().admin_listen.to_string();

    let shown = run(&world, &["channel", &id, "--json"]);
    assert_ended(&shown, 0, &id);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["channel"], world.channel(&id).await.expect("is open"));
    let events = shown["history"]["events"].as_array().expect("a list");
    assert_eq!(events[0]["event"], "opened");
    assert!(events.iter().any(|event| event["event"] == "accepted"), "{events:?}");
    assert_ended(&run(&world, &["channel", &id]), 0, "of the journal:");
    assert_ended(&run(&world, &["channel", "0x12"]), 2, "expected 0x and 64 hex digits");
    let unknown = format!("0x{}", "12".repeat(32));
    assert_ended(&run(&world, &["channel", &unknown]), 2, "the books hold no channel");

    write_key(&world, &KEY.replace('5', "6"));
    assert_ended(&run(&world, &["close", &id, "--admin", &admin]), 3, "found no or another admin key");
    write_key(&world, KEY);
    assert_ended(&run(&world, &["settle-now", &unknown, "--admin", &admin]), 2, "the books hold no channel");
    assert_ended(&run(&world, &["close", &id, "--admin", "127.0.0.1:9"]), 4, "cannot be reached");

    let spent = amount(&world.channel(&id).await.expect("is open"), "spent");
    assert_eq!(spent, REQUEST_PRICE);
    let mut hand = Hand::new(&world, &world.payer);
    let payer = format!("{:#x}", world.payer.address);
    assert_ended(&run(&world, &["release", &id, "--admin", &admin]), 2, "found no entry");
    assert_ended(&run(&world, &["quarantine", &unknown, "--admin", &admin]), 2, "the books hold no channel");
    for (shut, open, whom) in [("quarantine", "release", &id), ("deny", "allow", &payer)] {
        assert_ended(&run(&world, &[shut, whom, "--for", "3600", "--admin", &admin]), 0, "until Unix time");
        hand.pay(&opened, 2 * REQUEST_PRICE).await.assert_refused(403, "about:blank");
        // It outlives the process.
        world.stop_server().await;
        world.start_server();
        admin = world.server().admin_listen.to_string();
        hand = Hand::new(&world, &world.payer);
        hand.pay(&opened, 2 * REQUEST_PRICE).await.assert_refused(403, "about:blank");
        assert_ended(&run(&world, &[open, whom, "--admin", &admin, "--json"]), 0, whom);
    }
    assert_ended(&run(&world, &["settle-now", &id, "--admin", &admin]), 0, "is being settled");
    until("it is settled", || async {
        let channel = world.channel(&id).await?;
        (amount(&channel, "settled") == spent && channel["phase"] == "open").then_some(())
    })
    .await;
    assert_ended(&run(&world, &["settle-now", &id, "--admin", &admin]), 1, "nothing can be settled");
    let closing = run(&world, &["close", &id, "--admin", &admin, "--json"]);
    assert_ended(&closing, 0, "\"closing\"");
    let closed = until("it is closed", || async {
        world.channel(&id).await.filter(|channel| channel["phase"] == "closed")
    })
    .await;
    assert_closed(&closed, spent);
    assert_ended(&run(&world, &["close", &id, "--admin", &admin]), 1, "refuses");
}

#[test]
fn shells_and_manuals_know_every_command() {
    let run = |arguments: &[&str]| {
        let output = Command::new(farebox()).args(arguments).output().expect("runs farebox");
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let help = run(&["--help"]);
    let commands = help.split("Commands:\n").nth(1).expect("a list of commands");
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"doctor") && commands.contains(&"settle-now"), "{commands:?}");
    let folder = tempfile::tempdir().expect("a folder");
    run(&["man", "--dir", folder.path().to_str().expect("ASCII")]);
    let page = run(&["man"]);
    for shell in ["bash", "zsh", "fish"] {
        let completions = run(&["completions", shell]);
        for command in &commands {
            assert!(completions.contains(command), "{shell}: {command}");
        }
    }
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(page.contains(&command.replace('-', "\\-")), "{command}");
        assert!(folder.path().join(format!("farebox-{command}.1")).exists(), "{command}");
    }
}

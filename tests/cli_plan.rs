//! `farebox plan`: says what would be claimed and why, beside a running server, and changes nothing.

use std::process::{Command, Output};

use serde_json::{Value, json};

mod support;

use support::hand::Hand;
use support::{Protocol, REQUEST_PRICE, World, farebox, text};

/// Runs the plan of a world, with variables over its configuration.
fn plan(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut program = Command::new(farebox());
    program.arg("plan").arg("-c").arg(&world.config).args(arguments).envs(variables.iter().copied());
    let output = program.output().expect("runs farebox");
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

fn plan_json(world: &World, variables: &[(&str, &str)]) -> Value {
    serde_json::from_slice(&plan(world, &["--json"], variables).stdout).expect("one JSON document")
}

/// Settles whatever waits, however little it brings.
const EVERYTHING: [(&str, &str); 2] =
    [("FAREBOX__SETTLEMENT__AMOUNT_MIN", "1"), ("FAREBOX__SETTLEMENT__PROFIT_PERCENT_MIN", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_is_planned_with_a_reason_and_nothing_changes() {
    let world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    let channel = opened.channel.to_string();
    let before = world.channel(opened.channel).await;

    let quiet = plan_json(&world, &[]);
    assert_eq!(quiet["transactions"], json!([]), "{quiet}");
    assert_eq!(quiet["left"][0]["channelId"], json!(channel), "{quiet}");
    assert_eq!(quiet["left"][0]["reason"], json!("not_yet"), "{quiet}");

    let dear = [EVERYTHING[0], ("FAREBOX__SETTLEMENT__PROFIT_PERCENT_MIN", "1000000")];
    assert_eq!(plan_json(&world, &dear)["left"][0]["reason"], json!("dust"));

    let claimed = plan_json(&world, &EVERYTHING);
    let claim = &claimed["transactions"][0]["claims"][0];
    assert_eq!(claim["channelId"], json!(channel), "{claimed}");
    assert_eq!(claim["action"], json!(format!("settle {REQUEST_PRICE}")), "{claimed}");
    assert_eq!(claim["gain"], json!(REQUEST_PRICE.to_string()), "{claimed}");
    assert_eq!(claimed["left"], json!([]), "{claimed}");

    let said = plan(&world, &[], &EVERYTHING);
    let said = text(&said.stdout);
    assert!(said.contains(&format!("settle {REQUEST_PRICE}: {REQUEST_PRICE} wait, 1 are enough")), "{said}");
    assert!(said.contains("1 claims in 1 transactions; 1 channels"), "{said}");
    assert_eq!(world.channel(opened.channel).await, before, "nothing changed");
}

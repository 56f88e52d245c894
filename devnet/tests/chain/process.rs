//! Nothing is left behind, however the owner of a chain ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::client::{Chain, Rpc};

const GONE_S_MAX: u64 = 10;

#[tokio::test]
async fn a_dropped_chain_is_gone_at_once() {
    let chain = Chain::start().await;
    let (url, anvil_url) = (chain.info().rpc_url.clone(), chain.devnet.anvil_url());
    drop(chain);
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    assert!(Rpc::new(&anvil_url).post(request.into()).await.is_err(), "anvil still answers");
    // The proxy's task ends when the runtime gets to it.
    tokio::task::yield_now().await;
    assert!(Rpc::new(&url).post(request.into()).await.is_err(), "the proxy still answers");
}

/// The program as a process of its own, with everything that it starts.
struct Program {
    process: Child,
    url: String,
}

impl Program {
    fn start() -> Self {
        let mut process =
            Command::new(env!("CARGO_BIN_EXE_farebox-devnet")).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let info: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|cause| panic!("{line:?}: {cause}"));
        Self { process, url: info["rpcUrl"].as_str().unwrap().to_owned() }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

/// Process ids of everything below a process, with the parent of each (from /proc).
fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // "id (name) state parent …"; the name may contain spaces and parentheses.
        let Some(parent) = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) else { continue };
        parents.push((id, parent.parse::<u32>().unwrap()));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}

fn is_alive(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z'))
}

fn assert_gone(ids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(GONE_S_MAX);
    while ids.iter().any(|id| is_alive(*id)) {
        assert!(Instant::now() < deadline, "still alive: {ids:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn children_of(program: &Program) -> Vec<u32> {
    let children = descendants(program.process.id());
    let is_anvil =
        |id: &u32| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "anvil");
    assert!(children.iter().any(is_anvil), "no anvil among {children:?}");
    children
}

#[test]
fn a_killed_owner_takes_the_chain_with_it() {
    let mut program = Program::start();
    let children = children_of(&program);
    program.signal("-KILL");
    program.process.wait().unwrap();
    assert_gone(&children);
}

#[test]
fn a_terminated_program_ends_well() {
    for name in ["-TERM", "-INT"] {
        let mut program = Program::start();
        let children = children_of(&program);
        program.signal(name);
        assert!(program.process.wait().unwrap().success(), "{name}");
        assert_gone(&children);
    }
}

#[test]
fn a_program_whose_anvil_dies_says_so_and_fails() {
    let mut program = Program::start();
    assert!(program.url.starts_with("http://127.0.0.1:"));
    let children = children_of(&program);
    let anvil = children
        .iter()
        .find(|id| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "anvil"));
    let status = Command::new("kill").args(["-KILL", &anvil.unwrap().to_string()]).status().unwrap();
    assert!(status.success());
    assert!(!program.process.wait().unwrap().success());
    assert_gone(&children);
}

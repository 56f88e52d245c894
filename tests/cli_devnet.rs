//! `farebox devnet`, run as a program. It needs anvil, which `make setup` installs.

mod program;

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use program::{Running, command, end_of, until};

/// The processes that a process started.
fn children(id: u32) -> Vec<u32> {
    let list = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flat_map(|task| {
        let path = task.unwrap().path().join("children");
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    list.map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_chain_runs_until_a_signal_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = command(&["devnet", "--port", "0", "--chain-id", "4711"]);
    let devnet = Running::start(devnet, folder.path()).unwrap_or_else(|ended| panic!("{ended:?}"));
    assert_eq!(devnet.first_line["chainId"], 4711);
    assert_eq!(devnet.text("escrowV2"), "0x4d50500000000000000000000000000000000000");
    for key in ["escrowV1", "token"] {
        assert_eq!(devnet.text(key).len(), 42, "{key}");
    }
    let accounts = devnet.first_line["accounts"].as_array().unwrap();
    assert!(
        accounts.iter().all(|account| account["privateKey"].is_string() && account["address"].is_string())
    );
    let address = devnet.text("rpcUrl").trim_start_matches("http://").to_owned();
    TcpStream::connect(&address).unwrap();
    let started = children(devnet.id());
    assert!(!started.is_empty(), "anvil runs");
    assert_eq!(devnet.end("INT").code, 0);
    assert!(TcpStream::connect(&address).is_err());
    until("anvil is gone", || started.iter().all(|id| !Path::new(&format!("/proc/{id}/exe")).exists()));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = end_of(command(&["devnet", "--port", &port]), b"");
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains(&port), "{ended:?}");
}

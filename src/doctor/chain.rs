//! The nodes, each by itself; then through all of them the escrows, the token and what pays the fees.

use farebox_contracts::bytecode::{RESERVE_RUNTIME, STREAM_CHANNEL_RUNTIME};
use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::core::units::{Address, B256};
use farebox_settlement::{Client, ClientConfig, ClientError, SigningError};

use super::finding::Finding;
use crate::config::{Config, PayeeKey, RpcUrl};
use crate::keys;
use crate::serve::settlement::{SettlementError, check_chain, client};

/// How far this clock and a node's newest block may be apart. A claim is valid for 25 seconds.
const CLOCK_S_MAX: u64 = 20;
/// How long one answer may take: a person waits.
const REQUEST_MS_MAX: u64 = 3_000;
/// What an empty account answers when it is asked for its code.
const CODE_SHOWN_BYTES: usize = 4;

/// Asks the nodes.
pub(super) fn chain(config: &Config, findings: &mut Vec<Finding>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let fix = "see limits.descriptors; a reboot helps when the system has none left";
            findings.push(Finding::error("chain", format!("nobody can be asked: {error}"), fix));
            return;
        }
    };
    runtime.block_on(async {
        key_service(config, findings).await;
        let mut answering = 0_usize;
        for url in &config.chain.rpc {
            answering += usize::from(node(config, url, findings).await);
        }
        if answering > 0 {
            contracts(config, findings).await;
            fees(config, findings).await;
        }
    });
}

/// One node: does it answer, for this chain, and at which time? True when it can be asked more.
async fn node(config: &Config, url: &RpcUrl, findings: &mut Vec<Finding>) -> bool {
    const CHECK: &str = "chain.rpc";
    let mut settings = ClientConfig::new(vec![RpcUrl::reveal(url).to_owned()]);
    settings.request_timeout_ms = REQUEST_MS_MAX;
    settings.read_tries_max = 1;
    let asked = async {
        let client = Client::new(config.chain.id, settings)?;
        client.check().await?;
        client.head().await
    };
    match asked.await {
        Ok(head) => {
            findings.push(Finding::ok(
                CHECK,
                format!("{url} serves chain {}, block {}", config.chain.id, head.number),
            ));
            findings.push(clock(url, head.timestamp.0, SystemClock.now().0));
            true
        }
        Err(error @ ClientError::WrongChain { .. }) => {
            let fix =
                "correct chain.id (4217 is Tempo mainnet, 42431 its testnet), or take a node of that chain";
            findings.push(Finding::error("chain.id", error.to_string(), fix));
            false
        }
        Err(error) => {
            let fix = "start the node, correct chain.rpc, or let the firewall pass it; several nodes in chain.rpc help";
            let others = config.chain.rpc.len() > 1;
            let of = if others { Finding::warning } else { Finding::error };
            findings.push(of(CHECK, error.to_string(), fix));
            false
        }
    }
}

/// Compares this machine's clock with a node's newest block.
fn clock(url: &RpcUrl, block_s: u64, now_s: u64) -> Finding {
    const CHECK: &str = "clock";
    let apart = block_s.abs_diff(now_s);
    if apart <= CLOCK_S_MAX {
        return Finding::ok(CHECK, format!("this clock and the newest block of {url} are {apart} s apart"));
    }
    let fix = "see timedatectl and turn on time synchronisation; if the clock is right, the node is stuck: take another";
    let found = if block_s > now_s {
        format!("this clock is {apart} s behind the newest block of {url}: claims end before they are mined")
    } else {
        format!(
            "this clock is {apart} s ahead of the newest block of {url}, or the node does not follow the chain"
        )
    };
    Finding::error(CHECK, found, fix)
}

/// The escrows and the token, as `serve` asks at its start; then whose code is there.
async fn contracts(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "escrow";
    let client = match client(config) {
        Ok(client) => client,
        Err(_) => return,
    };
    match check_chain(config, &client).await {
        Ok(()) => {
            findings.push(Finding::ok(CHECK, "escrows and token answer as they should"));
            let mut escrows = vec![("escrow.v2", config.escrow.v2, RESERVE_RUNTIME)];
            escrows.extend(config.escrow.v1.map(|address| ("escrow.v1", address, STREAM_CHANNEL_RUNTIME)));
            for (key, address, known) in escrows {
                findings.extend(code(&client, key, address, known).await);
            }
        }
        Err(error @ SettlementError::NoContract { .. }) => {
            let fix = "correct the address; it must be of this chain";
            findings.push(Finding::error(CHECK, error.to_string(), fix));
        }
        Err(error) => {
            let fix = "the node may be overloaded or restrict eth_call: try again, or take another";
            findings.push(Finding::warning(CHECK, format!("nothing is known of the escrows: {error}"), fix));
        }
    }
}

/// Says whether an address holds code that we tested against. The chain's own reserve is built into its nodes, so its
/// code is a mark of a few bytes.
async fn code(client: &Client, key: &'static str, address: Address, known: &[u8]) -> Option<Finding> {
    const CHECK: &str = "escrow.code";
    let code = client.code(address).await.ok()?;
    let hash = B256::from(farebox_crypto::keccak256(&code));
    Some(if code.as_ref() == known {
        Finding::ok(CHECK, format!("{key} {address:#x} holds the contract that Farebox is tested with"))
    } else if code.len() <= CODE_SHOWN_BYTES {
        Finding::ok(CHECK, format!("{key} {address:#x} is built into the chain"))
    } else {
        let found = format!(
            "{key} {address:#x} holds other code than Farebox is tested with: {} bytes, hash {hash}",
            code.len()
        );
        let fix =
            "compare the hash with the one that the chain's operators publish before you trust it with money";
        Finding::note(CHECK, found, fix)
    })
}

/// A key that a service keeps: does it sign?
async fn key_service(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "keys.service";
    let (PayeeKey::Kms(name), Ok(signer)) = (&config.payee.key, keys::payee_key(config)) else { return };
    let error = match signer.check().await {
        Ok(()) => {
            return findings.push(Finding::ok(CHECK, format!("{name} signs for {:#x}", signer.address())));
        }
        Err(error) => error,
    };
    let fix = match &error {
        SigningError::Slow { .. } | SigningError::Unavailable { .. } => {
            "look at credentials, region and the way to the service; claims wait for it"
        }
        SigningError::Denied { .. } => {
            "let this machine's role read the public key and sign with it, and enable the key"
        }
        SigningError::Stranger { .. } => {
            "name the payee's key, or correct payee.address (or payee.operator) if the key is right"
        }
        SigningError::Malformed { .. } => "use a secp256k1 key whose purpose is to sign",
    };
    findings.push(Finding::error(CHECK, format!("{name}: {error}"), fix));
}

/// Claims are paid from the signer's own balance.
async fn fees(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "fees";
    let (Ok(client), Ok(signer)) = (client(config), keys::payee_key(config)) else { return };
    let token = config.settlement.fee_token.unwrap_or(config.payee.token);
    let Ok(balance) = client.balance(token, signer.address()).await else { return };
    findings.push(if balance.is_zero() {
        let found = format!(
            "{:#x}, which signs claims, holds nothing of {token:#x}, which pays their fees",
            signer.address()
        );
        Finding::warning(CHECK, found, "send it some: without it nothing can be claimed")
    } else {
        Finding::ok(CHECK, format!("{:#x} holds {balance} base units for fees", signer.address()))
    });
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn url() -> RpcUrl {
        let text = "[server]\nrealm=\"x\"\n[upstream]\nurl=\"http://127.0.0.1:1\"\n[chain]\nrpc=[\"http://node/secret\"]\nid=1\n\
                    [payee]\naddress=\"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\ntoken=\"0x20c0000000000000000000000000000000000000\"\n\
                    key_file=\"k\"\n[[route]]\npath=\"/\"\nfree=true\n[ledger]\nkind=\"rocksdb\"\npath=\"d\"\n";
        let config = Config::parse(std::path::Path::new("x.toml"), text, []).unwrap();
        config.chain.rpc[0].clone()
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        let url = url();
        assert_eq!(clock(&url, 1_000, 1_020).level, Level::Ok);
        let behind = clock(&url, 1_100, 1_000);
        assert!(behind.level == Level::Error && behind.found.contains("100 s behind"), "{behind:?}");
        let ahead = clock(&url, 1_000, 1_100);
        assert!(ahead.found.contains("100 s ahead") && !ahead.found.contains("secret"), "{ahead:?}");
    }
}

//! Writes the configuration and the payee's key of one server into a folder, as an operator would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use farebox_devnet::{Account, Info};

use super::{REQUEST_PRICE, SUGGESTED_DEPOSIT, TOKEN_PRICE};

/// What a configuration depends on.
pub struct Facts<'a> {
    /// The chain.
    pub net: &'a Info,
    /// Where the server finds the chain.
    pub rpc_url: String,
    /// The service that is paid for.
    pub upstream_url: String,
    /// Who is paid, with the key that signs claims.
    pub payee: Account,
    /// Who else may settle and close.
    pub operator: Option<Address>,
}

/// Returns the path of the configuration file. Ports are 0: the program says which ones it got.
pub fn write(folder: &Path, facts: &Facts<'_>) -> PathBuf {
    let Facts { net, rpc_url, upstream_url, payee, operator } = facts;
    let key_file = folder.join("payee.key");
    fs::write(&key_file, payee.private_key.to_string()).expect("writes the payee's key");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("keeps the key private");
    let operator = operator.map(|operator| format!("operator = \"{operator}\"")).unwrap_or_default();
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
realm = "e2e.farebox.local"
challenge_key_file = "{challenge_key}"
[upstream]
url = "{upstream_url}"
[chain]
rpc = ["{rpc_url}"]
id = {chain_id}
[payee]
address = "{payee}"
token = "{token}"
key_file = "{key_file}"
{operator}
[escrow]
v2 = "{escrow_v2}"
v1 = "{escrow_v1}"
[[route]]
path = "/v1/chat"
amount = "{TOKEN_PRICE}"
unit = "llm_token"
meter = "sse_event"
suggested_deposit = "{SUGGESTED_DEPOSIT}"
[[route]]
path = "/v1/*"
amount = "{REQUEST_PRICE}"
unit = "request"
meter = "request"
suggested_deposit = "{SUGGESTED_DEPOSIT}"
[ledger]
kind = "rocksdb"
path = "{ledger}"
"#,
        challenge_key = folder.join("challenge.key").display(),
        chain_id = net.chain_id,
        payee = payee.address,
        token = net.token,
        key_file = key_file.display(),
        escrow_v2 = net.escrow_v2,
        escrow_v1 = net.escrow_v1,
        ledger = folder.join("farebox-data").display(),
    );
    let file = folder.join("farebox.toml");
    fs::write(&file, text).expect("writes the configuration");
    file
}

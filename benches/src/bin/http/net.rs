//! A local chain, and channels that are opened on it: by a transaction that the server under measurement takes, checks
//! and sends, as a client of it would.

use std::path::{Path, PathBuf};
use std::process::Command;

use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::v2;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mpp::client::{TempoNetwork, channel_ops};
use mpp::protocol::methods::tempo::SessionCredentialPayload;
use mpp::protocol::methods::tempo::session::ChannelDescriptor;
use mpp::{PrivateKeySigner, ProviderBuilder, RootProvider};
use serde_json::Value;

use crate::payers::{PRICE, Payer, Signer};
use crate::process::{Ending, Process};
use crate::wire::Wire;

/// What each channel holds: for some 100,000 requests.
const DEPOSIT: u128 = 10_000_000;
/// Channels that are opened at the same time.
const OPENING_MAX: usize = 16;

/// A running chain.
pub struct Net {
    process: Process,
    info: Value,
}

impl Net {
    /// Starts a chain with the program `farebox`.
    pub fn start(farebox: &Path, log: &Path) -> Result<Self, String> {
        let mut command = Command::new(farebox);
        command.args(["devnet", "--port", "0"]);
        let process = Process::start(command, Ending::Signal, log)?;
        let info = serde_json::from_str(&process.line)
            .map_err(|error| format!("the chain said {:?}: {error}", process.line))?;
        Ok(Self { process, info })
    }

    /// Its description, as it printed it.
    pub fn line(&self) -> &str {
        &self.process.line
    }

    /// What the chain cost so far, in microseconds.
    pub fn cpu_us(&self) -> Result<f64, String> {
        self.process.cpu_us()
    }

    /// A text of its description.
    pub fn text(&self, pointer: &str) -> Result<&str, String> {
        let found = self.info.pointer(pointer).and_then(Value::as_str);
        found.ok_or_else(|| format!("the chain does not tell its {pointer}"))
    }

    /// The chain's id.
    pub fn chain_id(&self) -> Result<ChainId, String> {
        let found = self.info["chainId"].as_u64().map(ChainId);
        found.ok_or_else(|| "the chain does not tell its id".into())
    }

    /// Who is paid.
    pub fn payee(&self) -> Result<&str, String> {
        self.text("/accounts/2/address")
    }

    /// The key of who is paid.
    pub fn payee_key(&self) -> Result<&str, String> {
        self.text("/accounts/2/privateKey")
    }

    /// Opens so many channels at a server. One account pays for all; each has a signer of its own. Every open pays the
    /// first request.
    pub async fn open(&self, address: &str, count: usize) -> Result<Vec<Payer>, String> {
        let opener = Opener::new(self, address)?;
        let opening = stream::iter((0..count).map(|index| opener.open(index)));
        opening.buffered(OPENING_MAX).try_collect().await
    }
}

/// Who opens channels at one server.
struct Opener {
    chain: RootProvider<TempoNetwork>,
    account: PrivateKeySigner,
    chain_id: ChainId,
    payee: Address,
    token: Address,
    address: String,
}

impl Opener {
    fn new(net: &Net, address: &str) -> Result<Self, String> {
        let url = net.text("/rpcUrl")?.parse().map_err(|_| "the chain's address is no URL")?;
        let account = net.text("/accounts/1/privateKey")?;
        Ok(Self {
            chain: ProviderBuilder::<_, _, TempoNetwork>::default().connect_http(url),
            account: account.parse().map_err(|_| "the payer's key is none")?,
            chain_id: net.chain_id()?,
            payee: parse("payee", net.payee()?)?,
            token: parse("token", net.text("/token")?)?,
            address: address.into(),
        })
    }

    async fn open(&self, index: usize) -> Result<Payer, String> {
        let (signer, chain_id) = (Signer::new(index), self.chain_id);
        let options = channel_ops::OpenPrecompilePayloadOptions {
            prefix_calls: Vec::new(),
            operator: Address::ZERO,
            authorized_signer: Some(signer.address),
            payee: self.payee,
            currency: self.token,
            fee_token: self.token,
            deposit: DEPOSIT,
            initial_amount: PRICE.get(),
            chain_id: chain_id.0,
            fee_payer: false,
            salt: None,
        };
        let payer = self.account.address();
        let made =
            channel_ops::create_precompile_open_payload(&self.chain, &self.account, None, payer, options);
        let (entry, mut payload) = made.await.map_err(|error| format!("cannot make an open: {error}"))?;
        if let SessionCredentialPayload::Open { signature, .. } = &mut payload {
            // The account signed the first voucher; the channel's own signer must.
            let first = signer.sign(chain_id, ChannelId(entry.channel_id), Amount::new(PRICE.get()));
            *signature = first.iter().fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}"));
        }
        let mut wire = Wire::open(&self.address).await?;
        let answer = wire.ask(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
        let asked = answer.header("www-authenticate").and_then(|text| mpp::parse_www_authenticate(text).ok());
        let challenge = asked.ok_or_else(|| format!("no challenge: {}", answer.text()))?;
        let credential = channel_ops::build_credential(&challenge, payload, chain_id.0, payer);
        let header = mpp::format_authorization(&credential).map_err(|error| error.to_string())?;
        let request = format!("GET / HTTP/1.1\r\nhost: bench\r\nauthorization: {header}\r\n\r\n");
        let answer = wire.ask(request.as_bytes()).await?;
        if answer.status != 200 {
            return Err(format!("a channel was not opened: {}", answer.text()));
        }
        let wire_form = entry.descriptor.ok_or("an open without a descriptor")?;
        Ok(Payer::with(signer, chain_id, descriptor(&wire_form)?))
    }
}

fn descriptor(wire: &ChannelDescriptor) -> Result<v2::Descriptor, String> {
    Ok(v2::Descriptor {
        payer: parse("payer", &wire.payer)?,
        payee: parse("payee", &wire.payee)?,
        operator: parse("operator", &wire.operator)?,
        token: parse("token", &wire.token)?,
        salt: parse::<B256>("salt", &wire.salt)?,
        authorized_signer: parse("authorizedSigner", &wire.authorized_signer)?,
        expiring_nonce_hash: parse::<B256>("expiringNonceHash", &wire.expiring_nonce_hash)?,
    })
}

fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("the {what} is {text:?}, which cannot be read"))
}

/// Writes the configuration of a gateway before `upstream`, with its keys, into a folder; the file.
pub fn gateway_config(net: &Net, upstream: &str, folder: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    let key_file = folder.join("payee.key");
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
realm = "bench.example"
challenge_key_file = "{folder}/challenge.key"
[upstream]
url = "http://{upstream}"
[chain]
rpc = ["{rpc}"]
id = {chain_id}
[payee]
address = "{payee}"
token = "{token}"
key_file = "{key_file}"
[escrow]
v2 = "{escrow}"
[risk]
# As fast as the load can: a peer has no such limit.
vouchers_per_second_max = 0
[[route]]
path = "/*"
amount = "{price}"
unit = "request"
meter = "request"
suggested_deposit = "{DEPOSIT}"
[ledger]
kind = "rocksdb"
path = "{folder}/books"
"#,
        folder = folder.display(),
        key_file = key_file.display(),
        rpc = net.text("/rpcUrl")?,
        chain_id = net.chain_id()?.0,
        payee = net.payee()?,
        token = net.text("/token")?,
        escrow = net.text("/escrowV2")?,
        price = PRICE.get(),
    );
    let write = || {
        std::fs::write(&key_file, net.payee_key().unwrap_or_default())?;
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600))?;
        let file = folder.join("farebox.toml");
        std::fs::write(&file, &text)?;
        Ok(file)
    };
    write().map_err(|error: std::io::Error| format!("cannot write the gateway's configuration: {error}"))
}

//! A local chain with books and settlement on top.

use std::time::Duration;

use alloy::primitives::{Address, B256, U256, keccak256};
use farebox_core::channel::{RequestKey, Spend};
use farebox_core::units::{Amount, ChainId, ChannelId};
use farebox_core::voucher::ProtocolVersion;
use farebox_devnet::{Devnet, Options};
use farebox_engine::chain::{ChainRefusal, ClaimedTerms, OpenRequest, OpenedOnChain};
use farebox_engine::ledger::MemoryStore;
use farebox_engine::{Channel, Engine, MemoryLedger, SystemClock, Verdict};
use farebox_settlement::client::Receipt;
use farebox_settlement::{Client, ClientConfig, Config, Escrow, PayeeSigner, Settlement};
use parking_lot::Mutex;

use super::payer::{Opened, Payer};

/// How long a test waits for something that must happen.
pub const PATIENCE_S: u64 = 150;

/// What payers of a test deposit.
pub const DEPOSIT: u128 = 1_000_000;

/// A chain, books, settlement, a payee and a payer.
pub struct World {
    pub devnet: Devnet,
    pub store: MemoryStore,
    pub engine: Engine,
    pub client: Client,
    pub settlement: Settlement,
    pub config: Config,
    pub payee: Payer,
    pub payer: Payer,
    /// Somebody else with money.
    pub stranger: Payer,
    requests: Mutex<u128>,
}

/// Waits that suit a chain with a block a second.
pub fn quick(endpoints: Vec<String>) -> ClientConfig {
    ClientConfig {
        request_timeout_ms: 2_000,
        cooldown_ms: 500,
        retry_pause_ms: 100,
        ..ClientConfig::new(endpoints)
    }
}

impl World {
    /// Starts everything, settlement speaking with the chain directly.
    pub async fn start() -> Self {
        let devnet = devnet().await;
        let url = devnet.info().rpc_url.clone();
        Self::on(devnet, vec![url]).await
    }

    /// Starts everything; settlement speaks with `endpoints`.
    pub async fn on(devnet: Devnet, endpoints: Vec<String>) -> Self {
        Self::tuned(devnet, endpoints, |_| {}).await
    }

    /// The same, with a configuration that the test changed.
    pub async fn tuned(devnet: Devnet, endpoints: Vec<String>, tune: impl FnOnce(&mut Config)) -> Self {
        let info = devnet.info().clone();
        let account = |index: usize| {
            let account = info.accounts[index];
            Payer::new(account.private_key, info.chain_id, info.token)
        };
        let (payee, payer, stranger) = (account(1), account(2), account(3));
        let store = MemoryStore::default();
        let engine = engine(&store);
        // The world's own eyes see the chain itself, whatever settlement sees.
        let chain_id = ChainId(info.chain_id);
        let client = Client::new(chain_id, quick(vec![info.rpc_url.clone()])).expect("a client");
        let mut config = config(&info, payee.key.address());
        tune(&mut config);
        let settlement = settlement(&config, &engine, endpoints, &payee).await;
        let requests = Mutex::new(0);
        Self { devnet, store, engine, client, settlement, config, payee, payer, stranger, requests }
    }

    /// Stops settlement and the books, and starts them again on what is durable, with other endpoints.
    pub async fn restart(mut self, endpoints: Vec<String>) -> Self {
        self.settlement.stop().await;
        self.engine.shutdown().await.expect("the books close");
        self.engine = engine(&self.store);
        self.settlement = settlement(&self.config, &self.engine, endpoints, &self.payee).await;
        self
    }

    /// The same, with another signer than the payee's own key.
    pub async fn restart_signing(mut self, endpoints: Vec<String>, signer: PayeeSigner) -> Self {
        self.settlement.stop().await;
        self.engine.shutdown().await.expect("the books close");
        self.engine = engine(&self.store);
        self.settlement = settlement_signing(&self.config, &self.engine, endpoints, signer).await;
        self
    }

    /// Stops settlement, and starts everything again on what was durable before that, as a crash leaves it.
    pub async fn crash(mut self, endpoints: Vec<String>) -> Self {
        let durable = self.store.after_crash(false);
        self.settlement.stop().await;
        self.engine.shutdown().await.expect("the books close");
        self.store = durable;
        self.engine = engine(&self.store);
        self.settlement = settlement(&self.config, &self.engine, endpoints, &self.payee).await;
        self
    }

    pub fn url(&self) -> String {
        self.devnet.info().rpc_url.clone()
    }

    pub fn open_v2(&self) -> Opened {
        let payee = self.payee.key.address();
        self.payer.open_v2(self.devnet.info().escrow_v2, payee, Address::ZERO, DEPOSIT)
    }

    pub fn open_v1(&self) -> Opened {
        self.payer.open_v1(self.devnet.info().escrow_v1, self.payee.key.address(), DEPOSIT)
    }

    /// The request that a door would make of an open.
    pub fn request(&self, opened: &Opened) -> OpenRequest {
        let terms = match opened.identity.protocol() {
            ProtocolVersion::V1 => ClaimedTerms::V1 { authorized_signer: None },
            ProtocolVersion::V2 => ClaimedTerms::V2(opened.descriptor()),
        };
        OpenRequest {
            transaction: opened.bytes.clone(),
            channel: opened.channel,
            terms,
            escrow: opened.identity.escrow,
            payee: self.payee.key.address(),
            token: self.payee.token,
            operator: Address::ZERO,
            deposit_min: Amount::new(1),
            is_sponsored: false,
        }
    }

    /// Opens a channel on chain and in the books.
    pub async fn open(&self, opened: &Opened) -> Result<OpenedOnChain, ChainRefusal> {
        let on_chain = self.settlement.chain().open(self.request(opened)).await?;
        let entered = self
            .engine
            .open(on_chain.identity.clone(), on_chain.deposit, on_chain.settled, on_chain.position)
            .await;
        assert!(matches!(entered, Ok(Verdict::Accepted(_))), "{entered:?}");
        Ok(on_chain)
    }

    /// Accepts a voucher and charges `price` of it.
    pub async fn pay(&self, opened: &Opened, voucher: u128, price: u128) {
        let number = {
            let mut requests = self.requests.lock();
            *requests += 1;
            *requests
        };
        let charge = Spend::Charge {
            key: Some(RequestKey(number.to_le_bytes())),
            amount: Amount::new(price),
            units: 1,
        };
        let voucher = self.payer.voucher(opened, voucher);
        let verdict = self.engine.submit(opened.channel, voucher, charge).await;
        assert!(matches!(verdict, Ok(Verdict::Accepted(_))), "{verdict:?}");
    }

    /// What the books hold.
    pub async fn books(&self, channel: ChannelId) -> Channel {
        self.engine.read(channel).await.expect("running books").expect("a known channel")
    }

    /// Waits until the books hold something.
    pub async fn books_until(
        &self,
        channel: ChannelId,
        what: &str,
        is: impl Fn(&Channel) -> bool,
    ) -> Channel {
        eventually(what, async || {
            let found = self.books(channel).await;
            is(&found).then_some(found)
        })
        .await
    }

    /// What an account holds.
    pub async fn balance(&self, account: &Payer) -> U256 {
        self.client.balance(self.payee.token, account.key.address()).await.expect("a balance")
    }

    /// Sends a transaction around settlement and waits for it.
    pub async fn send(&self, bytes: &[u8]) -> Receipt {
        let tx_hash = keccak256(bytes);
        let sent = self.client.broadcast(bytes, tx_hash).await;
        self.receipt(tx_hash, &format!("{sent:?}")).await
    }

    pub async fn receipt(&self, tx_hash: B256, what: &str) -> Receipt {
        eventually(what, async || self.client.receipt(tx_hash).await.ok().flatten()).await
    }

    /// Moves the chain's clock forward.
    pub async fn advance_clock(&self, seconds: u64) {
        let http = alloy::transports::http::reqwest::Client::new();
        for (method, params) in [("evm_increaseTime", format!("[{seconds}]")), ("evm_mine", "[]".to_owned())]
        {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            let request = http.post(self.url()).header("content-type", "application/json").body(body);
            let answer = request.send().await.expect("an answer").text().await.expect("text");
            assert!(answer.contains("result"), "{method}: {answer}");
        }
    }

    pub async fn stop(self) {
        self.settlement.stop().await;
        self.engine.shutdown().await.expect("the books close");
        self.devnet.stop().await;
    }
}

/// Waits for something that must happen.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE_S, what, look).await
}

/// The same for what may take longer, or shorter.
pub async fn eventually_within<T>(
    patience_s: u64,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(patience_s);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "did not happen within {patience_s} s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Keeps figures in the folder that `FAREBOX_BENCH_DIR` names, if it does.
pub fn bench_keep(name: &str, figures: &serde_json::Value) {
    let Some(folder) = std::env::var_os("FAREBOX_BENCH_DIR") else { return };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let file = folder.join(format!("{name}.json"));
    std::fs::write(file, format!("{figures:#}\n")).expect("the folder can be written to");
}

pub async fn devnet() -> Devnet {
    Devnet::start(Options::default())
        .await
        .unwrap_or_else(|error| panic!("no local chain: {error}; scripts/setup.sh installs what it needs"))
}

fn engine(store: &MemoryStore) -> Engine {
    let config = farebox_engine::Config { shards: 1, ..farebox_engine::Config::default() };
    let ledger = MemoryLedger::open(store);
    Engine::start(config, ledger, SystemClock).expect("the books open")
}

fn config(info: &farebox_devnet::Info, payee: Address) -> Config {
    let escrows = vec![
        Escrow { protocol: ProtocolVersion::V2, address: info.escrow_v2 },
        Escrow { protocol: ProtocolVersion::V1, address: info.escrow_v1 },
    ];
    let mut config = Config::new(ChainId(info.chain_id), payee, escrows);
    config.watch.poll_ms = 100;
    // Tests that close by themselves want the worker to stay away from what they do.
    config.work.closing_rest_ms = 60_000;
    config.work.gather_ms = 50;
    config.work.follow_ms = 500;
    config.work.stop_wait_ms = 500;
    config
}

async fn settlement(config: &Config, engine: &Engine, endpoints: Vec<String>, payee: &Payer) -> Settlement {
    settlement_signing(config, engine, endpoints, PayeeSigner::from_signer(payee.key.clone())).await
}

async fn settlement_signing(
    config: &Config,
    engine: &Engine,
    endpoints: Vec<String>,
    signer: PayeeSigner,
) -> Settlement {
    // Three endpoints or more outvote one that lies.
    let quorum = if endpoints.len() > 2 { endpoints.len() / 2 + 1 } else { 1 };
    let client = Client::new(config.chain_id, ClientConfig { quorum, ..quick(endpoints) }).expect("a client");
    Settlement::start(config.clone(), engine.clone(), client, signer).await.expect("settlement starts")
}

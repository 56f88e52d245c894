//! A small client: JSON-RPC, keys, Tempo transactions, receipts.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_consensus::{SignableTransaction, crypto::secp256k1::sign_message};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, LogData, Signature, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent};
use farebox_contracts::tip20::{ITIP20, PATH_USD};
use farebox_devnet::{Account, Devnet, Info, Options};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tempo_primitives::{TempoTransaction, TempoTxEnvelope, transaction::Call};

/// How long a transaction stays valid: less than the 30 s that the chain allows.
const VALIDITY_S: u64 = 20;

/// A chain and a client for it.
pub struct Chain {
    pub devnet: Devnet,
    pub rpc: Rpc,
}

impl Chain {
    pub async fn start() -> Self {
        let devnet = Devnet::start(Options::default()).await.unwrap_or_else(|error| panic!("{error}"));
        let rpc = Rpc::new(&devnet.info().rpc_url);
        Self { devnet, rpc }
    }

    pub fn info(&self) -> &Info {
        self.devnet.info()
    }

    pub fn account(&self, index: usize) -> Account {
        self.info().accounts[index]
    }

    /// Signs one transaction with an expiring nonce over all calls.
    pub async fn sign(&self, account: Account, calls: Vec<Call>) -> Signed {
        let unsigned = self.unsigned(calls).await;
        self.seal(account, unsigned)
    }

    pub async fn unsigned(&self, calls: Vec<Call>) -> TempoTransaction {
        // Makes equal calls different transactions, as clients do.
        static UNIQUE: AtomicU64 = AtomicU64::new(1);
        let block = self.rpc.call("eth_getBlockByNumber", json!(["latest", false])).await;
        let now = quantity(&block["timestamp"]);
        let fee = quantity(&self.rpc.call("eth_gasPrice", json!([])).await);
        TempoTransaction {
            chain_id: self.info().chain_id,
            fee_token: Some(PATH_USD),
            max_priority_fee_per_gas: 0,
            max_fee_per_gas: u128::from(fee) * 2,
            gas_limit: 3_000_000,
            calls,
            nonce_key: U256::MAX,
            nonce: 0,
            valid_before: NonZeroU64::new(now + VALIDITY_S),
            valid_after: NonZeroU64::new(UNIQUE.fetch_add(1, Ordering::Relaxed)),
            ..Default::default()
        }
    }

    pub fn seal(&self, account: Account, transaction: TempoTransaction) -> Signed {
        let signature = sign_message(account.private_key, transaction.signature_hash()).unwrap();
        // Our own computation, from the definition: keccak256(encodeForSigning ++ sender).
        let mut payload = Vec::new();
        transaction.encode_for_signing(&mut payload);
        payload.extend_from_slice(account.address.as_slice());
        let envelope = TempoTxEnvelope::AA(transaction.into_signed(signature.into()));
        Signed { raw: envelope.encoded_2718().into(), expiring_nonce_hash: keccak256(payload) }
    }

    /// Sends calls in one transaction, waits for it, and insists that it succeeded.
    pub async fn send(&self, account: Account, calls: Vec<Call>) -> Receipt {
        let signed = self.sign(account, calls).await;
        self.submit(&signed).await
    }

    pub async fn submit(&self, signed: &Signed) -> Receipt {
        let receipt = Receipt(self.rpc.call("eth_sendRawTransactionSync", json!([signed.raw])).await);
        assert_eq!(receipt.0["status"], "0x1", "{}", receipt.0);
        receipt
    }

    pub async fn read<C: SolCall>(&self, to: Address, call: C) -> C::Return {
        let request = json!({ "to": to, "input": Bytes::from(call.abi_encode()) });
        let answer = self.rpc.call("eth_call", json!([request, "latest"])).await;
        let bytes: Bytes = answer.as_str().unwrap().parse().unwrap();
        C::abi_decode_returns(&bytes).unwrap()
    }

    pub async fn balance(&self, account: Address) -> U256 {
        self.read(PATH_USD, ITIP20::balanceOfCall { account }).await
    }
}

/// A signed transaction, and the hash that an open in it must bind.
pub struct Signed {
    pub raw: Bytes,
    pub expiring_nonce_hash: B256,
}

/// A receipt as JSON.
pub struct Receipt(pub Value);

impl Receipt {
    /// All events of one type that `emitter` emitted.
    pub fn events<E: SolEvent>(&self, emitter: Address) -> Vec<E> {
        let logs = self.0["logs"].as_array().unwrap();
        logs.iter()
            .filter_map(|log| {
                let address: Address = log["address"].as_str()?.parse().ok()?;
                let topics = log["topics"].as_array()?.iter().map(|t| t.as_str()?.parse().ok());
                let data: Bytes = log["data"].as_str()?.parse().ok()?;
                let data = LogData::new(topics.collect::<Option<_>>()?, data)?;
                let log = Log { address, data };
                (address == emitter).then(|| E::decode_log(&log).ok()).flatten().map(|decoded| decoded.data)
            })
            .collect()
    }

    pub fn event<E: SolEvent>(&self, emitter: Address) -> E {
        self.events(emitter).pop().unwrap_or_else(|| panic!("no such event: {}", self.0))
    }
}

/// JSON-RPC over HTTP.
#[derive(Clone)]
pub struct Rpc(String);

impl Rpc {
    pub fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// The result of a call that must succeed.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.exchange(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The error of a call that must fail.
    pub async fn refuse(&self, method: &str, params: Value) -> Value {
        let answer = self.exchange(method, params).await;
        assert!(answer.get("error").is_some(), "{method}: {answer}");
        answer["error"].clone()
    }

    async fn exchange(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let answer = self.post(request.to_string()).await.unwrap();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    /// Posts a body as it is.
    pub async fn post(&self, body: String) -> Result<Value, hyper_util::client::legacy::Error> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = axum::http::Request::post(&self.0)
            .header("content-type", "application/json")
            .body(Full::new(axum::body::Bytes::from(body)))
            .unwrap();
        let answer = client.request(request).await?.into_body().collect().await.unwrap().to_bytes();
        Ok(serde_json::from_slice(&answer).unwrap())
    }
}

pub fn call(to: Address, call: impl SolCall) -> Call {
    Call { to: TxKind::Call(to), value: U256::ZERO, input: call.abi_encode().into() }
}

pub fn quantity(value: &Value) -> u64 {
    let hex = value.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(hex.unwrap_or_else(|| panic!("{value}")), 16).unwrap()
}

/// r, s, v in 65 bytes.
pub fn sign_65(account: Account, digest: B256) -> Bytes {
    sign(account, digest).as_bytes().into()
}

/// The 64 bytes of EIP-2098.
pub fn sign_64(account: Account, digest: B256) -> Bytes {
    let signature = sign(account, digest);
    let parity = U256::from(u8::from(signature.v())) << 255;
    let s: U256 = signature.s() | parity;
    [signature.r().to_be_bytes::<32>(), s.to_be_bytes::<32>()].concat().into()
}

fn sign(account: Account, digest: B256) -> Signature {
    sign_message(account.private_key, digest).unwrap()
}

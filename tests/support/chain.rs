//! The local chain: what happens on it without Farebox, and what it says.

use alloy_primitives::{Address, B256, Bytes, U256, address};
use alloy_sol_types::{SolCall, SolEvent};
use farebox_contracts::tip20::ITIP20;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;
use farebox_devnet::{Devnet, Info, Options};
use serde_json::{Value, json};

use super::{good, until};

/// Where the chain collects its fees. They are paid in the token itself.
const FEE_MANAGER: Address = address!("0xfeec000000000000000000000000000000000000");

/// A running chain. Dropping it ends it.
pub struct Chain {
    devnet: Devnet,
    http: reqwest::Client,
}

impl Chain {
    /// Starts a chain with both escrows.
    pub async fn start() -> Self {
        let devnet = good("the local chain starts", Devnet::start(Options::default()).await);
        Self { devnet, http: reqwest::Client::new() }
    }

    /// Where everything is.
    pub fn info(&self) -> &Info {
        self.devnet.info()
    }

    /// Asks the chain; an error of its own fails the test.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(&self.info().rpc_url).json(&request).send().await;
        let answer: Value = good("the answer is JSON", good("the chain answers", answer).json().await);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].clone()
    }

    /// Reads a contract.
    pub async fn call<C: SolCall>(&self, to: Address, call: C) -> C::Return {
        self.call_at(json!("latest"), to, call).await
    }

    async fn call_at<C: SolCall>(&self, block: Value, to: Address, call: C) -> C::Return {
        let transaction = json!({ "to": to, "input": Bytes::from(call.abi_encode()) });
        let result = self.rpc("eth_call", json!([transaction, block])).await;
        let bytes: Bytes = good("the result is hex", serde_json::from_value(result));
        good("the result is of its type", C::abi_decode_returns(&bytes))
    }

    /// Sends a call from one of the chain's own accounts and waits until it is in a block; it must succeed.
    /// Returns the block's timestamp.
    pub async fn send<C: SolCall>(&self, from: Address, to: Address, call: C) -> u64 {
        let input = Bytes::from(call.abi_encode());
        let transaction = json!({ "from": from, "to": to, "input": input, "gas": "0x1e8480" });
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        let receipt = until("a transaction is in a block", || async {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await;
            (!receipt.is_null()).then_some(receipt)
        })
        .await;
        assert_eq!(receipt["status"], "0x1", "{}: {receipt}", C::SIGNATURE);
        let block = self.rpc("eth_getBlockByHash", json!([receipt["blockHash"], false])).await;
        seconds(&block["timestamp"])
    }

    /// The newest block's timestamp.
    pub async fn timestamp(&self) -> u64 {
        seconds(&self.rpc("eth_getBlockByNumber", json!(["latest", false])).await["timestamp"])
    }

    /// What an account would hold of the token if the chain took no fees, in base units. So a difference of two
    /// looks is what was paid and received, to the last unit.
    pub async fn holdings(&self, account: Address) -> u128 {
        let block = self.rpc("eth_blockNumber", json!([])).await;
        let token = self.info().token;
        let balance: u128 = self.call_at(block.clone(), token, ITIP20::balanceOfCall { account }).await.to();
        balance + self.fees(account, &block).await
    }

    /// All fees that an account paid up to a block.
    async fn fees(&self, account: Address, block: &Value) -> u128 {
        let topics = [ITIP20::Transfer::SIGNATURE_HASH, account.into_word(), FEE_MANAGER.into_word()];
        let filter =
            json!({ "address": self.info().token, "fromBlock": "0x0", "toBlock": block, "topics": topics });
        let logs = self.rpc("eth_getLogs", json!([filter])).await;
        let amount = |log: &Value| -> u128 {
            let amount: U256 = good("a transfer has an amount", serde_json::from_value(log["data"].clone()));
            amount.to()
        };
        logs.as_array().expect("a list of logs").iter().map(amount).sum()
    }

    /// What the v2 reserve holds for a channel; all zero when there is none.
    pub async fn state_v2(&self, channel: B256) -> ITIP20ChannelReserve::ChannelState {
        let call = ITIP20ChannelReserve::getChannelStateCall { channelId: channel };
        self.call(self.info().escrow_v2, call).await
    }

    /// What the v1 escrow holds for a channel; all zero but `finalized` after its end.
    pub async fn state_v1(&self, channel: B256) -> ITempoStreamChannel::Channel {
        self.call(self.info().escrow_v1, ITempoStreamChannel::getChannelCall { channelId: channel }).await
    }
}

fn seconds(timestamp: &Value) -> u64 {
    let timestamp: U256 = good("a block has a timestamp", serde_json::from_value(timestamp.clone()));
    timestamp.to()
}

//! The proxy as a JSON-RPC server: singles, batches, and what it answers to nonsense.

use alloy_primitives::U256;
use farebox_contracts::{
    tip20::{ITIP20, PATH_USD},
    v2::{ITIP20ChannelReserve::getChannelStateCall, RESERVE},
};
use farebox_devnet::{Devnet, Error, Options};
use serde_json::{Value, json};

use crate::{
    client::{Chain, call, quantity},
    v2::{channel_id, descriptor, open_call},
};

#[tokio::test]
async fn the_chain_is_what_its_description_says() {
    let options = Options { chain_id: 42_431, ..Options::default() };
    let devnet = Devnet::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    let rpc = crate::client::Rpc::new(&devnet.info().rpc_url);
    assert_eq!(quantity(&rpc.call("eth_chainId", json!([])).await), 42_431);
    for escrow in [devnet.info().escrow_v2, devnet.info().escrow_v1] {
        let code = rpc.call("eth_getCode", json!([escrow, "latest"])).await;
        assert!(code.as_str().unwrap().len() > 2_000, "{escrow} has code {code}");
    }
    let described: Value = serde_json::to_value(devnet.info()).unwrap();
    let mut keys: Vec<_> = described.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["accounts", "chainId", "escrowV1", "escrowV2", "rpcUrl", "token"]);
    assert!(described["rpcUrl"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{described}");
    assert_eq!(described["accounts"].as_array().unwrap().len(), 10);
    assert_eq!(described["accounts"][0]["address"], "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    assert!(described["accounts"][0]["privateKey"].as_str().unwrap().starts_with("0xac0974be"));
    let unlocked = rpc.call("eth_accounts", json!([])).await;
    let ours: Vec<_> = devnet.info().accounts.iter().map(|account| json!(account.address)).collect();
    assert_eq!(unlocked.as_array().unwrap().iter().map(lower).collect::<Vec<_>>(), ours);
}

fn lower(value: &Value) -> Value {
    json!(value.as_str().unwrap().to_lowercase())
}

#[tokio::test]
async fn every_account_holds_the_token() {
    let chain = Chain::start().await;
    for account in &chain.info().accounts {
        assert!(chain.balance(account.address).await > U256::from(1_000_000_000_000u64), "{account:?}");
    }
    assert_eq!(chain.read(PATH_USD, ITIP20::decimalsCall {}).await, 6);
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_may_open_a_channel() {
    let chain = Chain::start().await;
    let payer = chain.account(0);
    let open = open_call(chain.account(1).address, 1);
    let signed = chain.sign(payer, vec![call(RESERVE, open.clone())]).await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_chainId", "params": [] },
        { "jsonrpc": "2.0", "id": 2, "method": "eth_sendRawTransactionSync", "params": [signed.raw] },
        { "jsonrpc": "2.0", "method": "eth_call", "params": [{ "to": PATH_USD }] },
        { "jsonrpc": "2.0", "id": 3, "method": "no_such_method", "params": [] },
    ]);
    let answers = chain.rpc.post(batch.to_string()).await.unwrap();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!("a"), json!(2), json!(3)], "{answers}");
    assert_eq!(answers[0]["result"], "0x7a69");
    assert_eq!(answers[1]["result"]["status"], "0x1", "{answers}");
    assert_eq!(answers[2]["error"]["code"], -32601, "{answers}");
    let id = channel_id(&chain, &descriptor(payer.address, &open, &signed));
    assert_eq!(chain.read(RESERVE, getChannelStateCall { channelId: id }).await.deposit, open.deposit);
}

#[tokio::test]
async fn a_batch_without_our_methods_is_forwarded() {
    let chain = Chain::start().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] },
        { "jsonrpc": "2.0", "id": 2, "method": "eth_blockNumber", "params": [] },
    ]);
    let answers = chain.rpc.post(batch.to_string()).await.unwrap();
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
}

#[tokio::test]
async fn nonsense_is_answered_with_errors() {
    let chain = Chain::start().await;
    let answer = chain.rpc.post("{".into()).await.unwrap();
    assert_eq!(answer["error"]["code"], -32700, "{answer}");

    let answer = chain.rpc.post(" ".repeat((2 << 20) + 1)).await.unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("2097152"), "{answer}");

    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [] });
    let answer = chain.rpc.post(Value::Array(vec![request; 1_001]).to_string()).await.unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");

    // What is no transaction, or has no valid signature, gets anvil's own words.
    for raw in [json!("0x76c0"), json!("no hex"), json!(5)] {
        chain.rpc.refuse("eth_sendRawTransaction", json!([raw])).await;
    }
    let bad = json!({ "from": "0x12", "calls": [{ "to": PATH_USD }] });
    let error = chain.rpc.refuse("eth_call", json!([bad])).await;
    assert!(error["message"].as_str().unwrap().contains("from is 0x12"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let chain = Chain::start().await;
    let port = chain.info().rpc_url.rsplit(':').next().unwrap().parse().unwrap();
    let error = Devnet::start(Options { port, ..Options::default() }).await.unwrap_err();
    assert!(matches!(error, Error::Listen { port: named, .. } if named == port), "{error}");
}

//! Simulations of Tempo transactions: they see all calls, they are enough to pay for, and they leave no trace.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolCall;
use farebox_contracts::{
    tip20::{ITIP20, PATH_USD},
    v1::ITempoStreamChannel,
    v2::{ITIP20ChannelReserve, RESERVE},
};
use serde_json::{Value, json};

use crate::{
    client::{Chain, call, quantity},
    v2::{channel_id, descriptor, open_call},
};

fn json_call(to: Address, call: impl SolCall) -> Value {
    json!({ "to": to, "value": "0x0", "data": Bytes::from(call.abi_encode()) })
}

fn tempo_request(from: Address, calls: Vec<Value>) -> Value {
    json!({ "from": from, "type": "0x76", "feeToken": PATH_USD, "calls": calls })
}

#[tokio::test]
async fn an_estimated_open_is_enough_and_leaves_no_trace() {
    let chain = Chain::start().await;
    let payer = chain.account(0);
    let open = open_call(chain.account(1).address, 1);
    let request = tempo_request(payer.address, vec![json_call(RESERVE, open.clone())]);
    let gas = quantity(&chain.rpc.call("eth_estimateGas", json!([request])).await);
    let id = chain.rpc.call("eth_call", json!([request, "latest"])).await;
    assert_eq!(hex::decode(id.as_str().unwrap()).unwrap().len(), 32, "an open returns a channel id: {id}");

    // Without the proxy's help the same open is refused: nothing of the simulation was written.
    let direct = json!({ "from": payer.address, "to": RESERVE, "input": Bytes::from(open.abi_encode()) });
    let error = crate::client::Rpc::new(&chain.devnet.anvil_url()).refuse("eth_call", json!([direct])).await;
    assert_eq!(error["data"], hex::encode_prefixed(keccak_selector("ExpiringNonceHashNotSet()")), "{error}");
    let allowance =
        chain.read(PATH_USD, ITIP20::allowanceCall { owner: payer.address, spender: RESERVE }).await;
    assert_eq!(allowance, U256::ZERO);

    // A plain call without `calls` is helped too.
    chain.rpc.call("eth_call", json!([direct, "latest"])).await;

    let mut transaction = chain.unsigned(vec![call(RESERVE, open.clone())]).await;
    transaction.gas_limit = gas;
    let signed = chain.seal(payer, transaction);
    chain.submit(&signed).await;
    let id = channel_id(&chain, &descriptor(payer.address, &open, &signed));
    let state = chain.read(RESERVE, ITIP20ChannelReserve::getChannelStateCall { channelId: id }).await;
    assert_eq!(state.deposit, open.deposit);
}

#[tokio::test]
async fn several_calls_are_simulated_in_order() {
    let chain = Chain::start().await;
    let escrow = chain.info().escrow_v1;
    let payer = chain.account(0).address;
    let approve = |amount: u64| {
        json_call(PATH_USD, ITIP20::approveCall { spender: escrow, amount: U256::from(amount) })
    };
    let open = ITempoStreamChannel::openCall {
        payee: chain.account(1).address,
        token: PATH_USD,
        deposit: 500,
        salt: B256::ZERO,
        authorizedSigner: Address::ZERO,
    };
    let good = tempo_request(payer, vec![approve(500), json_call(escrow, open.clone())]);
    let gas = quantity(&chain.rpc.call("eth_estimateGas", json!([good])).await);
    assert!(gas >= 2_000_000, "{gas}");
    // The second call's result: the channel id.
    let returned = chain.rpc.call("eth_call", json!([good])).await;
    let expected = chain.read(
        escrow,
        ITempoStreamChannel::computeChannelIdCall {
            payer,
            payee: open.payee,
            token: open.token,
            salt: open.salt,
            authorizedSigner: open.authorizedSigner,
        },
    );
    assert_eq!(returned, json!(expected.await));

    let bad = tempo_request(payer, vec![approve(499), json_call(escrow, open)]);
    for method in ["eth_estimateGas", "eth_call", "eth_fillTransaction"] {
        let error = chain.rpc.refuse(method, json!([bad])).await;
        assert_eq!(error["code"], 3, "{method}: {error}");
        assert!(error["message"].as_str().unwrap().contains("call 2 of 2"), "{method}: {error}");
    }
}

#[tokio::test]
async fn filled_transactions_keep_their_calls() {
    let chain = Chain::start().await;
    let payer = chain.account(0).address;
    let transfer = |amount: u64| {
        json_call(PATH_USD, ITIP20::transferCall { to: Address::repeat_byte(9), amount: U256::from(amount) })
    };
    for calls in [vec![transfer(1)], vec![transfer(1), transfer(2)]] {
        let request = tempo_request(payer, calls.clone());
        let filled = chain.rpc.call("eth_fillTransaction", json!([request])).await;
        let inputs: Vec<_> =
            filled["tx"]["calls"].as_array().unwrap().iter().map(|call| call["input"].clone()).collect();
        let expected: Vec<_> = calls.iter().map(|call| call["data"].clone()).collect();
        assert_eq!(inputs, expected, "{filled}");
        for data in &expected {
            let bare = data.as_str().unwrap().trim_start_matches("0x");
            assert!(filled["raw"].as_str().unwrap().contains(bare), "{filled}");
        }
        assert!(quantity(&filled["tx"]["gas"]) > 30_000, "{filled}");
    }
}

fn keccak_selector(signature: &str) -> [u8; 4] {
    let hash = alloy_primitives::keccak256(signature);
    [hash[0], hash[1], hash[2], hash[3]]
}

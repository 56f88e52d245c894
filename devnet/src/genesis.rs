//! Puts the escrows on a fresh chain.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, Bytes};
use farebox_contracts::{
    bytecode::{RESERVE_RUNTIME, STREAM_CHANNEL_CREATION},
    v2::RESERVE,
};
use serde_json::{Value, json};

use crate::{
    Error,
    accounts::DEPLOYER,
    rpc::{RpcError, Upstream},
};

/// New code is dear on a Tempo chain: the deployment takes about 19 million gas of a block's 30.
const DEPLOYMENT_GAS: &str = "0x1c00000";
const RECEIPT_S_MAX: u64 = 30;
const RECEIPT_POLL_MS: u64 = 20;

/// Places the v2 reserve and deploys the v1 escrow, whose address is returned. It is the same on every chain,
/// because it is the first thing that its deployer ever does.
pub(crate) async fn prepare(upstream: &Upstream) -> Result<Address, Error> {
    let code = Bytes::from_static(RESERVE_RUNTIME);
    upstream.call("anvil_setCode", json!([RESERVE, code])).await.map_err(failed("placing the v2 reserve"))?;

    let code = Bytes::from_static(STREAM_CHANNEL_CREATION);
    let transaction = json!({ "from": DEPLOYER, "input": code, "gas": DEPLOYMENT_GAS });
    let hash = upstream
        .call("eth_sendTransaction", json!([transaction]))
        .await
        .map_err(failed("deploying the v1 escrow"))?;
    let receipt = receipt(upstream, &hash).await?;
    let address = receipt["contractAddress"].as_str().and_then(|address| address.parse().ok());
    match address {
        Some(address) if receipt["status"] == "0x1" => Ok(address),
        _ => Err(Error::Genesis { what: format!("deploying the v1 escrow failed: {receipt}") }),
    }
}

async fn receipt(upstream: &Upstream, hash: &Value) -> Result<Value, Error> {
    let deadline = Instant::now() + Duration::from_secs(RECEIPT_S_MAX);
    while Instant::now() < deadline {
        let receipt = upstream
            .call("eth_getTransactionReceipt", json!([hash]))
            .await
            .map_err(failed("reading the receipt of the v1 escrow"))?;
        if !receipt.is_null() {
            return Ok(receipt);
        }
        tokio::time::sleep(Duration::from_millis(RECEIPT_POLL_MS)).await;
    }
    Err(Error::Genesis { what: format!("the v1 escrow is not in a block after {RECEIPT_S_MAX} s") })
}

fn failed(step: &'static str) -> impl FnOnce(RpcError) -> Error {
    move |RpcError(error)| Error::Genesis { what: format!("{step}: {error}") }
}

//! Talks JSON-RPC to anvil.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

/// The largest answer that is taken from anvil: blocks full of logs are long.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// `eth_sendRawTransactionSync` answers only when the transaction is in a block.
const ANSWER_S_MAX: u64 = 120;

/// JSON-RPC error code for what the proxy cannot do itself.
pub(crate) const INTERNAL_ERROR: i64 = -32_603;

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RpcError(pub(crate) Value);

impl RpcError {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self(json!({ "code": code, "message": message.into() }))
    }
}

/// anvil, behind the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: String,
}

impl Upstream {
    pub(crate) fn new(port: u16) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, uri: format!("http://127.0.0.1:{port}/") }
    }

    /// Sends a body as it is and returns the answer as it is.
    pub(crate) async fn forward(&self, body: impl Into<Bytes>) -> Result<Bytes, RpcError> {
        let exchange = self.exchange(body.into());
        match tokio::time::timeout(Duration::from_secs(ANSWER_S_MAX), exchange).await {
            Ok(answer) => answer.map_err(|cause| {
                RpcError::new(INTERNAL_ERROR, format!("devnet: no answer from anvil: {cause}"))
            }),
            Err(_) => Err(RpcError::new(
                INTERNAL_ERROR,
                format!("devnet: no answer from anvil in {ANSWER_S_MAX} s"),
            )),
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let request = axum::http::Request::post(&self.uri)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let answer = self.client.request(request).await?;
        Ok(Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes())
    }

    /// Sends one request object and returns the answer object.
    pub(crate) async fn request(&self, request: &Value) -> Result<Value, RpcError> {
        let answer = self.forward(request.to_string()).await?;
        serde_json::from_slice(&answer).map_err(|cause| {
            RpcError::new(INTERNAL_ERROR, format!("devnet: anvil's answer is not JSON: {cause}"))
        })
    }

    /// Calls a method and returns its result.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.request(&request).await?;
        match answer.get_mut("error") {
            Some(error) => Err(RpcError(error.take())),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }
}

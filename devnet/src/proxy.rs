//! The public face of the local chain: JSON-RPC over HTTP, single requests and batches.
//!
//! Most requests go to anvil byte for byte. Raw transactions are prepared first ([`crate::reserve`]),
//! simulations are rewritten ([`crate::simulate`]). Whatever goes wrong here is answered as a JSON-RPC error.

use std::sync::Arc;

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::Bytes as RawTransaction;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tempo_primitives::TempoTxEnvelope;

use crate::{
    reserve,
    rpc::{RpcError, Upstream},
    simulate::Simulation,
};

/// anvil's own limit.
const REQUEST_BYTES_MAX: usize = 2 << 20;
const BATCH_REQUESTS_MAX: usize = 1_000;

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;

/// The proxy in front of anvil.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    upstream: Upstream,
}

impl Proxy {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { upstream }
    }

    pub(crate) fn into_router(self) -> Router {
        Router::new()
            .fallback(post(serve))
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .with_state(Arc::new(self))
    }

    /// Answers one body, a request or a batch.
    async fn answer(&self, body: Bytes) -> Result<Bytes, RpcError> {
        let parsed: Value = serde_json::from_slice(&body)
            .map_err(|cause| RpcError::new(PARSE_ERROR, format!("the body is not JSON: {cause}")))?;
        match parsed {
            Value::Array(requests) if requests.iter().any(needs_help) => {
                if requests.len() > BATCH_REQUESTS_MAX {
                    let found = requests.len();
                    let message =
                        format!("a batch has {found} requests, at most {BATCH_REQUESTS_MAX} are taken");
                    return Err(RpcError::new(INVALID_REQUEST, message));
                }
                // In order: a batch may send a transaction and then ask about it.
                let mut answers = Vec::with_capacity(requests.len());
                for request in requests {
                    let wants_answer = request.get("id").is_some();
                    let answer = self.answer_one(request).await;
                    if wants_answer {
                        answers.push(answer);
                    }
                }
                Ok(Value::Array(answers).to_string().into())
            }
            request if needs_help(&request) => Ok(self.answer_one(request).await.to_string().into()),
            _ => self.upstream.forward(body).await,
        }
    }

    /// Answers one request of any kind; failures become part of the answer.
    async fn answer_one(&self, request: Value) -> Value {
        let id = request.get("id").cloned().unwrap_or_default();
        match self.dispatch(request).await {
            Ok(answer) => answer,
            Err(RpcError(error)) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
        }
    }

    async fn dispatch(&self, request: Value) -> Result<Value, RpcError> {
        let params = &request["params"];
        let simulation = match Method::of(&request) {
            Some(Method::Send) => {
                self.prepare(params).await?;
                None
            }
            Some(Method::Call | Method::Estimate | Method::Fill) => Simulation::parse(params)?,
            None => None,
        };
        let Some(simulation) = simulation else { return self.upstream.request(&request).await };
        let result = match Method::of(&request) {
            Some(Method::Call) => simulation.call(&self.upstream).await?,
            Some(Method::Fill) => simulation.fill(&self.upstream).await?,
            _ => simulation.estimate(&self.upstream).await?,
        };
        let id = request.get("id").cloned().unwrap_or_default();
        Ok(json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    /// Writes what the reserve needs for a raw transaction. What cannot be decoded or has no valid signature
    /// is left to anvil, which says so in its own words.
    async fn prepare(&self, params: &Value) -> Result<(), RpcError> {
        let raw = params.get(0).and_then(Value::as_str).and_then(|hex| hex.parse::<RawTransaction>().ok());
        let Some(raw) = raw else { return Ok(()) };
        let Ok(transaction) = TempoTxEnvelope::decode_2718(&mut raw.as_ref()) else { return Ok(()) };
        for write in reserve::preparation(&transaction).unwrap_or_default() {
            let params = json!([write.account, write.slot, write.value]);
            self.upstream.call("anvil_setStorageAt", params).await?;
        }
        Ok(())
    }
}

/// The methods that anvil alone would answer wrongly.
#[derive(Clone, Copy, Debug)]
enum Method {
    Send,
    Call,
    Estimate,
    Fill,
}

impl Method {
    fn of(request: &Value) -> Option<Self> {
        match request.get("method")?.as_str()? {
            "eth_sendRawTransaction" | "eth_sendRawTransactionSync" => Some(Self::Send),
            "eth_call" => Some(Self::Call),
            "eth_estimateGas" => Some(Self::Estimate),
            "eth_fillTransaction" => Some(Self::Fill),
            _ => None,
        }
    }
}

fn needs_help(request: &Value) -> bool {
    Method::of(request).is_some()
}

async fn serve(State(proxy): State<Arc<Proxy>>, body: Result<Bytes, BytesRejection>) -> Response {
    let answer = match body {
        Ok(body) => proxy.answer(body).await,
        Err(rejection) => Err(RpcError::new(
            INVALID_REQUEST,
            format!("the body cannot be read (at most {REQUEST_BYTES_MAX} bytes are): {rejection}"),
        )),
    };
    let body = answer.unwrap_or_else(|RpcError(error)| {
        json!({ "jsonrpc": "2.0", "id": null, "error": error }).to_string().into()
    });
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

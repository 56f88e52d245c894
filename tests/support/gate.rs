//! Between Farebox and the chain: a JSON-RPC proxy that counts, and that can spoil the way of closes.
//!
//! It stands for nodes and networks that fail. Only `eth_sendRawTransaction` of a transaction with a `close` call
//! is ever spoiled; everything else passes, so that a test says exactly what went wrong.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use alloy_primitives::hex;
use alloy_sol_types::SolCall;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How a broadcast of a close fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closes {
    /// As it should.
    #[default]
    Pass,
    /// The node refuses it.
    Refused,
    /// The chain gets it, the sender gets no usable answer.
    AnswerLost,
    /// The chain gets it, the sender gets no answer at all.
    AnswerHeld,
    /// The chain does not get it, and the sender gets no answer.
    Held,
}

#[derive(Debug)]
struct Inner {
    chain: String,
    http: reqwest::Client,
    closes: Mutex<Closes>,
    calls: Mutex<HashMap<String, u64>>,
    spoiled: Mutex<u64>,
    /// Raw transactions that claim something.
    claims: Mutex<HashSet<String>>,
}

/// The running proxy. Dropping it ends it.
pub struct Gate {
    address: SocketAddr,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Gate {
    /// Starts it in front of `chain`.
    pub async fn start(chain: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let inner = Arc::new(Inner {
            chain,
            http: reqwest::Client::new(),
            closes: Mutex::default(),
            calls: Mutex::default(),
            spoiled: Mutex::default(),
            claims: Mutex::default(),
        });
        let router = Router::new().fallback(post(serve)).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move {
            // It only ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Self { address, inner, server }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on closes fare like this.
    pub fn set(&self, closes: Closes) {
        *self.inner.closes.lock().expect("no holder panics") = closes;
    }

    /// How often Farebox called a method.
    pub fn calls(&self, method: &str) -> u64 {
        self.inner.calls.lock().expect("no holder panics").get(method).copied().unwrap_or(0)
    }

    /// How many different transactions with a claim were broadcast; the same bytes once more are the same one.
    pub fn claims(&self) -> usize {
        self.inner.claims.lock().expect("no holder panics").len()
    }

    /// How many broadcasts were spoiled; what the chain was to get, it has by then.
    pub fn spoiled(&self) -> u64 {
        *self.inner.spoiled.lock().expect("no holder panics")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Inner {
    /// Counts the requests of a body; true when one of them broadcasts a close.
    fn note(&self, body: &[u8]) -> bool {
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let requests = parsed.as_array().cloned().unwrap_or_else(|| vec![parsed]);
        let mut calls = self.calls.lock().expect("no holder panics");
        let mut closes = false;
        for request in requests {
            let method = request["method"].as_str().unwrap_or_default();
            *calls.entry(method.to_owned()).or_default() += 1;
            if method == "eth_sendRawTransaction" && is_claim(&request["params"]) {
                let raw = request["params"][0].as_str().unwrap_or_default().to_owned();
                self.claims.lock().expect("no holder panics").insert(raw);
            }
            closes |= method == "eth_sendRawTransaction" && is_close(&request["params"]);
        }
        closes
    }

    async fn forward(&self, body: Bytes) -> Response {
        let answer = self.http.post(&self.chain).header(CONTENT_TYPE, "application/json").body(body).send();
        let Ok(answer) = answer.await else { return StatusCode::BAD_GATEWAY.into_response() };
        let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Whether a raw transaction has a `close` call of one of the escrows.
fn is_close(params: &Value) -> bool {
    let raw = params[0].as_str().unwrap_or_default();
    let selectors = [ITempoStreamChannel::closeCall::SELECTOR, ITIP20ChannelReserve::closeCall::SELECTOR];
    selectors.iter().any(|selector| raw.contains(&hex::encode(selector)))
}

/// Whether a raw transaction has a `close` or a `settle`.
fn is_claim(params: &Value) -> bool {
    let raw = params[0].as_str().unwrap_or_default();
    let selectors = [ITempoStreamChannel::settleCall::SELECTOR, ITIP20ChannelReserve::settleCall::SELECTOR];
    is_close(params) || selectors.iter().any(|selector| raw.contains(&hex::encode(selector)))
}

async fn serve(State(inner): State<Arc<Inner>>, body: Bytes) -> Response {
    let closes =
        if inner.note(&body) { *inner.closes.lock().expect("no holder panics") } else { Closes::Pass };
    let spoil = || *inner.spoiled.lock().expect("no holder panics") += 1;
    match closes {
        Closes::Pass => inner.forward(body).await,
        Closes::Refused => {
            spoil();
            let error = json!({ "code": -32_000, "message": "refused for the test" });
            let answer = json!({ "jsonrpc": "2.0", "id": id(&body), "error": error });
            ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
        }
        Closes::AnswerLost => {
            inner.forward(body).await;
            spoil();
            StatusCode::BAD_GATEWAY.into_response()
        }
        Closes::AnswerHeld => {
            inner.forward(body).await;
            spoil();
            std::future::pending().await
        }
        Closes::Held => {
            spoil();
            std::future::pending().await
        }
    }
}

fn id(body: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    request["id"].clone()
}

//! The service that is paid for in these tests. It knows nothing of payments.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::gateway::body::{Body, full};

/// A running upstream; it ends when it is dropped.
pub struct Upstream {
    pub url: String,
    pub requests: Arc<AtomicUsize>,
    /// What was asked for, in order.
    pub paths: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        let paths = Arc::new(Mutex::new(Vec::new()));
        let asked = paths.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (count, asked) = (count.clone(), asked.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        asked.lock().unwrap().push(request.uri().path().to_owned());
                        count.fetch_add(1, Ordering::SeqCst);
                        async move { Ok::<_, Infallible>(answer(request).await) }
                    });
                    // A client that leaves is no fault of ours.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, requests, paths, task }
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// `/…/status/418`, `/…/slow`, `/…/events/5`, `/…/break`, `/…/echo` (streams the body back), else what was asked.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    if path.contains("/status/") {
        return with_status(last.parse().unwrap());
    }
    if request.uri().query() == Some("events=5") {
        return events(5);
    }
    match last.as_str() {
        "slow" => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            with_status(200)
        }
        "late" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            with_status(200)
        }
        "echo" => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
        "usage" => {
            let body = r#"{"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
            let mut answer = Response::new(full(Bytes::from_static(body.as_bytes())));
            answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
            answer
        }
        "bytes" => Response::new(full(Bytes::from(vec![b'x'; 2_500]))),
        "units" => {
            let mut answer = with_status(200);
            answer.headers_mut().insert("x-units", "3".parse().unwrap());
            answer
        }
        "mcp" => tool(request).await,
        "openapi" => {
            let document = serde_json::json!({
                "openapi": "3.0.0",
                "info": { "title": "The upstream", "version": "7" },
                "paths": {
                    "/v1/things/{id}": {
                        "get": { "summary": "A thing", "x-payment-info": { "offers": [{ "amount": "0" }] } },
                        "delete": {},
                    },
                    "/admin": { "get": {} },
                },
            });
            Response::new(full(Bytes::from(document.to_string())))
        }
        "swallow" => match request.into_body().collect().await {
            Ok(_) => with_status(200),
            Err(_) => with_status(400),
        },
        _ => {
            let mut lines = vec![request.uri().to_string()];
            for (name, value) in request.headers() {
                lines.push(format!("{name}: {}", value.to_str().unwrap()));
            }
            lines.sort();
            let mut answer = Response::new(full(Bytes::from(lines.join("\n"))));
            let headers = answer.headers_mut();
            headers.insert("payment-receipt", "forged".parse().unwrap());
            headers.insert("x-own", "kept".parse().unwrap());
            answer
        }
    }
}

/// A server of tools: some answer in JSON, one as a stream, and some fail.
async fn tool(request: Request<Incoming>) -> Response<Body> {
    use serde_json::{Value, json};
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = &message["id"];
    if message["method"] == "initialize" {
        let result = json!({ "capabilities": { "tools": {} }, "serverInfo": { "name": "tools" } });
        return said(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
    }
    let name = &message["params"]["name"];
    let result = json!({
        "content": [{ "type": "text", "text": name }],
        "saw": message["params"].get("_meta"),
        "_meta": { "org.paymentauth/receipt": "forged" },
    });
    let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    match name.as_str().unwrap_or_default() {
        "stream" => {
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress" });
            let text = format!("data: {progress}\n\nid: 1\ndata: {answer}\n\n");
            let mut answer = Response::new(full(Bytes::from(text)));
            answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            answer
        }
        "error" => said(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": 1, "message": "no" } })),
        "fails" => said(&json!({ "jsonrpc": "2.0", "id": id, "result": { "isError": true, "content": [] } })),
        "nonsense" => said(&json!("nonsense")),
        "hangs-up" => {
            let mut answer = Response::new(full(Bytes::from_static(b"data: {\"jsonrpc\"")));
            answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            answer
        }
        _ => said(&answer),
    }
}

fn said(message: &serde_json::Value) -> Response<Body> {
    let mut answer = Response::new(full(Bytes::from(message.to_string())));
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

fn with_status(status: u16) -> Response<Body> {
    let mut answer = Response::new(full(Bytes::from_static(b"from upstream")));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn events(count: usize) -> Response<Body> {
    let frames = futures_util::stream::iter(0..count)
        .map(|index| Ok(Frame::data(Bytes::from(format!("data: token {index}\n\n")))));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    answer
}

use futures_util::StreamExt;

//! A JSON-RPC node over HTTP that does what a test tells it: answer, refuse, hang, drop, or pass on.

use std::sync::Arc;
use std::time::Duration;

use alloy::transports::http::reqwest;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the node does with a request.
pub enum Answer {
    /// This result.
    Result(Value),
    /// A JSON-RPC error.
    Error(i64, &'static str),
    /// An HTTP error without a JSON body.
    Status(u16),
    /// Text that is no JSON.
    Garbage,
    /// Nothing, for ever.
    Hang,
    /// The connection is cut after the request was read.
    Drop,
    /// What another node says.
    Forward,
    /// The other node does it, and its answer never arrives.
    ForwardAndDrop,
    /// The other node hears it after a while; meanwhile it hears others.
    ForwardLate(Duration),
    /// The other node hears it twice; its second answer is given.
    ForwardTwice,
    /// What the other node says, changed.
    ForwardAndLie(fn(&mut Value)),
}

type Handler = dyn Fn(&str, &Value) -> Answer + Send + Sync;

/// A running node. Dropping it ends it.
pub struct Node {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

struct Behaviour {
    handler: Box<Handler>,
    upstream: Option<String>,
    http: reqwest::Client,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Node {
    /// A node on its own.
    pub async fn start(handler: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        Self::before(None, handler).await
    }

    /// A node in front of another.
    pub async fn before(
        upstream: Option<String>,
        handler: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let behaviour = Arc::new(Behaviour {
            handler: Box::new(handler),
            upstream,
            http: reqwest::Client::new(),
            seen: Arc::clone(&seen),
        });
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&behaviour)));
            }
        });
        Self { url, seen, server }
    }

    /// How often a method was asked for.
    pub fn count(&self, method: &str) -> usize {
        self.seen.lock().iter().filter(|seen| *seen == method).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves one connection; ends it when the behaviour says so.
async fn serve(mut stream: TcpStream, behaviour: Arc<Behaviour>) {
    while let Some(body) = read_request(&mut stream).await {
        let request: Value = serde_json::from_slice(&body).expect("a client sends JSON");
        let method = request["method"].as_str().expect("a method").to_owned();
        behaviour.seen.lock().push(method.clone());
        let (id, params) = (request["id"].clone(), request["params"].clone());
        let (status, answer) = match (behaviour.handler)(&method, &params) {
            Answer::Result(result) => {
                (200, json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
            }
            Answer::Error(code, message) => {
                let error = json!({"code": code, "message": message});
                (200, json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string())
            }
            Answer::Status(status) => (status, "busy".to_owned()),
            Answer::Garbage => (200, "<html>a balancer's greeting</html>".to_owned()),
            Answer::Hang => std::future::pending().await,
            Answer::Drop => return,
            Answer::Forward => (200, behaviour.forward(body).await),
            Answer::ForwardAndDrop => {
                behaviour.forward(body).await;
                return;
            }
            Answer::ForwardLate(after) => {
                tokio::time::sleep(after).await;
                (200, behaviour.forward(body).await)
            }
            Answer::ForwardTwice => {
                behaviour.forward(body.clone()).await;
                (200, behaviour.forward(body).await)
            }
            Answer::ForwardAndLie(lie) => {
                let answer = behaviour.forward(body).await;
                let mut answer: Value = serde_json::from_str(&answer).expect("a node answers JSON");
                lie(&mut answer["result"]);
                (200, answer.to_string())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await.is_err() {
            return;
        }
    }
}

impl Behaviour {
    async fn forward(&self, body: Vec<u8>) -> String {
        let upstream = self.upstream.as_ref().expect("a node to forward to");
        let request = self.http.post(upstream).header("content-type", "application/json").body(body);
        request.send().await.expect("the upstream answers").text().await.expect("text")
    }
}

/// Reads one HTTP request and gives its body; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, &mut bytes).await?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.expect("a length").trim().parse().expect("a number");
    while bytes.len() < head + length {
        read_more(stream, &mut bytes).await?;
    }
    Some(bytes[head..head + length].to_vec())
}

async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 8_192];
    match stream.read(&mut chunk).await {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            bytes.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}

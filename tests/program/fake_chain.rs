//! A node that knows nothing of channels: enough of JSON-RPC for a server to start on it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// What the node claims.
#[derive(Clone, Copy)]
pub struct Claims {
    pub chain_id: u64,
    /// Whether contracts answer (with zeros).
    pub has_contracts: bool,
    /// How far its newest block is ahead of this machine's clock, in seconds; `None`: it is of 2027.
    pub clock_ahead_s: Option<i64>,
    /// What every account holds of every token.
    pub balance: u64,
}

impl Claims {
    /// A node of `chain_id` with contracts and money, whose clock is right.
    pub const fn sound(chain_id: u64) -> Self {
        Self { chain_id, has_contracts: true, clock_ahead_s: Some(0), balance: 1_000_000 }
    }

    fn timestamp(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.clock_ahead_s.map_or(0x6b49_d200, |ahead| now.checked_add_signed(ahead).unwrap())
    }
}

/// A running node; it ends when it is dropped.
pub struct FakeChain {
    pub url: String,
    address: std::net::SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeChain {
    pub fn start(claims: Claims) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                // A client that leaves is no fault of the node.
                std::thread::spawn(move || drop(serve(stream.unwrap(), claims)));
            }
        });
        Self { url: format!("http://{address}"), address, ended, thread: Some(thread) }
    }
}

impl Drop for FakeChain {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, claims: Claims) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned))
                .map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                let request: Value = serde_json::from_str(&body[..length]).unwrap();
                let answer = match &request {
                    Value::Array(batch) => batch.iter().map(|one| reply(one, claims)).collect(),
                    one => reply(one, claims),
                }
                .to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                return write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
            }
        }
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn reply(request: &Value, claims: Claims) -> Value {
    let zeros = format!("0x{}", "00".repeat(32 * 8));
    let result = match request["method"].as_str().unwrap() {
        "eth_chainId" => json!(format!("{:#x}", claims.chain_id)),
        "eth_blockNumber" => json!("0x10"),
        "eth_getBlockByNumber" => json!({
            "number": "0x10", "timestamp": format!("{:#x}", claims.timestamp()), "baseFeePerGas": "0x1",
            "hash": format!("0x{}", "11".repeat(32)), "parentHash": format!("0x{}", "22".repeat(32)),
        }),
        "eth_getLogs" => json!([]),
        // balanceOf(address)
        "eth_call" if claims.has_contracts && request["params"][0].to_string().contains("0x70a08231") => {
            json!(format!("0x{:064x}", claims.balance))
        }
        "eth_call" if claims.has_contracts => json!(zeros),
        "eth_getCode" if claims.has_contracts => json!("0xef"),
        "eth_getCode" => json!("0x"),
        "eth_call" => json!("0x"),
        other => {
            let error = json!({ "code": -32601, "message": format!("no method {other}") });
            return json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
        }
    };
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
}

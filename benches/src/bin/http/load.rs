//! The load: connections that each send one request, wait for its answer, and send the next.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use farebox_core::challenge::Challenge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::payers::Payer;

/// Requests of every connection before the measurement: connections, tables of signers and allocators are warm then.
const WARM_ROUNDS: usize = 32;

/// What was measured.
pub struct Row {
    pub requests: usize,
    pub requests_per_s: f64,
    pub server_cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// A server process; it ends with this value.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(kind: &str, channels: usize) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(["serve", kind, &channels.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| format!("cannot start the server: {error}"))?;
        let mut address = String::new();
        let output = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(output).read_line(&mut address).map_err(|error| error.to_string())?;
        if address.is_empty() {
            return Err(format!("the {kind} server did not start"));
        }
        Ok(Self { child, address: address.trim().into() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its input ends: it closes its books and goes.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Measures `requests` requests over `in_flight` connections.
pub async fn measure(kind: &str, in_flight: usize, requests: usize) -> Result<Row, String> {
    let server = Server::start(kind, in_flight)?;
    let rounds = requests.div_ceil(in_flight);
    let challenge = if kind == "layer" { Some(challenge(&server.address).await?) } else { None };
    let mut connections = Vec::new();
    for index in 0..in_flight {
        connections
            .push(Connection::open(&server.address, index, challenge.as_ref(), WARM_ROUNDS + rounds).await?);
    }
    let (connections, _) = run(connections, WARM_ROUNDS).await?;
    let cpu_before = cpu(&server.address).await?;
    let began = Instant::now();
    let (_, mut took) = run(connections, rounds).await?;
    let wall = began.elapsed();
    let cpu_us = cpu(&server.address).await? - cpu_before;
    took.sort_unstable();
    let quantile = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let requests = took.len();
    Ok(Row {
        requests,
        requests_per_s: requests as f64 / wall.as_secs_f64(),
        server_cpu_us: cpu_us / requests as f64,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
    })
}

/// Runs so many rounds on all connections at once.
async fn run(
    connections: Vec<Connection>,
    rounds: usize,
) -> Result<(Vec<Connection>, Vec<Duration>), String> {
    let tasks: Vec<_> = connections.into_iter().map(|one| tokio::spawn(one.run(rounds))).collect();
    let (mut back, mut took) = (Vec::new(), Vec::new());
    for task in tasks {
        let (connection, durations) = task.await.map_err(|error| error.to_string())??;
        back.push(connection);
        took.extend(durations);
    }
    Ok((back, took))
}

/// One connection with the requests that it will send.
struct Connection {
    stream: TcpStream,
    requests: std::vec::IntoIter<Vec<u8>>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(
        address: &str,
        index: usize,
        challenge: Option<&Challenge>,
        rounds: usize,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let payer = Payer::new(index);
        let request = |round| match challenge {
            None => b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n".to_vec(),
            Some(challenge) => {
                let header = payer.authorization(challenge, round);
                format!("GET / HTTP/1.1\r\nhost: bench\r\nauthorization: {header}\r\n\r\n").into_bytes()
            }
        };
        let requests: Vec<_> = (0..rounds).map(request).collect();
        Ok(Self { stream, requests: requests.into_iter(), answer: Vec::with_capacity(4_096) })
    }

    async fn run(mut self, rounds: usize) -> Result<(Self, Vec<Duration>), String> {
        let mut took = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let request = self.requests.next().ok_or("too few requests were made")?;
            let began = Instant::now();
            let body = exchange(&mut self.stream, &request, &mut self.answer).await?;
            took.push(began.elapsed());
            if !self.answer.starts_with(b"HTTP/1.1 200") || body != b"hello" {
                return Err(format!("the server answered {}", String::from_utf8_lossy(&self.answer)));
            }
        }
        Ok((self, took))
    }
}

/// Sends a request and reads its whole answer; the body.
async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Result<Vec<u8>, String> {
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    answer.clear();
    loop {
        if stream.read_buf(answer).await.map_err(|error| error.to_string())? == 0 {
            return Err(format!("the server hung up: {}", String::from_utf8_lossy(answer)));
        }
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..head]);
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.ok_or_else(|| format!("an answer without a length: {text}"))?;
        if answer.len() >= head + 4 + length {
            return Ok(answer[head + 4..head + 4 + length].to_vec());
        }
    }
}

async fn ask(address: &str, path: &str) -> Result<(String, Vec<u8>), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
    let body = exchange(&mut stream, request.as_bytes(), &mut answer).await?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), body))
}

/// The challenge that the server offers.
async fn challenge(address: &str) -> Result<Challenge, String> {
    let (answer, _) = ask(address, "/").await?;
    let header = answer.lines().find_map(|line| line.strip_prefix("www-authenticate: "));
    let challenges = header.and_then(Challenge::parse_header).unwrap_or_default();
    challenges.into_iter().next().ok_or_else(|| format!("no challenge in {answer}"))
}

/// The processor time that the server has used, in microseconds.
async fn cpu(address: &str) -> Result<f64, String> {
    let (_, body) = ask(address, "/cpu").await?;
    String::from_utf8_lossy(&body).parse().map_err(|_| "the server did not tell its processor time".into())
}

//! What a paid request costs over HTTP: requests a second, latency and the server's processor time, for a fresh voucher
//! with every request; bare, behind the payment layer, behind the gateway, and at peers which do the same work.
//!
//! `make bench-http` runs it.
//!
//! ```text
//! http [--quick] [SERVER…]
//!   --quick   fewer requests and connections
//!   SERVER    measures these servers alone: bare, layer, gateway, mpp, mppx; the others' rows are kept
//! http streams
//!   FAREBOX_STREAMS metered streams at once (500) for FAREBOX_STREAM_S seconds (60)
//! ```
//!
//! Every server is a process of its own and the load is another: vouchers are signed beforehand, a channel for each
//! connection. For the gateway and the peers each channel is opened by a transaction on a local chain. The result is also
//! written to `bench/http.json` in the target folder; what the servers complained about stands in `bench/http`.
//!
//! | module | what it does |
//! |---|---|
//! | [`cases`] | the servers that are measured |
//! | [`payers`] | channels, and requests with vouchers that are signed beforehand |
//! | [`net`] | a local chain, and channels that are opened on it |
//! | [`server`] | the service, bare and behind the layer |
//! | [`mpp_server`] | a peer: the server of crate `mpp` |
//! | [`load`], [`wire`] | connections that each have one request on its way |
//! | [`streams`], [`http2`] | metered streams, all at once |
//! | [`process`] | processes, and what they cost |
//! | [`words`] | how long the words of a request take to read, beside the Rust SDK |

mod cases;
mod http2;
mod load;
mod mpp_server;
mod net;
mod payers;
mod process;
mod server;
mod streams;
mod wire;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use cases::{Cases, NAMES};
use load::{Plan, Row};

/// Connections that each have one request on its way, of which the signers have earned their tables.
const FULL: ([usize; 2], Plan, u64) =
    ([32, 1_024], Plan { warm_requests: 131_072, requests: 131_072, seconds_max: None }, 20);
/// The same with `--quick`.
const QUICK: ([usize; 2], Plan, u64) =
    ([32, 128], Plan { warm_requests: 0, requests: 8_192, seconds_max: None }, 4);

fn main() -> ExitCode {
    raise_open_files();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match arguments.as_slice() {
        ["serve", "mpp", rpc_url, chain_id, payee, token] => mpp_server::run(rpc_url, chain_id, payee, token),
        ["serve", kind, channels] => server::run(kind, channels),
        ["streams"] => run_streams(),
        ["--quick", names @ ..] => run(QUICK, names),
        names => run(FULL, names),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-http: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every connection is an open file.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it may not be raised, a connection says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| format!("cannot start the runtime: {error}"))
}

fn run((in_flight, plan, peer_s): ([usize; 2], Plan, u64), names: &[&str]) -> Result<(), String> {
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(name)) {
        return Err(format!("found {unknown:?}, expected --quick, streams, or some of {NAMES:?}"));
    }
    let runtime = runtime()?;
    let cases = Cases { in_flight: in_flight.to_vec(), plan, peer_s };
    let mut result = Report::read();
    println!(
        "{:<9}{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "server", "in flight", "requests/s", "cpu us", "x bare", "p50 us", "p99 us", "p999 us"
    );
    for name in NAMES.iter().filter(|name| names.is_empty() || names.contains(name)) {
        let mut rows = Vec::new();
        runtime.block_on(cases.measure(name, &mut |name, in_flight, row| {
            let bare_us = if name == "bare" { Some(row.cost.server_us) } else { result.bare_us(in_flight) };
            let ratio = bare_us.map(|bare_us| row.cost.server_us / bare_us);
            println!(
                "{name:<9}{in_flight:>10}{:>12.0}{:>12.1}{:>12}{:>12.0}{:>12.0}{:>12.0}",
                row.requests_per_s,
                row.cost.server_us,
                ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
                row.p50_us,
                row.p99_us,
                row.p999_us
            );
            rows.push(row_json(name, in_flight, row, ratio));
        }))?;
        // What is measured is kept, also when a later server does not start.
        result.replace(name, rows);
        result.write()?;
    }
    if names.is_empty() {
        let words = words::measure()?;
        println!("\nfrom header bytes to voucher, with the challenge's HMAC: {:.2} us", words.ours_us);
        println!("the Rust SDK, its parsing alone: {:.2} us", words.peer_us);
        result.set("words", json!({ "farebox": words.ours_us, "mppParsing": words.peer_us }));
        result.write()?;
    }
    println!("\nwritten to {}", file().display());
    Ok(())
}

fn row_json(name: &str, in_flight: usize, row: &Row, ratio: Option<f64>) -> Value {
    json!({
        "server": name, "inFlight": in_flight, "requests": row.requests,
        "requestsPerSecond": row.requests_per_s,
        "serverCpuMicroseconds": row.cost.server_us, "ratioToBare": ratio,
        "upstreamCpuMicroseconds": row.cost.upstream_us, "chainCpuMicroseconds": row.cost.chain_us,
        "loadCpuMicroseconds": row.load_us,
        "p50Microseconds": row.p50_us, "p99Microseconds": row.p99_us, "p999Microseconds": row.p999_us,
    })
}

fn run_streams() -> Result<(), String> {
    let (streams, seconds) = (variable("FAREBOX_STREAMS", 500)?, variable("FAREBOX_STREAM_S", 60)?);
    println!("{streams} streams for {seconds} s");
    let seen = runtime()?.block_on(streams::run(streams as usize, seconds))?;
    println!("{} events in order and each once, {} vouchers; the books agree", seen.events, seen.vouchers);
    println!("the longest silence of a stream: {} ms", seen.longest_gap_ms);
    println!("the server's processor time of an event: {:.1} us", seen.server_us);
    println!(
        "memory of a stream that waits: {:.0} bytes, {:.0} without the layer",
        seen.idle_bytes, seen.idle_bare_bytes
    );
    println!(
        "the same, a hundred on each connection of HTTP/2: {:.0} bytes, {:.0} without the layer",
        seen.idle_http2_bytes, seen.idle_http2_bare_bytes
    );
    let mut result = Report::read();
    result.set(
        "streams",
        json!({
            "streams": seen.streams, "seconds": seen.seconds, "events": seen.events, "vouchers": seen.vouchers,
            "longestGapMilliseconds": seen.longest_gap_ms, "serverCpuMicroseconds": seen.server_us,
            "idleBytes": seen.idle_bytes, "idleBareBytes": seen.idle_bare_bytes,
            "idleHttp2Bytes": seen.idle_http2_bytes, "idleHttp2BareBytes": seen.idle_http2_bare_bytes,
        }),
    );
    result.write()?;
    println!("\nwritten to {}", file().display());
    Ok(())
}

fn variable(name: &str, default: u64) -> Result<u64, String> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} is {text:?}, expected a whole number above 0"))
}

/// What was measured, also by earlier runs.
struct Report(Map<String, Value>);

impl Report {
    fn read() -> Self {
        let found = std::fs::read(file()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self(found.unwrap_or_default())
    }

    fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.into(), value);
    }

    fn rows(&self) -> Vec<Value> {
        self.0.get("rows").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Puts the rows of a server in the place of its old ones.
    fn replace(&mut self, name: &str, rows: Vec<Value>) {
        let mut all = self.rows();
        all.retain(|row| row["server"] != name);
        all.extend(rows);
        let place = |row: &Value| NAMES.iter().position(|name| row["server"] == **name);
        all.sort_by_key(|row| (row["inFlight"].as_u64(), place(row)));
        self.set("rows", Value::Array(all));
    }

    /// The processor time of the bare handler.
    fn bare_us(&self, in_flight: usize) -> Option<f64> {
        let rows = self.rows();
        let bare = rows.iter().find(|row| row["server"] == "bare" && row["inFlight"] == in_flight)?;
        bare["serverCpuMicroseconds"].as_f64()
    }

    fn write(&self) -> Result<(), String> {
        let write = || {
            std::fs::create_dir_all(target().join("bench"))?;
            std::fs::write(file(), format!("{:#}\n", Value::Object(self.0.clone())))
        };
        write().map_err(|error: std::io::Error| format!("cannot write the result: {error}"))
    }
}

fn file() -> PathBuf {
    target().join("bench").join("http.json")
}

/// The target folder: on a disk, which a temporary folder need not be.
fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}

/// Processor time, in microseconds.
fn cpu_us(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

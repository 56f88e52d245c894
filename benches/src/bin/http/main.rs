//! What a paid request costs over HTTP: requests a second, latency and the server's processor time, bare and behind the
//! payment layer with a fresh voucher for every request and synced books.
//!
//! `make bench-http` runs it.
//!
//! ```text
//! http [--quick]
//!   --quick   fewer requests
//! ```
//!
//! Every server is a process of its own (this program again, as `http serve bare|layer`), and the load comes from this
//! one: vouchers are signed beforehand, a channel for each connection. The result is also written to `bench/http.json`
//! in the target folder.
//!
//! | module | what it does |
//! |---|---|
//! | [`payers`] | channels, and requests with vouchers that are signed beforehand |
//! | [`server`] | the handler, bare and behind the layer |
//! | [`load`] | connections that each have one request on its way |
//! | [`words`] | how long the words of a request take to read, beside the Rust SDK |

mod load;
mod payers;
mod server;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Connections that each have one request on its way.
const IN_FLIGHT: [usize; 2] = [32, 1_024];
/// Requests of one measurement.
const REQUESTS: usize = 131_072;
/// The same with `--quick`.
const REQUESTS_QUICK: usize = 8_192;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match arguments.as_slice() {
        ["serve", kind, channels] => server::run(kind, channels),
        [] => run(REQUESTS),
        ["--quick"] => run(REQUESTS_QUICK),
        other => Err(format!("found {other:?}, expected nothing or --quick")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-http: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(requests: usize) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    println!(
        "{:<8}{:>10}{:>12}{:>12}{:>12}{:>12}",
        "server", "in flight", "requests/s", "cpu us", "p50 us", "p99 us"
    );
    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let mut cpu_us = Vec::new();
        for kind in ["bare", "layer"] {
            let row = runtime.block_on(load::measure(kind, in_flight, requests))?;
            println!(
                "{kind:<8}{in_flight:>10}{:>12.0}{:>12.1}{:>12.0}{:>12.0}",
                row.requests_per_s, row.server_cpu_us, row.p50_us, row.p99_us
            );
            cpu_us.push(row.server_cpu_us);
            rows.push(json!({
                "server": kind, "inFlight": in_flight, "requests": row.requests,
                "requestsPerSecond": row.requests_per_s, "serverCpuMicroseconds": row.server_cpu_us,
                "p50Microseconds": row.p50_us, "p99Microseconds": row.p99_us,
            }));
        }
        println!("{:<8}{:>10}{:>24.2} times the bare handler's", "", "", cpu_us[1] / cpu_us[0]);
    }
    let words = words::measure()?;
    println!("\nfrom header bytes to voucher, with the challenge's HMAC: {:.2} us", words.ours_us);
    println!("the Rust SDK, its parsing alone: {:.2} us", words.peer_us);
    let result = json!({
        "rows": rows,
        "words": { "farebox": words.ours_us, "mppParsing": words.peer_us },
    });
    let file = write(&result).map_err(|error| format!("cannot write the result: {error}"))?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

fn write(result: &Value) -> std::io::Result<PathBuf> {
    let file = target().join("bench").join("http.json");
    std::fs::create_dir_all(target().join("bench"))?;
    std::fs::write(&file, format!("{result:#}\n"))?;
    Ok(file)
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

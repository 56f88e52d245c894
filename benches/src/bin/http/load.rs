//! The load: connections that each send one request, wait for its answer, and send the next.

use std::time::{Duration, Instant};

use farebox_core::challenge::Challenge;
use rustix::time::ClockId;

use crate::cpu_us;
use crate::payers::Payer;
use crate::wire::Wire;

/// The first rounds of every connection: connections and allocators are warm then.
const WARM_ROUNDS: usize = 32;
/// For so long a server is warmed up whose requests are limited by a time.
const WARM_S: u64 = 5;
/// Rounds that new connections make before the measurement.
const PRELUDE_ROUNDS: usize = 1;
/// Threads that sign beforehand.
const SIGNING_THREADS: usize = 2;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Requests before the measurement, after the first rounds: tables of signers are earned then.
    pub warm_requests: usize,
    /// Requests of the measurement.
    pub requests: usize,
    /// After so many seconds no further request is begun. For servers that would take hours.
    pub seconds_max: Option<u64>,
}

/// What is asked.
pub struct Target {
    pub address: String,
    /// Who pays; nobody when it is free.
    pub payers: Vec<Payer>,
    /// The number of the next request of each payer.
    pub round: usize,
}

/// What the processes that serve have cost, in microseconds.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub server_us: f64,
    /// The service behind a gateway.
    pub upstream_us: f64,
    /// The chain that is read.
    pub chain_us: f64,
}

/// What was measured. Costs are those of one request.
pub struct Row {
    pub requests: usize,
    pub requests_per_s: f64,
    pub cost: Cost,
    pub load_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
}

/// Measures requests over `in_flight` connections; `cost` reads what the servers have cost so far.
pub async fn measure(
    target: &mut Target,
    in_flight: usize,
    plan: Plan,
    cost: impl Fn() -> Result<Cost, String>,
) -> Result<Row, String> {
    let warm_s = plan.seconds_max.map(|_| WARM_S);
    let warm_rounds = [WARM_ROUNDS, plan.warm_requests.div_ceil(in_flight)];
    for rounds in warm_rounds.into_iter().filter(|rounds| *rounds > 0) {
        let connections = connect(target, in_flight, rounds).await?;
        drive(connections, rounds, warm_s).await?;
    }
    let rounds = plan.requests.div_ceil(in_flight);
    let connections = connect(target, in_flight, PRELUDE_ROUNDS + rounds).await?;
    let (connections, _) = drive(connections, PRELUDE_ROUNDS, None).await?;
    let (before, load_before, began) = (cost()?, cpu_us(ClockId::ProcessCPUTime), Instant::now());
    let (_, mut took) = drive(connections, rounds, plan.seconds_max).await?;
    let (wall, load_after, after) = (began.elapsed(), cpu_us(ClockId::ProcessCPUTime), cost()?);
    took.sort_unstable();
    let requests = took.len();
    if requests == 0 {
        return Err(format!("no request was answered by {}", target.address));
    }
    let quantile = |part: f64| took[((requests - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let each = |after: f64, before: f64| (after - before) / requests as f64;
    Ok(Row {
        requests,
        requests_per_s: requests as f64 / wall.as_secs_f64(),
        cost: Cost {
            server_us: each(after.server_us, before.server_us),
            upstream_us: each(after.upstream_us, before.upstream_us),
            chain_us: each(after.chain_us, before.chain_us),
        },
        load_us: each(load_after, load_before),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
    })
}

/// Runs at most so many rounds on all connections at once.
async fn drive(
    connections: Vec<Connection>,
    rounds: usize,
    seconds_max: Option<u64>,
) -> Result<(Vec<Connection>, Vec<Duration>), String> {
    let until = seconds_max.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let tasks: Vec<_> = connections.into_iter().map(|one| tokio::spawn(one.run(rounds, until))).collect();
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
    wire: Wire,
    requests: std::vec::IntoIter<Vec<u8>>,
}

/// Makes the requests of so many rounds, signs their vouchers, and then connects.
async fn connect(target: &mut Target, in_flight: usize, rounds: usize) -> Result<Vec<Connection>, String> {
    let requests = if target.payers.is_empty() {
        vec![vec![request("/", None); rounds]; in_flight]
    } else {
        let challenge = challenge(&target.address, "/").await?;
        let payers = target.payers.get(..in_flight).ok_or("too few payers have a channel")?;
        signed(payers, &challenge, target.round, rounds)
    };
    target.round += rounds;
    let mut connections = Vec::with_capacity(in_flight);
    for requests in requests {
        connections
            .push(Connection { wire: Wire::open(&target.address).await?, requests: requests.into_iter() });
    }
    Ok(connections)
}

/// The requests of every payer, with vouchers from `round` on.
fn signed(payers: &[Payer], challenge: &Challenge, round: usize, rounds: usize) -> Vec<Vec<Vec<u8>>> {
    let one = |payer: &Payer| -> Vec<Vec<u8>> {
        let header = |round| payer.authorization(challenge, round);
        (round..round + rounds).map(|round| request("/", Some(&header(round)))).collect()
    };
    let parts = payers.chunks(payers.len().div_ceil(SIGNING_THREADS));
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(one).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("signing does not panic")).collect()
    })
}

impl Connection {
    async fn run(mut self, rounds: usize, until: Option<Instant>) -> Result<(Self, Vec<Duration>), String> {
        let mut took = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let began = Instant::now();
            if until.is_some_and(|until| began >= until) {
                break;
            }
            let request = self.requests.next().ok_or("too few requests were made")?;
            let answer = self.wire.ask(&request).await?;
            if answer.status != 200 || answer.body != b"hello" {
                return Err(format!("the server answered {}", answer.text()));
            }
            took.push(began.elapsed());
        }
        Ok((self, took))
    }
}

/// A request with a credential, or without one.
pub fn request(path: &str, authorization: Option<&str>) -> Vec<u8> {
    let credential = authorization.map(|header| format!("authorization: {header}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{credential}\r\n").into_bytes()
}

/// The challenge that the server offers.
pub async fn challenge(address: &str, path: &str) -> Result<Challenge, String> {
    let mut wire = Wire::open(address).await?;
    let answer = wire.ask(&request(path, None)).await?;
    let challenges = answer.header("www-authenticate").and_then(Challenge::parse_header).unwrap_or_default();
    challenges.into_iter().next().ok_or_else(|| format!("no challenge in {}", answer.text()))
}

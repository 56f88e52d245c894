//! Many metered streams at once over real connections: each pays as it goes, and the books are held against what was
//! delivered. Before they speak, the memory of a stream that waits is measured.
//!
//! It fails when a stream stalls, when an event came that no voucher paid for, when an event is missing or came twice, or
//! when the books charged anything else than what was delivered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_core::challenge::{Challenge, NeedVoucher};
use farebox_core::units::Amount;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{Barrier, mpsc, oneshot, watch};

use crate::cases::serve;
use crate::http2;
use crate::load::{challenge, request};
use crate::payers::{PRICE, Payer};
use crate::process::Process;
use crate::server::{BURST, EVENT, SPEAKS_MS};
use crate::wire::Wire;

/// Requests that each payer pays before the streams: the books know its key then.
const WARM_REQUESTS: usize = 3;
/// Connections that hand in vouchers while streams run.
const POSTERS: usize = 32;
/// Vouchers that may wait for one of them.
const POSTS_MAX: usize = 1_024;
/// Connections that are opened at the same time.
const OPENING_MAX: usize = 64;
/// How often a challenge is fetched anew: it expires.
const CHALLENGE_S: u64 = 60;
/// A stream that says nothing for so long has stalled. It speaks every second.
const STALL_MS: u64 = 20_000;

/// What was seen.
pub struct Outcome {
    pub streams: usize,
    pub seconds: u64,
    pub events: u64,
    pub vouchers: u64,
    /// The longest time between two pieces of one stream; it speaks every [`SPEAKS_MS`].
    pub longest_gap_ms: u64,
    /// The server's processor time for an event.
    pub server_us: f64,
    /// Memory of a stream that waits for the service's next event, bare and behind the layer.
    pub idle_bare_bytes: f64,
    pub idle_bytes: f64,
    /// The same where many streams share a connection of HTTP/2.
    pub idle_http2_bare_bytes: f64,
    pub idle_http2_bytes: f64,
}

/// Runs so many streams for so many seconds.
pub async fn run(streams: usize, seconds: u64) -> Result<Outcome, String> {
    let (idle_http2_bare_bytes, idle_http2_bytes) =
        (idle_http2("bare", streams).await?, idle_http2("layer", streams).await?);
    let idle_bare_bytes = {
        let server = serve(&["bare", "0"], "bare-streams")?;
        // As many as warm the other server up: what an allocator takes once is no part of a stream.
        drop(begin(&server, &vec![None; POSTERS]).await?);
        let before = server.rss_bytes()?;
        let open = begin(&server, &vec![None; streams]).await?;
        grown(&server, before, open.len())?
    };
    let server = serve(&["layer", &streams.to_string()], "streams")?;
    let payers: Vec<_> = (0..streams).map(Payer::new).collect();
    warm(&server, &payers).await?;
    let before = server.rss_bytes()?;
    let first = challenge(&server.line, "/stream").await?;
    let paid = |payer: &Payer| Some(payer.voucher(&first, owed(1)));
    let vouchers: Vec<_> = payers.iter().map(paid).collect();
    let wires = begin(&server, &vouchers).await?;
    let idle_bytes = grown(&server, before, streams)?;
    let cpu_before = server.cpu_us()?;
    let seen = speak(&server, wires, payers.clone(), first, seconds).await?;
    let cpu_us = server.cpu_us()? - cpu_before;
    let events = streams as u64 * (1 + seconds * BURST);
    check_books(&server, &payers, 1 + seconds * BURST).await?;
    Ok(Outcome {
        streams,
        seconds,
        events,
        vouchers: seen.iter().map(|one| one.vouchers).sum(),
        longest_gap_ms: seen.iter().map(|one| one.longest_gap.as_millis() as u64).max().unwrap_or_default(),
        server_us: cpu_us / events as f64,
        idle_bare_bytes,
        idle_bytes,
        idle_http2_bare_bytes,
        idle_http2_bytes,
    })
}

/// Memory of a stream that waits on a connection of HTTP/2 with many others.
async fn idle_http2(kind: &str, streams: usize) -> Result<f64, String> {
    let server = serve(&[kind, &streams.to_string()], &format!("{kind}-http2"))?;
    let mut credentials = vec![None; streams];
    if kind == "layer" {
        let payers: Vec<_> = (0..streams).map(Payer::new).collect();
        warm(&server, &payers).await?;
        let first = challenge(&server.line, "/stream").await?;
        credentials = payers.iter().map(|payer| Some(payer.voucher(&first, owed(1)))).collect();
    } else {
        drop(begin(&server, &vec![None; POSTERS]).await?);
    }
    let before = server.rss_bytes()?;
    let _waiting = http2::begin(&server.line, &credentials).await?;
    grown(&server, before, streams)
}

/// What a payer owes after so many events, and what it paid before them.
fn owed(events: u64) -> Amount {
    let before = PRICE.get() * WARM_REQUESTS as u128;
    Amount::new(before + EVENT.get() * u128::from(events))
}

/// By how many bytes a stream a process has grown.
fn grown(server: &Process, before: u64, streams: usize) -> Result<f64, String> {
    Ok(server.rss_bytes()?.saturating_sub(before) as f64 / streams as f64)
}

/// Every payer pays for some requests.
async fn warm(server: &Process, payers: &[Payer]) -> Result<(), String> {
    let offered = challenge(&server.line, "/").await?;
    let parts = payers.chunks(payers.len().div_ceil(POSTERS));
    let paying = parts.map(|part| warm_part(&server.line, part, &offered));
    futures_util::future::try_join_all(paying).await.map(drop)
}

async fn warm_part(address: &str, payers: &[Payer], offered: &Challenge) -> Result<(), String> {
    let mut wire = Wire::open(address).await?;
    for round in 0..WARM_REQUESTS {
        for payer in payers {
            let answer = wire.ask(&request("/", Some(&payer.authorization(offered, round)))).await?;
            if answer.status != 200 {
                return Err(format!("a request was refused: {}", answer.text()));
            }
        }
    }
    Ok(())
}

/// Begins a stream for every credential, and reads its first event.
async fn begin(server: &Process, credentials: &[Option<String>]) -> Result<Vec<Wire>, String> {
    let begin = |credential: &Option<String>| {
        let (address, request) = (server.line.clone(), request("/stream", credential.as_deref()));
        async move {
            let mut wire = Wire::open(&address).await?;
            let (status, head) = wire.begin(&request).await?;
            let first = wire.piece().await?;
            match (status, first.as_deref()) {
                (200, Some(b"data: 0\n\n")) => Ok(wire),
                _ => Err(format!("a stream began with {head}{first:?}")),
            }
        }
    };
    stream::iter(credentials.iter().map(begin)).buffered(OPENING_MAX).try_collect().await
}

/// What one client saw.
struct Seen {
    vouchers: u64,
    longest_gap: Duration,
}

/// Lets all streams speak and reads them to their ends.
async fn speak(
    server: &Process,
    wires: Vec<Wire>,
    payers: Vec<Payer>,
    first: Challenge,
    seconds: u64,
) -> Result<Vec<Seen>, String> {
    let (fresh, offered) = watch::channel(first);
    let posters = posters(&server.line).await?;
    let ready = Arc::new(Barrier::new(wires.len() + 1));
    let begin = |(index, (wire, payer)): (usize, (Wire, Payer))| {
        let (posts, offered) = (posters[index % POSTERS].clone(), offered.clone());
        let client = Client { wire, payer, offered, posts, events: 1, signed: owed(1), vouchers: 0 };
        let ready = Arc::clone(&ready);
        tokio::spawn(async move {
            ready.wait().await;
            client.read(1 + seconds * BURST).await.map_err(|error| format!("stream {index}: {error}"))
        })
    };
    let clients: Vec<_> = wires.into_iter().zip(payers).enumerate().map(begin).collect();
    ready.wait().await;
    Wire::open(&server.line).await?.ask(&request(&format!("/go/{seconds}"), None)).await?;
    let address = server.line.clone();
    let refresh = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(CHALLENGE_S)).await;
            if let Ok(found) = challenge(&address, "/stream").await {
                fresh.send_replace(found);
            }
        }
    });
    let mut seen = Vec::with_capacity(clients.len());
    for client in clients {
        seen.push(client.await.map_err(|error| error.to_string())??);
    }
    refresh.abort();
    Ok(seen)
}

/// A voucher on its way to the server, and who waits for it.
type Post = (Vec<u8>, oneshot::Sender<Result<(), String>>);

/// Connections that hand in vouchers.
async fn posters(address: &str) -> Result<Vec<mpsc::Sender<Post>>, String> {
    let mut posters = Vec::with_capacity(POSTERS);
    for _ in 0..POSTERS {
        let (sender, mut posts) = mpsc::channel::<Post>(POSTS_MAX);
        let mut wire = Wire::open(address).await?;
        tokio::spawn(async move {
            while let Some((post, done)) = posts.recv().await {
                let taken = match wire.ask(&post).await {
                    Ok(answer) if answer.status == 204 => Ok(()),
                    Ok(answer) => Err(format!("a voucher was refused: {}", answer.text())),
                    Err(error) => Err(error),
                };
                let _ = done.send(taken);
            }
        });
        posters.push(sender);
    }
    Ok(posters)
}

/// Who reads a stream and pays for it.
struct Client {
    wire: Wire,
    payer: Payer,
    offered: watch::Receiver<Challenge>,
    posts: mpsc::Sender<Post>,
    /// Events that came.
    events: u64,
    /// The highest amount that it signed.
    signed: Amount,
    vouchers: u64,
}

impl Client {
    /// Reads until the end, which must come after so many events.
    async fn read(mut self, events: u64) -> Result<Seen, String> {
        let (mut longest_gap, mut last, mut ends) = (Duration::ZERO, Instant::now(), false);
        loop {
            let piece = tokio::time::timeout(Duration::from_millis(STALL_MS), self.wire.piece()).await;
            let piece = piece.map_err(|_| format!("stalled after {} events", self.events))??;
            longest_gap = longest_gap.max(last.elapsed());
            last = Instant::now();
            let Some(piece) = piece else { break };
            let text = std::str::from_utf8(&piece).map_err(|error| error.to_string())?;
            for event in text.split_inclusive("\n\n") {
                if let Some(data) = event.strip_prefix("event: payment-need-voucher\ndata: ") {
                    let needed = NeedVoucher::parse_json(data.trim_end().as_bytes());
                    let needed = needed.map_err(|error| format!("{event:?}: {error}"))?;
                    self.pay(needed.required, events).await?;
                } else if event.starts_with("event: payment-receipt\n") {
                    ends = true;
                } else if event == format!("data: {}\n\n", self.events) {
                    self.events += 1;
                } else {
                    return Err(format!("after {} events came {event:?}", self.events));
                }
                if owed(self.events) > self.signed {
                    return Err(format!("event {} came and nobody paid for it", self.events));
                }
            }
        }
        if !ends || self.events != events {
            return Err(format!("it ended after {} of {events} events", self.events));
        }
        Ok(Seen { vouchers: self.vouchers, longest_gap })
    }

    /// Signs for what is required, and the rest of a burst, but not for more than the stream has.
    async fn pay(&mut self, required: Amount, events: u64) -> Result<(), String> {
        let ahead = Amount::new(required.get() + EVENT.get() * u128::from(BURST - 1));
        self.signed = ahead.min(owed(events)).max(required);
        self.vouchers += 1;
        let header = self.payer.voucher(&self.offered.borrow(), self.signed);
        let post = format!(
            "POST /stream HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\nauthorization: {header}\r\n\r\n"
        );
        let (done, taken) = oneshot::channel();
        self.posts.send((post.into_bytes(), done)).await.map_err(|_| "no connection takes vouchers")?;
        taken.await.map_err(|_| "a voucher was lost")?
    }
}

/// Holds the books against what was delivered: so many events to each payer.
async fn check_books(server: &Process, payers: &[Payer], events: u64) -> Result<(), String> {
    // The last reservation is given back when the server sees the end of its stream.
    let until = Instant::now() + Duration::from_millis(STALL_MS);
    loop {
        let mut wire = Wire::open(&server.line).await?;
        let answer = wire.ask(&request("/books", None)).await?;
        match books_agree(&String::from_utf8_lossy(answer.body), payers, events) {
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(SPEAKS_MS)).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// Whether every payer was charged for its requests and its events, and nothing is set aside.
fn books_agree(books: &str, payers: &[Payer], events: u64) -> Result<(), String> {
    let mut lines: HashMap<&str, &str> = books.lines().filter_map(|line| line.split_once(' ')).collect();
    for payer in payers {
        let id = payer.channel().to_string();
        let found = lines.remove(id.as_str()).unwrap_or_default();
        let owed = owed(events).get();
        if found != format!("{owed} {owed} 0") {
            return Err(format!("the books hold {found:?} of {id}, expected {owed} spent and accepted"));
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(format!("the books hold {} channels more", lines.len())) }
}

#[cfg(test)]
mod tests {
    use super::{books_agree, owed};
    use crate::payers::Payer;

    #[test]
    fn books_that_charged_anything_else_do_not_agree() {
        let payers = [Payer::new(0), Payer::new(1)];
        let line = |payer: &Payer, spent: u128, reserved: u128| {
            format!("{} {spent} {} {reserved}\n", payer.channel(), owed(11).get())
        };
        let right = owed(11).get();
        let first = line(&payers[0], right, 0);
        let books = |second: &str| books_agree(&format!("{first}{second}"), &payers, 11);
        assert_eq!(books(&line(&payers[1], right, 0)), Ok(()));
        assert!(books(&line(&payers[1], right + 10, 0)).is_err(), "a double charge");
        assert!(books(&line(&payers[1], right - 10, 0)).is_err(), "an event that was not charged");
        assert!(books(&line(&payers[1], right, 10)).is_err(), "something is set aside");
        assert!(books("").is_err(), "a channel is missing");
        let stranger = line(&Payer::new(2), 1, 0);
        assert!(books(&(line(&payers[1], right, 0) + &stranger)).is_err(), "a channel too many");
    }
}

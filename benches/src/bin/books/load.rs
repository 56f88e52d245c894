//! Callers: as many vouchers as the engine takes, or so many a second, one by one or in batches.
//!
//! All callers share one thread, so that what they cost can be told from what they measure. Every answer must be an
//! acceptance that paid.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use farebox_core::channel::Spend;
use farebox_core::units::Amount;
use farebox_core::voucher::AnySignedVoucher;
use farebox_engine::{Engine, EngineError, Step, Verdict, VoucherBatch};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::books::{Books, name};
use crate::meter::{Histogram, Meter, Used};

/// Single vouchers under way at once.
const SINGLES_MAX: usize = 4_096;

/// Windows of streams under way at once on a channel: half of what a channel may have.
const WINDOWS_MAX: usize = 32;

/// Vouchers of a paced load that may be under way: what is due beyond waits, so that a channel's vouchers stay in order.
const PACED_MAX: usize = 32_768;

/// What every request costs, and every window of a stream.
const PRICE: Amount = Amount::new(1);

/// How often a paced load hands in what is due: tokio's timer knows no shorter time.
const TICK: Duration = Duration::from_millis(1);

/// What came of a load.
pub struct Load {
    /// What it took.
    pub used: Used,
    /// How long answers took: of single vouchers, or of batches.
    pub latency: Histogram,
    /// How many vouchers were acknowledged.
    pub vouchers: usize,
    /// How many were refused because there was no room.
    pub busy: usize,
}

/// Vouchers in the order in which they are handed in, and what number the next one has: each pays for a request of its own.
pub struct Vouchers {
    vouchers: std::vec::IntoIter<AnySignedVoucher>,
    next: usize,
    named: bool,
}

impl Vouchers {
    /// The first one is number `first`.
    pub fn new(vouchers: Vec<AnySignedVoucher>, first: usize) -> Self {
        Self { vouchers: vouchers.into_iter(), next: first, named: false }
    }

    /// The same, each with the name of its request, so that a repeat would get the stored answer.
    pub fn named(self) -> Self {
        Self { named: true, ..self }
    }

    fn charge(&self, number: usize) -> Spend {
        Spend::Charge { key: self.named.then(|| name(number)), amount: PRICE, units: 1 }
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.vouchers.len()
    }

    fn take(&mut self) -> Option<(AnySignedVoucher, usize)> {
        self.next += 1;
        Some((self.vouchers.next()?, self.next - 1))
    }

    /// Fills a batch; false when none was left.
    fn fill(&mut self, batch: &mut VoucherBatch, size: usize) -> Result<bool, String> {
        for _ in 0..size {
            let Some((voucher, number)) = self.take() else { break };
            batch.push(voucher, self.charge(number)).map_err(|error| error.to_string())?;
        }
        Ok(!batch.is_empty())
    }
}

/// Each voucher on its own, many callers at once.
pub fn singles(books: &Books, mut vouchers: Vouchers) -> Result<Load, String> {
    let count = vouchers.len();
    books.runtime.block_on(async {
        let meter = Meter::start();
        let mut latency = Histogram::default();
        let mut under_way = FuturesUnordered::new();
        while let Some((voucher, number)) = vouchers.take() {
            if under_way.len() == SINGLES_MAX {
                latency.push(under_way.next().await.ok_or("nothing is under way")??);
            }
            under_way.push(single(&books.engine, voucher, vouchers.charge(number)));
        }
        while let Some(took) = under_way.next().await {
            latency.push(took?);
        }
        Ok(Load { used: meter.used(), latency, vouchers: count, busy: 0 })
    })
}

/// One caller, who waits for each answer.
pub fn alone(books: &Books, mut vouchers: Vouchers) -> Result<Load, String> {
    let count = vouchers.len();
    books.runtime.block_on(async {
        let meter = Meter::start();
        let mut latency = Histogram::default();
        while let Some((voucher, number)) = vouchers.take() {
            latency.push(single(&books.engine, voucher, vouchers.charge(number)).await?);
        }
        Ok(Load { used: meter.used(), latency, vouchers: count, busy: 0 })
    })
}

async fn single(engine: &Engine, voucher: AnySignedVoucher, then: Spend) -> Result<Duration, String> {
    let (began, channel) = (Instant::now(), voucher.voucher().channel_id);
    let verdict = engine.submit(channel, voucher, then).await.map_err(|error| error.to_string())?;
    verdict.paid().map_err(|refusal| format!("a voucher was refused: {refusal}"))?;
    Ok(began.elapsed())
}

/// Windows of streams, many at once: a voucher with a reservation, and when the window was delivered its capture. What a
/// window holds, a few tokens or a thousand, costs nothing here.
pub fn streams(books: &Books, mut vouchers: Vouchers) -> Result<Load, String> {
    let count = vouchers.len();
    books.runtime.block_on(async {
        let meter = Meter::start();
        let mut latency = Histogram::default();
        let mut under_way = FuturesUnordered::new();
        let under_way_max = SINGLES_MAX.min(WINDOWS_MAX * books.crowd.channels.len());
        while let Some((voucher, number)) = vouchers.take() {
            if under_way.len() == under_way_max {
                latency.push(under_way.next().await.ok_or("nothing is under way")??);
            }
            under_way.push(window(&books.engine, voucher, number));
        }
        while let Some(took) = under_way.next().await {
            latency.push(took?);
        }
        Ok(Load { used: meter.used(), latency, vouchers: count, busy: 0 })
    })
}

async fn window(engine: &Engine, voucher: AnySignedVoucher, number: usize) -> Result<Duration, String> {
    let (channel, key) = (voucher.voucher().channel_id, name(number));
    let took = single(engine, voucher, Spend::Reserve { key, amount: PRICE }).await?;
    let capture = Step::Capture { key, amount: PRICE, units: 1, finish: true };
    let captured = engine.apply(channel, capture).await.map_err(|error| error.to_string())?;
    captured.accepted().map_err(|refusal| format!("a capture was refused: {refusal}"))?;
    Ok(took)
}

/// Batches of `size`, as many under way at once as `callers` says.
pub fn batches(books: &Books, mut vouchers: Vouchers, size: usize, callers: usize) -> Result<Load, String> {
    let count = vouchers.len();
    books.runtime.block_on(async {
        let meter = Meter::start();
        let mut latency = Histogram::default();
        let mut under_way = FuturesUnordered::new();
        for _ in 0..callers {
            let mut batch = books.engine.batch();
            if vouchers.fill(&mut batch, size)? {
                under_way.push(submitted(batch, Instant::now()));
            }
        }
        while let Some(answered) = under_way.next().await {
            let (mut batch, took) = answered?;
            latency.push(took);
            if vouchers.fill(&mut batch, size)? {
                under_way.push(submitted(batch, Instant::now()));
            }
        }
        Ok(Load { used: meter.used(), latency, vouchers: count, busy: 0 })
    })
}

/// So many vouchers a second, in batches of what is due every millisecond. A batch waits from the moment when it is due: this
/// thread sleeps itself, for tokio's timer knows whole milliseconds only.
pub fn paced(books: &Books, mut vouchers: Vouchers, vouchers_per_s: f64) -> Result<Load, String> {
    let count = vouchers.len();
    let size = (vouchers_per_s * TICK.as_secs_f64()).ceil().max(1.0) as usize;
    let under_way_max = (PACED_MAX / size).max(1);
    let pause = Duration::from_secs_f64(size as f64 / vouchers_per_s);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let meter = Meter::start();
    let mut latency = Histogram::default();
    let mut under_way = FuturesUnordered::new();
    let mut idle = Vec::new();
    let mut due = Instant::now();
    loop {
        while let Poll::Ready(Some(answered)) = under_way.poll_next_unpin(&mut context) {
            let (batch, took) = answered?;
            latency.push(took);
            idle.push(batch);
        }
        let has_room = vouchers.len() > 0 && under_way.len() < under_way_max;
        if has_room && due <= Instant::now() {
            let mut batch = idle.pop().unwrap_or_else(|| books.engine.batch());
            vouchers.fill(&mut batch, size)?;
            under_way.push(paid_for(batch, due));
            due += pause;
        } else if vouchers.len() == 0 && under_way.is_empty() {
            return Ok(Load { used: meter.used(), latency, vouchers: count, busy: 0 });
        } else if has_room {
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        } else {
            thread::park();
        }
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// So many vouchers a second, in batches of `size`, whatever the engine says: what it has no room for is answered so at once,
/// and is lost.
pub fn flood(
    books: &Books,
    mut vouchers: Vouchers,
    vouchers_per_s: f64,
    size: usize,
) -> Result<Load, String> {
    let pause = Duration::from_secs_f64(size as f64 / vouchers_per_s);
    books.runtime.block_on(async {
        let meter = Meter::start();
        let (mut latency, mut accepted, mut busy) = (Histogram::default(), 0, 0);
        let mut under_way = FuturesUnordered::new();
        let mut idle = Vec::new();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                Some(answered) = under_way.next() => {
                    let (batch, took, paid): (VoucherBatch, Duration, Option<Paid>) = answered?;
                    match paid {
                        Some(paid) => {
                            latency.push(took);
                            accepted += paid.vouchers;
                        }
                        None => busy += size,
                    }
                    idle.push(batch);
                }
                () = tokio::time::sleep_until(due.into()), if vouchers.len() > 0 => {
                    while due <= Instant::now() {
                        let mut batch = idle.pop().unwrap_or_else(|| books.engine.batch());
                        batch.clear();
                        if !vouchers.fill(&mut batch, size)? {
                            break;
                        }
                        under_way.push(offered(batch, due));
                        due += pause;
                    }
                }
            }
            if vouchers.len() == 0 && under_way.is_empty() {
                return Ok(Load { used: meter.used(), latency, vouchers: accepted, busy });
            }
        }
    })
}

/// Hands a batch in once; tells how many of its vouchers paid, or that there was no room.
async fn offered(
    mut batch: VoucherBatch,
    due: Instant,
) -> Result<(VoucherBatch, Duration, Option<Paid>), String> {
    let paid = match batch.submit().await {
        Ok(verdicts) => Some(Paid {
            vouchers: verdicts.iter().filter(|verdict| is_paid(verdict)).count(),
            of: verdicts.len(),
        }),
        Err(EngineError::Busy { .. }) => None,
        Err(error) => return Err(error.to_string()),
    };
    Ok((batch, due.elapsed(), paid))
}

/// How many vouchers of a batch paid.
struct Paid {
    vouchers: usize,
    of: usize,
}

impl Paid {
    fn all(self) -> Result<(), String> {
        match self.of - self.vouchers {
            0 => Ok(()),
            refused => Err(format!("{refused} vouchers of a batch were refused")),
        }
    }
}

/// Hands a batch in until there is room; gives it back with the time since it was due. All must pay.
async fn submitted(mut batch: VoucherBatch, due: Instant) -> Result<(VoucherBatch, Duration), String> {
    loop {
        let (back, took, paid) = offered(batch, due).await?;
        if let Some(paid) = paid {
            paid.all()?;
            return Ok((back, took));
        }
        batch = back;
        tokio::time::sleep(TICK).await;
    }
}

/// Hands a batch in that there must be room for; gives it back with the time since it was due. All must pay.
async fn paid_for(batch: VoucherBatch, due: Instant) -> Result<(VoucherBatch, Duration), String> {
    let (back, took, paid) = offered(batch, due).await?;
    paid.ok_or("a load below the most was too much")?.all()?;
    Ok((back, took))
}

fn is_paid(verdict: &Result<Verdict, EngineError>) -> bool {
    verdict.as_ref().is_ok_and(Verdict::is_paid)
}

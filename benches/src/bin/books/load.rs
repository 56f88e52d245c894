//! Callers: as many vouchers as the engine takes, or so many a second, one by one or in batches.
//!
//! All callers share one thread, so that what they cost can be told from what they measure. Every answer must be an
//! acceptance that paid.

use std::time::{Duration, Instant};

use farebox_core::voucher::AnySignedVoucher;
use farebox_engine::{Engine, EngineError, VoucherBatch};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::books::{Books, charge};
use crate::meter::{Histogram, Meter, Used};

/// Single vouchers under way at once.
const SINGLES_MAX: usize = 4_096;

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
}

/// Vouchers in the order in which they are handed in, and what number the next one has: each pays for a request of its own.
pub struct Vouchers {
    vouchers: std::vec::IntoIter<AnySignedVoucher>,
    next: usize,
}

impl Vouchers {
    /// The first one is number `first`.
    pub fn new(vouchers: Vec<AnySignedVoucher>, first: usize) -> Self {
        Self { vouchers: vouchers.into_iter(), next: first }
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
            batch.push(voucher, charge(number)).map_err(|error| error.to_string())?;
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
            under_way.push(single(&books.engine, voucher, number));
        }
        while let Some(took) = under_way.next().await {
            latency.push(took?);
        }
        Ok(Load { used: meter.used(), latency, vouchers: count })
    })
}

/// One caller, who waits for each answer.
pub fn alone(books: &Books, mut vouchers: Vouchers) -> Result<Load, String> {
    let count = vouchers.len();
    books.runtime.block_on(async {
        let meter = Meter::start();
        let mut latency = Histogram::default();
        while let Some((voucher, number)) = vouchers.take() {
            latency.push(single(&books.engine, voucher, number).await?);
        }
        Ok(Load { used: meter.used(), latency, vouchers: count })
    })
}

async fn single(engine: &Engine, voucher: AnySignedVoucher, number: usize) -> Result<Duration, String> {
    let (began, channel) = (Instant::now(), voucher.voucher().channel_id);
    let verdict = engine.submit(channel, voucher, charge(number)).await.map_err(|error| error.to_string())?;
    verdict.paid().map_err(|refusal| format!("a voucher was refused: {refusal}"))?;
    Ok(began.elapsed())
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
        Ok(Load { used: meter.used(), latency, vouchers: count })
    })
}

/// So many vouchers a second, in batches of what is due every millisecond. A batch waits from the moment when it is due.
pub fn paced(books: &Books, mut vouchers: Vouchers, vouchers_per_s: f64) -> Result<Load, String> {
    let count = vouchers.len();
    let size = (vouchers_per_s * TICK.as_secs_f64()).ceil().max(1.0) as usize;
    let pause = Duration::from_secs_f64(size as f64 / vouchers_per_s);
    books.runtime.block_on(async {
        let meter = Meter::start();
        let mut latency = Histogram::default();
        let mut under_way = FuturesUnordered::new();
        let mut idle = Vec::new();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                Some(answered) = under_way.next() => {
                    let (batch, took) = answered?;
                    latency.push(took);
                    idle.push(batch);
                }
                () = tokio::time::sleep_until(due.into()) => {
                    while due <= Instant::now() {
                        let mut batch = idle.pop().unwrap_or_else(|| books.engine.batch());
                        if !vouchers.fill(&mut batch, size)? {
                            break;
                        }
                        under_way.push(submitted(batch, due));
                        due += pause;
                    }
                }
            }
            if vouchers.len() == 0 && under_way.is_empty() {
                return Ok(Load { used: meter.used(), latency, vouchers: count });
            }
        }
    })
}

/// Hands a batch in; gives it back with the time since it was due.
async fn submitted(mut batch: VoucherBatch, due: Instant) -> Result<(VoucherBatch, Duration), String> {
    let verdicts = loop {
        match batch.submit().await {
            Ok(verdicts) => break verdicts.iter().filter(|verdict| !is_paid(verdict)).count(),
            Err(EngineError::Busy { .. }) => tokio::time::sleep(TICK).await,
            Err(error) => return Err(error.to_string()),
        }
    };
    match verdicts {
        0 => Ok((batch, due.elapsed())),
        refused => Err(format!("{refused} vouchers of a batch were refused")),
    }
}

fn is_paid(verdict: &Result<farebox_engine::Verdict, EngineError>) -> bool {
    verdict.as_ref().is_ok_and(farebox_engine::Verdict::is_paid)
}

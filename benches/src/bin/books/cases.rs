//! What is measured of Farebox: the most that it takes, and how long answers take at a part of that.

use crate::books::Books;
use crate::crowd::Crowd;
use crate::load::{Load, Vouchers, alone, batches, flood, paced, singles, streams};
use crate::meter::{rest, rss_bytes};
use crate::options::Options;
use crate::report::{Label, Report, Row};

/// Vouchers in a batch of a caller.
const BATCH: usize = 512;

/// Batches under way at once.
const CALLERS: usize = 32;

/// Vouchers of every signer before the first measurement: enough for its table.
const WARM_VOUCHERS: usize = 32;

/// The most vouchers that are spent on warming, unless there are more signers: each of those is met once.
const WARM_MAX: usize = 400_000;

/// Vouchers of the case in which nobody knows a signer's key yet.
const FIRST: usize = 50_000;

/// A part of the vouchers of a full load that a slower one gets.
const SLOW_PART: usize = 8;

/// Vouchers of a caller that waits for each answer.
const ALONE: usize = 2_000;

/// How much more than the most that was taken an overload offers.
const OVERLOAD: f64 = 3.0;

/// The loads at which latency is measured, in percent of the most that was taken.
const LOADS_PERCENT: [usize; 3] = [10, 50, 90];

/// All sizes, as far as they make sense together.
pub fn run(options: &Options, report: &mut Report) -> Result<(), String> {
    for &channels in &options.channels {
        let mut before = None;
        for signers in options.signers.iter().map(|signers| *signers.min(&channels)) {
            // Fewer channels than signers: the same crowd again.
            if before.replace(signers) == Some(signers) {
                continue;
            }
            for &threads in &options.threads {
                size(options, report, channels, signers, threads)?;
            }
        }
    }
    Ok(())
}

/// One engine, several loads.
struct Size<'a> {
    books: Books,
    report: &'a mut Report,
    label: Label,
    /// Vouchers that were handed in so far.
    handed_in: usize,
    /// What was paid so far.
    spent: usize,
}

fn size(
    options: &Options,
    report: &mut Report,
    channels: usize,
    signers: usize,
    threads: usize,
) -> Result<(), String> {
    let label = |case: &str, batch| Label { case: case.into(), channels, signers, threads, batch };
    let wanted = |case: &str| options.wants(&label(case, 1));
    let load_name = |percent: usize| format!("load_{percent}");
    let any_load = LOADS_PERCENT.iter().any(|percent| wanted(&load_name(*percent))) || wanted("overload");
    let others = ["first", "batch", "batch_named", "single", "stream", "alone"];
    if !any_load && !others.into_iter().any(wanted) {
        return Ok(());
    }
    let books = Books::open(Crowd::new(channels, signers), threads)?;
    let mut size = Size { books, report, label: label("warm", BATCH), handed_in: 0, spent: 0 };
    if wanted("first") {
        size.measure("first", BATCH, FIRST.min(signers), |books, all| batches(books, all, BATCH, CALLERS))?;
    }
    let warm = (signers * WARM_VOUCHERS).clamp(channels.min(WARM_MAX), WARM_MAX).max(signers);
    let warm = size.next(warm);
    size.spent += batches(&size.books, warm, BATCH, CALLERS)?.vouchers;
    let mut most = 0.0;
    if wanted("batch") || any_load {
        most =
            size.measure("batch", BATCH, options.vouchers, |books, all| batches(books, all, BATCH, CALLERS))?;
    }
    if wanted("batch_named") {
        let load = |books: &Books, all: Vouchers| batches(books, all.named(), BATCH, CALLERS);
        size.measure("batch_named", BATCH, options.vouchers / 2, load)?;
    }
    if wanted("stream") {
        size.measure("stream", 1, options.vouchers / SLOW_PART, streams)?;
    }
    if wanted("single") {
        size.measure("single", 1, options.vouchers / SLOW_PART, singles)?;
    }
    if wanted("alone") {
        size.measure("alone", 1, ALONE, alone)?;
    }
    for percent in LOADS_PERCENT {
        if wanted(&load_name(percent)) {
            let (pace, vouchers) = (most * percent as f64 / 100.0, options.vouchers * percent / 100 / 2);
            size.measure(&load_name(percent), 1, vouchers, |books, all| paced(books, all, pace))?;
        }
    }
    if wanted("overload") {
        let offered = (most * OVERLOAD * options.overload_s as f64) as usize;
        size.measure("overload", BATCH, offered, |books, all| flood(books, all, most * OVERLOAD, BATCH))?;
    }
    let spent = size.spent as u128;
    size.books.close(spent)
}

impl Size<'_> {
    /// The vouchers that come next.
    fn next(&mut self, count: usize) -> Vouchers {
        let signed = self.books.crowd.vouchers(self.handed_in, count);
        let first = self.handed_in;
        self.handed_in += count;
        Vouchers::new(signed, first)
    }

    /// Measures a load; gives the vouchers a second that it reached.
    fn measure(
        &mut self,
        case: &str,
        batch: usize,
        count: usize,
        load: impl FnOnce(&Books, Vouchers) -> Result<Load, String>,
    ) -> Result<f64, String> {
        let vouchers = self.next(count);
        // What the load before left to do in the background is not this one's.
        rest();
        let mut sync = self.books.sync_us()?;
        self.books.take_frames();
        let Load { used, latency, vouchers, busy } = load(&self.books, vouchers)?;
        self.spent += vouchers;
        let frames = self.books.take_frames();
        sync.extend(self.books.sync_us()?);
        let row = Row {
            label: Label { case: case.into(), batch, ..self.label.clone() },
            vouchers,
            used,
            latency,
            sync,
            busy,
            commits: frames.len(),
            frames,
            rss_bytes: rss_bytes(),
            rss_bytes_per_channel: self.books.rss_bytes_per_channel,
        };
        let reached = row.vouchers_per_s();
        self.report.push(row);
        Ok(reached)
    }
}

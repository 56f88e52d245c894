//! What is measured of Farebox: the most that it takes, and how long answers take at a part of that.

use crate::books::Books;
use crate::crowd::Crowd;
use crate::load::{Load, Vouchers, alone, batches, paced, singles};
use crate::meter::rss_bytes;
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
    /// Vouchers that were acknowledged so far.
    acknowledged: usize,
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
    let any_load = LOADS_PERCENT.iter().any(|percent| wanted(&load_name(*percent)));
    if !any_load && !["first", "batch", "single", "alone"].into_iter().any(wanted) {
        return Ok(());
    }
    let books = Books::open(Crowd::new(channels, signers), threads)?;
    let mut size = Size { books, report, label: label("warm", BATCH), acknowledged: 0 };
    if wanted("first") {
        size.measure("first", BATCH, FIRST.min(signers), |books, all| batches(books, all, BATCH, CALLERS))?;
    }
    let warm = (signers * WARM_VOUCHERS).clamp(channels.min(WARM_MAX), WARM_MAX).max(signers);
    let warm = size.next(warm);
    batches(&size.books, warm, BATCH, CALLERS)?;
    let mut most = 0.0;
    if wanted("batch") || any_load {
        most =
            size.measure("batch", BATCH, options.vouchers, |books, all| batches(books, all, BATCH, CALLERS))?;
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
    let spent = size.acknowledged as u128;
    size.books.close(spent)
}

impl Size<'_> {
    /// The vouchers that come next.
    fn next(&mut self, count: usize) -> Vouchers {
        let signed = self.books.crowd.vouchers(self.acknowledged, count);
        let first = self.acknowledged;
        self.acknowledged += count;
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
        let mut sync = self.books.sync_us()?;
        let commits = self.books.commits();
        let Load { used, latency, vouchers } = load(&self.books, vouchers)?;
        let commits = self.books.commits() - commits;
        sync.extend(self.books.sync_us()?);
        let row = Row {
            label: Label { case: case.into(), batch, ..self.label.clone() },
            vouchers,
            used,
            latency,
            sync,
            commits,
            rss_bytes: rss_bytes(),
            rss_bytes_per_channel: self.books.rss_bytes_per_channel,
        };
        let reached = row.vouchers_per_s();
        self.report.push(row);
        Ok(reached)
    }
}

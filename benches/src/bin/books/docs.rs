//! The figures of a run as a part of `docs/benchmarks/books.md`, between two marks that stay.

use std::fmt::Write as _;
use std::path::Path;

use crate::report::{Opening, Report, Row};

/// The page.
const PAGE: &str = "../docs/benchmarks/books.md";

/// Replaces the figures called `name` on the page.
pub fn write(report: &Report, name: &str) -> Result<(), String> {
    replace(PAGE, name, &figures(report))
}

/// Replaces what stands between the marks of `name` on a page, whose path begins at this package.
pub fn replace(page: &str, name: &str, figures: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {page}: {error}"))?;
    let text = replaced(&text, name, figures).map_err(|missing| format!("{page} {missing}"))?;
    std::fs::write(&path, text).map_err(|error| format!("cannot write {page}: {error}"))
}

/// The page with other lines between the marks of `name`.
fn replaced(page: &str, name: &str, figures: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let missing = || format!("has no lines between {begin:?} and {end:?}");
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}{figures}{end}{after}"))
}

fn figures(report: &Report) -> String {
    let named = |name: &str| std::env::var(name).unwrap_or_else(|_| "unknown".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!("{cores} cores, {}, commit {}.\n\n", named("BENCH_DATE"), named("BENCH_COMMIT"));
    text += "| case | channels | signers | shards | vouchers/s | CPU µs each | answer µs p50 | p99 | p999 | fsync µs p50 | p99 | frame µs p99 | bytes each | vouchers a sync |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    report.rows().iter().for_each(|row| line(&mut text, row));
    if report.openings().is_empty() {
        return text;
    }
    text += "\n| after a kill | vouchers since the checkpoint | store open, s | requests taken, s | memory, MiB |\n|---|---|---|---|---|\n";
    for Opening { channels, vouchers, open_s, start_s, rss_bytes } in report.openings() {
        let mib = rss_bytes / f64::from(1 << 20);
        let (channels, vouchers) = (grouped(*channels as f64), grouped(*vouchers as f64));
        writeln!(text, "| {channels} channels | {vouchers} | {open_s:.2} | {start_s:.2} | {mib:.0} |")
            .expect("a string takes everything");
    }
    text
}

fn line(text: &mut String, row: &Row) {
    let figure = |name: &str| {
        let figures = row.figures();
        figures.iter().find(|(figure, _)| *figure == name).map_or(0.0, |(_, value)| *value)
    };
    let counts =
        [row.label.channels, row.label.signers, row.label.threads].map(|count| grouped(count as f64));
    let [channels, signers, threads] = counts;
    let rate = grouped(figure("vouchers_per_s").round());
    let cpu = figure("cpu_us_per_voucher");
    let whole = [
        "latency_us_p50",
        "latency_us_p99",
        "latency_us_p999",
        "fsync_us_p50",
        "fsync_us_p99",
        "frame_us_p99",
        "bytes_written_per_voucher",
        "vouchers_per_commit",
    ];
    let whole: Vec<_> = whole.iter().map(|name| grouped(figure(name).round())).collect();
    let case = &row.label.case;
    writeln!(
        text,
        "| `{case}` | {channels} | {signers} | {threads} | {rate} | {cpu:.2} | {} |",
        whole.join(" | ")
    )
    .expect("a string takes everything");
}

/// Digits in groups of three.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|digit| char::from(*digit)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        let expected = ["0", "12", "999", "1,000", "350,000", "10,000,000"];
        assert_eq!([0.0, 12.0, 999.0, 1e3, 350e3, 1e7].map(grouped), expected);
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb\n";
        let expected = "a\n<!-- figures -->\nnew\n<!-- end of figures -->\nb\n";
        assert_eq!(replaced(page, "figures", "new\n").as_deref(), Ok(expected));
        assert!(replaced(page, "others", "new\n").is_err());
    }
}

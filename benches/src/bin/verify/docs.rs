//! Writes a run into `docs/benchmarks/verify.md`, between its markers, and draws its plot beside it.
//!
//! What the columns mean and how to read them is prose, written by hand around the markers.

use std::fmt::Write as _;
use std::io;

use crate::figures::{self, Figure};
use crate::hot::BATCHES;
use crate::measure::median;
use crate::plot;
use crate::report::{Report, Row, root};
use crate::threads;

const BEGIN: &str = "<!-- measured: begin. Written by `make bench-verify-docs`. -->";
const END: &str = "<!-- measured: end -->";

/// Set by the Makefile: the commit that was built, and the day.
const COMMIT_VARIABLE: &str = "BENCH_COMMIT";
const DATE_VARIABLE: &str = "BENCH_DATE";

/// Rewrites the page's measured part, and the plot.
pub fn write(report: &Report, figures: &[Figure]) -> io::Result<()> {
    let folder = root().join("docs/benchmarks");
    let page = std::fs::read_to_string(folder.join("verify.md"))?;
    let page = replace(&page, &measured(report, figures)).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("verify.md lacks the lines {BEGIN} and {END}"))
    })?;
    std::fs::write(folder.join("verify.md"), page)?;
    std::fs::write(folder.join("verify.svg"), plot::draw(&plot::series(report)))
}

/// The page with another text between its markers.
fn replace(page: &str, measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{measured}\n{END}{after}"))
}

fn measured(report: &Report, figures: &[Figure]) -> String {
    let mut text = provenance(report);
    text.push_str("\n### Signers with tables\n\n");
    text.push_str(&by_batch(report, "verify"));
    text.push_str("\n### Peers\n\n");
    text.push_str(&one_a_row(report, &["recover", "verify_cached_key", "verify_voucher"]));
    text.push_str("\n### Signers without a table\n\n");
    text.push_str(&by_batch(report, "cold"));
    text.push('\n');
    text.push_str(&one_a_row(report, &["unknown"]));
    text.push_str("\n### Under attack\n\n");
    text.push_str(&one_a_row(report, &["attack"]));
    text.push_str("\n### Two threads\n\n");
    text.push_str(&one_a_row(report, &[threads::WALL, threads::CPU]));
    text.push_str("\n### Parts\n\n");
    text.push_str(&one_a_row(report, &["digest", "table"]));
    text.push_str("\n### What is wanted\n\n");
    text.push_str(&figures::to_markdown(figures));
    text
}

/// Where the figures come from.
fn provenance(report: &Report) -> String {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| "unknown".into());
    let recovery = median(report.rows().iter().map(|row| row.libsecp_recover_ns).collect()) / 1e3;
    format!(
        "| commit | CPU | command | date | libsecp256k1 recover |\n|---|---|---|---|---|\n\
         | {} | {} | `make bench-verify-docs` | {} | {recovery:.1} µs |\n",
        variable(COMMIT_VARIABLE),
        cpu(),
        variable(DATE_VARIABLE),
    )
}

/// The processor, as Linux calls it.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        values.next().unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} (family {}, model {}), {cores} cores",
        field("model name"),
        field("cpu family"),
        field("model")
    )
}

/// A case as a table: a line for each backend and number of signers, a column for each batch.
fn by_batch(report: &Report, case: &str) -> String {
    let mut table = String::from("| backend | signers |");
    BATCHES.iter().for_each(|batch| write!(table, " {batch} |").expect("a string takes everything"));
    table.push_str("\n|---|---|");
    BATCHES.iter().for_each(|_| table.push_str("---|"));
    let mut lines: Vec<_> = report
        .rows()
        .iter()
        .filter(|row| row.label.case == case)
        .map(|row| (row.label.backend, row.label.signers))
        .collect();
    lines.dedup();
    for (backend, signers) in lines {
        write!(table, "\n| {backend} | {signers} |").expect("a string takes everything");
        for batch in BATCHES {
            let cell = report.find(case, backend, signers, batch).map_or(String::new(), cell);
            write!(table, " {cell} |").expect("a string takes everything");
        }
    }
    table.push('\n');
    table
}

/// What a voucher costs in microseconds, and the ratio.
fn cell(row: &Row) -> String {
    format!("{:.2} ({:.1})", row.us(), row.ratio())
}

/// Cases whose names begin so, a line each.
fn one_a_row(report: &Report, cases: &[&str]) -> String {
    let mut table = String::from(
        "| case | by | signers | batch | threads | µs | ratio |\n|---|---|---|---|---|---|---|\n",
    );
    for row in report.rows().iter().filter(|row| cases.iter().any(|case| row.label.case.starts_with(case))) {
        let label = &row.label;
        let (us, ratio) = (row.us(), row.ratio());
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {us:.3} | {ratio:.2} |",
            label.case, label.backend, label.signers, label.batch, label.threads
        )
        .expect("a string takes everything");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Label;

    #[test]
    fn only_the_measured_part_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replace(&page, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace(&new, "new\n").unwrap(), new);
        assert_eq!(replace("no markers", "new"), None);
    }

    #[test]
    fn the_page_of_this_repository_has_the_markers() {
        let page = std::fs::read_to_string(root().join("docs/benchmarks/verify.md")).unwrap();
        assert!(replace(&page, "new").is_some());
    }

    #[test]
    fn batches_stand_side_by_side() {
        let mut report = Report::default();
        for (signers, batch) in [(1, 8), (64, 8), (64, 4_096)] {
            let label = Label { case: "verify", backend: "avx512", batch, signers, threads: 1 };
            report.push(Row { label, ns_per_voucher: 2_000.0, libsecp_recover_ns: 40_000.0 });
        }
        let table = by_batch(&report, "verify");
        let lines: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| avx512 | 1 |  | 2.00 (20.0) |  |  |  |  |",
                "| avx512 | 64 |  | 2.00 (20.0) |  |  |  | 2.00 (20.0) |"
            ]
        );
    }
}

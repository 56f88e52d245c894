//! What was measured, as a table for people and as JSON for programs.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use crate::meter::{Histogram, Used};

/// What a measurement is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What is done.
    pub case: String,
    /// Channels that take turns.
    pub channels: usize,
    /// Signers that share them.
    pub signers: usize,
    /// Threads that verify and apply: shards.
    pub threads: usize,
    /// Vouchers that are handed in together.
    pub batch: usize,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, channels, signers, threads, batch: _ } = self;
        write!(f, "{case}/{channels}/{signers}/{threads}")
    }
}

/// A measurement.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub label: Label,
    /// How many vouchers were acknowledged.
    pub vouchers: usize,
    /// What they took.
    pub used: Used,
    /// From the moment when a voucher was due to its durable answer.
    pub latency: Histogram,
    /// The disk's own sync, just before and just after.
    pub sync: Histogram,
    /// How many were refused because there was no room.
    pub busy: usize,
    /// How long the engine's writes took under this load, each with its sync; empty when they were not looked at.
    pub frames: Histogram,
    /// Writes with a sync.
    pub commits: usize,
    /// Memory of the process at the end.
    pub rss_bytes: u64,
    /// Memory that each open channel took, before its first voucher; zero when it was not measured.
    pub rss_bytes_per_channel: f64,
}

impl Row {
    /// Acknowledged vouchers a second.
    pub fn vouchers_per_s(&self) -> f64 {
        self.vouchers as f64 / self.used.wall.as_secs_f64()
    }

    /// Processor time a voucher, the load's own left out.
    pub fn cpu_us_per_voucher(&self) -> f64 {
        self.used.cpu_us / self.vouchers as f64
    }

    /// Every figure by its name, after the label.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let each = |total: f64| total / self.vouchers as f64;
        vec![
            ("vouchers", self.vouchers as f64),
            ("vouchers_per_s", self.vouchers_per_s()),
            ("cpu_us_per_voucher", self.cpu_us_per_voucher()),
            ("load_cpu_us_per_voucher", each(self.used.load_cpu_us)),
            ("fsync_us_p50", self.sync.quantile(0.5)),
            ("fsync_us_p99", self.sync.quantile(0.99)),
            ("frame_us_p50", self.frames.quantile(0.5)),
            ("frame_us_p99", self.frames.quantile(0.99)),
            ("latency_us_p50", self.latency.quantile(0.5)),
            ("latency_us_p99", self.latency.quantile(0.99)),
            ("latency_us_p999", self.latency.quantile(0.999)),
            ("bytes_written_per_voucher", each(self.used.written_bytes as f64)),
            ("vouchers_per_commit", self.vouchers as f64 / self.commits.max(1) as f64),
            ("busy_per_s", self.busy as f64 / self.used.wall.as_secs_f64()),
            ("rss_bytes", self.rss_bytes as f64),
            ("rss_bytes_per_channel", self.rss_bytes_per_channel),
        ]
    }
}

/// How long a server was away after a kill.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Channels on disk.
    pub channels: usize,
    /// Vouchers that were acknowledged before the kill, each on another channel.
    pub vouchers: usize,
    /// Until the store was open.
    pub open_s: f64,
    /// Until the engine took requests, opening included.
    pub start_s: f64,
    /// Memory of the process then.
    pub rss_bytes: f64,
}

/// The columns of the table, by the names of their figures, and how wide they are.
const COLUMNS: [(&str, &str, usize); 10] = [
    ("vouchers_per_s", "vouchers/s", 11),
    ("cpu_us_per_voucher", "cpu us", 7),
    ("load_cpu_us_per_voucher", "load us", 7),
    ("fsync_us_p50", "fsync us", 8),
    ("frame_us_p99", "frame99", 8),
    ("latency_us_p50", "p50 us", 8),
    ("latency_us_p99", "p99 us", 8),
    ("latency_us_p999", "p999 us", 8),
    ("bytes_written_per_voucher", "bytes", 6),
    ("vouchers_per_commit", "/commit", 8),
];

/// All measurements of a run, in order.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    openings: Vec<Opening>,
}

impl Report {
    /// What was measured.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The openings after kills.
    pub fn openings(&self) -> &[Opening] {
        &self.openings
    }

    /// Prints the head of the table.
    pub fn begin() {
        print!("{:<24} {:>8} {:>8} {:>7} {:>5}", "case", "channels", "signers", "threads", "batch");
        for (_, title, width) in COLUMNS {
            print!(" {title:>width$}");
        }
        println!();
    }

    /// Keeps a measurement, and prints it.
    pub fn push(&mut self, row: Row) {
        let Label { case, channels, signers, threads, batch } = &row.label;
        print!("{case:<24} {channels:>8} {signers:>8} {threads:>7} {batch:>5}");
        let figures = row.figures();
        for (name, _, width) in COLUMNS {
            let found = figures.iter().find(|(figure, _)| *figure == name).map_or(0.0, |(_, value)| *value);
            let digits = if found < 100.0 { 2 } else { 0 };
            print!(" {found:>width$.digits$}");
        }
        println!();
        self.rows.push(row);
    }

    /// Keeps the time of an opening, and prints it.
    pub fn push_opening(&mut self, opening: Opening) {
        let Opening { channels, vouchers, open_s, start_s, rss_bytes } = opening;
        let rss_mib = rss_bytes / f64::from(1 << 20);
        println!(
            "reopen: {channels} channels, {vouchers} vouchers before the kill: the store is open after {open_s:.2} s, the engine after {start_s:.2} s, with {rss_mib:.0} MiB"
        );
        self.openings.push(opening);
    }

    /// The measurements as a JSON list, one object a line.
    pub fn to_json(&self) -> String {
        let objects = self.rows.iter().map(|row| {
            let Label { case, channels, signers, threads, batch } = &row.label;
            let mut object = format!(
                "{{\"case\":\"{case}\",\"channels\":{channels},\"signers\":{signers},\"threads\":{threads},\"batch\":{batch}"
            );
            for (name, value) in row.figures() {
                write!(object, ",\"{name}\":{value:.3}").expect("a string takes everything");
            }
            object + "}"
        });
        let openings = self.openings.iter().map(|opening| {
            let Opening { channels, vouchers, open_s, start_s, rss_bytes } = opening;
            format!(
                "{{\"case\":\"reopen\",\"channels\":{channels},\"signers\":0,\"threads\":2,\"batch\":0,\"vouchers\":{vouchers},\"open_s\":{open_s:.3},\"start_s\":{start_s:.3},\"rss_bytes\":{rss_bytes:.0}}}"
            )
        });
        format!("[\n{}\n]\n", objects.chain(openings).collect::<Vec<_>>().join(",\n"))
    }

    /// Writes `bench/<name>.json` in the target folder, and returns where that is.
    pub fn write_json(&self, name: &str) -> io::Result<PathBuf> {
        let folder = target().join("bench");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(name).with_extension("json");
        std::fs::write(&file, self.to_json())?;
        Ok(file)
    }
}

/// The target folder: on a disk, which a temporary folder need not be.
pub fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn json_has_the_promised_keys() {
        let label = Label { case: "batch".into(), channels: 10, signers: 2, threads: 1, batch: 64 };
        let wall = Duration::from_secs(2);
        let used = Used { wall, load_cpu_us: 100.0, cpu_us: 400.0, written_bytes: 20_000 };
        let row = Row {
            label,
            vouchers: 200,
            used,
            latency: Histogram::default(),
            sync: Histogram::default(),
            frames: Histogram::default(),
            commits: 4,
            busy: 0,
            rss_bytes: 5,
            rss_bytes_per_channel: 0.0,
        };
        let mut report = Report::default();
        report.push(row);
        let json = report.to_json();
        let expected = [
            "\"case\":\"batch\",\"channels\":10,\"signers\":2,\"threads\":1,\"batch\":64",
            "\"vouchers_per_s\":100.000",
            "\"cpu_us_per_voucher\":2.000",
            "\"load_cpu_us_per_voucher\":0.500",
            "\"fsync_us_p50\":",
            "\"bytes_written_per_voucher\":100.000",
            "\"vouchers_per_commit\":50.000",
        ];
        assert!(expected.iter().all(|key| json.contains(key)), "{json}");
    }
}

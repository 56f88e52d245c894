//! What was measured, as a table for people and as JSON for programs.

use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// What a measurement is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What is done.
    pub case: &'static str,
    /// Who does it: a backend, or a peer.
    pub backend: &'static str,
    /// Vouchers that are handed over together.
    pub batch: usize,
    /// How many signers take turns.
    pub signers: usize,
    /// Threads that share the work.
    pub threads: usize,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, backend, batch, signers, threads } = self;
        write!(f, "{case}/{backend}/{signers}/{batch}/{threads}")
    }
}

/// A measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub label: Label,
    /// What a voucher cost; in cases of tables, a key.
    pub ns_per_voucher: f64,
    /// What a recovery by libsecp256k1 cost that took turns with it.
    pub libsecp_recover_ns: f64,
}

impl Row {
    /// How many times faster it is than a recovery.
    pub fn ratio(&self) -> f64 {
        self.libsecp_recover_ns / self.ns_per_voucher
    }

    /// What a voucher cost, in microseconds.
    pub fn us(&self) -> f64 {
        self.ns_per_voucher / 1e3
    }
}

/// All measurements of a run, in order.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Prints the head of the table.
    pub fn begin() {
        println!(
            "{:<20} {:<12} {:>7} {:>6} {:>7} {:>9} {:>8}",
            "case", "backend", "signers", "batch", "threads", "us each", "ratio"
        );
    }

    /// Keeps a measurement, and prints it.
    pub fn push(&mut self, row: Row) {
        let Label { case, backend, batch, signers, threads } = &row.label;
        println!(
            "{case:<20} {backend:<12} {signers:>7} {batch:>6} {threads:>7} {:>9.3} {:>8.2}",
            row.us(),
            row.ratio()
        );
        self.rows.push(row);
    }

    /// All measurements.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The measurement of this case, if the run had it. Peers have one, whatever their batch.
    pub fn find(&self, case: &str, backend: &str, signers: usize, batch: usize) -> Option<&Row> {
        self.rows.iter().find(|row| {
            let label = &row.label;
            label.case == case
                && label.backend == backend
                && label.signers == signers
                && label.batch == batch
                && label.threads == 1
        })
    }

    /// The measurements as a JSON list, one object a line.
    pub fn to_json(&self) -> String {
        let mut json = String::from("[");
        for (i, row) in self.rows.iter().enumerate() {
            let Label { case, backend, batch, signers, threads } = &row.label;
            let Row { ns_per_voucher, libsecp_recover_ns, .. } = row;
            json.push_str(if i == 0 { "\n" } else { ",\n" });
            write!(
                json,
                "{{\"case\":\"{case}\",\"backend\":\"{backend}\",\"batch\":{batch},\"signers\":{signers},\
                 \"threads\":{threads},\"ns_per_voucher\":{ns_per_voucher:.1},\
                 \"libsecp_recover_ns\":{libsecp_recover_ns:.1},\"ratio\":{:.2}}}",
                row.ratio()
            )
            .expect("a string takes everything");
        }
        json.push_str("\n]\n");
        json
    }

    /// Writes `bench/verify.json` in the target folder, and returns where that is.
    pub fn write_json(&self) -> io::Result<PathBuf> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let file = target.join("bench/verify.json");
        std::fs::create_dir_all(target.join("bench"))?;
        std::fs::write(&file, self.to_json())?;
        Ok(file)
    }
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &'static str, threads: usize) -> Row {
        let label = Label { case, backend: "avx512", batch: 8, signers: 64, threads };
        Row { label, ns_per_voucher: 2_000.04, libsecp_recover_ns: 38_000.0 }
    }

    #[test]
    fn json_has_exactly_the_promised_keys() {
        let mut report = Report::default();
        assert_eq!(report.to_json(), "[\n]\n");
        report.push(row("one", 1));
        report.push(row("two", 2));
        let object = |case: &str, threads: usize| {
            format!(
                "{{\"case\":\"{case}\",\"backend\":\"avx512\",\"batch\":8,\"signers\":64,\"threads\":{threads},\
                 \"ns_per_voucher\":2000.0,\"libsecp_recover_ns\":38000.0,\"ratio\":19.00}}"
            )
        };
        assert_eq!(report.to_json(), format!("[\n{},\n{}\n]\n", object("one", 1), object("two", 2)));
    }

    #[test]
    fn a_measurement_is_found_by_its_name() {
        let mut report = Report::default();
        report.push(row("one", 2));
        assert_eq!(report.find("one", "avx512", 64, 8), None, "two threads are another case");
        report.push(row("one", 1));
        assert_eq!(report.find("one", "avx512", 64, 8), Some(&row("one", 1)));
        assert_eq!(report.find("one", "avx512", 64, 1), None);
    }
}

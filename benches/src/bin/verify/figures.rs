//! The figures that the verifier is held to, and whether a run reached them.
//!
//! They were set for one core of an AMD Zen 4. Ratios carry over to other processors better than microseconds do.

use std::fmt::Write as _;

use crate::attack;
use crate::hot::{MANY_SIGNERS, SOME_SIGNERS};
use crate::parts::{DIGESTS, TABLES};
use crate::report::Report;
use crate::strangers::STRANGERS;
use crate::threads;

/// Below this ratio at 64 signers and a batch of 256 the build is broken: the vector code was not inlined into
/// functions that may use the instructions. No noise is that loud.
const BROKEN_BELOW_RATIO: f64 = 15.0;

/// What a voucher may cost an attacked verifier, against one that is not.
const ATTACK_FACTOR_MAX: f64 = 1.5;

/// A figure: what it is about, what is wanted, and what was found.
pub struct Figure {
    what: String,
    wanted: f64,
    found: f64,
    unit: &'static str,
    /// Whether more is better.
    at_least: bool,
}

impl Figure {
    /// Whether it was reached.
    pub fn is_met(&self) -> bool {
        if self.at_least { self.found >= self.wanted } else { self.found <= self.wanted }
    }
}

/// The figures that the run allows to judge.
pub fn figures(report: &Report) -> Vec<Figure> {
    let mut figures = Vec::new();
    verify(report, &mut figures);
    strangers(report, &mut figures);
    two_threads(report, &mut figures);
    parts(report, &mut figures);
    attacks(report, &mut figures);
    figures
}

/// The lowest ratio of some batches, if all were measured.
fn ratio(report: &Report, case: &str, backend: &str, signers: usize, batches: &[usize]) -> Option<f64> {
    let ratios = batches.iter().map(|batch| Some(report.find(case, backend, signers, *batch)?.ratio()));
    ratios.reduce(|a, b| Some(a?.min(b?))).flatten()
}

fn us(report: &Report, case: &str, backend: &str, signers: usize, batch: usize) -> Option<f64> {
    Some(report.find(case, backend, signers, batch)?.us())
}

fn verify(report: &Report, figures: &mut Vec<Figure>) {
    let wanted: [(_, _, _, &[_]); 7] = [
        (28.0, SOME_SIGNERS, "256 and more", &[256, 1_024, 4_096]),
        (26.0, SOME_SIGNERS, "64", &[64]),
        (12.0, SOME_SIGNERS, "8", &[8]),
        (22.0, MANY_SIGNERS, "1,024 and more", &[1_024, 4_096]),
        (18.0, MANY_SIGNERS, "64", &[64]),
        (10.0, MANY_SIGNERS, "8", &[8]),
        (40.0, SOME_SIGNERS, "4,096 (a stretch)", &[4_096]),
    ];
    for (wanted, signers, batch, batches) in wanted {
        if let Some(found) = ratio(report, "verify", "avx512", signers, batches) {
            let what = format!("avx512, {signers} signers, batch of {batch}: against libsecp256k1 recover");
            figures.push(Figure { what, wanted, found, unit: "times", at_least: true });
        }
    }
    if let Some(found) = ratio(report, "verify", "portable", SOME_SIGNERS, &[256, 1_024, 4_096]) {
        let what = "portable, 64 signers, batch of 256 and more: against libsecp256k1 recover".into();
        figures.push(Figure { what, wanted: 5.0, found, unit: "times", at_least: true });
    }
    let one = us(report, "verify", "avx512", SOME_SIGNERS, 1);
    let cached = us(report, "verify_cached_key", "libsecp256k1", SOME_SIGNERS, 1);
    if let (Some(found), Some(wanted)) = (one, cached) {
        let what = "avx512, batch of 1: libsecp256k1 verify with a cached key, or less".into();
        figures.push(Figure { what, wanted, found, unit: "µs", at_least: false });
    }
}

fn strangers(report: &Report, figures: &mut Vec<Figure>) {
    let found = [256, 1_024, 4_096].map(|batch| us(report, "cold", "avx512", STRANGERS, batch));
    if let [Some(a), Some(b), Some(c)] = found {
        let what = "avx512, key known but no table, batch of 256 and more".into();
        figures.push(Figure { what, wanted: 5.0, found: a.max(b).max(c), unit: "µs", at_least: false });
    }
}

fn two_threads(report: &Report, figures: &mut Vec<Figure>) {
    for (case, clock) in [(threads::WALL, "wall clock"), (threads::CPU, "CPU time")] {
        let find = |threads: usize| {
            let mut rows = report.rows().iter().map(|row| (&row.label, row.ns_per_voucher));
            rows.find(|(label, _)| {
                label.case == case
                    && label.threads == threads
                    && label.signers == SOME_SIGNERS
                    && label.batch == 256
            })
        };
        if let (Some((_, one)), Some((_, two))) = (find(1), find(2)) {
            // CPU time is that of both threads together.
            let found = if case == threads::CPU { 2.0 * one / two } else { one / two };
            let what = format!("two threads beside one, 64 signers, batch of 256, by {clock}");
            figures.push(Figure { what, wanted: 1.9, found, unit: "times", at_least: true });
        }
    }
}

fn parts(report: &Report, figures: &mut Vec<Figure>) {
    if let Some(row) = report.find("digest", "avx512", SOME_SIGNERS, DIGESTS) {
        let what = "avx512, a digest".into();
        figures.push(Figure { what, wanted: 120.0, found: row.ns_per_voucher, unit: "ns", at_least: false });
    }
    if let Some(found) = us(report, "table_41_kb", "avx512", TABLES, TABLES) {
        let what = "avx512, a table of 41 KB, built 64 at once".into();
        figures.push(Figure { what, wanted: 25.0, found, unit: "µs", at_least: false });
    }
}

fn attacks(report: &Report, figures: &mut Vec<Figure>) {
    let backend = "avx512";
    let Some(valid) = us(report, attack::VALID, backend, SOME_SIGNERS, attack::BATCH) else { return };
    let wanted = ATTACK_FACTOR_MAX * valid;
    for case in attack::INVALID {
        if let Some(found) = us(report, case, backend, SOME_SIGNERS, attack::BATCH) {
            let what = format!("avx512, {case}: {ATTACK_FACTOR_MAX} times a valid voucher, or less");
            figures.push(Figure { what, wanted, found, unit: "µs", at_least: false });
        }
    }
    if let Some(row) = report.find(attack::EXCEPTIONAL, backend, 1, attack::BATCH) {
        let what = format!("avx512, {}: that and a recovery by libsecp256k1, or less", attack::EXCEPTIONAL);
        let wanted = wanted + row.libsecp_recover_ns / 1e3;
        figures.push(Figure { what, wanted, found: row.us(), unit: "µs", at_least: false });
    }
}

/// The figures as a table in Markdown.
pub fn to_markdown(figures: &[Figure]) -> String {
    let mut table = String::from("| figure | wanted | found | met |\n|---|---|---|---|\n");
    for figure in figures {
        let Figure { what, wanted, found, unit, at_least } = figure;
        let (bound, met) =
            (if *at_least { "at least" } else { "at most" }, if figure.is_met() { "yes" } else { "no" });
        writeln!(table, "| {what} | {bound} {wanted:.1} {unit} | {found:.2} {unit} | {met} |")
            .expect("a string takes everything");
    }
    table
}

/// What is wrong with the build, if its vector code is slow.
pub fn broken_build(report: &Report) -> Option<String> {
    let found = ratio(report, "verify", "avx512", SOME_SIGNERS, &[256])?;
    (found < BROKEN_BELOW_RATIO).then(|| {
        format!(
            "this build is broken: avx512 is only {found:.1} times faster than libsecp256k1 recover, expected at \
             least {BROKEN_BELOW_RATIO}. Is a lane function not inlined into one that has the instructions?"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Label, Row};

    fn report(ns_per_voucher: f64) -> Report {
        let mut report = Report::default();
        for batch in [256, 1_024, 4_096] {
            let label = Label { case: "verify", backend: "avx512", batch, signers: SOME_SIGNERS, threads: 1 };
            let ns_per_voucher = ns_per_voucher * if batch == 1_024 { 2.0 } else { 1.0 };
            report.push(Row { label, ns_per_voucher, libsecp_recover_ns: 40_000.0 });
        }
        report
    }

    #[test]
    fn the_worst_of_several_batches_counts() {
        let missed = figures(&report(1_000.0));
        assert_eq!(missed.len(), 2, "nothing else was measured");
        assert_eq!(missed[0].found, 20.0);
        assert!(!missed[0].is_met() && missed[1].is_met());
        assert!(figures(&report(700.0)).iter().all(Figure::is_met));
    }

    #[test]
    fn a_build_without_vector_instructions_is_noticed() {
        assert_eq!(broken_build(&report(2_600.0)), None);
        assert!(broken_build(&report(49_000.0)).is_some_and(|text| text.contains("0.8 times")));
        assert_eq!(broken_build(&Report::default()), None, "what was not measured is not judged");
    }
}

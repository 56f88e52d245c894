//! What a voucher costs in Farebox, and what it costs in others, measured in one process.
//!
//! `make bench-verify` runs it, `make bench-verify-docs` also writes `docs/benchmarks/verify.md` and its plot.
//!
//! ```text
//! verify [--quick] [--docs] [FILTER]
//!   --quick   fewer samples and fewer crowds of signers
//!   --docs    writes the result into docs/benchmarks
//!   FILTER    measures only the cases whose name, case/backend/signers/batch/threads, contains it
//! ```
//!
//! The result is also written to `bench/verify.json` in the target folder. The exit code tells whether the build is broken, or
//! a file could not be written; a figure that was missed is only said, since machines differ.
//!
//! | module | what it does |
//! |---|---|
//! | [`measure`] | clocks, samples, medians; every case takes turns with a recovery by libsecp256k1 |
//! | [`vouchers`] | signs what is verified |
//! | [`peers`] | libsecp256k1, k256, and the Rust SDK's check |
//! | [`hot`], [`threads`], [`parts`], [`strangers`], [`attack`], [`craft`] | Farebox, in fair weather and foul |
//! | [`report`], [`figures`] | the result, and whether it is good enough |
//! | [`docs`], [`plot`] | the page and the picture |

use std::process::ExitCode;

use measure::{Bench, Effort};
use report::Report;
use vouchers::Recoverable;

mod attack;
mod craft;
mod docs;
mod figures;
mod hot;
mod measure;
mod parts;
mod peers;
mod plot;
mod report;
mod strangers;
mod threads;
mod vouchers;

/// Signatures for the recoveries that every case takes turns with.
const RECOVERABLE: usize = 1_024;

/// What was asked for.
struct Options {
    effort: Effort,
    docs: bool,
    filter: String,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { effort: Effort::Full, docs: false, filter: String::new() };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => options.effort = Effort::Quick,
                "--docs" => options.docs = true,
                flag if flag.starts_with('-') => {
                    return Err(format!("there is no option {flag}, expected --quick, --docs or a filter"));
                }
                _ if options.filter.is_empty() => options.filter = argument,
                _ => return Err(format!("there is a filter already, found another one: {argument}")),
            }
        }
        if options.docs && (options.effort == Effort::Quick || !options.filter.is_empty()) {
            return Err("the docs show a full run: leave out --quick and the filter".into());
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-verify: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if hot::backends().len() == 1 {
        println!("this machine has no AVX-512 IFMA: the portable backend is measured alone");
    }
    if !cfg!(feature = "fast-peers") {
        println!("built without the feature fast-peers: k256 and mpp are slower than they can be");
    }
    let mut bench = Bench::new(options.effort, options.filter.clone(), Recoverable::some(RECOVERABLE));
    Report::begin();
    peers::run(&mut bench);
    hot::run(&mut bench);
    threads::run(&mut bench);
    parts::digests(&mut bench);
    parts::tables(&mut bench);
    strangers::run(&mut bench);
    attack::run(&mut bench);
    let report = bench.report;
    if report.rows().is_empty() {
        return Err(format!("no case has {:?} in its name", options.filter));
    }
    let figures = figures::figures(&report);
    if !figures.is_empty() {
        println!("\n{}", figures::to_markdown(&figures));
    }
    let file = report.write_json().map_err(|error| format!("verify.json was not written: {error}"))?;
    println!("written: {}", file.display());
    if let Some(fault) = figures::broken_build(&report) {
        return Err(fault);
    }
    if options.docs {
        docs::write(&report, &figures).map_err(|error| format!("the docs were not written: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn options_are_read_and_contradictions_refused() {
        let options = parse(&["--quick", "cold"]).unwrap();
        assert_eq!((options.effort, options.docs, options.filter.as_str()), (Effort::Quick, false, "cold"));
        assert!(parse(&["--docs"]).unwrap().docs);
        for wrong in [&["--quik"][..], &["one", "two"], &["--docs", "cold"], &["--docs", "--quick"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

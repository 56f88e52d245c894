//! `books sweep`: what each option of RocksDB does, one at a time unlike those that are shipped.
//!
//! ```text
//! books sweep [--channels N] [--vouchers N] [--rounds N] [--docs] [FILTER]
//!   --channels   of the mixed work (200000); few stay in memory, and the hot work has 10,000 that all do
//!   --vouchers   of each work (400000)
//!   --rounds     how often a row is measured, as long as it may differ from the base (2)
//!   --docs       writes the figures into docs/benchmarks/rocksdb-options.md
//!   FILTER       measures only rows whose name, part.option=value, contains it, beside the base
//! ```
//!
//! Each row has processes of its own, so that no memory and no cache is another's. The base is measured again between the others: a
//! difference counts as real when a row has two runs or more, and all of them lie beyond all runs of the base. A row whose speed and processor time
//! lie among those of the base is not measured again. The result is
//! `bench/books-sweep.json` in the target folder.
//!
//! | module | what it does |
//! |---|---|
//! | [`rows`], [`naming`] | what is tried, and what it is called |
//! | [`work`] | what is measured, in child processes |
//! | [`spread`] | what is noise |
//! | [`page`] | the table, the JSON |

mod naming;
mod page;
mod rows;
mod spread;
mod work;

use tempfile::TempDir;

use self::naming::{BASE, differences};
use self::rows::ROWS;
use self::spread::{FIGURES, HOT, MIXED, REOPENED, Runs};
pub use self::work::child;
use self::work::{HOT_ROLE, MIXED_ROLE, OPEN_ROLE};
use crate::books::disk;
use crate::docs;
use crate::options::number;
use crate::reopen::spawn;

/// The first argument.
const COMMAND: &str = "sweep";

/// Rows between two runs of the base.
const BASE_EVERY: usize = 6;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    channels: usize,
    vouchers: usize,
    rounds: usize,
    docs: bool,
    filter: String,
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut settings =
            Self { channels: 200_000, vouchers: 400_000, rounds: 2, docs: false, filter: String::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut count = || number(argument, arguments.next().map_or("", String::as_str));
            match argument.as_str() {
                "--channels" => settings.channels = count()?,
                "--vouchers" => settings.vouchers = count()?,
                "--rounds" => settings.rounds = count()?,
                "--docs" => settings.docs = true,
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "sweep has no option {flag}, expected --channels, --vouchers, --rounds, --docs or a filter"
                    ));
                }
                filter => settings.filter = filter.into(),
            }
        }
        Ok(settings)
    }
}

/// What was measured of the shipped options and of each row.
struct Sweep {
    settings: Settings,
    base: Runs,
    /// By the place in [`ROWS`].
    rows: Vec<(usize, Runs)>,
}

/// Sweeps, if the arguments ask for it.
pub fn run(arguments: &[String]) -> Option<Result<(), String>> {
    match arguments.split_first() {
        Some((command, rest)) if command == COMMAND => Some(Settings::parse(rest).and_then(sweep)),
        _ => None,
    }
}

fn sweep(settings: Settings) -> Result<(), String> {
    let names: Vec<String> = ROWS.iter().map(name).collect();
    let wanted = names.iter().enumerate().filter(|(_, name)| name.contains(&settings.filter));
    let mut rows: Vec<(usize, Runs)> = wanted.map(|(place, _)| (place, Runs::default())).collect();
    if rows.is_empty() {
        return Err(format!("no row's name contains {:?}", settings.filter));
    }
    let mut base = Runs::default();
    page::begin();
    for round in 0..settings.rounds {
        let again = rows.iter_mut().filter(|(_, runs)| round == 0 || runs.may_differ(&base));
        let again: Vec<_> = again.collect();
        for (position, (place, runs)) in again.into_iter().enumerate() {
            if position % BASE_EVERY == 0 {
                base.0.push(measure(&settings, BASE)?);
            }
            runs.0.push(measure(&settings, &names[*place])?);
        }
        base.0.push(measure(&settings, BASE)?);
        // The other way round next time: what drifts is no difference.
        rows.reverse();
    }
    rows.sort_by_key(|(place, _)| *place);
    let sweep = Sweep { settings, base, rows };
    let file = page::write_json(&sweep).map_err(|error| format!("cannot write the result: {error}"))?;
    println!("\nwritten to {}", file.display());
    if sweep.settings.docs {
        docs::replace("../docs/benchmarks/rocksdb-options.md", "figures", &page::figures(&sweep))?;
    }
    Ok(())
}

/// What a row is called: it differs in one option.
fn name(row: &rows::Row) -> String {
    differences(&row.tuning()).first().map_or_else(|| BASE.into(), naming::Difference::name)
}

/// One run of a row, each work in a process of its own.
fn measure(settings: &Settings, row: &str) -> Result<[f64; FIGURES], String> {
    let folder = TempDir::new_in(disk()?).map_err(|error| format!("no folder for the books: {error}"))?;
    let (channels, vouchers) = (settings.channels.to_string(), settings.vouchers.to_string());
    let mut figures = Vec::with_capacity(FIGURES);
    let mut work = |role: &str, store: &str, numbers: &[&String], expected: usize, kill: bool| {
        let numbers: Vec<String> =
            std::iter::once(&row.to_owned()).chain(numbers.iter().copied()).cloned().collect();
        let (mut child, line) = spawn(role, &folder.path().join(store), &numbers)?;
        // SIGKILL: no destructor runs, nothing is flushed.
        let ended = if kill { child.kill() } else { Ok(()) };
        ended.and_then(|()| child.wait()).map_err(|error| format!("cannot end a child: {error}"))?;
        let found: Vec<f64> = line.split(' ').filter_map(|figure| figure.parse().ok()).collect();
        if found.len() != expected {
            return Err(format!("{row}: {role} said {line:?}"));
        }
        figures.extend(found);
        Ok(())
    };
    work(HOT_ROLE, "hot", &[&vouchers], HOT.len(), false)?;
    work(MIXED_ROLE, "mixed", &[&channels, &vouchers], MIXED.len(), true)?;
    work(OPEN_ROLE, "mixed", &[&channels, &vouchers], REOPENED.len(), false)?;
    let figures = figures.try_into().map_err(|_| "a figure is missing")?;
    page::line(row, &figures);
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_nonsense_is_named() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let settings = Settings::parse(&words("--channels 70 --rounds 3 journal.")).unwrap();
        assert_eq!((settings.channels, settings.rounds, &*settings.filter), (70, 3, "journal."));
        for (line, expected) in [("--fast", "--fast"), ("--rounds 0", "\"0\""), ("--channels", "--channels")]
        {
            assert!(Settings::parse(&words(line)).unwrap_err().contains(expected));
        }
        assert!(run(&words("batch/")).is_none());
    }
}

//! What was measured: a line a run, a table, JSON.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Sweep;
use super::naming::differences;
use super::rows::ROWS;
use super::spread::{FIGURES, Runs, names};
use crate::docs::grouped;
use crate::report::target;

/// The heads of the columns, in the order of the figures, and how many digits behind the point each has.
const COLUMNS: [(&str, usize); FIGURES] = [
    ("hot: vouchers/s", 0),
    ("CPU µs", 2),
    ("p99 µs", 0),
    ("bytes", 0),
    ("RocksDB's", 0),
    ("mixed: vouchers/s", 0),
    ("CPU µs", 2),
    ("p99 µs", 0),
    ("bytes", 0),
    ("RocksDB's", 0),
    ("cold read µs", 0),
    ("unknown read µs", 1),
    ("open s", 2),
    ("taking requests s", 2),
    ("store MiB", 0),
];

/// Prints what the figures of a run are called.
pub fn begin() {
    println!("{}", names().collect::<Vec<_>>().join(" "));
}

/// Prints a run.
pub fn line(row: &str, figures: &[f64; FIGURES]) {
    let cells: Vec<_> =
        figures.iter().zip(COLUMNS).map(|(value, (_, digits))| told(*value, digits)).collect();
    println!("{row:<60} {}", cells.join(" "));
}

/// The table of the page: the base with its spread, and each row with what is real in bold.
pub fn figures(sweep: &Sweep) -> String {
    let settings = &sweep.settings;
    let mut text = format!(
        "{}, {}, commit {}. Each row up to {} times, the base {} times between them; {} vouchers each; mixed: {} channels.\n\n",
        machine(),
        environment("BENCH_DATE"),
        environment("BENCH_COMMIT"),
        settings.rounds,
        sweep.base.0.len(),
        grouped(settings.vouchers as f64),
        grouped(settings.channels as f64),
    );
    let heads: Vec<_> = COLUMNS.iter().map(|(head, _)| *head).collect();
    let rules = "---|".repeat(FIGURES + 4);
    writeln!(text, "| option | shipped | tried | {} | chosen and why |\n|{rules}", heads.join(" | "))
        .expect(STRING);
    let base: Vec<_> = (0..FIGURES).map(|figure| base_cell(&sweep.base, figure)).collect();
    writeln!(text, "| all as shipped | | | {} | |", base.join(" | ")).expect(STRING);
    for (place, runs) in &sweep.rows {
        let row = &ROWS[*place];
        let cells: Vec<_> = (0..FIGURES).map(|figure| cell(runs, &sweep.base, figure)).collect();
        for difference in differences(&row.tuning()) {
            let (option, shipped, tried) = (difference.option, difference.shipped, difference.tried);
            let cells = cells.join(" | ");
            writeln!(text, "| `{option}` | {shipped} | {tried} | {cells} | {} |", row.why).expect(STRING);
        }
    }
    text
}

const STRING: &str = "a string takes everything";

fn base_cell(base: &Runs, figure: usize) -> String {
    let digits = COLUMNS[figure].1;
    let (least, most) = base.spread(figure);
    format!("{} ({}–{})", told(base.median(figure), digits), told(least, digits), told(most, digits))
}

fn cell(runs: &Runs, base: &Runs, figure: usize) -> String {
    let value = told(runs.median(figure), COLUMNS[figure].1);
    match runs.real_percent(base, figure) {
        Some(percent) => format!("**{value} ({percent:+.0} %)**"),
        None => value,
    }
}

fn told(value: f64, digits: usize) -> String {
    if digits == 0 { grouped(value.round()) } else { format!("{value:.digits$}") }
}

/// Writes `bench/books-sweep.json` in the target folder, and returns where that is.
pub fn write_json(sweep: &Sweep) -> std::io::Result<PathBuf> {
    let named = |run: &[f64; FIGURES]| {
        let figures = names().zip(run).map(|(name, value)| (name.to_owned(), Value::from(*value)));
        Value::Object(figures.collect::<Map<_, _>>())
    };
    let runs = |runs: &Runs| runs.0.iter().map(named).collect::<Vec<_>>();
    let row = |(place, measured): &(usize, Runs)| {
        let differences = differences(&ROWS[*place].tuning());
        let real = names().enumerate().filter_map(|(figure, name)| {
            Some((name.to_owned(), Value::from(measured.real_percent(&sweep.base, figure)?)))
        });
        json!({
            "option": differences.first().map(|one| one.option.clone()),
            "shipped": differences.first().map(|one| one.shipped.clone()),
            "tried": differences.first().map(|one| one.tried.clone()),
            "runs": runs(measured),
            "real_percent": Value::Object(real.collect()),
        })
    };
    let settings = &sweep.settings;
    let result = json!({
        "machine": machine(),
        "date": environment("BENCH_DATE"),
        "commit": environment("BENCH_COMMIT"),
        "channels": settings.channels,
        "vouchers": settings.vouchers,
        "base": runs(&sweep.base),
        "rows": sweep.rows.iter().map(row).collect::<Vec<_>>(),
    });
    let file = target().join("bench").join("books-sweep.json");
    std::fs::write(&file, format!("{result:#}\n"))?;
    Ok(file)
}

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| "unknown".into())
}

/// The processor, where the system tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    if model.is_empty() { format!("{cores} cores") } else { format!("{cores} cores of {model}") }
}

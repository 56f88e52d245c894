//! `farebox doctor`: looks at a set-up as a person would who was called at night, and says for everything that is wrong
//! what was seen and how it is repaired. It changes nothing (a file that it writes to time the disk is removed again),
//! and works beside a running server.
//!
//! The looking is in [`crate::doctor`]; here is only how it is printed.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde_json::json;

use super::{End, end_with};
use crate::doctor::{Finding, Level, Thresholds, examine};

/// Examines and prints.
pub fn run(config: &Path, as_json: bool, thresholds: &Thresholds) -> End {
    let findings = examine(config, thresholds);
    let stdout = io::stdout();
    let colours = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let output = stdout.lock();
    let printed = if as_json { print_json(&findings, output) } else { print(&findings, colours, output) };
    match printed {
        Err(error) => end_with(End::CannotStart, &error),
        Ok(()) if count(&findings, Level::Error) > 0 => End::Failed,
        Ok(()) => End::Done,
    }
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

fn print(findings: &[Finding], colours: bool, mut output: impl Write) -> io::Result<()> {
    for Finding { check, level, found, fix } in findings {
        let name = level.name();
        let (on, off) = if colours { (colour(*level), "\x1b[0m") } else { ("", "") };
        writeln!(output, "{on}{name:>7}{off}  {check}: {found}")?;
        if let Some(fix) = fix {
            writeln!(output, "         fix: {fix}")?;
        }
    }
    let (errors, warnings) = (count(findings, Level::Error), count(findings, Level::Warning));
    writeln!(output, "{} checks, {errors} errors, {warnings} warnings", findings.len())
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Ok => "\x1b[32m",
        Level::Note => "\x1b[36m",
        Level::Warning => "\x1b[33m",
        Level::Error => "\x1b[31m",
    }
}

fn print_json(findings: &[Finding], mut output: impl Write) -> io::Result<()> {
    let list: Vec<_> = findings
        .iter()
        .map(|Finding { check, level, found, fix }| {
            json!({ "check": check, "level": level.name(), "found": found, "fix": fix })
        })
        .collect();
    let document = json!({
        "errors": count(findings, Level::Error),
        "warnings": count(findings, Level::Warning),
        "findings": list,
    });
    serde_json::to_writer(&mut output, &document).map_err(io::Error::from)?;
    writeln!(output)
}

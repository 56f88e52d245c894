//! How far long work is: one line on stderr that is written over, and only on a terminal. Programs read nothing of it.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is written.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// The most characters of a line: what is left of a longer one is written over.
const LINE_CHARS: usize = 60;

/// Work with a known number of steps.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    shown: Option<Instant>,
    is_on: bool,
}

impl Progress {
    /// Of work with so many steps; bytes, most often.
    pub fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, done: 0, shown: None, is_on: io::stderr().is_terminal() }
    }

    /// So many more are done.
    pub fn add(&mut self, steps: u64) {
        self.done = self.done.saturating_add(steps);
        if self.is_on && self.shown.is_none_or(|shown| shown.elapsed() >= SHOW_EVERY) {
            self.shown = Some(Instant::now());
            write(&self.line());
        }
    }

    fn line(&self) -> String {
        // Files may have grown since they were counted.
        let percent = (self.done.saturating_mul(100) / self.total.max(1)).min(100);
        let bars = usize::try_from(percent / 5).unwrap_or(0);
        format!("{:<10} [{:<20}] {percent:>3} %", self.what, "#".repeat(bars))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            write("");
        }
    }
}

/// Nobody has to look.
fn write(line: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "\r{line:<LINE_CHARS$}\r").and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let mut progress = Progress { what: "copying", total: 200, done: 0, shown: None, is_on: false };
        assert_eq!(progress.line(), "copying    [                    ]   0 %");
        progress.add(150);
        assert_eq!(progress.line(), "copying    [###############     ]  75 %");
        progress.add(100);
        assert_eq!(progress.line(), "copying    [####################] 100 %");
        assert!(progress.shown.is_none(), "nobody looks");
        let empty = Progress { what: "verifying", total: 0, done: 0, shown: None, is_on: false };
        assert!(empty.line().contains("  0 %") && empty.line().len() <= LINE_CHARS);
    }
}

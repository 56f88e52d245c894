//! What is wrong with a configuration: the key's path, what was found, what is expected.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The longest part of a value that an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, such as `route[0].amount`.
    pub key: String,
    /// The environment variable that set it; `None` when the file did.
    pub variable: Option<String>,
    /// What is there.
    pub found: String,
    /// What must be there.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.key, self.found, self.expected)?;
        match &self.variable {
            Some(variable) => write!(f, " (set by the environment variable {variable})"),
            None => Ok(()),
        }
    }
}

/// A value as an error shows it: quoted, and cut when it is long.
pub(super) fn quoted(value: &str) -> String {
    if value.chars().count() <= SHOWN_CHARS_MAX {
        return format!("{value:?}");
    }
    let head: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{head:?}… ({} bytes)", value.len())
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: is not valid TOML: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        what: String,
    },
    /// Keys are missing, unknown, or hold what they must not.
    #[error("{}: {}", path.display(), list(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, at least one.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n  ")
}

/// Collects problems, so that one run tells about all of them.
pub(super) struct Problems {
    found: Vec<Problem>,
    /// Which environment variable set which key.
    variables: BTreeMap<String, String>,
}

impl Problems {
    pub(super) fn new(variables: BTreeMap<String, String>) -> Self {
        Self { found: Vec::new(), variables }
    }

    /// Notes one.
    pub(super) fn add(&mut self, key: impl Into<String>, found: impl Into<String>, expected: &str) {
        let key = key.into();
        let variable = self.variables.get(&key).cloned();
        self.found.push(Problem { key, variable, found: found.into(), expected: expected.into() });
    }

    /// `value` as `parse` reads it; notes a problem and answers `None` when `parse` refuses it.
    pub(super) fn check<T>(
        &mut self,
        key: impl Into<String>,
        value: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(value);
        if parsed.is_none() {
            self.add(key, quoted(value), expected);
        }
        parsed
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_in_errors() {
        assert_eq!(quoted("abc"), "\"abc\"");
        let shown = quoted(&"é".repeat(1_000_000));
        assert!(shown.len() < 300 && shown.ends_with("(2000000 bytes)"), "{shown}");
    }

    #[test]
    fn a_problem_names_the_variable_that_set_the_key() {
        let mut problems = Problems::new([("server.listen".into(), "FAREBOX__SERVER__LISTEN".into())].into());
        problems.add("server.listen", "\"x\"", "an address");
        assert_eq!(
            problems.into_vec()[0].to_string(),
            "server.listen: found \"x\", expected an address (set by the environment variable FAREBOX__SERVER__LISTEN)"
        );
    }
}

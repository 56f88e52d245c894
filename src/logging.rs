//! Logs on stderr: for people by default, as JSON lines when asked.
//!
//! `FAREBOX_LOG` filters them, in the syntax of tracing (`info`, `farebox=debug`, …); `FAREBOX_LOG_FORMAT`
//! is `text` or `json`. No secret is ever logged: keys, signatures, transactions and credentials have no
//! text form in the places that log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that filters.
const FILTER: &str = "FAREBOX_LOG";
/// The variable that chooses the form.
const FORMAT: &str = "FAREBOX_LOG_FORMAT";

/// A variable holds what it must not.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: found {found:?}, expected {expected}")]
pub struct LoggingError {
    variable: &'static str,
    found: String,
    expected: &'static str,
}

/// Starts logging.
pub fn start() -> Result<(), LoggingError> {
    let filter = std::env::var(FILTER).unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(&filter).map_err(|_| LoggingError {
        variable: FILTER,
        found: filter,
        expected: "a filter such as \"info\" or \"warn,farebox=debug\"",
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match std::env::var(FORMAT).as_deref() {
        Err(_) | Ok("" | "text") => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        Ok("json") => builder.json().init(),
        Ok(other) => {
            let expected = "\"text\" or \"json\"";
            return Err(LoggingError { variable: FORMAT, found: other.into(), expected });
        }
    }
    Ok(())
}

//! Logs on stderr: for people by default, as JSON lines when asked.
//!
//! `FAREBOX_LOG` filters them, in the syntax of tracing (`info`, `farebox=debug`, …); `FAREBOX_LOG_FORMAT`
//! is `text` or `json`. No secret is ever logged: keys, signatures, transactions and credentials have no
//! text form in the places that log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
#[cfg(feature = "otel")]
use tracing_subscriber::{Layer, fmt, prelude::*, registry};

/// The variable that filters.
const FILTER: &str = "FAREBOX_LOG";
/// The variable that chooses the form.
const FORMAT: &str = "FAREBOX_LOG_FORMAT";

/// A variable holds what it must not.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// One of ours.
    #[error("{variable}: found {found:?}, expected {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// One that names a collector of traces.
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Collector(#[from] crate::traces::CollectorError),
}

/// What has to live as long as the program logs and traces.
#[derive(Default)]
pub struct Logging {
    /// Sends the last traces when it is dropped.
    #[cfg(feature = "otel")]
    _collector: Option<crate::traces::Collector>,
}

/// Starts logging, and tracing when a collector is named.
pub fn start() -> Result<Logging, LoggingError> {
    let filter = std::env::var(FILTER).unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(&filter).map_err(|_| LoggingError::Variable {
        variable: FILTER,
        found: filter,
        expected: "a filter such as \"info\" or \"warn,farebox=debug\"",
    })?;
    let is_json = match std::env::var(FORMAT).as_deref() {
        Err(_) | Ok("" | "text") => false,
        Ok("json") => true,
        Ok(other) => {
            let expected = "\"text\" or \"json\"";
            return Err(LoggingError::Variable { variable: FORMAT, found: other.into(), expected });
        }
    };
    #[cfg(feature = "otel")]
    if let Some(collector) = crate::traces::Collector::of_environment()? {
        let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
        let lines = match is_json {
            true => lines.json().with_filter(filter).boxed(),
            false => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
        };
        registry().with(collector.layer()).with(lines).init();
        return Ok(Logging { _collector: Some(collector) });
    }
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match is_json {
        true => builder.json().init(),
        false => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(Logging::default())
}

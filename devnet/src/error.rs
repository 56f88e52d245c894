//! Why a chain could not be started, or ended.

use std::{io, path::PathBuf, process::ExitStatus};

/// A failure of the local chain itself. Refusals of single requests go to their callers as JSON-RPC errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The public port could not be opened.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// There is no anvil.
    #[error(
        "anvil not found (looked at {}); run scripts/setup.sh, or set FAREBOX_ANVIL to the path of the binary",
        looked_at.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    AnvilMissing {
        /// Every place that was tried.
        looked_at: Vec<PathBuf>,
    },
    /// The binary could not be started.
    #[error("cannot run {}: {source}", binary.display())]
    Spawn {
        /// The binary.
        binary: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// anvil ended, or did not come up in time.
    #[error("anvil {}; its last words: {last_words}", match status {
        Some(status) => format!("ended ({status})"),
        None => "did not listen in time".to_owned(),
    })]
    AnvilEnded {
        /// How it ended; none when it still runs but does not answer.
        status: Option<ExitStatus>,
        /// The end of its error output.
        last_words: String,
    },
    /// The chain runs but its escrows could not be placed.
    #[error("cannot prepare the chain: {what}")]
    Genesis {
        /// Which step failed, and what the chain said.
        what: String,
    },
}

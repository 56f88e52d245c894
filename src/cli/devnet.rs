//! `farebox devnet`: a local chain until a signal. The chain itself is the crate `farebox-devnet`.

use std::io::{self, Write};

use farebox_devnet::{Devnet, Options};

use super::{End, end_with};
use crate::signals::Signals;

/// Why there is no chain.
#[derive(Debug, thiserror::Error)]
enum DevnetError {
    #[error(transparent)]
    Chain(#[from] farebox_devnet::Error),
    #[error("cannot {what}: {cause}")]
    System { what: &'static str, cause: io::Error },
}

/// Runs it.
pub fn run(port: u16, chain_id: u64) -> End {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| DevnetError::System { what: "start the runtime", cause })
        .and_then(|runtime| runtime.block_on(until_told(Options { port, chain_id, ..Options::default() })));
    match outcome {
        Ok(()) => End::Done,
        Err(error) => end_with(End::CannotStart, &error),
    }
}

async fn until_told(options: Options) -> Result<(), DevnetError> {
    // Before the chain: a signal while it starts must end it too.
    let mut signals =
        Signals::new().map_err(|cause| DevnetError::System { what: "listen to signals", cause })?;
    let mut devnet = tokio::select! {
        () = signals.next() => return Ok(()),
        started = Devnet::start(options) => started?,
    };
    let told = print(&devnet).map_err(|cause| DevnetError::System { what: "print the addresses", cause });
    let ended = match told {
        Err(error) => Err(error),
        Ok(()) => tokio::select! {
            () = signals.next() => Ok(()),
            error = devnet.ended() => Err(error.into()),
        },
    };
    devnet.stop().await;
    ended
}

fn print(devnet: &Devnet) -> io::Result<()> {
    let line = serde_json::to_string(devnet.info())?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

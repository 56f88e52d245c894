//! Runs a local Tempo chain until the terminal or a signal ends it. Prints one line of JSON that says where
//! everything is.
//!
//! `farebox-devnet [--port PORT] [--chain-id ID]`
//!
//! The program `farebox` has the same as a subcommand; this binary builds in a fraction of the time.

#![forbid(unsafe_code)]

use std::{env, process::ExitCode, str::FromStr};

use farebox_devnet::{Devnet, Options};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: farebox-devnet [--port PORT] [--chain-id ID]";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("farebox-devnet: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    // Both from the start: one that comes as soon as the line is printed must not be lost.
    let mut terminated = signal(SignalKind::terminate()).map_err(|cause| cause.to_string())?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|cause| cause.to_string())?;
    let mut devnet = Devnet::start(options(env::args().skip(1))?).await.map_err(|error| error.to_string())?;
    let info = serde_json::to_string(devnet.info()).map_err(|cause| cause.to_string())?;
    println!("{info}");
    tokio::select! {
        error = devnet.ended() => return Err(error.to_string()),
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    devnet.stop().await;
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--port" => options.port = number(&name, arguments.next())?,
            "--chain-id" => options.chain_id = number(&name, arguments.next())?,
            _ => return Err(format!("unknown argument {name}; {USAGE}")),
        }
    }
    Ok(options)
}

fn number<T: FromStr>(name: &str, value: Option<String>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{name} needs a number; {USAGE}"))?;
    value.parse().map_err(|_| format!("{name} is {value}, expected a number; {USAGE}"))
}

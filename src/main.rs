//! The program: command line, configuration, gateway, admin API. Wiring only; no rule about money lives here.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

mod admin;
mod cli;
mod config;
mod copy;
mod denials;
mod doctor;
mod facilitator;
mod gateway;
mod keys;
mod local;
mod logging;
mod measure;
mod notify;
mod serve;
mod signals;
mod traces;
mod view;
mod web_client;
mod webhook;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    farebox_settlement::fail_points::arm();
    cli::Cli::parse().run().into()
}

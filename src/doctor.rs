//! What can be wrong with a set-up: one module for each part of the machine that a server stands on.
//!
//! | module | what it looks at |
//! |---|---|
//! | `files` | the configuration, key files and their modes |
//! | `machine` | processor, file descriptors, memory |
//! | `disk` | room, speed of a sync, kind of file system |
//! | `books` | the store: its version, who holds it, whose channels are in it |
//! | `network` | addresses to listen on, the upstream |
//! | `chain` | nodes, chain id, clock, escrows, fees |
//!
//! `farebox doctor` calls [`examine`]. Nothing is repaired here, and no secret is shown.

mod books;
mod chain;
mod disk;
mod files;
mod finding;
mod machine;
mod network;

use std::path::Path;

pub use disk::time_syncs as sync_times;
pub use finding::{Finding, Level};

/// What counts as little room and as a slow disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Free bytes on the disk of the books below which it is an error.
    pub free_bytes_min: u64,
    /// The slowest sync of a hundred that is no warning, in microseconds.
    pub sync_us_max: u64,
}

/// Looks at everything. Without a usable configuration, at what needs none.
pub fn examine(path: &Path, thresholds: &Thresholds) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = files::config(path, &mut findings);
    machine::backend(&mut findings);
    let Some(config) = config else { return findings };
    files::keys(&config, &mut findings);
    machine::descriptors(&config, &mut findings);
    machine::memory(&config, &mut findings);
    disk::disk(&config, thresholds, &mut findings);
    let server = books::books(&config, &mut findings);
    network::listeners(&config, server, &mut findings);
    network::upstream(&config, &mut findings);
    chain::chain(&config, &mut findings);
    findings
}

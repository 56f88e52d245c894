//! The command line: what can be asked of the program, and how it ends.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use farebox_settlement::Retire;

mod act;
mod ask;
mod backup;
mod bench;
mod channel;
mod channels;
mod check;
mod completions;
mod decode_open;
mod devnet;
mod doctor;
mod export;
mod pages;
mod plan;
mod progress;
mod reconcile;
mod restore;
mod settle;
mod verify;

use self::act::Act;
use crate::doctor::Thresholds;
use crate::{config, logging, serve};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `verify`: every voucher is valid
  1  `verify`: a voucher is invalid; `serve`: the server failed while it ran; `check`: something is wrong;
     `reconcile`: something differs; `doctor`: an error was found; the actions on channels
     and payers: the books say no;
     `restore --reconcile`: books and chain cannot both be right
  2  bad arguments, or input that cannot be used
  3  the configuration, a key file or FAREBOX_BACKEND is refused, also because the chain is another than
     it says
  4  cannot start, or cannot reach what is needed: the chain, the ledger, an address

Environment:
  FAREBOX__SERVER__LISTEN=…   overrides `listen` in [server]; every key likewise
  FAREBOX_LOCAL_KEY=…         the local API's key (64 hex digits), in place of `key_file` in [local]
  FAREBOX_BACKEND=…           verifies with \"portable\" or \"avx512\" code, not the fastest that runs here
  FAREBOX_LOG=…               filters logs (default \"info\"); they go to stderr
  FAREBOX_LOG_FORMAT=json     logs as JSON lines";

/// Takes machine payments: verifies vouchers, keeps the books, settles on chain.
#[derive(Debug, Parser)]
#[command(name = "farebox", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve paid traffic in front of an upstream.
    ///
    /// Prints one JSON line with the addresses that it listens on, and runs until SIGTERM or SIGINT.
    #[command(after_help = EXIT_CODES)]
    Serve {
        /// The configuration (TOML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Check the configuration and the key files, and end. Asks no chain and opens no ledger.
        #[arg(long)]
        check_config: bool,
        /// Take the sockets and the books of the running server, which ends in order; requests wait meanwhile.
        ///
        /// It is asked at `server.handover_socket`. When none runs, this one just starts.
        #[arg(long, conflicts_with = "check_config")]
        take_over: bool,
    },
    /// Look for what is wrong with this set-up, and say how it is repaired; also beside a running server.
    ///
    /// Configuration, key files, processor, limits, disk, books, addresses, upstream, nodes, clock, escrows, fees.
    /// Ends with 1 when there is an error; warnings alone are 0.
    #[command(after_help = EXIT_CODES)]
    Doctor {
        /// The configuration to examine.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
        /// Free bytes on the disk of the books below which it is an error.
        #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
        free_bytes_min: u64,
        /// The slowest of a hundred syncs that is no warning, in microseconds.
        #[arg(long, value_name = "US", default_value_t = 20_000)]
        sync_us_max: u64,
    },
    /// Verify vouchers: a JSON array, an object with "vouchers", or NDJSON; one line of JSON each.
    #[command(after_help = EXIT_CODES)]
    Verify {
        /// The input; stdin when absent.
        file: Option<PathBuf>,
    },
    /// Show what a signed open transaction opens, as JSON.
    #[command(after_help = EXIT_CODES)]
    DecodeOpen {
        /// The signed transaction: hex with 0x.
        transaction: String,
    },
    /// List the channels in the books; also beside a running server.
    #[command(after_help = EXIT_CODES)]
    Channels {
        /// The configuration that names the ledger.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON document instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show one channel and what the journal tells of it; also beside a running server.
    #[command(after_help = EXIT_CODES)]
    Channel {
        /// The channel's id: 0x and 64 hex digits.
        id: String,
        /// The configuration that names the ledger.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Have a running server settle a channel now, whatever `[settlement]` says; needs its admin key.
    #[command(after_help = EXIT_CODES)]
    SettleNow(Action),
    /// Have a running server close a channel now, for what was spent; needs its admin key. Cannot be taken back.
    #[command(after_help = EXIT_CODES)]
    Close(Action),
    /// Have a running server take no vouchers of a channel, for a time or for good; needs its admin key.
    ///
    /// What was spent is claimed as ever. It outlives a restart.
    #[command(after_help = EXIT_CODES)]
    Quarantine {
        #[command(flatten)]
        action: Action,
        /// For how long, in seconds; for good when absent.
        #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
        seconds: Option<u64>,
    },
    /// Have a running server take vouchers of a quarantined channel again; needs its admin key.
    #[command(after_help = EXIT_CODES)]
    Release(Action),
    /// Have a running server take no vouchers of a payer, for a time or for good; needs its admin key.
    #[command(after_help = EXIT_CODES)]
    Deny {
        #[command(flatten)]
        payer: PayerAction,
        /// For how long, in seconds; for good when absent.
        #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
        seconds: Option<u64>,
    },
    /// Have a running server take vouchers of a denied payer again; needs its admin key.
    #[command(after_help = EXIT_CODES)]
    Allow(PayerAction),
    /// Say what would be claimed on chain now and why, and why the rest is left; also beside a running server.
    #[command(after_help = EXIT_CODES)]
    Plan {
        /// The configuration that names the ledger, the key and the policy.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Run the books and their settlement for services beside Farebox, which pay in through the local API.
    ///
    /// No gateway: `[upstream]` and `[[route]]` are not needed. Prints one JSON line with the addresses that it
    /// listens on, and runs until SIGTERM or SIGINT.
    #[command(after_help = EXIT_CODES)]
    Settle {
        /// The configuration (TOML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// A watchtower: follow the books in this folder, which another process writes, and claim the close requests
        /// that it leaves alone. Its own books are those of the configuration; there is no local API.
        #[arg(long, value_name = "DIR")]
        watch: Option<PathBuf>,
        /// How old a close request must be before the watchtower claims, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 450, requires = "watch", value_parser = clap::value_parser!(u64).range(..=840))]
        after: u64,
        /// Take the sockets and the books of the running `farebox settle`, as `serve --take-over` does.
        #[arg(long, conflicts_with = "watch")]
        take_over: bool,
    },
    /// Print every money event: the journal, and what settlement sent and paid for it; also beside a running server.
    #[command(after_help = EXIT_CODES)]
    Export {
        /// The configuration that names the ledger.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One row a line.
        #[arg(long, value_enum, default_value = "csv")]
        format: export::Format,
        /// From this time on: Unix seconds, or RFC 3339.
        #[arg(long, alias = "since", value_name = "TIME", value_parser = export::time)]
        from: Option<farebox_core::units::UnixSeconds>,
        /// Before this time.
        #[arg(long, value_name = "TIME", value_parser = export::time)]
        to: Option<farebox_core::units::UnixSeconds>,
        /// Of this channel alone.
        #[arg(long, value_name = "ID", value_parser = export::channel)]
        channel: Option<farebox_core::units::ChannelId>,
    },
    /// Compare books, journal and chain, and name every channel and amount that differ. Changes nothing.
    #[command(after_help = EXIT_CODES)]
    Reconcile {
        /// The configuration that names the ledger and the chain.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Copy the books into a folder, of a running server or without one.
    #[command(after_help = EXIT_CODES)]
    Backup {
        /// The configuration that names the ledger, and the running server's admin address.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Where the backup goes: a folder that does not exist yet, or an empty one.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// The running server's admin address, when it is not the configured one.
        #[arg(long, value_name = "ADDRESS")]
        admin: Option<std::net::SocketAddr>,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Read everything in the books, verify it, and say what is wrong. Changes nothing.
    #[command(after_help = EXIT_CODES)]
    Check {
        /// The configuration that names the ledger.
        #[arg(short, long, value_name = "FILE", required_unless_present = "path")]
        config: Option<PathBuf>,
        /// A ledger, or a backup, in this folder instead.
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        path: Option<PathBuf>,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Measure this machine: verification, the disk's sync, and the books; takes a few seconds.
    ///
    /// What it writes goes into a folder of its own, which is removed. Build with --release, or it measures the debugger.
    #[command(after_help = EXIT_CODES)]
    Bench {
        /// A folder on the disk to measure.
        #[arg(long, value_name = "DIR", default_value = ".")]
        path: PathBuf,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Put a backup in the place of lost books, then compare them with the chain.
    ///
    /// First `restore --from DIR`: it overwrites nothing. Then `restore --reconcile`: until it found books and
    /// chain to agree, no server starts on them.
    #[command(after_help = EXIT_CODES)]
    Restore {
        /// The configuration that says where the ledger goes, and which chain it is about.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// The backup.
        #[arg(long, value_name = "DIR", required_unless_present = "reconcile")]
        from: Option<PathBuf>,
        /// Compare the restored books with the chain, and tell them what they missed.
        #[arg(long)]
        reconcile: bool,
        /// Close every open channel instead of serving it again, for what the books charged.
        #[arg(long, requires = "reconcile")]
        close_all: bool,
        /// One JSON document a step instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Run a local Tempo chain with both escrows, for development.
    ///
    /// Prints one JSON line (RPC URL, chain id, contracts, funded keys), runs until Ctrl-C, and leaves nothing
    /// behind.
    #[command(after_help = EXIT_CODES)]
    Devnet {
        /// The RPC port; 0 takes a free one.
        #[arg(long, default_value_t = 8545)]
        port: u16,
        /// The chain id.
        #[arg(long, default_value_t = 31337)]
        chain_id: u64,
    },
    /// Print what a shell needs to complete these commands.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// The folder for them.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What is done with one channel, through the admin API.
#[derive(Debug, Args)]
struct Action {
    /// The channel's id: 0x and 64 hex digits.
    id: String,
    #[command(flatten)]
    server: Server,
}

/// What is done with one payer, likewise.
#[derive(Debug, Args)]
struct PayerAction {
    /// The payer's address: 0x and 40 hex digits.
    payer: String,
    #[command(flatten)]
    server: Server,
}

/// The server that is told to, and how its answer is shown.
#[derive(Debug, Args)]
struct Server {
    /// The configuration that names the admin address and the admin key.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The running server's admin address, when it is not the configured one.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<std::net::SocketAddr>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl Server {
    fn act(&self, act: Act, whom: &str) -> End {
        act::run(&self.config, act, whom, self.admin, self.json)
    }
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Done.
    Done = 0,
    /// A negative answer, or a failure of what ran.
    Failed = 1,
    /// Bad arguments or input.
    Unusable = 2,
    /// A refused configuration or key file.
    Refused = 3,
    /// Something that is needed is not there.
    CannotStart = 4,
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        Self::from(end as u8)
    }
}

/// Says an error on stderr and gives the end that goes with it.
fn end_with(end: End, error: &dyn std::error::Error) -> End {
    eprintln!("farebox: {error}");
    end
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> End {
        // Until the end: it sends the last traces.
        let _logging = match logging::start() {
            Ok(logging) => logging,
            Err(error) => return end_with(End::Refused, &error),
        };
        match self.command {
            Command::Serve { config, check_config: true, .. } => serve::check(&config),
            Command::Serve { config, check_config: false, take_over } => serve::run(&config, take_over),
            Command::Doctor { config, json, free_bytes_min, sync_us_max } => {
                doctor::run(&config, json, &Thresholds { free_bytes_min, sync_us_max })
            }
            Command::Verify { file } => verify::run(file.as_deref()),
            Command::DecodeOpen { transaction } => decode_open::run(&transaction),
            Command::Channels { config, json } => channels::run(&config, json),
            Command::Plan { config, json } => plan::run(&config, json),
            Command::Settle { config, watch, after, take_over } => {
                settle::run(&config, watch, after, take_over)
            }
            Command::Export { config, format, from, to, channel } => {
                export::run(&config, format, export::Wanted { from, to, channel })
            }
            Command::Reconcile { config, json } => reconcile::run(&config, json),
            Command::Backup { config, to, admin, json } => backup::run(&config, &to, admin, json),
            Command::Bench { path, json } => bench::run(&path, json),
            Command::Check { config, path, json } => check::run(config.as_deref(), path.as_deref(), json),
            Command::Restore { config, from, reconcile, close_all, json } => {
                let retire = if close_all { Retire::All } else { Retire::PaidOutAbove };
                restore::run(&config, from.as_deref(), reconcile.then_some(retire), json)
            }
            Command::Channel { id, config, json } => channel::run(&config, &id, json),
            Command::SettleNow(Action { id, server }) => server.act(Act::Settle, &id),
            Command::Close(Action { id, server }) => server.act(Act::Close, &id),
            Command::Quarantine { action: Action { id, server }, seconds } => {
                server.act(Act::Quarantine(seconds), &id)
            }
            Command::Release(Action { id, server }) => server.act(Act::Release, &id),
            Command::Deny { payer: PayerAction { payer, server }, seconds } => {
                server.act(Act::Deny(seconds), &payer)
            }
            Command::Allow(PayerAction { payer, server }) => server.act(Act::Allow, &payer),
            Command::Completions { shell } => completions::completions(shell),
            Command::Man { dir } => completions::man(dir.as_deref()),
            Command::Devnet { port, chain_id } => devnet::run(port, chain_id),
        }
    }
}

/// The configuration under the process's environment, for everything but a server.
pub fn load_config(path: &std::path::Path) -> Result<config::Config, config::ConfigError> {
    load_config_for(path, config::Purpose::Books)
}

/// The configuration under the process's environment.
pub fn load_config_for(
    path: &std::path::Path,
    purpose: config::Purpose,
) -> Result<config::Config, config::ConfigError> {
    // Variables that are not Unicode cannot be ours: our names and values are ASCII.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::Config::load(path, purpose, environment)
}

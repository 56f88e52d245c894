//! Takes the cash box to the bank: everything that Farebox does on chain.
//!
//! The door asks through [`farebox_engine::chain::Chain`]: broadcast this client's open, that top-up, close
//! this channel. Beside that, two tasks run: the watcher tells the books what the escrows say, the worker
//! claims what is due, in batches, and finishes what a crash left half done.
//!
//! | part | what it does |
//! |---|---|
//! | [`transaction`] | reads clients' transactions (pure) |
//! | [`client`] | asks the chain's nodes, and doubts their answers |
//! | `opener` | opens and tops up: checks, broadcast, receipt, event, state |
//! | `charge` | a transfer that pays for one request: checks, broadcast, receipt |
//! | `sponsor` | pays the fees of a client's transaction, within a policy and a budget |
//! | `sender`, [`signer`] | claims in one transaction: simulated, written down, sent, followed to its fate |
//! | [`intent`], [`quarantine`] | what may have been sent, and what the chain refuses: durable |
//! | [`fact`], `watcher`, `branch` | the escrows' events, told to the books; once more when the chain replaced blocks |
//! | `heads` | new blocks, told over a WebSocket: the watcher need not wait |
//! | `cross_check` | open channels held against their escrow, whatever the events said |
//! | `feed`, `worker` | what changed, what is due, and every claim to its end |
//! | [`watchtower`] | claims from another process's books what that one leaves alone |
//! | [`reconcile`](mod@reconcile), [`differences`](mod@differences) | compare books with the chain: to tell them, or to say so |
//! | [`history`] | what was sent, and what it cost: for the accounting |
//!
//! It decides nothing about money: amounts come from the books (`farebox-core`), the shape of calls and the
//! fate of transactions from `farebox-settlement-plan`. Nothing on a voucher's way waits for it.
#![forbid(unsafe_code)]

mod account;
mod branch;
mod charge;
mod claim;
pub mod client;
pub mod config;
mod cross_check;
pub mod differences;
pub mod fact;
#[cfg(feature = "failpoints")]
pub mod fail_points;
#[cfg(not(feature = "failpoints"))]
#[allow(dead_code, reason = "only tests look at the list")]
mod fail_points;
mod feed;
mod heads;
pub mod history;
pub mod intent;
mod missed;
mod opener;
mod opening;
pub mod quarantine;
pub mod reconcile;
mod sender;
mod settlement;
pub mod signer;
mod sponsor;
mod submit;
mod trace;
pub mod transaction;
mod watcher;
pub mod watchtower;
mod worker;

/// The decisions, for those that show or configure them.
pub mod plan {
    pub use farebox_settlement_plan::gas::{Gas, GasPrice};
    pub use farebox_settlement_plan::planner::{
        Account, Action, Batch, Decision, DueIndex, Hold, Lane, Left, Limits, Market, Plan, Planned, Policy,
        Why, plan,
    };
}

pub use account::{BooksAtRest, BooksAtRestError};
pub use client::{Client, ClientConfig, ClientError};
pub use config::{Config, Escrow, HeadsUrl, SponsorConfig};
pub use differences::{Difference, differences};
pub use history::{Execution, SentFate, SentTransaction};
pub use intent::{Intent, IntentError};
pub use quarantine::Quarantine;
pub use reconcile::{Conflict, Correction, ReconcileError, Reconciliation, Retire, reconcile};
pub use settlement::{Settlement, SettlementHealth, StartError};
pub use signer::{
    AwsKeyName, GcpKeyName, KeyHealth, KeyService, KmsKeyError, KmsKeyName, LocalKey, PayeeSigner, RemoteKey,
    SignerError, SigningError,
};
pub use transaction::{DecodedOpen, DecodedTopUp, TransactionError};
pub use watcher::WatcherHealth;
pub use watchtower::{OpenBooks, Watchtower, WatchtowerConfig, WatchtowerError};

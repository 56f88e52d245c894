//! Plays Farebox from one seed: payers, channels, a chain, a disk that fails, a process that dies; and checks
//! the money rules after every step.
//!
//! Test only; nothing else depends on it. See `docs/testing.md` for how to run it and how to replay a seed.
//!
//! [`world`] has no threads and no time: one generator decides everything that happens,
//! so a seed is a history, and a failure can be looked at again and again. It drives the real rules
//! (`channel::decide`, `State::evolve`), the real journal (frames, replay, images), the real recovery
//! (`ledger::recover`) and the real plan of settlement over a simulated disk and chain.
//!
//! | module | what it is |
//! |---|---|
//! | [`cast`] | the channels, their keys, their vouchers, good and bad |
//! | [`account`] | one channel once more, in plain integers: what every answer is compared with |
//! | [`said`] | answers without what no rule speaks of, so that they can be compared |
//! | [`disk`] | a ledger with a live and a durable image, that dies where it is told |
//! | [`chain`] | both escrows: deposits, settlements, close requests, transactions in flight |
//! | [`server`] | the shell in one thread: batches, frames, answers, checkpoints, restarts |
//! | [`closer`] | brings closes to the chain, through doubt and restarts |
//! | [`linear`] | histories of the real engine with its threads, and the search for an order that explains them |
//! | [`world`] | all of it together, and the dice |
//! | [`rules`] | the eleven money rules, from where the payer and the chain stand |
//! | [`bug`] | mistakes that can be planted, to show that they are found |
//! | [`run`] | many seeds, and what to print when one fails |
#![forbid(unsafe_code)]

pub mod account;
pub mod bug;
pub mod cast;
pub mod chain;
pub mod closer;
pub mod disk;
pub mod linear;
pub mod rules;
pub mod run;
pub mod said;
pub mod server;
pub mod world;

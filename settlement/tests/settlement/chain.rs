//! Settlement on a local chain: opens, top-ups, closes, close requests, crashes.

mod batch;
mod chaos;
mod charge;
mod close;
mod engine_cost;
mod heads;
mod key_service;
mod many;
mod open;
mod plain;
mod reorg;
mod restart;
mod sponsor;
mod watch;
mod watchtower;

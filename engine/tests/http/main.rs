//! The door from end to end: real credentials, real books in memory, a double for the chain.
#![cfg(feature = "http")]

mod ahead;
mod answers;
mod charge;
mod evm;
#[path = "../support/faulty.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod faulty;
mod layer;
mod limits;
mod manage;
mod many;
mod meters;
mod methods;
mod money;
mod offers;
mod open;
#[allow(dead_code, reason = "the fuzz targets call it by name")]
mod parsers;
mod stream;
#[cfg(feature = "charge")]
mod stripe;
mod support;
mod websocket;

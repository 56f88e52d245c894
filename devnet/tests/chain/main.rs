//! Starts real local chains and uses them like clients do. Needs anvil in `node_modules` (scripts/setup.sh);
//! without it every test fails and says so.

#![forbid(unsafe_code)]

mod client;
mod differential;
mod process;
mod rpc;
mod simulation;
mod v1;
mod v2;

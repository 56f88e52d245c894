//! What to claim, when, and in which call: the decisions of settlement, and nothing else.
//!
//! `farebox-settlement` acts; this crate decides. It does no IO and reads no clock: the time, the chain's
//! head and what was seen come in as values, so every decision can be tested from a table or a seed.
//!
//! | module | what it decides |
//! |---|---|
//! | [`close_call`] | which call with which arguments closes a channel |
//! | [`attempt`] | the life of one transaction, from signing to a fate that is sure |
//! | [`deadline`] | until when a close request must be answered |
//! | [`backoff`] | when to try again |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod attempt;
pub mod backoff;
pub mod close_call;
pub mod deadline;

pub use attempt::{Attempt, Observation, Phase};
pub use backoff::Backoff;
pub use close_call::{CloseCall, PlanError, plan_close};
pub use deadline::{CloseDeadlines, Urgency};

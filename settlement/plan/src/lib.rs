//! What to claim, when, and in which call: the decisions of settlement, and nothing else.
//!
//! `farebox-settlement` acts; this crate decides. It does no IO and reads no clock: the time, the chain's
//! head and what was seen come in as values, so every decision can be tested from a table or a seed.
//!
//! | module | what it decides |
//! |---|---|
//! | [`claim_call`] | which call with which arguments settles or closes a channel |
//! | [`attempt`] | the life of one transaction, from signing to a fate that is sure |
//! | [`deadline`] | until when a close request must be answered |
//! | [`backoff`] | when to try again |
//! | [`planner`] | which channels are claimed, why, and in which transaction |
//! | [`reorg`] | which facts count when a chain takes blocks back |
//! | [`gas`] | what gas costs, and what is offered for it |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod attempt;
pub mod backoff;
pub mod claim_call;
pub mod deadline;
pub mod gas;
pub mod planner;
pub mod reorg;

pub use attempt::{Attempt, Observation, Phase};
pub use backoff::Backoff;
pub use claim_call::{CallArguments, ClaimCall, PlanError, plan_close, plan_settle};
pub use deadline::{CloseDeadlines, Urgency};

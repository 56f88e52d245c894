//! The state of one channel and every legal step it can take.
//!
//! The shape is decide / evolve: [`apply`] looks at a [`State`] and a [`Command`] and decides, as a
//! [`Transition`] (the events that now are true, and what to answer) or a [`Rejection`]; the events
//! are what the journal keeps, and [`State::evolve`] is the only code that changes a state, for live
//! traffic and for replay alike. Nothing here reads a clock, verifies a signature or knows a store.
//!
//! The money rules (see `docs/design.md`) are stated once, in [`State::check`], and searched for
//! counterexamples by the property tests beside this module.

mod accept;
mod access;
mod apply;
mod chain_facts;
mod close;
mod command;
mod event;
mod evolve;
mod identity;
mod invariant;
mod kept;
mod limits;
mod outcome;
mod rate;
mod rejection;
mod spend;
mod state;

pub use access::{Access, AccessList, Party, Subject, SubjectKind, Until};
pub use apply::{apply, decide, open};
pub use command::{CloseReason, Command, OUTCOME_AGE_S_MAX_DEFAULT, Policy, Spend};
pub use event::{ChainPosition, Event};
pub use identity::{Advertised, Identity, Terms};
pub use invariant::Violation;
pub use kept::{KEPT_VOUCHERS_MAX, KeptVoucher, KeptVouchers};
pub use limits::{Exposure, Limit, Limits, UnsettledBasis};
pub use outcome::{
    Answer, Claim, Decision, OUTCOMES_MAX, Outcome, Outcomes, RequestKey, Snapshot, Transition,
};
pub use rate::{Bucket, RATE_MAX, Rate, UnixMicros};
pub use rejection::Rejection;
pub use state::{Closure, Phase, RESERVATIONS_MAX, Reservation, State};

#[cfg(test)]
mod tests;

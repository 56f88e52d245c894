//! From what the books hold to the transactions that claim it.
//!
//! The worker of `farebox-settlement` asks [`plan`] with the channels that a [`DueIndex`] names, and `farebox plan`
//! asks it with all of them, to show what would happen and why. Nothing is rescanned: the books' changes feed the
//! index, and the index says who has to be looked at.
//!
//! | part | what it says |
//! |---|---|
//! | [`Account`] | one channel, as far as planning needs it |
//! | [`Policy`], [`Limits`], [`Market`] | what the operator wants, what the chain takes, what it costs |
//! | [`decide`] | claim it or leave it, and why |
//! | [`plan`] | the claims of many channels, in as few transactions as hold them |
//! | [`DueIndex`] | whom to look at next |

mod account;
mod decision;
mod index;
mod pack;
mod policy;

pub use account::{Account, Hold, Standing};
pub use decision::{Action, Decision, Left, Why, decide};
pub use index::DueIndex;
pub use pack::{Batch, Lane, Plan, Planned, plan};
pub use policy::{CallGas, Limits, Market, Policy};

#[cfg(test)]
mod tests;

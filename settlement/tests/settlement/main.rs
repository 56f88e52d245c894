//! Settlement against nodes that lie, lag, hang and drop, and against a real local chain.
//!
//! The tests of [`chain`] start anvil from `node_modules` (`scripts/setup.sh` installs it). Without it they
//! fail and say so; none is skipped.

mod chain;
mod nodes;
mod quorum;
mod support;

//! Searches for counterexamples to every money rule, and names what hurt other servers.

mod claims;
mod limits;
mod model;
mod regressions;
mod rules;
mod signatures;
mod steps;
mod support;

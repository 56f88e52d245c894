//! The spans of claims, for who follows traces; see the program's `traces`. They cost a look at a flag when nobody does.

use farebox_core::units::B256;
use tracing::Span;
use tracing::field::{Empty, display};

/// The target of all spans of Farebox.
const TARGET: &str = "farebox::trace";

/// Claims on their way: one transaction, or more when some are refused.
pub(crate) fn claim(calls: usize, tries: u32) -> Span {
    tracing::trace_span!(target: TARGET, parent: None, "claim", calls, tries, tx_hash = Empty)
}

/// The key at work.
pub(crate) fn sign() -> Span {
    tracing::trace_span!(target: TARGET, "sign")
}

/// Notes in the claim's span which transaction it became.
pub(crate) fn note_transaction(tx_hash: B256) {
    Span::current().record("tx_hash", display(tx_hash));
}

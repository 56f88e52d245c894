//! What books do not know of a channel that lives, and the steps that tell them.
//!
//! For restored books ([`crate::reconcile`](mod@crate::reconcile)) and for the check beside the events (`cross_check`).

use farebox_core::channel::{ChainPosition, Snapshot};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_engine::Step;

use crate::reconcile::Correction;

/// The escrow's word on a channel that lives.
#[derive(Clone, Copy)]
pub(crate) struct Living {
    pub(crate) deposit: Amount,
    pub(crate) settled: Amount,
    pub(crate) close_requested_at: Option<UnixSeconds>,
}

/// What the books do not know of a channel that lives, and the steps that tell them.
pub(crate) fn missed(books: &Snapshot, chain: Living, position: ChainPosition) -> Vec<(Correction, Step)> {
    let mut missed = Vec::new();
    let (was, is) = (books.deposit, chain.deposit);
    if is > was {
        let step = Step::ToppedUp { deposit: is, position, cancels_close: false };
        missed.push((Correction::Deposit { was, is }, step));
    }
    let (was, is) = (books.settled, chain.settled);
    if is > was {
        missed.push((Correction::Settled { was, is }, Step::Settled { settled: is, position }));
    }
    match (books.close_requested_at, chain.close_requested_at) {
        (Some(_), None) => {
            missed.push((Correction::CloseRequestCancelled, Step::CloseRequestCancelled { position }));
        }
        (known, Some(at)) if known != Some(at) => {
            missed.push((Correction::CloseRequested { at }, Step::CloseRequested { at, position }));
        }
        _ => {}
    }
    missed
}

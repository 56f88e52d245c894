//! Where planted mistakes change what the rules see and say.

use farebox_core::channel::{Answer, Claim, Decision, Identity, State};
use farebox_core::units::{Address, Amount};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::Step;

use super::Request;
use crate::account::Op;
use crate::bug::Bug;
use crate::cast::{Hand, stranger};

/// Whose signature is asked for.
pub(super) fn expected_signer(bug: Option<Bug>, request: &Request, identity: &Identity) -> Address {
    match (bug, request.hand, &request.op) {
        (Some(Bug::TrustPayload), Hand::Stranger, Op::Submit { .. } | Op::Close { .. }) => {
            stranger(request.member)
        }
        _ => identity.expected_signer(),
    }
}

/// The state that the rules look at, when it is not the true one.
pub(super) fn seen(
    bug: Option<Bug>,
    state: &State,
    stale: Option<&State>,
    request: &Request,
) -> Option<State> {
    let mut seen = state.clone();
    match (bug?, &request.op) {
        (Bug::SplitStep, Op::Submit { .. } | Op::Step(Step::Spend(_))) => return stale.cloned(),
        (Bug::IgnoreCloseRequest, _) => seen.close_requested_at = None,
        (Bug::PublicPays, Op::Submit { .. } | Op::Step(Step::Spend(_))) => seen.settled = Amount::ZERO,
        (Bug::LowerPays, Op::Submit { amount, .. }) => {
            seen.accepted = seen.accepted.min(Amount::new(*amount))
        }
        (Bug::ForgetOutcomes, _) => seen.outcomes = Default::default(),
        (Bug::TrustPayload, Op::Submit { .. } | Op::Close { .. }) if request.hand == Hand::Stranger => {
            seen.signer = stranger(request.member);
        }
        _ => return None,
    }
    Some(seen)
}

/// What is answered.
pub(super) fn answer(bug: Option<Bug>, state: &State, decision: Decision) -> Decision {
    let answer = match (bug, decision.answer) {
        (Some(Bug::CloseWholeVoucher), Answer::Close(claim)) if state.protocol == ProtocolVersion::V2 => {
            Answer::Close(Claim { capture: claim.cumulative, ..claim })
        }
        (Some(Bug::SettleUnspent), Answer::Settle(claim)) => {
            let highest = state.kept.highest().map(|kept| Claim {
                cumulative: kept.amount,
                capture: kept.amount,
                signature: Some(kept.signature.clone()),
            });
            Answer::Settle(highest.unwrap_or(claim))
        }
        (_, answer) => answer,
    };
    Decision { answer, ..decision }
}

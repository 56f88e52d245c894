//! Every refusal as a problem (RFC 9457). This is the only place that turns a refusal into a status.
//!
//! A refusal may come from before any cryptography, so nothing here shows an accepted or spent amount
//! unless the rejection proves that a voucher of the payer was verified first (rule 3). What is on chain
//! (deposit, close request) is public.

use farebox_core::challenge::proof::ProofError;
use farebox_core::challenge::x402::BindingError;
use farebox_core::challenge::{CredentialError, EchoError, Problem, ProblemType};
use farebox_core::channel::Rejection;
use farebox_core::units::{B256, ChannelId};
use farebox_core::voucher::VoucherError;

use super::headers::IdempotencyKeyError;
use crate::chain::{ChainRefusal, CloseFailure};
use crate::pipeline::report_limited;
use crate::{EngineError, Refusal, sponsor};

/// A refusal on its way to the answer. Boxed: it is the rare case of every result here.
pub type Refused = Box<Problem>;

/// When a client should ask again about something that is on its way.
const RETRY_SOON_S: u64 = 1;
/// When a client should ask again about a transaction or a broken part.
const RETRY_LATER_S: u64 = 5;
/// When a client should ask again whose unsettled value is at a limit: a settlement takes about as long.
const RETRY_SETTLED_S: u64 = 30;

fn refused(kind: ProblemType, detail: impl Into<String>) -> Refused {
    Box::new(Problem::new(kind, detail))
}

/// No credential.
pub(super) fn payment_required() -> Refused {
    refused(ProblemType::PaymentRequired, "Payment is required.")
}

/// A credential that cannot be read.
pub(super) fn malformed(error: impl Into<CredentialError>) -> Refused {
    let error = error.into();
    let kind = match error {
        CredentialError::Several { .. } => ProblemType::BadRequest,
        _ => ProblemType::MalformedCredential,
    };
    refused(kind, error.to_string())
}

/// An idempotency key that cannot be used.
pub(super) fn bad_idempotency_key(error: IdempotencyKeyError) -> Refused {
    refused(ProblemType::BadRequest, error.to_string())
}

/// A challenge that is not taken. The draft gives top-ups a type of their own.
pub(super) fn bad_challenge(error: &EchoError, is_top_up: bool) -> Refused {
    let kind = if is_top_up { ProblemType::ChallengeNotFound } else { ProblemType::InvalidChallenge };
    refused(kind, error.to_string())
}

/// A challenge of ours that asked something else.
pub(super) fn other_challenge(is_top_up: bool) -> Refused {
    let kind = if is_top_up { ProblemType::ChallengeNotFound } else { ProblemType::InvalidChallenge };
    refused(kind, "the challenge was issued for another price or other terms than this resource asks now")
}

/// A body that is not the one of the challenge.
pub(super) fn other_body() -> Refused {
    let detail = "the challenge was issued for a request with another body than this one";
    refused(ProblemType::InvalidChallenge, detail)
}

/// A descriptor that hashes to another channel.
pub(super) fn other_channel_id(claimed: ChannelId) -> Refused {
    let detail =
        "the channel id is not the hash of the descriptor, the escrow and the chain of the challenge";
    Box::new(Problem::new(ProblemType::VerificationFailed, detail).on(claimed))
}

/// `authorizedSigner` of an `open` that is not the descriptor's.
pub(super) fn other_signer(channel: ChannelId) -> Refused {
    let detail = "payload.authorizedSigner differs from payload.descriptor.authorizedSigner";
    Box::new(Problem::new(ProblemType::VerificationFailed, detail).on(channel))
}

/// What the books or the verifier refused.
pub fn refusal(refusal: &Refusal, channel: ChannelId) -> Refused {
    match refusal {
        Refusal::Channel(found) => rejection(found, channel),
        Refusal::Voucher(found) => voucher(found, channel),
    }
}

/// What the rules refused.
pub fn rejection(rejection: &Rejection, channel: ChannelId) -> Refused {
    let (kind, detail) = match rejection {
        Rejection::ChannelNotFound => (ProblemType::ChannelNotFound, rejection.to_string()),
        // The drafts have no type for a pending close; reference servers answer like this.
        Rejection::ChannelFinalized | Rejection::ClosePending { .. } => {
            (ProblemType::ChannelFinalized, rejection.to_string())
        }
        Rejection::CloseInFlight
        | Rejection::RequestInFlight
        | Rejection::TooManyReservations { .. }
        | Rejection::ReservationsActive { .. } => {
            let problem = Problem::new(ProblemType::Conflict, rejection.to_string());
            return Box::new(problem.on(channel).retry_after(RETRY_SOON_S));
        }
        Rejection::WrongSigner { .. } => {
            (ProblemType::SignerMismatch, "the signer is not authorized for this channel".into())
        }
        Rejection::AmountExceedsDeposit { .. } => (ProblemType::AmountExceedsDeposit, rejection.to_string()),
        Rejection::InsufficientBalance { .. } => return insufficient(rejection, channel),
        // Both come after the voucher was verified, and the client needs the amount to sign the right one.
        Rejection::CloseBelowOwed { owed, .. } => {
            return insufficient_close(rejection, *owed, channel);
        }
        Rejection::CloseNotExact { spent } => return insufficient_close(rejection, *spent, channel),
        Rejection::WrongChannel { .. }
        | Rejection::AmountNotIncreasing
        | Rejection::VoucherPublic
        | Rejection::AmountTooLarge
        | Rejection::TermMismatch { .. }
        | Rejection::OpenMismatch { .. }
        | Rejection::ReservationNotFound
        | Rejection::NothingToSettle
        | Rejection::NotClosing => (ProblemType::VerificationFailed, rejection.to_string()),
        Rejection::DepositTooSmall { .. }
        | Rejection::DeltaTooSmall { .. }
        | Rejection::RateLimited { .. }
        | Rejection::UnsettledPayer
        | Rejection::UnsettledTotal
        | Rejection::UnsettledTooOld { .. }
        | Rejection::Denied { .. }
        | Rejection::NotAllowed => return limit(rejection, channel),
    };
    Box::new(Problem::new(kind, detail).on(channel))
}

/// What a limit of the operator refused. Where waiting helps, the answer says how long.
fn limit(rejection: &Rejection, channel: ChannelId) -> Refused {
    let (kind, retry_after_s) = match rejection {
        Rejection::DepositTooSmall { .. } => (ProblemType::PaymentInsufficient, None),
        // The difference would tell what was accepted.
        Rejection::DeltaTooSmall { minimum, .. } => {
            let detail =
                format!("the voucher raises the accepted amount by less than the minimum of {minimum}");
            return Box::new(Problem::new(ProblemType::DeltaTooSmall, detail).on(channel));
        }
        Rejection::RateLimited { retry_after_ms } => {
            (ProblemType::TooManyRequests, Some(retry_after_ms.div_ceil(1_000).max(1)))
        }
        Rejection::UnsettledPayer => (ProblemType::TooManyRequests, Some(RETRY_SETTLED_S)),
        Rejection::Denied { ends_in_s, .. } => (ProblemType::Forbidden, *ends_in_s),
        Rejection::NotAllowed => (ProblemType::Forbidden, None),
        _ => (ProblemType::Unavailable, Some(RETRY_SETTLED_S)),
    };
    let problem = Problem::new(kind, rejection.to_string()).on(channel);
    Box::new(Problem { retry_after_s, ..problem })
}

/// What is available does not pay the price. Only a verified voucher gets here.
fn insufficient(rejection: &Rejection, channel: ChannelId) -> Refused {
    let mut problem = Problem::new(ProblemType::InsufficientBalance, rejection.to_string()).on(channel);
    if let Rejection::InsufficientBalance { cost, available, required_cumulative } = rejection {
        problem.required_top_up = Some(cost.saturating_sub(*available));
        problem.required_cumulative = Some(*required_cumulative);
    }
    Box::new(problem)
}

/// A close whose voucher has the wrong amount.
fn insufficient_close(
    rejection: &Rejection,
    required: farebox_core::units::Amount,
    channel: ChannelId,
) -> Refused {
    let mut problem = Problem::new(ProblemType::VerificationFailed, rejection.to_string()).on(channel);
    problem.required_cumulative = Some(required);
    Box::new(problem)
}

/// What the verifier refused.
pub(super) fn voucher(error: &VoucherError, channel: ChannelId) -> Refused {
    let (kind, detail) = match error {
        VoucherError::WrongSigner { .. } => {
            (ProblemType::SignerMismatch, "the signer is not authorized for this channel".into())
        }
        VoucherError::AmountTooLarge { .. } | VoucherError::ProtocolMismatch { .. } => {
            (ProblemType::VerificationFailed, error.to_string())
        }
        _ => (ProblemType::InvalidSignature, error.to_string()),
    };
    Box::new(Problem::new(kind, detail).on(channel))
}

/// The machine failed: nothing was refused.
pub fn engine(error: &EngineError) -> Refused {
    let (detail, retry_after_s) = match error {
        EngineError::Busy { retry_after_ms } => {
            ("the server is busy; nothing was done", retry_after_ms.div_ceil(1_000).max(1))
        }
        // The cause is for the operator's eyes; health and logs have it.
        _ => ("the server cannot take payments now; a retry is charged once", RETRY_LATER_S),
    };
    Box::new(Problem::new(ProblemType::Unavailable, detail).retry_after(retry_after_s))
}

/// An `open` or `topUp` that did not happen, or may not have happened (rule 10).
pub fn chain(refusal: &ChainRefusal, channel: ChannelId) -> Refused {
    let unavailable = |detail: &str| {
        Box::new(Problem::new(ProblemType::Unavailable, detail).on(channel).retry_after(RETRY_LATER_S))
    };
    match refusal {
        ChainRefusal::BadTransaction { .. }
        | ChainRefusal::DepositTooSmall { .. }
        | ChainRefusal::Reverted { .. } => {
            Box::new(Problem::new(ProblemType::VerificationFailed, refusal.to_string()).on(channel))
        }
        ChainRefusal::NotSponsored(refusal) => not_sponsored(refusal, channel),
        ChainRefusal::Unavailable { .. } => {
            unavailable("the chain cannot be reached; nothing was broadcast, try again")
        }
        ChainRefusal::Unknown { .. } => unavailable(
            "the transaction was broadcast and its receipt is not known yet; send the same credential again",
        ),
    }
}

/// A charge that did not arrive, or may not have arrived.
pub(super) fn charge(refusal: &ChainRefusal) -> Refused {
    let mut problem = chain(refusal, ChannelId(B256::ZERO));
    // It is about no channel.
    problem.channel = None;
    problem
}

/// A charge that is answered in a way that is not taken here.
pub(super) fn charge_mode() -> Refused {
    let detail =
        "payload.type is not what the challenge asks, expected transaction, or proof for an amount of 0";
    refused(ProblemType::VerificationFailed, detail)
}

/// A proof that does not hold.
pub(super) fn bad_proof(error: &ProofError) -> Refused {
    refused(ProblemType::VerificationFailed, error.to_string())
}

/// The same charge is being served.
pub(super) fn charge_in_flight() -> Refused {
    let problem = Problem::new(ProblemType::Conflict, "a request with this credential is being served");
    Box::new(problem.retry_after(RETRY_SOON_S))
}

/// A payment of x402 that is for something else.
pub(super) fn other_payment(error: &BindingError) -> Refused {
    refused(ProblemType::VerificationFailed, error.to_string())
}

/// Another credential was handed in for the same challenge.
pub(super) fn other_credential() -> Refused {
    let detail =
        "the challenge was answered with another credential, which may have paid: send that one again";
    refused(ProblemType::Conflict, detail)
}

/// Nobody knows yet whether a charge was paid.
pub(super) fn charge_unknown() -> Refused {
    let detail =
        "it is not known yet whether the payment was made; send the same credential again, and no other";
    Box::new(Problem::new(ProblemType::Unavailable, detail).retry_after(RETRY_LATER_S))
}

/// A charge that was delivered before.
pub(super) fn used_up() -> Refused {
    refused(ProblemType::InvalidChallenge, "the challenge was paid and delivered before")
}

/// Fees that are not paid. What time heals says so; the rest is a matter of the transaction.
fn not_sponsored(refusal: &sponsor::Refusal, channel: ChannelId) -> Refused {
    let (kind, retry_after_s) = match refusal {
        sponsor::Refusal::PayerBudget { retry_after_s } => {
            (ProblemType::TooManyRequests, Some(*retry_after_s))
        }
        sponsor::Refusal::Budget { retry_after_s } => (ProblemType::Unavailable, Some(*retry_after_s)),
        sponsor::Refusal::Empty => (ProblemType::Unavailable, Some(RETRY_SETTLED_S)),
        _ => (ProblemType::VerificationFailed, None),
    };
    let detail = format!("the server does not pay the fees of the transaction: {refusal}");
    Box::new(Problem { retry_after_s, ..Problem::new(kind, detail).on(channel) })
}

/// A close that did not happen, or may not have happened (rule 10).
pub fn close(failure: &CloseFailure, channel: ChannelId) -> Refused {
    let detail = match failure {
        CloseFailure::NotSent { .. } => "the close could not be sent; the channel is still open, try again",
        CloseFailure::Reverted { .. } => "the close transaction failed; the channel is still open, try again",
        CloseFailure::Unknown { .. } => {
            "the close was broadcast and its receipt is not known yet; it goes on without you"
        }
    };
    Box::new(Problem::new(ProblemType::Unavailable, detail).on(channel).retry_after(RETRY_LATER_S))
}

/// What a limit of the operator refused before the books were asked, counted as they count it.
pub(super) fn limited(found: &Rejection, channel: ChannelId) -> Refused {
    if let Some(limit) = found.limit() {
        report_limited(limit, 1);
    }
    rejection(found, channel)
}

/// Credentials failed too often.
pub(super) fn too_many_failures(wait_ms: u64) -> Refused {
    let detail = "credentials from here failed too often; this one was not looked at";
    let problem = Problem::new(ProblemType::TooManyRequests, detail);
    Box::new(problem.retry_after(wait_ms.div_ceil(1_000).max(1)))
}

/// Requests came too often.
pub(super) fn too_many_requests(wait_ms: u64) -> Refused {
    let problem = Problem::new(ProblemType::TooManyRequests, "requests come too often; nothing was done");
    Box::new(problem.retry_after(wait_ms.div_ceil(1_000).max(1)))
}

/// Too many transactions are on their way.
pub(super) fn too_many_transactions() -> Refused {
    let detail = "too many transactions are on their way to the chain; nothing was done";
    Box::new(Problem::new(ProblemType::Unavailable, detail).retry_after(RETRY_SOON_S))
}

/// A task of ours ended without a result.
pub(super) fn lost_task() -> Refused {
    let detail = "the server lost track of the transaction; send the same credential again";
    Box::new(Problem::new(ProblemType::Unavailable, detail).retry_after(RETRY_LATER_S))
}

/// The service behind the door gave no answer.
pub(super) fn bad_gateway(detail: &'static str) -> Problem {
    Problem::new(ProblemType::BadGateway, detail)
}

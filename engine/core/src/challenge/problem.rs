//! Problem details (RFC 9457): every problem type of the core and the session draft, and the body.

use alloc::string::String;

use serde::Serialize;

use super::fields::decimal;
use crate::units::{Amount, ChannelId};

/// The kinds of problems that a payment can meet: type URI, title and status are fixed by the drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// Core: no credential.
    PaymentRequired,
    /// Core: the amount is too low.
    PaymentInsufficient,
    /// Core: the authorization's time is over.
    PaymentExpired,
    /// Core: the proof is not valid.
    VerificationFailed,
    /// Core: a method that the server does not take.
    MethodUnsupported,
    /// Core: the credential cannot be read.
    MalformedCredential,
    /// Core: the challenge is unknown, expired or not for this.
    InvalidChallenge,
    /// Session: the signature does not hold.
    InvalidSignature,
    /// Session: somebody else signed.
    SignerMismatch,
    /// Session: the voucher promises more than the escrow holds.
    AmountExceedsDeposit,
    /// Session: the voucher rises by too little.
    DeltaTooSmall,
    /// Session: no such channel.
    ChannelNotFound,
    /// Session: the channel is over.
    ChannelFinalized,
    /// Session: a top-up names a challenge that is unknown or expired.
    ChallengeNotFound,
    /// Session: what is available does not pay the price.
    InsufficientBalance,
    /// Ours: several credentials, an unusable idempotency key.
    BadRequest,
    /// Ours: the same paid request is being served, or a step is on its way that excludes this one.
    Conflict,
    /// Ours: the operator does not serve this payer, signer or channel.
    Forbidden,
    /// Ours: more than the operator takes of one channel or payer at a time.
    TooManyRequests,
    /// Ours: the server cannot answer now; nothing was refused.
    Unavailable,
    /// Ours: the service behind the door gave no answer; nothing was charged.
    BadGateway,
}

impl ProblemType {
    /// The type URI: of the drafts where they have one, else `about:blank` (RFC 9457: the status says it).
    pub const fn uri(self) -> &'static str {
        match self {
            Self::PaymentRequired => "https://paymentauth.org/problems/payment-required",
            Self::PaymentInsufficient => "https://paymentauth.org/problems/payment-insufficient",
            Self::PaymentExpired => "https://paymentauth.org/problems/payment-expired",
            Self::VerificationFailed => "https://paymentauth.org/problems/verification-failed",
            Self::MethodUnsupported => "https://paymentauth.org/problems/method-unsupported",
            Self::MalformedCredential => "https://paymentauth.org/problems/malformed-credential",
            Self::InvalidChallenge => "https://paymentauth.org/problems/invalid-challenge",
            Self::InvalidSignature => "https://paymentauth.org/problems/session/invalid-signature",
            Self::SignerMismatch => "https://paymentauth.org/problems/session/signer-mismatch",
            Self::AmountExceedsDeposit => "https://paymentauth.org/problems/session/amount-exceeds-deposit",
            Self::DeltaTooSmall => "https://paymentauth.org/problems/session/delta-too-small",
            Self::ChannelNotFound => "https://paymentauth.org/problems/session/channel-not-found",
            Self::ChannelFinalized => "https://paymentauth.org/problems/session/channel-finalized",
            Self::ChallengeNotFound => "https://paymentauth.org/problems/session/challenge-not-found",
            Self::InsufficientBalance => "https://paymentauth.org/problems/session/insufficient-balance",
            Self::BadRequest
            | Self::Conflict
            | Self::Forbidden
            | Self::TooManyRequests
            | Self::Unavailable
            | Self::BadGateway => "about:blank",
        }
    }

    /// The title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::PaymentRequired => "Payment Required",
            Self::PaymentInsufficient => "Payment Insufficient",
            Self::PaymentExpired => "Payment Expired",
            Self::VerificationFailed => "Payment Verification Failed",
            Self::MethodUnsupported => "Method Unsupported",
            Self::MalformedCredential => "Malformed Credential",
            Self::InvalidChallenge => "Invalid Challenge",
            Self::InvalidSignature => "Invalid Signature",
            Self::SignerMismatch => "Signer Mismatch",
            Self::AmountExceedsDeposit => "Amount Exceeds Deposit",
            Self::DeltaTooSmall => "Delta Too Small",
            Self::ChannelNotFound => "Channel Not Found",
            Self::ChannelFinalized => "Channel Finalized",
            Self::ChallengeNotFound => "Challenge Not Found",
            Self::InsufficientBalance => "Insufficient Balance",
            Self::BadRequest => "Bad Request",
            Self::Conflict => "Conflict",
            Self::Forbidden => "Forbidden",
            Self::TooManyRequests => "Too Many Requests",
            Self::Unavailable => "Service Unavailable",
            Self::BadGateway => "Bad Gateway",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::ChannelNotFound | Self::ChannelFinalized => 410,
            Self::MethodUnsupported | Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::Conflict => 409,
            Self::TooManyRequests => 429,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            _ => 402,
        }
    }

    /// Whether the answer offers a fresh challenge: every 402 must, and so does a 410 (pay with a new
    /// channel).
    pub const fn offers_challenge(self) -> bool {
        matches!(self.status(), 402 | 410)
    }
}

/// One problem, before it is given a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemType,
    /// What happened, for people.
    pub detail: String,
    /// The channel that it is about.
    pub channel: Option<ChannelId>,
    /// `insufficient-balance`: by how much the authorized amount is short.
    pub required_top_up: Option<Amount>,
    /// `insufficient-balance`: what the next voucher must reach.
    pub required_cumulative: Option<Amount>,
    /// After how many seconds a retry makes sense.
    pub retry_after_s: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_top_up: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_cumulative: Option<String>,
}

impl Problem {
    /// A problem without further fields.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            channel: None,
            required_top_up: None,
            required_cumulative: None,
            retry_after_s: None,
        }
    }

    /// Names the channel.
    pub fn on(self, channel: ChannelId) -> Self {
        Self { channel: Some(channel), ..self }
    }

    /// Says when to try again.
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The `application/problem+json` body; `challenge_id` is the fresh challenge that comes with it.
    pub fn to_json(&self, challenge_id: Option<&str>) -> String {
        let wire = Wire {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: &self.detail,
            challenge_id,
            channel_id: self.channel.map(|channel| alloc::format!("{channel}")),
            required_top_up: self.required_top_up.map(decimal),
            required_cumulative: self.required_cumulative.map(decimal),
        };
        serde_json::to_string(&wire).expect("strings and numbers always have a JSON form")
    }
}

//! Answers as JSON: what a step did, and every refusal as a problem.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use farebox_engine::core::challenge::Problem;
use farebox_engine::core::channel::{Answer, Phase, Rejection, Snapshot};
use farebox_engine::core::units::ChannelId;
use farebox_engine::http::problems;
use farebox_engine::{EngineError, Reply, Verdict};
use serde::Serialize;
use serde_json::{Value, json};

/// A refusal on its way to the answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) retry_after_s: Option<u64>,
    /// The problem.
    pub(super) body: Value,
}

impl Failure {
    /// A refusal of the request itself: its status says it all.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": detail.into(),
        });
        Self { status, retry_after_s: None, body }
    }

    /// What is wrong with the request's text.
    pub(super) fn bad_request(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail.to_string())
    }

    /// What the books refused.
    pub(super) fn rejection(rejection: &Rejection, channel: ChannelId) -> Self {
        problems::rejection(rejection, channel).into()
    }
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::PAYMENT_REQUIRED);
        let body = serde_json::from_str(&problem.to_json(None)).unwrap_or_default();
        Self { status, retry_after_s: problem.retry_after_s, body }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        problems::engine(&error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        (self.status, headers, self.body.to_string()).into_response()
    }
}

/// What the books hold of a channel, in an answer to a step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Balance {
    channel_id: String,
    phase: &'static str,
    deposit: String,
    settled: String,
    accepted: String,
    spent: String,
    reserved: String,
    available: String,
    units: u64,
    sequence: u64,
}

impl Balance {
    pub(super) fn new(channel: ChannelId, snapshot: &Snapshot) -> Self {
        Self {
            channel_id: channel.to_string(),
            phase: match snapshot.phase {
                Phase::Open => "open",
                Phase::Closing { .. } => "closing",
                Phase::Closed(_) => "closed",
            },
            deposit: snapshot.deposit.to_string(),
            settled: snapshot.settled.to_string(),
            accepted: snapshot.accepted.to_string(),
            spent: snapshot.spent.to_string(),
            reserved: snapshot.reserved.to_string(),
            available: snapshot.available().to_string(),
            units: snapshot.units,
            sequence: snapshot.sequence,
        }
    }
}

/// What became of a step. It is on disk.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    /// `done`: what was asked for was done. `replayed`: an earlier try did it. `underpaid`: the voucher is taken, what it
    /// was to pay for is refused. `refused`, `unavailable`: nothing was done.
    pub(super) outcome: &'static str,
    /// Whether what was asked for is paid: deliver if it is.
    pub(super) paid: bool,
    /// `replayed`: what the request was charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) charged: Option<String>,
    /// The channel after the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) channel: Option<Balance>,
    /// Names the reservation that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reservation: Option<String>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<Value>,
    #[serde(skip)]
    pub(super) status: StatusCode,
    #[serde(skip)]
    pub(super) retry_after_s: Option<u64>,
}

impl Done {
    fn new(outcome: &'static str, paid: bool) -> Self {
        let status = StatusCode::OK;
        Self {
            outcome,
            paid,
            charged: None,
            channel: None,
            reservation: None,
            problem: None,
            status,
            retry_after_s: None,
        }
    }

    /// What the books said.
    pub(super) fn of(channel: ChannelId, verdict: Result<Verdict, EngineError>) -> Self {
        let Reply { answer, snapshot } = match verdict {
            Ok(Verdict::Accepted(reply)) => reply,
            Ok(Verdict::Rejected(refusal)) => {
                return Self::refused("refused", problems::refusal(&refusal, channel).into());
            }
            Err(error) => return Self::refused("unavailable", error.into()),
        };
        let channel_after = Some(Balance::new(channel, &snapshot));
        match answer {
            Answer::Done | Answer::Close(_) | Answer::Settle(_) => {
                Self { channel: channel_after, ..Self::new("done", true) }
            }
            Answer::Replayed(outcome) => Self {
                channel: channel_after,
                charged: Some(outcome.charged.to_string()),
                ..Self::new("replayed", true)
            },
            Answer::AcceptedOnly(rejection) => Self {
                channel: channel_after,
                ..Self::refused("underpaid", Failure::rejection(&rejection, channel))
            },
        }
    }

    /// Nothing was done.
    pub(super) fn refused(outcome: &'static str, failure: Failure) -> Self {
        let Failure { status, retry_after_s, body } = failure;
        Self { status, retry_after_s, problem: Some(body), ..Self::new(outcome, false) }
    }
}

impl IntoResponse for Done {
    /// A refusal is its problem; an underpaid voucher is one with the channel beside it.
    fn into_response(self) -> Response {
        let Some(mut body) = self.problem else { return Json(self).into_response() };
        if let Some(balance) = self.channel {
            body["outcome"] = self.outcome.into();
            body["channel"] = json!(balance);
        }
        Failure { status: self.status, retry_after_s: self.retry_after_s, body }.into_response()
    }
}

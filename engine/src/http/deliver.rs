//! From the service's answer to the client's: charge first, then let it out.

use bytes::Bytes;
use farebox_core::challenge::{Problem, ProblemType};
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt;

use super::answer::{DoorBody, problem_answer, receipt_value};
use super::headers::{self, PAYMENT_RECEIPT};
use super::{BoxError, Paid, problem, sse};

/// What every paid answer says about caches.
const PRIVATE: &[&str] = &["private"];
/// What a metered stream says: proxies must neither keep nor collect its events.
const PRIVATE_STREAM: &[&str] = &["private", "no-cache", "no-transform"];

impl Paid {
    /// Charges for the service's answer and gives it a receipt.
    ///
    /// An answer that is no success (2xx), or none at all, costs nothing: it is passed on without a
    /// receipt, a missing one as 502. One unit is charged before the body of an answer leaves; on a route
    /// that is metered by events, an event stream is charged as it is delivered.
    pub async fn deliver<B, E>(self, answer: Result<Response<B>, E>) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let error: BoxError = error.into();
                tracing::warn!(channel = %self.channel(), %error, "the service gave no answer");
                self.release().await;
                return bad_gateway("the service gave no answer; nothing was charged");
            }
        };
        if !answer.status().is_success() {
            self.release().await;
            return unpaid(answer);
        }
        if self.is_metered() && headers::is_event_stream(answer.headers()) {
            return self.deliver_stream(answer).await;
        }
        self.deliver_whole(answer).await
    }

    /// One unit, charged before the body.
    async fn deliver_whole<B>(mut self, answer: Response<B>) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Err(stop) = self.charge(1, true).await {
            let problem = self.problem(&stop);
            self.end().await;
            return refused(&problem);
        }
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(PAYMENT_RECEIPT, receipt_value(&self.receipt()));
        headers::make_private(&mut parts.headers, PRIVATE);
        Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
    }

    /// Events, each charged before it leaves.
    async fn deliver_stream<B>(self, answer: Response<B>) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if is_encoded(answer.headers()) {
            self.release().await;
            return bad_gateway(
                "the service encoded its event stream, which cannot be metered; nothing was charged",
            );
        }
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(PAYMENT_RECEIPT, receipt_value(&self.receipt()));
        headers::make_private(&mut parts.headers, PRIVATE_STREAM);
        Response::from_parts(parts, sse::meter(body, self))
    }
}

/// An answer that nobody pays for. A receipt of somebody else is none of ours.
fn unpaid<B>(answer: Response<B>) -> Response<DoorBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(PAYMENT_RECEIPT);
    Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(CONTENT_ENCODING);
    encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn bad_gateway(detail: &'static str) -> Response<DoorBody> {
    refused(&problem::bad_gateway(detail))
}

/// A problem that comes after the service was asked. It offers no challenge, so it is no 402.
fn refused(problem: &Problem) -> Response<DoorBody> {
    let mut problem = problem.clone();
    if problem.kind.offers_challenge() {
        problem.kind = ProblemType::Conflict;
    }
    problem_answer(&problem, problem.to_json(None))
}

/// The answer to a free request.
pub(super) fn pass<B, E>(answer: Result<Response<B>, E>) -> Response<DoorBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    match answer {
        Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(error) => {
            let error: BoxError = error.into();
            tracing::warn!(%error, "the service gave no answer to a free request");
            bad_gateway("the service gave no answer")
        }
    }
}

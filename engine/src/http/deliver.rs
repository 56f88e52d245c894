//! From the service's answer to the client's: charge first, then let it out.

use std::future::Future;
use std::num::NonZeroU64;

use bytes::Bytes;
use farebox_core::channel::Rejection;
use futures_util::future::Either;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRAILER};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::answer::{DoorBody, full, problem_answer, receipt_value};
use super::headers::{self, PAYMENT_RECEIPT};
use super::usage::{USAGE_BODY_BYTES_MAX, read_usage};
use super::{BoxError, Meter, Paid, PaidStop, TokenRates, bytes_meter, problem, sse};

/// What every paid answer says about caches.
const PRIVATE: &[&str] = &["private"];
/// What a metered stream says: proxies must neither keep nor collect its events.
const PRIVATE_STREAM: &[&str] = &["private", "no-cache", "no-transform"];

impl Paid {
    /// Charges for the service's answer and gives it a receipt.
    ///
    /// An answer that is no success (2xx), or none at all, costs nothing: it is passed on without a
    /// receipt, a missing one as 502. What the route's meter counts is charged before it leaves: a whole answer at
    /// once, a stream as it is delivered. An answer that costs more than is available is not delivered, and costs
    /// nothing: the client hears in a 402 what its next voucher must reach.
    pub fn deliver<B, E>(
        self,
        answer: Result<Response<B>, E>,
    ) -> impl Future<Output = Response<DoorBody>> + Send
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError> + Send,
    {
        match answer {
            Ok(answer) if answer.status().is_success() && self.is_one_unit(&answer) => {
                Either::Left(self.deliver_whole(answer, 1))
            }
            // Boxed, so that what is most frequent does not carry the room for all the rest.
            answer => Either::Right(Box::pin(self.deliver_other(answer))),
        }
    }

    /// Whether a good answer costs one unit, whatever is in it.
    fn is_one_unit<B>(&self, answer: &Response<B>) -> bool {
        match self.meter() {
            Meter::Request | Meter::WebSocketMessage => true,
            Meter::SseEvent => !headers::is_event_stream(answer.headers()),
            Meter::OpenAiUsage(_) | Meter::Bytes { .. } | Meter::Header(_) => false,
        }
    }

    async fn deliver_other<B, E>(self, answer: Result<Response<B>, E>) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let missing = "the service gave no answer; nothing was charged";
        let answer = match success(answer, &self.channel(), missing) {
            Ok(answer) => answer,
            Err(unpaid) => {
                self.release().await;
                return *unpaid;
            }
        };
        let is_stream = headers::is_event_stream(answer.headers());
        match self.meter().clone() {
            Meter::SseEvent | Meter::OpenAiUsage(_) if is_stream => self.deliver_stream(answer).await,
            Meter::Request | Meter::WebSocketMessage | Meter::SseEvent => self.deliver_whole(answer, 1).await,
            Meter::OpenAiUsage(rates) => self.deliver_usage(answer, rates).await,
            Meter::Bytes { .. } if is_stream && !is_encoded(answer.headers()) => {
                self.deliver_stream(answer).await
            }
            Meter::Bytes { bytes_per_unit } => self.deliver_bytes(answer, bytes_per_unit).await,
            Meter::Header(name) => match units_named(answer.headers(), &name) {
                Some(units) => self.deliver_whole(answer, units).await,
                None => {
                    tracing::warn!(header = %name, "the service did not say how many units its answer is");
                    self.release().await;
                    bad_gateway("the service did not say how many units its answer is; nothing was charged")
                }
            },
        }
    }

    /// So many units, charged before the body.
    #[expect(
        clippy::manual_async_fn,
        reason = "what an async function is given is kept twice while it waits"
    )]
    fn deliver_whole<B>(
        mut self,
        answer: Response<B>,
        units: u64,
    ) -> impl Future<Output = Response<DoorBody>> + Send
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        async move {
            let charged = self.charge(units, true).await.map(drop);
            if let Err(stop) = charged {
                // Rare, and so boxed.
                return Box::pin(self.refuse_at_end(stop)).await;
            }
            let (mut parts, body) = answer.into_parts();
            parts.headers.insert(PAYMENT_RECEIPT, receipt_value(&self.receipt()));
            headers::make_private(&mut parts.headers, PRIVATE);
            Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
        }
    }

    /// Gives back what is set aside, and says why the answer is not delivered.
    async fn refuse_at_end(mut self, stop: PaidStop) -> Response<DoorBody> {
        self.end().await;
        self.refuse(&stop)
    }

    /// A whole answer that says at its end what it used. It is read to the end, charged, and then delivered. One
    /// that does not say it costs one unit.
    async fn deliver_usage<B>(self, answer: Response<B>, rates: TokenRates) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if is_encoded(answer.headers()) {
            self.release().await;
            return bad_gateway(
                "the service encoded its answer, which cannot be metered; nothing was charged",
            );
        }
        let (parts, body) = answer.into_parts();
        let body = match Limited::new(body, USAGE_BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::warn!(%error, "the service's answer cannot be metered");
                self.release().await;
                return bad_gateway(if error.is::<LengthLimitError>() {
                    "the service's answer is too long to be metered; nothing was charged"
                } else {
                    "the service broke off its answer; nothing was charged"
                });
            }
        };
        let usage = read_usage(&body).and_then(|reading| reading.usage);
        let units = usage.map_or(1, |usage| rates.units(usage));
        self.deliver_whole(Response::from_parts(parts, full(body)), units).await
    }

    /// Bytes, each unit of them charged before it leaves. What is known to cost more than the client can pay is not
    /// begun.
    async fn deliver_bytes<B>(mut self, answer: Response<B>, per_unit: NonZeroU64) -> Response<DoorBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(bytes) = answer.body().size_hint().exact().or(length)
            && let Err(stop) = self.check_affordable(bytes.div_ceil(per_unit.get())).await
        {
            return self.refuse_at_end(stop).await;
        }
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(PAYMENT_RECEIPT, receipt_value(&self.receipt()));
        // A body of known length has no trailers in HTTP/1.1.
        if !parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(TRAILER, HeaderValue::from_name(PAYMENT_RECEIPT));
        }
        headers::make_private(&mut parts.headers, PRIVATE);
        Response::from_parts(parts, bytes_meter::meter(body, per_unit, self))
    }

    /// Whether so many units can be paid as the books stand.
    async fn check_affordable(&mut self, units: u64) -> Result<(), PaidStop> {
        let cost = self.price().checked_mul(units).ok_or(Rejection::AmountTooLarge)?;
        let snapshot = self.refresh().await?;
        let available = self.affordable(&snapshot);
        let missing = cost.saturating_sub(available);
        if missing.is_zero() {
            return Ok(());
        }
        let required_cumulative = snapshot.accepted.checked_add(missing).ok_or(Rejection::AmountTooLarge)?;
        Err(Rejection::InsufficientBalance { cost, available, required_cumulative }.into())
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

/// The service's answer if it is a success, else what its client gets instead, which costs nothing. `payment` is what is
/// told to the log.
pub(super) fn success<B, E>(
    answer: Result<Response<B>, E>,
    payment: &dyn std::fmt::Display,
    missing: &'static str,
) -> Result<Response<B>, Box<Response<DoorBody>>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(answer),
        Ok(answer) => Err(Box::new(unpaid(answer))),
        Err(error) => {
            let error: BoxError = error.into();
            tracing::warn!(%payment, %error, "the service gave no answer");
            Err(Box::new(bad_gateway(missing)))
        }
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

/// How many units the service says that its answer is: one header of decimal digits.
fn units_named(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let text = values.next()?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && values.next().is_none()).then(|| text.parse().ok())?
}

pub(super) fn bad_gateway(detail: &'static str) -> Response<DoorBody> {
    let problem = problem::bad_gateway(detail);
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

//! Tools of the Model Context Protocol (streamable HTTP) through the gateway: on a route with `transport = "mcp"` a call of a
//! tool costs one unit, and everything else is free.
//!
//! Payments are in the messages themselves (see `engine::http::mcp`), so refusals are JSON-RPC errors with status 200. A
//! result is charged before it leaves, as JSON or as an event of a stream; an error, or a result that says that the tool
//! failed, is free. Streams cannot be resumed here: a result that was lost on its way to a client must not be fetched
//! again from where nobody is charged.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use farebox_engine::http::mcp::{self, Answer, Message};
use farebox_engine::http::sse::{SseEvent, SseSplitter};
use farebox_engine::http::usage::event_data;
use farebox_engine::http::{Asked, BoxError, Decision, Offer, Paid};
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use serde_json::Value;
use tracing::Instrument as _;

use super::body::{Body, full};
use super::problem::Problem;
use super::{Gateway, NO_CHARGE, digest};
use crate::traces;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The longest answer that is one message.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Whether a request brings messages; else it is one of the transport, or hands in a voucher as anywhere.
pub fn brings_messages<B>(request: &Request<B>, body_is_empty: bool) -> bool {
    request.method() == Method::POST && !body_is_empty
}

impl Gateway {
    /// Everything else than messages: streams for what the server has to say, and the end of a session. Free.
    pub(super) async fn mcp_transport(
        &self,
        peer: SocketAddr,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Problem> {
        if let Err(answer) = self.door.admit(self.client(&request, peer)) {
            return Ok(*answer);
        }
        request.headers_mut().remove(LAST_EVENT_ID);
        let answer = self.send(peer, request, false).await?;
        Ok(answer.map(BodyExt::boxed_unsync))
    }

    /// A message of a client.
    pub(super) async fn mcp_message(
        &self,
        peer: SocketAddr,
        request: Request<Body>,
        offer: &Offer,
    ) -> Result<Response<Body>, Problem> {
        let address = self.client(&request, peer);
        let (mut parts, body) = request.into_parts();
        let bytes = digest::collect(body, self.body_bytes_max).await?;
        let message = match Message::read(&bytes) {
            Ok(message) => message,
            Err(error) => return Ok(json(&error.to_message())),
        };
        let body = Bytes::from(message.to_body());
        parts.headers.remove(LAST_EVENT_ID);
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let request = Request::from_parts(parts, full(body));
        if !message.is_call() {
            if let Err(answer) = self.door.admit(address) {
                return Ok(*answer);
            }
            let answer = self.send(peer, request, true).await?.map(BodyExt::boxed_unsync);
            return Ok(Call { message, paid: None }.answer(answer).await);
        }
        let headers = message.headers();
        let asked = Asked {
            method: &Method::POST,
            headers: &headers,
            body_is_empty: false,
            body_digest: None,
            target: None,
            address,
        };
        let decision = self.door.decide_offer(asked, offer).instrument(traces::door());
        let paid = match self.latency.door.time(decision).await {
            Decision::Paid(paid) => paid,
            Decision::Answer(answer) => return Ok(json(&decided(&message, answer).await)),
            Decision::Charged(_) => unreachable!("{NO_CHARGE}"),
        };
        match self.send(peer, request, true).await {
            Ok(answer) => {
                let call = Call { message, paid: Some(paid) };
                Ok(call.answer(answer.map(BodyExt::boxed_unsync)).await)
            }
            Err(problem) => {
                paid.release().await;
                Err(problem)
            }
        }
    }
}

/// What the door answered instead of service, as a message.
async fn decided(message: &Message, answer: Response<Body>) -> Value {
    let (parts, body) = answer.into_parts();
    if let (true, Some(receipt)) = (parts.status.is_success(), mcp::receipt_of(&parts.headers)) {
        return message.managed(&receipt);
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    message.refusal(parts.status.as_u16(), &parts.headers, &body)
}

/// A message as a whole answer. Payments are private.
fn json(message: &Value) -> Response<Body> {
    let mut answer = Response::new(full(Bytes::from(message.to_string())));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A message that the upstream was asked, and the money that is set aside for its result.
struct Call {
    message: Message,
    paid: Option<Paid>,
}

impl Call {
    /// The upstream's answer, each message in it charged or free.
    async fn answer(mut self, answer: Response<Body>) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        let is_paid = self.paid.is_some();
        let kind = kind(&parts.headers);
        if !parts.status.is_success() || kind == Kind::Other {
            if let Some(paid) = self.paid.take() {
                paid.release().await;
            }
            // A whole body in another language cannot hold a result that anybody could meter.
            if is_paid && parts.status.is_success() && parts.status != StatusCode::ACCEPTED {
                let problem = Problem::UpstreamAnswer("the service answered a call in no language of MCP");
                return problem.response();
            }
            return Response::from_parts(parts, body);
        }
        parts.headers.remove(CONTENT_LENGTH);
        if is_paid {
            parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache, no-transform"));
        }
        if kind == Kind::Events {
            // What comes before the result is free and leaves before anything is charged: not before the voucher is on disk.
            if let Some(paid) = &mut self.paid
                && let Err(error) = paid.refresh().await
            {
                tracing::warn!(%error, "an answer to a call cannot begin");
                return Problem::UpstreamAnswer("the books fail; nothing was charged").response();
            }
            return Response::from_parts(parts, events(self, body));
        }
        let bytes = match bounded(body).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::warn!(%error, "an answer to a call cannot be read");
                if let Some(paid) = self.paid.take() {
                    paid.release().await;
                }
                return Problem::UpstreamAnswer("the service broke off its answer, or it is too long")
                    .response();
            }
        };
        let Some(message) = self.pass(&bytes).await else {
            if let Some(paid) = self.paid.take() {
                paid.release().await;
            }
            return Problem::UpstreamAnswer("the service's answer is not one JSON-RPC message").response();
        };
        if let Some(paid) = self.paid.take() {
            paid.release().await;
        }
        Response::from_parts(parts, full(Bytes::from(message)))
    }

    /// A message of the upstream as its client gets it: a result is charged and has its receipt. `None` when it is none.
    async fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut message: Value = serde_json::from_slice(bytes).ok().filter(Value::is_object)?;
        let id = self.message.id();
        match Answer::of(&id, &mut message) {
            Answer::Other => {}
            Answer::Failed => {
                if let Some(paid) = self.paid.take() {
                    paid.release().await;
                }
            }
            Answer::Result(result) if !self.message.is_call() => {
                if result.contains_key("serverInfo") {
                    mcp::advertise(result);
                }
            }
            result @ Answer::Result(_) => match self.paid.take() {
                Some(paid) => {
                    // The door knows answers that are delivered or not: this one is.
                    let delivered = Response::new(Full::new(Bytes::new()));
                    let charged = paid.deliver(Ok::<_, std::io::Error>(delivered)).await;
                    match mcp::receipt_of(charged.headers()).filter(|_| charged.status().is_success()) {
                        Some(receipt) => result.add_receipt(&receipt),
                        None => message = decided(&self.message, charged).await,
                    }
                }
                // One result is paid for, and it was delivered.
                None => return None,
            },
        }
        Some(message.to_string().into_bytes())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Events,
    Other,
}

fn kind(headers: &HeaderMap) -> Kind {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Kind::Json,
        "text/event-stream" => Kind::Events,
        _ => Kind::Other,
    }
}

/// A stream of messages.
struct Events {
    call: Call,
    body: Body,
    splitter: SseSplitter,
    ready: VecDeque<SseEvent>,
    is_over: bool,
}

/// A body of so many bytes at most.
fn bounded(body: Body) -> Body {
    Limited::new(body, ANSWER_BYTES_MAX).boxed_unsync()
}

fn events(call: Call, body: Body) -> Body {
    let events =
        Events { call, body, splitter: SseSplitter::default(), ready: VecDeque::new(), is_over: false };
    let frames = unfold(events, |mut events| async move {
        let next = events.next().await?;
        Some((next.map(Frame::data), events))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if let Some(bytes) = self.pass(event).await {
                    return Some(Ok(bytes));
                }
            }
            if self.is_over {
                // A stream without a result costs nothing.
                if let Some(paid) = self.call.paid.take() {
                    paid.release().await;
                }
                return None;
            }
            if let Err(error) = self.read().await {
                tracing::warn!(%error, "a stream of messages breaks off");
                self.is_over = true;
                if let Some(paid) = self.call.paid.take() {
                    paid.release().await;
                }
                return Some(Err(error));
            }
        }
    }

    async fn read(&mut self) -> Result<(), BoxError> {
        match self.body.frame().await {
            Some(Err(error)) => return Err(error),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    self.splitter.push(&bytes);
                    while let Some(event) = self.splitter.next_event()? {
                        self.ready.push_back(event);
                    }
                }
            }
            None => {
                self.is_over = true;
                self.ready.extend(self.splitter.finish());
            }
        }
        Ok(())
    }

    /// An event as the client gets it: written anew when it is a message, so that nothing is read in two ways.
    async fn pass(&mut self, event: SseEvent) -> Option<Bytes> {
        let Some(data) = event_data(&event.bytes) else { return Some(event.bytes) };
        if data.is_empty() {
            return Some(event.bytes);
        }
        let message = self.call.pass(&data).await?;
        let text = String::from_utf8(message).ok()?;
        Some(Bytes::from(format!("event: message\ndata: {text}\n\n")))
    }
}

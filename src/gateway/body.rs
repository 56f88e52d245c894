//! Bodies: the one type for all of them (the door's), and the timeout between two pieces of an upstream's answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use farebox_engine::http::BoxError;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, Sleep, sleep};

use super::headers;

/// Any body. Its errors end the connection, so that nobody takes half an answer for a whole one.
pub type Body = farebox_engine::http::DoorBody;

/// A body that is there already.
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Who sends a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client, its request.
    Client,
    /// The upstream, its answer.
    Upstream,
}

impl std::fmt::Display for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        })
    }
}

/// A sender paused for longer than it may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the {sender} sent nothing for {} s", after.as_secs())]
pub struct Paused {
    sender: Sender,
    after: Duration,
}

/// A body that ends in an error when nothing comes for too long.
pub struct IdleTimeout<B> {
    inner: B,
    sender: Sender,
    after: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<B> IdleTimeout<B> {
    /// Watches `inner`. Time passes only while somebody waits for a piece: a slow reader is no pause.
    pub fn new(inner: B, sender: Sender, after: Duration) -> Self {
        Self { inner, sender, after, timer: Box::pin(sleep(after)), waiting: false }
    }
}

impl<B> HttpBody for IdleTimeout<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map(without_payment).map_err(Into::into)));
        }
        if !this.waiting {
            this.waiting = true;
            this.timer.as_mut().reset(Instant::now() + this.after);
        }
        this.timer
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(Paused { sender: this.sender, after: this.after }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Trailers cross like headers: without what belongs to one connection, and without words of payment.
fn without_payment(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            headers::to_client(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_the_body_and_a_slow_reader_does_not() {
        let after = Duration::from_secs(10);
        let (mut sender, channel) = http_body_util::channel::Channel::<Bytes, BoxError>::new(2);
        let mut body = IdleTimeout::new(channel, Sender::Upstream, after);
        sender.send_data(Bytes::from_static(b"a")).await.unwrap();
        tokio::time::sleep(3 * after).await;
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "a");
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the upstream sent nothing for 10 s");
    }

    #[tokio::test]
    async fn trailers_say_nothing_about_payments() {
        let (mut sender, channel) = http_body_util::channel::Channel::<Bytes, BoxError>::new(2);
        let mut body = IdleTimeout::new(channel, Sender::Upstream, Duration::from_secs(10));
        let mut trailers = http::HeaderMap::new();
        for (name, value) in
            [("payment-receipt", "forged"), ("authorization", "Payment abc"), ("x-checksum", "7")]
        {
            trailers.insert(name, value.parse().unwrap());
        }
        sender.send_trailers(trailers).await.unwrap();
        let left = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(left.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-checksum"]);
    }
}

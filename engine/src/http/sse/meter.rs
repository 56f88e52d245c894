//! Delivers a stream of events, and charges for it before it leaves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use farebox_core::units::Amount;
use futures_util::FutureExt;
use futures_util::stream::unfold;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};

use super::split::{SseEvent, SseSplitter};
use crate::http::streams::Ticket;
use crate::http::tally::Tally;
use crate::http::till::{Priced, Till, Turn};
use crate::http::{BoxError, DoorBody, Paid};

/// The body of a metered stream: `upstream`'s events, each charged to `paid` before it leaves.
///
/// It must be polled on a tokio runtime. Dropping it ends the request.
pub fn meter<B>(upstream: B, mut paid: Paid) -> DoorBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let ticket = paid.take_ticket();
    let tally = Tally::of(paid.meter());
    let splitter = SseSplitter::default();
    let metered = Metered {
        source: Source { upstream: Box::pin(upstream), splitter, tally, is_over: false },
        till: Till::new(paid),
        ticket,
        state: State::Running,
    };
    let frames = unfold(metered, |mut metered| async move {
        let bytes = metered.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), metered))
    });
    StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync()
}

/// A stream on its way.
struct Metered<B> {
    source: Source<B>,
    till: Till<Bytes>,
    ticket: Ticket,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Events come and are charged.
    Running,
    /// The client was asked for a voucher above this amount.
    Waiting {
        accepted: Amount,
    },
    /// The receipt is the next and last thing.
    Ending,
    Over,
}

impl<B> Metered<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// The next bytes for the client.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.state {
                State::Over => return None,
                State::Ending => {
                    self.state = State::Over;
                    self.till.paid.end().await;
                    return Some(self.till.paid.receipt().to_event().into());
                }
                State::Waiting { accepted } => {
                    let may_go_on = tokio::select! {
                        may_go_on = self.till.paid.wait_above(accepted) => may_go_on,
                        () = self.ticket.stopped() => false,
                    };
                    self.till.raised();
                    self.state = if may_go_on { State::Running } else { State::Ending };
                }
                State::Running => {
                    self.collect().await;
                    if self.till.ready.is_empty() || self.ticket.is_stopped() {
                        self.state = State::Ending;
                        continue;
                    }
                    match (self.till.turn().await, self.till.ask_at()) {
                        (Turn::Deliver(count), _) => return Some(self.take(count)),
                        // What the service gives meanwhile is in what is asked for then.
                        (Turn::Ask(_), Some(ask_at)) => tokio::select! {
                            () = self.ticket.stopped() => {}
                            () = tokio::time::sleep_until(ask_at) => {}
                        },
                        (Turn::Ask(event), None) => {
                            self.state = State::Waiting { accepted: event.accepted };
                            return Some(event.to_event().into());
                        }
                        (Turn::End, _) => self.state = State::Ending,
                    }
                }
            }
        }
    }

    /// Waits for an event if none is ready, then takes what else is at hand.
    async fn collect(&mut self) {
        if self.till.ready.is_empty() {
            tokio::select! {
                biased;
                () = self.ticket.stopped() => return,
                () = self.source.read(&mut self.till.ready) => {}
            }
        }
        while self.till.has_room() && self.source.has_more() {
            // One poll: what is not there yet is not waited for.
            if self.source.read_once(&mut self.till.ready).now_or_never().is_none() {
                break;
            }
        }
    }

    /// The first `count` events as bytes.
    fn take(&mut self, count: usize) -> Bytes {
        let ready = &mut self.till.ready;
        if count == 1 {
            return ready.pop_front().map(|event| event.piece).unwrap_or_default();
        }
        let mut bytes = BytesMut::new();
        for event in ready.drain(..count) {
            bytes.extend_from_slice(&event.piece);
        }
        bytes.freeze()
    }
}

/// The service's side of a stream.
struct Source<B> {
    upstream: Pin<Box<B>>,
    splitter: SseSplitter,
    tally: Tally,
    is_over: bool,
}

impl<B> Source<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn has_more(&self) -> bool {
        !self.is_over
    }

    /// Reads until there is an event or the end.
    async fn read(&mut self, ready: &mut VecDeque<Priced<Bytes>>) {
        while ready.is_empty() && !self.is_over {
            self.read_once(ready).await;
        }
    }

    /// Reads one piece. Nothing is lost when the future is dropped while it waits.
    async fn read_once(&mut self, ready: &mut VecDeque<Priced<Bytes>>) {
        match self.upstream.frame().await {
            Some(Ok(frame)) => {
                // Trailers say nothing to a client of events.
                if let Ok(bytes) = frame.into_data() {
                    self.splitter.push(&bytes);
                    self.split(ready);
                }
            }
            Some(Err(error)) => {
                // Half an event is none: it is neither delivered nor charged.
                let error: BoxError = error.into();
                tracing::warn!(%error, "the service broke off an event stream");
                self.is_over = true;
            }
            None => {
                self.is_over = true;
                if let Some(event) = self.splitter.finish().filter(|event| !event.is_reserved) {
                    ready.push_back(self.priced(event));
                }
            }
        }
    }

    fn priced(&mut self, event: SseEvent) -> Priced<Bytes> {
        let units = self.tally.event(&event);
        Priced { bytes: event.bytes.len(), piece: event.bytes, units }
    }

    fn split(&mut self, ready: &mut VecDeque<Priced<Bytes>>) {
        loop {
            match self.splitter.next_event() {
                Ok(Some(event)) if event.is_reserved => {
                    tracing::warn!("the service sent an event with a name of the payment scheme: dropped");
                }
                Ok(Some(event)) => ready.push_back(self.priced(event)),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "an event stream ends");
                    self.is_over = true;
                    return;
                }
            }
        }
    }
}

//! Delivers a stream of events, and charges for it before it leaves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use farebox_core::challenge::NeedVoucher;
use farebox_core::channel::{Rejection, Snapshot};
use farebox_core::units::Amount;
use futures_util::FutureExt;
use futures_util::stream::unfold;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;

use super::split::{SseEvent, SseSplitter};
use crate::http::streams::Ticket;
use crate::http::tally::Tally;
use crate::http::{BoxError, DoorBody, Paid, PaidStop};

/// The most events that are charged in one step.
pub const CHUNK_EVENTS_MAX: usize = 64;
/// About the most bytes that are collected for one step.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How often a stream looks again when the money that it saw was taken by another request.
const RACES_MAX: u32 = 64;

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
        ready: VecDeque::new(),
        paid,
        ticket,
        raised_at: Instant::now(),
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
    /// Events that the service gave and that are not delivered yet.
    ready: VecDeque<Priced>,
    paid: Paid,
    ticket: Ticket,
    /// When the last voucher came: the one that began the stream, or one that it asked for.
    raised_at: Instant,
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

/// An event, and how many units it adds.
struct Priced {
    bytes: Bytes,
    units: u64,
}

/// What to do next with what is ready.
enum Turn {
    /// So many events of the queue are paid or free.
    Deliver(usize),
    /// The client has to sign more.
    Ask(NeedVoucher),
    /// Nothing more can be charged.
    End,
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
                    self.paid.end().await;
                    return Some(self.paid.receipt().to_event().into());
                }
                State::Waiting { accepted } => {
                    let may_go_on = tokio::select! {
                        may_go_on = self.paid.wait_above(accepted) => may_go_on,
                        () = self.ticket.stopped() => false,
                    };
                    self.raised_at = Instant::now();
                    self.state = if may_go_on { State::Running } else { State::Ending };
                }
                State::Running => {
                    self.collect().await;
                    if self.ready.is_empty() || self.ticket.is_stopped() {
                        self.state = State::Ending;
                        continue;
                    }
                    match self.turn().await {
                        Turn::Deliver(count) => return Some(self.take(count)),
                        Turn::Ask(_) if self.is_too_soon() => self.pause().await,
                        Turn::Ask(event) => {
                            self.state = State::Waiting { accepted: event.accepted };
                            return Some(event.to_event().into());
                        }
                        Turn::End => self.state = State::Ending,
                    }
                }
            }
        }
    }

    /// Waits for an event if none is ready, then takes what else is at hand.
    async fn collect(&mut self) {
        if self.ready.is_empty() {
            tokio::select! {
                biased;
                () = self.ticket.stopped() => return,
                () = self.source.read(&mut self.ready) => {}
            }
        }
        while self.ready.len() < CHUNK_EVENTS_MAX
            && self.source.has_more()
            && self.ready_bytes() < CHUNK_BYTES_MAX
        {
            // One poll: what is not there yet is not waited for.
            if self.source.read_once(&mut self.ready).now_or_never().is_none() {
                break;
            }
        }
    }

    /// Until when the next voucher is better not asked for: the channel's rate would refuse it.
    fn ask_at(&self) -> Instant {
        self.raised_at + self.paid.voucher_interval()
    }

    fn is_too_soon(&self) -> bool {
        Instant::now() < self.ask_at()
    }

    /// Waits until a voucher may be asked for. What the service gives meanwhile is in what is asked for then.
    async fn pause(&mut self) {
        let ask_at = self.ask_at();
        tokio::select! {
            () = self.ticket.stopped() => {}
            () = tokio::time::sleep_until(ask_at) => {}
        }
    }

    fn ready_bytes(&self) -> usize {
        self.ready.iter().map(|event| event.bytes.len()).sum()
    }

    /// Charges for as much of what is ready as can be paid.
    async fn turn(&mut self) -> Turn {
        let count = self.ready.len().min(CHUNK_EVENTS_MAX);
        for _ in 0..RACES_MAX {
            let due = self.ready.iter().take(count).map(|event| event.units);
            let billed = due.fold(0_u64, u64::saturating_add);
            if billed == 0 {
                return Turn::Deliver(count);
            }
            let payable = match self.paid.capture(billed).await {
                Ok(_) => return Turn::Deliver(count),
                Err(PaidStop::Rejected(Rejection::InsufficientBalance { available, .. })) => {
                    units_within(available, self.paid.price())
                }
                Err(stop) => return self.stop(&stop),
            };
            let (events, units) = self.prefix(payable.min(billed));
            if units > 0 {
                match self.paid.capture(units).await {
                    Ok(_) => return Turn::Deliver(events),
                    // Another request was faster: look again.
                    Err(PaidStop::Rejected(Rejection::InsufficientBalance { .. })) => continue,
                    Err(stop) => return self.stop(&stop),
                }
            }
            if events > 0 {
                return Turn::Deliver(events);
            }
            if let Some(turn) = self.ask(billed).await {
                return turn;
            }
        }
        tracing::debug!(channel = %self.paid.channel(), "a stream ends: others take all money of its channel");
        Turn::End
    }

    /// Finds out what the client must sign to pay for `billed` events; `None` to look again.
    async fn ask(&mut self, billed: u64) -> Option<Turn> {
        // What the next event needs, in the words of the books. If it can be paid by now, it is.
        let first = self.ready.front().map_or(0, |event| event.units);
        let least = match self.paid.capture(first).await {
            Ok(_) => return Some(Turn::Deliver(1)),
            Err(PaidStop::Rejected(Rejection::InsufficientBalance { required_cumulative, .. })) => {
                required_cumulative
            }
            Err(stop) => return Some(self.stop(&stop)),
        };
        let snapshot = match self.paid.refresh().await {
            Ok(snapshot) => snapshot,
            Err(error) => return Some(self.stop(&PaidStop::Engine(error))),
        };
        if snapshot.accepted >= least {
            // A voucher came in between: waiting for a higher one would wait for ever.
            return None;
        }
        let required = required(least, self.paid.price(), billed.saturating_sub(first), &snapshot);
        let channel = self.paid.channel();
        Some(Turn::Ask(NeedVoucher {
            channel,
            required,
            accepted: snapshot.accepted,
            deposit: snapshot.deposit,
        }))
    }

    fn stop(&self, stop: &PaidStop) -> Turn {
        tracing::debug!(channel = %self.paid.channel(), %stop, "a stream ends");
        Turn::End
    }

    /// How many events of the queue `units` pay for, with the free ones before the next billed one, and how many units
    /// these cost.
    fn prefix(&self, units: u64) -> (usize, u64) {
        let mut cost = 0_u64;
        let within = self.ready.iter().take_while(|event| {
            let next = cost.saturating_add(event.units);
            let is_paid = event.units == 0 || next <= units;
            cost = if is_paid { next } else { cost };
            is_paid
        });
        (within.count(), cost)
    }

    /// The first `count` events as bytes.
    fn take(&mut self, count: usize) -> Bytes {
        if count == 1 {
            return self.ready.pop_front().map(|event| event.bytes).unwrap_or_default();
        }
        let mut bytes = BytesMut::new();
        for event in self.ready.drain(..count) {
            bytes.extend_from_slice(&event.bytes);
        }
        bytes.freeze()
    }
}

/// How many units `money` buys. A free unit is never short of money, so a price of zero does not come here.
pub(in crate::http) fn units_within(money: Amount, price: Amount) -> u64 {
    let units = money.get().checked_div(price.get()).unwrap_or_default();
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// What the next voucher must reach for the next event, which needs `least`, and `more` units after it: as much as
/// the deposit allows, but that one event at least (then the client has to top up first).
fn required(least: Amount, price: Amount, more: u64, snapshot: &Snapshot) -> Amount {
    let room = snapshot.deposit.saturating_sub(least);
    let more = units_within(room, price).min(more);
    price.checked_mul(more).and_then(|more| least.checked_add(more)).unwrap_or(least)
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
    async fn read(&mut self, ready: &mut VecDeque<Priced>) {
        while ready.is_empty() && !self.is_over {
            self.read_once(ready).await;
        }
    }

    /// Reads one piece. Nothing is lost when the future is dropped while it waits.
    async fn read_once(&mut self, ready: &mut VecDeque<Priced>) {
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

    fn priced(&mut self, event: SseEvent) -> Priced {
        let units = self.tally.event(&event);
        Priced { bytes: event.bytes, units }
    }

    fn split(&mut self, ready: &mut VecDeque<Priced>) {
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

//! Delivers a body that is charged by its bytes, each unit before it leaves.
//!
//! What the service has ready is charged in one durable step. When the money is out the body pauses: a client that counts
//! what it gets hands in its next voucher on another connection in time. One that does not, or whose channel stops to
//! serve, sees the body break off, so that nobody takes a part for the whole. The receipt comes in the trailers.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::pin::Pin;

use bytes::Bytes;
use farebox_core::channel::Rejection;
use futures_util::FutureExt;
use futures_util::stream::unfold;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};

use super::answer::receipt_value;
use super::headers::PAYMENT_RECEIPT;
use super::streams::Ticket;
use super::till::{CHUNK_BYTES_MAX, units_within};
use super::{BoxError, DoorBody, Paid, PaidStop};

/// Why a body that is charged by bytes breaks off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// No voucher came in time.
    #[error("no voucher came for the rest of the body")]
    Unpaid,
    /// The channel stopped to serve, or its client closes it.
    #[error("the channel that pays for the body ends")]
    Ended,
    /// The books refused.
    #[error("the rest of the body cannot be charged: {0}")]
    Refused(PaidStop),
}

/// The body of an answer of which `bytes_per_unit` bytes are a unit. It must be polled on a tokio runtime.
pub(super) fn meter<B>(upstream: B, bytes_per_unit: NonZeroU64, mut paid: Paid) -> DoorBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let ticket = paid.take_ticket();
    let metered = Metered {
        upstream: Box::pin(upstream),
        ready: VecDeque::new(),
        trailers: None,
        is_read: false,
        bytes_per_unit: bytes_per_unit.get(),
        delivered: 0,
        paid,
        ticket,
        is_short: false,
        is_over: false,
    };
    let frames = unfold(metered, |mut metered| async move {
        let frame = metered.next().await?;
        metered.is_over |= frame.is_err();
        Some((frame, metered))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A body on its way.
struct Metered<B> {
    upstream: Pin<Box<B>>,
    /// What the service gave and that is not delivered yet.
    ready: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// Whether the service's body was read to its end.
    is_read: bool,
    bytes_per_unit: u64,
    delivered: u64,
    paid: Paid,
    ticket: Ticket,
    /// What is ready could not be paid in whole.
    is_short: bool,
    is_over: bool,
}

impl<B> Metered<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        if self.is_over {
            return None;
        }
        loop {
            if let Err(error) = self.collect().await {
                return Some(Err(error));
            }
            if self.ticket.is_stopped() {
                return Some(Err(Broken::Ended.into()));
            }
            if self.ready.is_empty() {
                self.is_over = true;
                self.paid.end().await;
                let mut trailers = self.trailers.take().unwrap_or_default();
                trailers.insert(PAYMENT_RECEIPT, receipt_value(&self.paid.receipt()));
                return Some(Ok(Frame::trailers(trailers)));
            }
            match self.pay().await {
                Ok(None) => {}
                Ok(Some(bytes)) => return Some(Ok(Frame::data(bytes))),
                Err(broken) => {
                    tracing::debug!(channel = %self.paid.channel(), %broken, "a body breaks off");
                    return Some(Err(broken.into()));
                }
            }
        }
    }

    /// Bytes that are paid for; `None` to look again.
    async fn pay(&mut self) -> Result<Option<Bytes>, Broken> {
        if !self.is_short {
            self.charge().await?;
        }
        let bytes = self.take_paid();
        if bytes.is_none() {
            self.wait().await?;
            self.is_short = false;
        }
        Ok(bytes)
    }

    /// Waits for a piece if none is ready, then takes what else is at hand.
    async fn collect(&mut self) -> Result<(), BoxError> {
        while self.ready.is_empty() && !self.is_read {
            let frame = tokio::select! {
                biased;
                () = self.ticket.stopped() => return Ok(()),
                frame = self.upstream.frame() => frame,
            };
            self.take_frame(frame)?;
        }
        while !self.is_read && self.ready_bytes() < CHUNK_BYTES_MAX as u64 {
            // One poll: what is not there yet is not waited for.
            let Some(frame) = self.upstream.frame().now_or_never() else { break };
            self.take_frame(frame)?;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>) -> Result<(), BoxError> {
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => self.ready.push_back(bytes),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            },
            Some(Err(error)) => {
                let error: BoxError = error.into();
                tracing::warn!(%error, "the service broke off a body");
                return Err(error);
            }
            None => self.is_read = true,
        }
        Ok(())
    }

    fn ready_bytes(&self) -> u64 {
        self.ready.iter().map(|bytes| bytes.len() as u64).sum()
    }

    /// The next bytes that are paid for, if there are any.
    fn take_paid(&mut self) -> Option<Bytes> {
        let paid_bytes = self.paid.units().saturating_mul(self.bytes_per_unit);
        let allowed = paid_bytes.saturating_sub(self.delivered);
        let first = self.ready.front_mut()?;
        let count = usize::try_from(allowed).unwrap_or(usize::MAX).min(first.len());
        if count == 0 {
            return None;
        }
        let bytes = first.split_to(count);
        if first.is_empty() {
            self.ready.pop_front();
        }
        self.delivered += count as u64;
        Some(bytes)
    }

    /// Charges for what is ready, or for as much of it as can be paid.
    async fn charge(&mut self) -> Result<(), Broken> {
        let total = self.delivered.saturating_add(self.ready_bytes()).div_ceil(self.bytes_per_unit);
        let due = total.saturating_sub(self.paid.units());
        if due == 0 {
            return Ok(());
        }
        let available = match self.paid.capture(due).await {
            Ok(_) => return Ok(()),
            Err(PaidStop::Rejected(Rejection::InsufficientBalance { available, .. })) => available,
            Err(stop) => return Err(Broken::Refused(stop)),
        };
        self.is_short = true;
        let payable = units_within(available, self.paid.price()).min(due);
        if payable == 0 {
            return Ok(());
        }
        match self.paid.capture(payable).await {
            // A race with another request is decided at the next look.
            Ok(_) | Err(PaidStop::Rejected(Rejection::InsufficientBalance { .. })) => Ok(()),
            Err(stop) => Err(Broken::Refused(stop)),
        }
    }

    /// Waits for a voucher that pays for one more unit.
    async fn wait(&mut self) -> Result<(), Broken> {
        let snapshot = self.paid.refresh().await.map_err(|error| Broken::Refused(error.into()))?;
        if snapshot.available() >= self.paid.price() {
            // A voucher came in between: waiting for a higher one would wait for ever.
            return Ok(());
        }
        tokio::select! {
            came = self.paid.wait_above(snapshot.accepted) => if came { Ok(()) } else { Err(Broken::Unpaid) },
            () = self.ticket.stopped() => Err(Broken::Ended),
        }
    }
}

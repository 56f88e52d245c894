//! WebSocket sessions that are paid message by message, in the words that the SDKs speak on the socket itself.
//!
//! **Words** are text messages, JSON objects with a member `mpp`. The client sends `authorization` (a Payment credential as it
//! stands in the header) and `payment-close-request`; it gets `payment-receipt`, `payment-need-voucher`,
//! `payment-close-ready` and `payment-error`. What the service says in text comes as `message`, so that no service can
//! speak in our name; binary messages cross as they are, and so does everything else that the client says.
//!
//! **How it goes**: the first credential (an `open` or a voucher) sets the price of a message aside; only then the service
//! is asked. Each message of the service is charged before it leaves. When the money is out, the client is asked for a
//! voucher and the stream waits; the voucher comes on the socket or by any other request. A new session of a channel
//! ends the one before.
//!
//! **How it ends**: when the service is done, the client wants to close, or the channel stops to serve, the client gets
//! `payment-close-ready` with what it was charged, and some time to close its channel on the same socket. A service that
//! breaks off is an error with a receipt. A client that leaves pays what was on its way to it.
//!
//! The caller brings sockets that are open already, and the bounds of their messages. A message is a unit
//! ([`Meter::WebSocketMessage`](super::Meter::WebSocketMessage)).

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use super::{BoxError, Door, Offer, Paid};

mod desk;
mod metered;
pub mod words;

use desk::{Admitted, Desk};
use metered::Ended;

/// How long a client may take to send its first credential.
pub const FIRST_PAYMENT_WAIT: Duration = Duration::from_secs(30);
/// How long a client may take to close its channel after the stream has ended.
pub const CLOSE_WAIT: Duration = Duration::from_secs(60);
/// How long a client may take to answer the end, and to close its channel when the server stops.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// Words of the client that may wait while one is looked at.
pub const WORDS_WAITING_MAX: usize = 32;

/// A whole message, or the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// The end, and why.
    Close(Reason),
}

/// Why a socket ends (RFC 6455, 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The status code.
    pub code: u16,
    /// Words for people.
    pub text: String,
}

impl Reason {
    /// All is done.
    pub const NORMAL: u16 = 1_000;
    /// The server goes away.
    pub const GOING_AWAY: u16 = 1_001;
    /// No code came with the end.
    pub const NONE: u16 = 1_005;
    /// The peer does what this place does not allow: it does not pay.
    pub const POLICY: u16 = 1_008;
    /// The service broke off.
    pub const BROKEN: u16 = 1_011;

    /// A reason.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// Whether a service that ends like this is done.
    const fn is_done(&self) -> bool {
        matches!(self.code, Self::NORMAL | Self::GOING_AWAY | Self::NONE)
    }
}

/// Both halves of an open WebSocket.
#[derive(Debug)]
pub struct Socket<I, O> {
    /// What the peer says.
    pub incoming: I,
    /// What it is told.
    pub outgoing: O,
}

/// Why there is no service to speak with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// The status that says it over HTTP.
    pub status: u16,
    /// Words for people.
    pub detail: String,
}

/// What a session is sold by.
#[derive(Clone, Debug)]
pub struct Sale {
    /// Who takes the money.
    pub door: Door,
    /// For what.
    pub offer: Offer,
    /// Who asks, as far as it is known: failures are counted by address.
    pub address: Option<IpAddr>,
}

/// Serves one client until its socket ends. `beginning` is what it paid with the request for the upgrade, if it did. `dial`
/// is asked for the service once somebody pays. When `stop` is ready, the session ends as if the service were done.
pub async fn serve<CI, CO, SI, SO, D>(
    sale: Sale,
    mut client: Socket<CI, CO>,
    beginning: Option<Paid>,
    dial: impl FnOnce() -> D,
    stop: impl Future<Output = ()>,
) where
    CI: Stream<Item = Result<Message, BoxError>> + Unpin,
    CO: Sink<Message, Error = BoxError> + Unpin,
    SI: Stream<Item = Result<Message, BoxError>> + Unpin,
    SO: Sink<Message, Error = BoxError> + Unpin,
    D: Future<Output = Result<Socket<SI, SO>, Away>>,
{
    tokio::pin!(stop);
    let mut desk = Desk::new(sale);
    let paid = match beginning {
        Some(paid) => paid,
        None => {
            let first = async {
                tokio::select! {
                    () = &mut stop => Admitted::End(Reason::new(Reason::GOING_AWAY, "the server stops")),
                    admitted = desk.first_payment(&mut client) => admitted,
                }
            };
            match tokio::time::timeout(FIRST_PAYMENT_WAIT, first).await {
                Ok(Admitted::Paid(paid)) => paid,
                Ok(Admitted::End(reason)) => return end(&mut client, reason).await,
                Ok(Admitted::Gone) => return,
                Err(_) => {
                    return end(&mut client, Reason::new(Reason::POLICY, "no payment came in time")).await;
                }
            }
        }
    };
    let service = match dial().await {
        Ok(service) => service,
        Err(away) => {
            paid.release().await;
            let word = words::error(away.status, &away.detail);
            if client.outgoing.send(Message::Text(word)).await.is_ok() {
                end(&mut client, Reason::new(Reason::BROKEN, "there is no service")).await;
            }
            return;
        }
    };
    desk.answers(&paid);
    if client.outgoing.send(Message::Text(words::receipt(&paid.receipt()))).await.is_err() {
        return;
    }
    match metered::run(&mut desk, &mut client, service, paid, &mut stop).await {
        Ended::Gone => {}
        Ended::With(reason) => end(&mut client, reason).await,
        Ended::Ready { reason, pending } => {
            let closing = async {
                tokio::select! {
                    () = &mut stop, if reason.code != Reason::GOING_AWAY => None,
                    last = desk.last_words(&mut client, pending) => last,
                }
            };
            let wait = if reason.code == Reason::GOING_AWAY { GOODBYE_WAIT } else { CLOSE_WAIT };
            let last = tokio::time::timeout(wait, closing).await;
            if let Some(last) = last.unwrap_or(Some(reason)) {
                end(&mut client, last).await;
            }
        }
    }
}

/// Says why the socket ends. Whether the client still hears it does not matter.
async fn end<I, O>(client: &mut Socket<I, O>, reason: Reason)
where
    I: Stream<Item = Result<Message, BoxError>> + Unpin,
    O: Sink<Message, Error = BoxError> + Unpin,
{
    let _ = client.outgoing.send(Message::Close(reason)).await;
    let _ = client.outgoing.close().await;
    // Until the client has ended too: a connection that is closed over unread bytes loses what was said last.
    let quiet = async { while let Some(Ok(_)) = client.incoming.next().await {} };
    let _ = tokio::time::timeout(GOODBYE_WAIT, quiet).await;
}

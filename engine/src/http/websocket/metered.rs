//! The stream itself: messages of the service, each charged before it leaves, and the client's words in between.

use std::collections::VecDeque;
use std::future::Future;

use farebox_core::units::Amount;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::desk::{Desk, Purpose, Taken, closed, refused};
use super::words::{self, Word};
use super::{Message, Reason, Socket, WORDS_WAITING_MAX};
use crate::http::till::{Priced, Till, Turn};
use crate::http::{BoxError, Paid};

/// How a stream ended.
pub(super) enum Ended {
    /// The client left.
    Gone,
    /// The socket ends too.
    With(Reason),
    /// The client knows what it was charged and may close its channel now. These words came before it was told.
    Ready { reason: Reason, pending: VecDeque<Word> },
}

/// What a stream does.
enum State {
    /// Messages come and are charged.
    Running,
    /// The client was asked for a voucher above this amount.
    Waiting { accepted: Amount },
    /// A voucher is asked for later: the channel's rate would refuse it now.
    Pausing { until: Instant },
}

/// What happened.
enum Event {
    Word(Word),
    /// There is something to charge for, or the service has ended.
    Ready,
    /// A voucher came, or none in time.
    Raised(bool),
    Stopped,
    ChannelStopped,
    Gone,
}

/// Runs a stream to its end.
pub(super) async fn run<CI, CO, SI, SO>(
    desk: &mut Desk,
    client: &mut Socket<CI, CO>,
    service: Socket<SI, SO>,
    mut paid: Paid,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Ended
where
    CI: Stream<Item = Result<Message, BoxError>> + Unpin,
    CO: Sink<Message, Error = BoxError> + Unpin,
    SI: Stream<Item = Result<Message, BoxError>> + Unpin,
    SO: Sink<Message, Error = BoxError> + Unpin,
{
    let mut ticket = paid.take_ticket();
    // One session for a channel: the drafts let the newest one win.
    ticket.replace_others();
    let (words, mut said) = mpsc::channel(WORDS_WAITING_MAX);
    let Socket { incoming, outgoing } = service;
    let reading = listen(&mut client.incoming, outgoing, words);
    tokio::pin!(reading);
    let mut stream = Streaming {
        source: Source { incoming, end: None },
        till: Till::new(paid),
        state: State::Running,
        out: &mut client.outgoing,
    };
    let mut pending = VecDeque::new();
    let reason = loop {
        let event = tokio::select! {
            biased;
            () = &mut *stop => Event::Stopped,
            () = ticket.stopped() => Event::ChannelStopped,
            () = &mut reading => Event::Gone,
            word = said.recv() => word.map_or(Event::Gone, Event::Word),
            event = stream.wait() => event,
        };
        match event {
            Event::Gone => {
                stream.till.paid.end().await;
                return Ended::Gone;
            }
            Event::Stopped => break Reason::new(Reason::GOING_AWAY, "the server stops"),
            Event::ChannelStopped => {
                break Reason::new(Reason::NORMAL, "the channel ends, or another stream of it began");
            }
            Event::Raised(true) => {
                stream.till.raised();
                stream.state = State::Running;
            }
            Event::Raised(false) => break Reason::new(Reason::POLICY, "no voucher came in time"),
            Event::Word(Word::CloseRequest) => break closed(),
            Event::Word(Word::Message(_) | Word::Other) => {}
            Event::Word(Word::Authorization(credential)) => {
                if is_close(&credential) {
                    // A close waits for streams to end: this one first.
                    pending.push_back(Word::Authorization(credential));
                    break closed();
                }
                let (word, is_refused) = match desk.take(&credential, Purpose::Management).await {
                    Taken::Receipt(receipt) | Taken::Closed(receipt) => (words::receipt(&receipt), false),
                    Taken::Refused { status, detail } => (words::error(status, &detail), true),
                    Taken::Paid(_) => continue,
                };
                if stream.out.send(Message::Text(word)).await.is_err() {
                    return Ended::Gone;
                }
                if is_refused {
                    stream.till.paid.end().await;
                    return Ended::With(refused());
                }
            }
            Event::Ready => {
                let worked = tokio::select! {
                    biased;
                    worked = stream.work() => worked,
                    // The client says more while it hears; when it leaves, nothing more can be sent to it.
                    () = &mut reading => Work::Gone,
                };
                match worked {
                    Work::GoOn => {}
                    Work::End(reason) => break reason,
                    Work::Gone => return Ended::Gone,
                }
            }
        }
    };
    stream.till.paid.end().await;
    let receipt = desk.receipt(&stream.till.paid);
    drop(ticket);
    if reason.code == Reason::BROKEN {
        for word in [words::receipt(&receipt), words::error(502, &reason.text)] {
            if stream.out.send(Message::Text(word)).await.is_err() {
                return Ended::Gone;
            }
        }
        return Ended::With(reason);
    }
    if stream.out.send(Message::Text(words::close_ready(&receipt))).await.is_err() {
        return Ended::Gone;
    }
    while let Ok(word) = said.try_recv() {
        pending.push_back(word);
    }
    Ended::Ready { reason, pending }
}

/// Takes what the client says apart: words of payment wait, the rest goes to the service. Ready when the client left.
async fn listen<I, O>(incoming: &mut I, mut service: O, words: mpsc::Sender<Word>)
where
    I: Stream<Item = Result<Message, BoxError>> + Unpin,
    O: Sink<Message, Error = BoxError> + Unpin,
{
    loop {
        // A place first, so that no word is lost when nobody waits for the next any more.
        let Ok(place) = words.reserve().await else { return };
        let message = match incoming.next().await {
            Some(Ok(Message::Text(text))) => match Word::read(&text) {
                Some(Word::Message(text)) => Message::Text(text),
                Some(word) => {
                    place.send(word);
                    continue;
                }
                None => Message::Text(text),
            },
            Some(Ok(message @ Message::Binary(_))) => message,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        };
        // A service that is over hears nothing; its end is seen where it speaks.
        let _ = service.send(message).await;
    }
}

/// What came of the work on what is ready.
enum Work {
    GoOn,
    End(Reason),
    Gone,
}

struct Streaming<'a, SI, CO> {
    source: Source<SI>,
    till: Till<Message>,
    state: State,
    out: &'a mut CO,
}

impl<SI, CO> Streaming<'_, SI, CO>
where
    SI: Stream<Item = Result<Message, BoxError>> + Unpin,
    CO: Sink<Message, Error = BoxError> + Unpin,
{
    /// Waits for the next thing to do. Nothing is lost when it is dropped before.
    async fn wait(&mut self) -> Event {
        match self.state {
            State::Running => {
                self.source.fill(&mut self.till).await;
                Event::Ready
            }
            State::Waiting { accepted } => Event::Raised(self.till.paid.wait_above(accepted).await),
            State::Pausing { until } => {
                tokio::time::sleep_until(until).await;
                self.state = State::Running;
                Event::Ready
            }
        }
    }

    /// Charges for what is ready and delivers it.
    async fn work(&mut self) -> Work {
        if self.till.ready.is_empty() {
            return match self.source.end.take() {
                Some(reason) => Work::End(reason),
                None => Work::GoOn,
            };
        }
        match (self.till.turn().await, self.till.ask_at()) {
            (Turn::Deliver(count), _) => {
                for piece in self.till.ready.drain(..count) {
                    if self.out.feed(piece.piece).await.is_err() {
                        return Work::Gone;
                    }
                }
                if self.out.flush().await.is_err() {
                    return Work::Gone;
                }
            }
            (Turn::Ask(_), Some(until)) => self.state = State::Pausing { until },
            (Turn::Ask(needed), None) => {
                self.state = State::Waiting { accepted: needed.accepted };
                if self.out.send(Message::Text(words::need_voucher(&needed))).await.is_err() {
                    return Work::Gone;
                }
            }
            (Turn::End, _) => {
                return Work::End(Reason::new(Reason::NORMAL, "the channel that pays for the stream ends"));
            }
        }
        Work::GoOn
    }
}

/// The service's side.
struct Source<SI> {
    incoming: SI,
    /// Set when the service said its last.
    end: Option<Reason>,
}

impl<SI: Stream<Item = Result<Message, BoxError>> + Unpin> Source<SI> {
    /// Waits for a message if none is ready, then takes what else is at hand.
    async fn fill(&mut self, till: &mut Till<Message>) {
        while till.ready.is_empty() && self.end.is_none() {
            let next = self.incoming.next().await;
            self.push(next, till);
        }
        while till.has_room() && self.end.is_none() {
            // One poll: what is not there yet is not waited for.
            let Some(next) = self.incoming.next().now_or_never() else { return };
            self.push(next, till);
        }
    }

    fn push(&mut self, next: Option<Result<Message, BoxError>>, till: &mut Till<Message>) {
        let broken = || Reason::new(Reason::BROKEN, "the service broke off");
        let message = match next {
            Some(Ok(Message::Text(text))) => Message::Text(words::message(&text)),
            Some(Ok(message @ Message::Binary(_))) => message,
            Some(Ok(Message::Close(reason))) => {
                self.end = Some(if reason.is_done() { reason } else { broken() });
                return;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the service broke off a WebSocket");
                self.end = Some(broken());
                return;
            }
            // A connection that ends without a close frame is broken too (RFC 6455, 7.1.5).
            None => {
                self.end = Some(broken());
                return;
            }
        };
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            Message::Close(_) => 0,
        };
        till.ready.push_back(Priced { piece: message, bytes, units: 1 });
    }
}

/// Whether a credential asks to close its channel.
fn is_close(authorization: &str) -> bool {
    use farebox_core::challenge::{Credential, Payload, credential};
    let token = credential::find([authorization.as_bytes()]).ok().flatten();
    let parsed = token.and_then(|token| Credential::parse(token).ok());
    parsed.is_some_and(|credential| matches!(credential.payload, Payload::Close(_)))
}

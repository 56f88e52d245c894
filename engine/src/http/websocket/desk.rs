//! Takes the credentials that come on a socket, as the door takes them with requests.

use std::collections::VecDeque;

use farebox_core::challenge::{Credential, Payload, Receipt, credential};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::{Method, Response};
use http_body_util::BodyExt;

use super::words::{self, Word};
use super::{Message, Reason, Sale, Socket};
use crate::http::headers::PAYMENT_RECEIPT;
use crate::http::{Asked, BoxError, Decision, DoorBody, Paid};

/// What came of the first words.
pub(super) enum Admitted {
    /// Somebody pays.
    Paid(Paid),
    /// Nobody does.
    End(Reason),
    /// The client left.
    Gone,
}

/// What came of a credential.
pub(super) enum Taken {
    /// Money is set aside for the stream.
    Paid(Paid),
    /// A voucher, a top-up, or an `open` that buys nothing yet.
    Receipt(Box<Receipt>),
    /// The channel is closed.
    Closed(Box<Receipt>),
    /// It is refused.
    Refused { status: u16, detail: String },
}

/// What a credential is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To begin the stream.
    Stream,
    /// To pay for more of it, or to close.
    Management,
}

/// The door as seen from a socket.
pub(super) struct Desk {
    sale: Sale,
    /// The challenge that was answered last: clients look for it in receipts.
    challenge_id: String,
}

impl Desk {
    pub(super) fn new(sale: Sale) -> Self {
        Self { sale, challenge_id: String::new() }
    }

    /// Notes the challenge that began the stream.
    pub(super) fn answers(&mut self, paid: &Paid) {
        self.challenge_id = paid.receipt().challenge_id;
    }

    /// The receipt of a stream, for the challenge that its client answered last.
    pub(super) fn receipt(&self, paid: &Paid) -> Receipt {
        Receipt { challenge_id: self.challenge_id.clone(), ..paid.receipt() }
    }

    /// Takes a credential. It must be awaited to the end.
    pub(super) async fn take(&mut self, authorization: &str, purpose: Purpose) -> Taken {
        let refused = |detail: &str| Taken::Refused { status: 400, detail: detail.into() };
        let Ok(value) = HeaderValue::from_str(authorization) else {
            return refused("the credential has characters that no header may have");
        };
        let token = credential::find([value.as_bytes()]).ok().flatten();
        let Some(credential) = token.and_then(|token| Credential::parse(token).ok()) else {
            // The door says what is wrong with it, and counts it. With HEAD: a charge would pay for nothing here.
            return self.ask(value, Method::HEAD).await.into_refused();
        };
        let begins = matches!(credential.payload, Payload::Open(_) | Payload::Voucher(_));
        let is_stream = begins && purpose == Purpose::Stream;
        let taken = self.ask(value, if is_stream { Method::GET } else { Method::POST }).await;
        match taken {
            Taken::Receipt(_) if is_stream => Taken::Refused {
                status: 409,
                detail: "this credential paid for a stream before; sign a new one".into(),
            },
            Taken::Receipt(receipt) if matches!(credential.payload, Payload::Close(_)) => {
                Taken::Closed(receipt)
            }
            Taken::Receipt(receipt) => {
                self.challenge_id.clone_from(&credential.challenge.id);
                Taken::Receipt(receipt)
            }
            other => other,
        }
    }

    async fn ask(&self, value: HeaderValue, method: Method) -> Taken {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let asked = Asked {
            method: &method,
            headers: &headers,
            body_is_empty: true,
            body_digest: None,
            target: None,
            address: self.sale.address,
        };
        match self.sale.door.decide_offer(asked, &self.sale.offer).await {
            Decision::Paid(paid) => Taken::Paid(paid),
            Decision::Charged(_) => {
                Taken::Refused { status: 400, detail: "a charge pays for no stream".into() }
            }
            Decision::Answer(answer) => read(answer).await,
        }
    }

    /// Waits for a credential that begins the stream.
    pub(super) async fn first_payment<I, O>(&mut self, client: &mut Socket<I, O>) -> Admitted
    where
        I: Stream<Item = Result<Message, BoxError>> + Unpin,
        O: Sink<Message, Error = BoxError> + Unpin,
    {
        loop {
            let text = match client.incoming.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Binary(_))) => return Admitted::End(unpaid()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Admitted::Gone,
            };
            let answer = match Word::read(&text) {
                Some(Word::Authorization(credential)) => {
                    match self.take(&credential, Purpose::Stream).await {
                        Taken::Paid(paid) => return Admitted::Paid(paid),
                        Taken::Receipt(receipt) => words::receipt(&receipt),
                        Taken::Closed(receipt) => {
                            let sent = client.outgoing.send(Message::Text(words::receipt(&receipt))).await;
                            return sent.map_or(Admitted::Gone, |()| Admitted::End(closed()));
                        }
                        Taken::Refused { status, detail } => {
                            let word = words::error(status, &detail);
                            let sent = client.outgoing.send(Message::Text(word)).await;
                            return sent.map_or(Admitted::Gone, |()| Admitted::End(refused()));
                        }
                    }
                }
                Some(Word::CloseRequest) => return Admitted::End(closed()),
                Some(Word::Other) => continue,
                // Nobody has paid for an ear yet.
                Some(Word::Message(_)) | None => return Admitted::End(unpaid()),
            };
            if client.outgoing.send(Message::Text(answer)).await.is_err() {
                return Admitted::Gone;
            }
        }
    }

    /// After the stream: the client may close its channel, or top it up. Why the socket ends; `None` when it has.
    pub(super) async fn last_words<I, O>(
        &mut self,
        client: &mut Socket<I, O>,
        mut pending: VecDeque<Word>,
    ) -> Option<Reason>
    where
        I: Stream<Item = Result<Message, BoxError>> + Unpin,
        O: Sink<Message, Error = BoxError> + Unpin,
    {
        loop {
            let word = match pending.pop_front() {
                Some(word) => word,
                None => match client.incoming.next().await {
                    Some(Ok(Message::Text(text))) => Word::read(&text).unwrap_or(Word::Other),
                    Some(Ok(Message::Binary(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                },
            };
            let Word::Authorization(credential) = word else { continue };
            let (answer, last) = match self.take(&credential, Purpose::Management).await {
                Taken::Closed(receipt) => (words::receipt(&receipt), Some(closed())),
                Taken::Receipt(receipt) => (words::receipt(&receipt), None),
                Taken::Refused { status, detail } => (words::error(status, &detail), Some(refused())),
                // Management never sets money aside.
                Taken::Paid(_) => continue,
            };
            client.outgoing.send(Message::Text(answer)).await.ok()?;
            if last.is_some() {
                return last;
            }
        }
    }
}

impl Taken {
    /// The answer to what cannot be read is a refusal.
    fn into_refused(self) -> Self {
        match self {
            refused @ Self::Refused { .. } => refused,
            _ => Self::Refused { status: 400, detail: "the credential cannot be read".into() },
        }
    }
}

/// Reads an answer of the door.
async fn read(answer: Response<DoorBody>) -> Taken {
    let (parts, body) = answer.into_parts();
    if parts.status.is_success() {
        let receipt = parts.headers.get(PAYMENT_RECEIPT).and_then(|value| value.to_str().ok());
        if let Some(Ok(receipt)) = receipt.map(Receipt::parse_header) {
            return Taken::Receipt(Box::new(receipt));
        }
    }
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("the payment was refused").to_owned();
    Taken::Refused { status: parts.status.as_u16(), detail }
}

fn unpaid() -> Reason {
    Reason::new(Reason::POLICY, "a payment comes first")
}

pub(super) fn refused() -> Reason {
    Reason::new(Reason::POLICY, "the payment was refused")
}

pub(super) fn closed() -> Reason {
    Reason::new(Reason::NORMAL, "payment session closed")
}

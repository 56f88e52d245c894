//! Sessions on a WebSocket: paid message by message, with the words of payment on the socket.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use farebox_core::challenge::{Challenge, NeedVoucher, Receipt};
use farebox_core::units::Amount;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::websocket::{Away, Message, Reason, Sale, Socket, serve};
use farebox_engine::http::{BoxError, Meter, Route};
use futures_util::sink::unfold as sink;
use futures_util::stream::unfold as stream;
use futures_util::{Sink, Stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::*;

/// The price of one message.
const MESSAGE: Amount = Amount::new(10);
const SOON: Duration = Duration::from_secs(5);

type Half<T> = Pin<Box<T>>;
type AnySocket = Socket<
    Half<dyn Stream<Item = Result<Message, BoxError>> + Send>,
    Half<dyn Sink<Message, Error = BoxError> + Send>,
>;

/// The other side of a socket.
struct Peer {
    say: mpsc::Sender<Message>,
    hear: mpsc::Receiver<Message>,
}

/// A socket whose peer is the test.
fn socket() -> (AnySocket, Peer) {
    let (say, said) = mpsc::channel::<Message>(1_000);
    let (tell, hear) = mpsc::channel::<Message>(1_000);
    let incoming = stream(said, |mut said| async move { Some((Ok(said.recv().await?), said)) });
    let outgoing = sink(tell, |tell: mpsc::Sender<Message>, message| async move {
        tell.send(message).await.map_err(|_| BoxError::from("the peer is gone"))?;
        Ok(tell)
    });
    (Socket { incoming: Box::pin(incoming), outgoing: Box::pin(outgoing) }, Peer { say, hear })
}

impl Peer {
    async fn say(&self, text: impl Into<String>) {
        self.say.send(Message::Text(text.into())).await.unwrap();
    }

    async fn pay(&self, credential: String) {
        self.say(json!({ "mpp": "authorization", "authorization": credential }).to_string()).await;
    }

    async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(SOON, self.hear.recv()).await.expect("a message in time")
    }

    /// The next word, with its data.
    async fn word(&mut self, expected: &str) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => {
                let said: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(said["mpp"], expected, "{text}");
                said
            }
            other => panic!("{other:?} instead of {expected}"),
        }
    }

    async fn receipt(&mut self, expected: &str) -> Receipt {
        let said = self.word(expected).await;
        Receipt::parse_json(said["data"].to_string().as_bytes()).unwrap()
    }

    async fn closed(&mut self) -> u16 {
        match self.next().await {
            Some(Message::Close(reason)) => reason.code,
            other => panic!("{other:?} instead of the end"),
        }
    }

    async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.hear.recv()).await.is_err()
    }
}

/// A session that is served, and both its ends.
struct Session {
    client: Peer,
    service: Peer,
    served: JoinHandle<()>,
}

fn route() -> Route {
    Route::metered(MESSAGE, "message", Meter::WebSocketMessage)
}

async fn metered(deposit: u128) -> (World, Client, Challenge) {
    let mut world = World::new();
    world.route = route();
    opened_in(world, ProtocolVersion::V2, deposit).await
}

fn sale(world: &World) -> Sale {
    Sale { door: world.door.clone(), offer: world.door.offer(world.route.clone()), address: None }
}

fn begin(world: &World) -> Session {
    let (client_side, client) = socket();
    let (service_side, service) = socket();
    let sale = sale(world);
    let served = tokio::spawn(serve(
        sale,
        client_side,
        None,
        move || async move { Ok::<_, Away>(service_side) },
        std::future::pending(),
    ));
    Session { client, service, served }
}

/// A session that `amount` paid for.
async fn started(world: &World, client: &Client, challenge: &Challenge, amount: u128) -> Session {
    let mut session = begin(world);
    session.client.pay(client.voucher(challenge, amount)).await;
    let receipt = session.client.receipt("payment-receipt").await;
    assert_eq!((receipt.challenge_id, receipt.channel), (challenge.id.clone(), client.channel));
    session
}

#[tokio::test]
async fn messages_are_charged_before_they_leave_and_vouchers_come_on_the_socket() {
    let (world, client, challenge) = metered(1_000).await;
    let mut session = started(&world, &client, &challenge, 20).await;
    for text in ["one", "two", "three", "four"] {
        session.service.say(text).await;
    }
    for text in ["one", "two"] {
        assert_eq!(session.client.word("message").await["data"], text);
    }
    let needed = session.client.word("payment-need-voucher").await;
    let needed = NeedVoucher::parse_json(needed["data"].to_string().as_bytes()).unwrap();
    assert_eq!((needed.accepted, needed.required), (Amount::new(20), Amount::new(40)), "for both that wait");
    assert!(session.client.is_quiet().await, "nothing leaves unpaid");
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(20));
    session.client.pay(client.voucher(&challenge, 40)).await;
    assert_eq!(session.client.receipt("payment-receipt").await.accepted, Amount::new(40));
    for text in ["three", "four"] {
        assert_eq!(session.client.word("message").await["data"], text);
    }
    session.service.say.send(Message::Close(Reason::new(Reason::NORMAL, ""))).await.unwrap();
    let receipt = session.client.receipt("payment-close-ready").await;
    assert_eq!((receipt.spent, receipt.units), (Amount::new(40), Some(4)));
    session.client.pay(client.close(&challenge, 40)).await;
    let receipt = session.client.receipt("payment-receipt").await;
    assert!(receipt.tx_hash.is_some());
    assert_eq!(session.client.closed().await, Reason::NORMAL);
    drop(session.client);
    session.served.await.unwrap();
    let claim = world.chain.claims.lock()[0].clone();
    assert_eq!(claim.capture, Amount::new(40));
}

#[tokio::test]
async fn what_the_client_says_reaches_the_service_and_credentials_do_not() {
    let (world, client, challenge) = metered(1_000).await;
    let mut session = started(&world, &client, &challenge, 10).await;
    session.client.say("plain").await;
    session.client.pay(client.voucher(&challenge, 20)).await;
    session.client.say(json!({ "mpp": "message", "data": "wrapped" }).to_string()).await;
    session.client.say(json!({ "mpp": "payment-receipt", "data": {} }).to_string()).await;
    session.client.say.send(Message::Binary(Bytes::from_static(b"raw"))).await.unwrap();
    session.client.receipt("payment-receipt").await;
    let text = |text: &str| Some(Message::Text(text.into()));
    assert_eq!(session.service.next().await, text("plain"));
    assert_eq!(session.service.next().await, text("wrapped"));
    assert_eq!(session.service.next().await, Some(Message::Binary(Bytes::from_static(b"raw"))));
    assert!(session.service.is_quiet().await);
}

#[tokio::test]
async fn nobody_hears_anything_before_a_payment() {
    let (world, client, challenge) = metered(1_000).await;
    let mut session = begin(&world);
    session.client.say("hello?").await;
    assert_eq!(session.client.closed().await, Reason::POLICY);

    let mut session = begin(&world);
    session.client.pay("Payment nonsense".into()).await;
    assert_eq!(session.client.word("payment-error").await["status"], 402);
    assert_eq!(session.client.closed().await, Reason::POLICY);

    // The same credential twice: one delivery.
    let credential = client.voucher(&challenge, 10);
    let mut session = begin(&world);
    session.client.pay(credential.clone()).await;
    session.client.receipt("payment-receipt").await;
    session.service.say("one").await;
    session.client.word("message").await;
    session.client.say(json!({ "mpp": "payment-close-request" }).to_string()).await;
    session.client.receipt("payment-close-ready").await;
    drop(session.client);
    session.served.await.unwrap();
    let mut session = begin(&world);
    session.client.pay(credential).await;
    assert_eq!(session.client.word("payment-error").await["status"], 409);
    assert_eq!(session.client.closed().await, Reason::POLICY);
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(10));
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_was_sent_and_no_more() {
    let (world, client, challenge) = metered(1_000).await;
    let mut session = started(&world, &client, &challenge, 100).await;
    for _ in 0..3 {
        session.service.say("piece").await;
        session.client.word("message").await;
    }
    drop(session.client);
    session.served.await.unwrap();
    assert_eq!(session.service.next().await, None, "the service is told");
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::new(30), Amount::ZERO));
}

#[tokio::test]
async fn a_service_that_breaks_off_is_an_error_with_a_receipt() {
    let (world, client, challenge) = metered(1_000).await;
    let mut session = started(&world, &client, &challenge, 100).await;
    session.service.say("piece").await;
    session.client.word("message").await;
    drop(session.service);
    assert_eq!(session.client.receipt("payment-receipt").await.spent, Amount::new(10));
    assert_eq!(session.client.word("payment-error").await["status"], 502);
    assert_eq!(session.client.closed().await, Reason::BROKEN);
    assert_eq!(world.snapshot(client.channel).await.reserved, Amount::ZERO);
}

#[tokio::test]
async fn a_service_that_is_away_costs_nothing() {
    let (world, client, challenge) = metered(1_000).await;
    let (client_side, mut peer) = socket();
    let dial = || async { Err::<AnySocket, _>(Away { status: 502, detail: "away".into() }) };
    let served = tokio::spawn(serve(sale(&world), client_side, None, dial, std::future::pending()));
    peer.pay(client.voucher(&challenge, 10)).await;
    assert_eq!(peer.word("payment-error").await["status"], 502);
    assert_eq!(peer.closed().await, Reason::BROKEN);
    drop(peer);
    served.await.unwrap();
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
}

#[tokio::test]
async fn without_a_voucher_in_time_the_stream_ends_with_what_was_charged() {
    let (world, client, challenge) = metered(1_000).await;
    let mut session = started(&world, &client, &challenge, 10).await;
    session.service.say("one").await;
    session.service.say("two").await;
    session.client.word("message").await;
    session.client.word("payment-need-voucher").await;
    let receipt = session.client.receipt("payment-close-ready").await;
    assert_eq!((receipt.spent, receipt.units), (Amount::new(10), Some(1)));
}

#[tokio::test]
async fn a_channel_has_one_session_and_the_newest_wins() {
    let (world, client, challenge) = metered(1_000).await;
    let mut first = started(&world, &client, &challenge, 10).await;
    let mut second = started(&world, &client, &challenge, 20).await;
    first.client.receipt("payment-close-ready").await;
    second.service.say("one").await;
    assert_eq!(second.client.word("message").await["data"], "one");
}

#[tokio::test]
async fn a_server_that_stops_tells_what_was_charged() {
    let (world, client, challenge) = metered(1_000).await;
    let (client_side, mut peer) = socket();
    let (service_side, service) = socket();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let dial = move || async move { Ok::<_, Away>(service_side) };
    let stopped = async move {
        let _ = stopped.await;
    };
    let served = tokio::spawn(async move {
        serve(sale(&world), client_side, None, dial, Box::pin(stopped)).await;
        world
    });
    peer.pay(client.voucher(&challenge, 10)).await;
    peer.receipt("payment-receipt").await;
    service.say("one").await;
    peer.word("message").await;
    stop.send(()).unwrap();
    assert_eq!(peer.receipt("payment-close-ready").await.spent, Amount::new(10));
    assert_eq!(peer.closed().await, Reason::GOING_AWAY);
    drop(peer);
    let world = served.await.unwrap();
    assert_eq!(world.snapshot(client.channel).await.reserved, Amount::ZERO);
}

#[tokio::test]
async fn a_first_credential_may_open_the_channel() {
    let mut world = World::new();
    world.route = route();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let mut session = begin(&world);
    session.client.pay(client.open(&challenge, 1_000, 10)).await;
    assert_eq!(session.client.receipt("payment-receipt").await.accepted, Amount::new(10));
    session.service.say("one").await;
    session.client.word("message").await;
    session.client.pay(client.top_up(&challenge, 500)).await;
    assert!(session.client.receipt("payment-receipt").await.tx_hash.is_some());
    assert_eq!(world.snapshot(client.channel).await.deposit, Amount::new(1_500));
    // A close in mid-stream ends the stream first.
    session.client.pay(client.close(&challenge, 10)).await;
    session.client.receipt("payment-close-ready").await;
    assert!(session.client.receipt("payment-receipt").await.tx_hash.is_some());
    assert_eq!(session.client.closed().await, Reason::NORMAL);
}

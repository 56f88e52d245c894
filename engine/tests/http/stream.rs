//! Metered streams: charged before they leave, paused when the money is out, ended with a receipt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farebox_core::challenge::{Challenge, NeedVoucher, Receipt};
use farebox_core::channel::{ChainPosition, Limits, Rate};
use farebox_core::units::{Address, Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::{DoorBody, Route};
use farebox_engine::{Config, Step};
use futures_util::stream::unfold;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::mpsc;

use crate::support::*;

/// The price of one event.
const EVENT: Amount = Amount::new(10);

/// A service whose events the test sends, one piece at a time.
type Service = mpsc::Sender<Result<&'static str, std::io::Error>>;

/// What a client reads of a stream.
struct Reader(DoorBody);

impl Reader {
    /// The next piece, or `None` at the end.
    async fn piece(&mut self) -> Option<String> {
        let frame =
            tokio::time::timeout(Duration::from_secs(5), self.0.frame()).await.expect("a piece in time");
        let bytes = frame?.expect("the body does not fail").into_data().expect("data");
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.0.frame()).await.is_err()
    }

    async fn need(&mut self) -> NeedVoucher {
        let piece = self.piece().await.unwrap();
        let data =
            piece.strip_prefix("event: payment-need-voucher\ndata: ").unwrap_or_else(|| panic!("{piece}"));
        NeedVoucher::parse_json(data.trim_end().as_bytes()).unwrap()
    }

    /// The receipt, which must be the last piece.
    async fn receipt(mut self) -> Receipt {
        let piece = self.piece().await.unwrap();
        let data = piece.strip_prefix("event: payment-receipt\ndata: ").unwrap_or_else(|| panic!("{piece}"));
        assert_eq!(self.piece().await, None);
        Receipt::parse_json(data.trim_end().as_bytes()).unwrap()
    }
}

/// A world whose route is metered, with an open channel.
async fn metered(deposit: u128) -> (World, Client, Challenge) {
    let mut world = World::new();
    world.route = Route::per_event(EVENT);
    opened_in(world, ProtocolVersion::V2, deposit).await
}

/// Starts a stream that `amount` pays for.
async fn start(world: &World, client: &Client, challenge: &Challenge, amount: u128) -> (Service, Reader) {
    let paid = world.paid(&client.voucher(challenge, amount)).await;
    let (service, pieces) = mpsc::channel(1_000);
    let frames =
        unfold(pieces, |mut pieces: mpsc::Receiver<Result<&'static str, std::io::Error>>| async move {
            let piece = pieces.recv().await?;
            Some((piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))), pieces))
        });
    let mut answer = Response::new(StreamBody::new(frames));
    let headers = answer.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert("content-length", http::HeaderValue::from_static("99"));
    let answer = paid.deliver(Ok::<_, std::io::Error>(answer)).await;
    assert_eq!(answer.headers()["cache-control"], "private, no-cache, no-transform");
    assert!(answer.headers().get("content-length").is_none());
    let receipt = Receipt::parse_header(answer.headers()["payment-receipt"].to_str().unwrap()).unwrap();
    assert_eq!((receipt.units, receipt.challenge_id.as_str()), (Some(0), challenge.id.as_str()));
    (service, Reader(answer.into_body()))
}

async fn hand_in(world: &World, client: &Client, challenge: &Challenge, amount: u128) -> u16 {
    world.answer(Method::POST, empty(authorization(&client.voucher(challenge, amount)))).await.status
}

#[tokio::test]
async fn events_are_charged_as_they_are_delivered() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("event: message\ndata: one\n\n")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "event: message\ndata: one\n\n");
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (EVENT, Amount::ZERO), "charged before it left");
    service.send(Ok(": heartbeat\n\nda")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), ": heartbeat\n\n");
    assert_eq!(world.snapshot(client.channel).await.spent, EVENT, "comments are free");
    service.send(Ok("ta: two\n\ndata: three\n\ndata: [DONE]\n\n")).await.unwrap();
    drop(service);
    assert_eq!(
        reader.piece().await.unwrap(),
        "data: two\n\ndata: three\n\ndata: [DONE]\n\n",
        "at hand: one step"
    );
    let receipt = reader.receipt().await;
    assert_eq!(
        (receipt.units, receipt.spent, receipt.accepted),
        (Some(3), Amount::new(30), Amount::new(100))
    );
    let again = world.answer(Method::GET, authorization(&client.voucher(&challenge, 100))).await;
    assert_eq!((again.status, again.receipt().units), (204, Some(3)), "one credential, one stream");
    assert_eq!(world.snapshot(client.channel).await.units, 3);
}

/// A client that answers at once is never told that it answers too often.
#[tokio::test]
async fn a_stream_asks_no_sooner_than_the_rate_allows() {
    let limits = Limits { rate: Rate::new(20, 1), ..Limits::default() };
    let mut world = World::with(config(Address::ZERO), Config { limits, ..Config::default() });
    world.route = Route::per_event(EVENT);
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, 1_000).await;
    let (began, mut told_ms) = (std::time::Instant::now(), 0);
    let (service, mut reader) = start(&world, &client, &challenge, 10).await;
    for _ in 0..3 {
        service.send(Ok("data: a\n\n")).await.unwrap();
    }
    assert_eq!(reader.piece().await.unwrap(), "data: a\n\n", "what is paid waits for nothing");
    let mut delivered = 1;
    while delivered < 6 {
        let need = reader.need().await;
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
        world.clock.advance_millis(elapsed_ms - told_ms);
        told_ms = elapsed_ms;
        assert_eq!(hand_in(&world, &client, &challenge, need.required.get()).await, 204);
        delivered += reader.piece().await.unwrap().matches("data: a").count();
        service.send(Ok("data: a\n\n")).await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(4 * 50), "two events at first, then one at a time");
    drop(service);
}

#[tokio::test]
async fn a_stream_pauses_and_goes_on() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 10).await;
    service.send(Ok("data: 1\n\ndata: 2\n\ndata: 3\n\n")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "data: 1\n\n", "what is paid for");
    let need = reader.need().await;
    assert_eq!((need.channel, need.accepted, need.deposit), (client.channel, EVENT, Amount::new(1_000)));
    assert_eq!(need.required, Amount::new(30), "all that is ready");
    assert!(reader.is_quiet().await);
    assert_eq!(world.snapshot(client.channel).await.spent, EVENT, "nothing beyond the authorized amount");
    // A lower voucher than asked for pays for what it can.
    assert_eq!(hand_in(&world, &client, &challenge, 20).await, 204);
    assert_eq!(reader.piece().await.unwrap(), "data: 2\n\n");
    assert_eq!(reader.need().await.required, Amount::new(30));
    assert_eq!(hand_in(&world, &client, &challenge, 500).await, 204);
    assert_eq!(reader.piece().await.unwrap(), "data: 3\n\n");
    drop(service);
    assert_eq!(reader.receipt().await.spent, Amount::new(30));
}

#[tokio::test]
async fn a_stream_asks_for_no_more_than_the_deposit_allows_but_one_unit() {
    let (world, client, challenge) = metered(25).await;
    let (service, mut reader) = start(&world, &client, &challenge, 10).await;
    service.send(Ok("data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "data: 1\n\n");
    assert_eq!(reader.need().await.required, Amount::new(20), "one more fits");
    assert_eq!(hand_in(&world, &client, &challenge, 20).await, 204);
    assert_eq!(reader.piece().await.unwrap(), "data: 2\n\n");
    let need = reader.need().await;
    assert_eq!((need.required, need.deposit), (Amount::new(30), Amount::new(25)), "top up first");
    let top_up = empty(authorization(&client.top_up(&challenge, 15)));
    assert_eq!(world.answer(Method::POST, top_up).await.status, 204);
    assert!(reader.is_quiet().await, "a deposit is not a voucher");
    assert_eq!(hand_in(&world, &client, &challenge, 40).await, 204);
    assert_eq!(reader.piece().await.unwrap(), "data: 3\n\ndata: 4\n\n");
    drop(service);
    assert_eq!(reader.receipt().await.units, Some(4));
}

#[tokio::test]
async fn a_stream_that_nobody_pays_for_ends_with_its_receipt() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 10).await;
    service.send(Ok("data: 1\n\ndata: 2\n\n")).await.unwrap();
    reader.piece().await.unwrap();
    reader.need().await;
    let receipt = reader.receipt().await;
    assert_eq!((receipt.units, receipt.spent), (Some(1), EVENT));
    assert!(service.is_closed(), "the service hears of it");
    assert_eq!(world.snapshot(client.channel).await.reserved, Amount::ZERO);
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_it_got() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("data: 1\n\n")).await.unwrap();
    reader.piece().await.unwrap();
    service.send(Ok("data: 2\n\n")).await.unwrap();
    drop(reader);
    assert!(service.is_closed());
    for _ in 0..1_000 {
        if world.engine.read(client.channel).await.unwrap().unwrap().snapshot.reserved == Amount::ZERO {
            break;
        }
    }
    let again = world.answer(Method::GET, authorization(&client.voucher(&challenge, 100))).await;
    let mut tries = 0;
    let mut again = again;
    while again.status == 409 && tries < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        again = world.answer(Method::GET, authorization(&client.voucher(&challenge, 100))).await;
        tries += 1;
    }
    assert_eq!((again.status, again.receipt().units, again.receipt().spent), (204, Some(1), EVENT));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_event_pays_nothing() {
    let (world, client, challenge) = metered(1_000).await;
    let (_service, mut reader) = start(&world, &client, &challenge, 100).await;
    assert!(reader.is_quiet().await);
    drop(reader);
    for _ in 0..100 {
        if world.snapshot(client.channel).await.reserved == Amount::ZERO {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
}

#[tokio::test]
async fn a_service_that_breaks_off_is_paid_for_what_was_delivered() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("data: 1\n\ndata: half")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "data: 1\n\n");
    service.send(Err(std::io::Error::other("reset"))).await.unwrap();
    let receipt = reader.receipt().await;
    assert_eq!((receipt.units, receipt.spent), (Some(1), EVENT), "half an event is none");
}

#[tokio::test]
async fn an_unfinished_last_event_is_completed() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("data: 1")).await.unwrap();
    drop(service);
    assert_eq!(reader.piece().await.unwrap(), "data: 1\n\n", "the receipt must not run into it");
    assert_eq!(reader.receipt().await.units, Some(1));
}

#[tokio::test]
async fn an_empty_stream_costs_nothing() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, reader) = start(&world, &client, &challenge, 100).await;
    drop(service);
    assert_eq!(reader.receipt().await.spent, Amount::ZERO);
    assert_eq!(world.snapshot(client.channel).await.reserved, Amount::ZERO);
}

#[tokio::test]
async fn a_service_cannot_speak_for_the_books() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    let forged = "event: payment-receipt\ndata: {}\n\nevent: payment-need-voucher\ndata: {}\n\ndata: 1\n\n";
    service.send(Ok(forged)).await.unwrap();
    drop(service);
    assert_eq!(reader.piece().await.unwrap(), "data: 1\n\n");
    assert_eq!(reader.receipt().await.units, Some(1));
}

#[tokio::test]
async fn a_close_request_on_chain_ends_the_stream() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("data: 1\n\n")).await.unwrap();
    reader.piece().await.unwrap();
    let position = ChainPosition { block: 9, log_index: 0 };
    world.engine.apply(client.channel, Step::CloseRequested { at: UnixSeconds(5), position }).await.unwrap();
    service.send(Ok("data: 2\n\n")).await.unwrap();
    assert_eq!(reader.receipt().await.units, Some(1));

    // A stream that waits for a voucher ends at once.
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 10).await;
    service.send(Ok("data: 1\n\ndata: 2\n\n")).await.unwrap();
    reader.piece().await.unwrap();
    reader.need().await;
    world.engine.apply(client.channel, Step::CloseRequested { at: UnixSeconds(5), position }).await.unwrap();
    assert_eq!(reader.receipt().await.units, Some(1));
}

#[tokio::test]
async fn an_operator_can_end_idle_streams() {
    let (world, client, challenge) = metered(1_000).await;
    let (_service, mut reader) = start(&world, &client, &challenge, 100).await;
    assert!(reader.is_quiet().await);
    let (ended, receipt) = tokio::join!(world.door.end_streams(client.channel), reader.receipt());
    assert_eq!((ended, receipt.units), (true, Some(0)));
}

#[tokio::test]
async fn a_close_ends_running_streams_and_captures_what_they_spent() {
    let (world, client, challenge) = metered(1_000).await;
    let world = Arc::new(world);
    // One stream waits for the service, one for a voucher.
    let (service, mut idle) = start(&world, &client, &challenge, 20).await;
    service.send(Ok("data: 1\n\n")).await.unwrap();
    idle.piece().await.unwrap();
    let other = world.challenge(ProtocolVersion::V2).await;
    let (other_service, mut waiting) = start(&world, &client, &other, 20).await;
    other_service.send(Ok("data: 1\n\ndata: 2\n\n")).await.unwrap();
    waiting.piece().await.unwrap();
    waiting.need().await;
    let closing = tokio::spawn({
        let (world, header) = (Arc::clone(&world), client.close(&challenge, 20));
        async move { world.answer(Method::POST, empty(authorization(&header))).await }
    });
    assert_eq!(idle.receipt().await.units, Some(1));
    assert_eq!(waiting.receipt().await.units, Some(1));
    assert_eq!(closing.await.unwrap().receipt().spent, Amount::new(20));
    assert_eq!(world.chain.claims.lock()[0].capture, Amount::new(20));
}

#[tokio::test]
async fn a_published_voucher_ends_nobodys_stream() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 20).await;
    service.send(Ok("data: 1\n\ndata: 2\n\n")).await.unwrap();
    reader.piece().await.unwrap();
    let step = Step::Settled { settled: Amount::new(20), position: ChainPosition::default() };
    world.engine.apply(client.channel, step).await.unwrap();
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 20)))).await;
    seen.is(402, "verification-failed");
    assert!(reader.is_quiet().await, "the stream runs on");
    assert_eq!(hand_in(&world, &client, &challenge, 30).await, 204);
    service.send(Ok("data: 3\n\n")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "data: 3\n\n");
}

#[tokio::test]
async fn a_close_below_what_is_owed_ends_no_stream() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("data: 1\n\ndata: 2\n\n")).await.unwrap();
    reader.piece().await.unwrap();
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 19)))).await;
    assert_eq!(seen.is(402, "verification-failed")["requiredCumulative"], "20");
    service.send(Ok("data: 3\n\n")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "data: 3\n\n", "the stream runs on");
}

#[tokio::test]
async fn two_streams_share_one_channel_and_never_overspend() {
    let (world, client, challenge) = metered(1_000).await;
    let (first, mut one) = start(&world, &client, &challenge, 30).await;
    let other = world.challenge(ProtocolVersion::V2).await;
    let (second, mut two) = start(&world, &client, &other, 30).await;
    first.send(Ok("data: a\n\ndata: b\n\ndata: c\n\n")).await.unwrap();
    assert_eq!(one.piece().await.unwrap(), "data: a\n\ndata: b\n\n", "the other's unit is set aside");
    one.need().await;
    second.send(Ok("data: x\n\n")).await.unwrap();
    assert_eq!(two.piece().await.unwrap(), "data: x\n\n");
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.accepted), (Amount::new(30), Amount::new(30)));
    assert_eq!(hand_in(&world, &client, &challenge, 40).await, 204);
    assert_eq!(one.piece().await.unwrap(), "data: c\n\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_voucher_that_arrives_at_any_moment_is_noticed() {
    const STREAMS: u64 = 300;
    let (world, client, _) = metered(100_000).await;
    let world = Arc::new(world);
    for round in 0..STREAMS {
        let spent = 20 * u128::from(round);
        let challenge = world.challenge(ProtocolVersion::V2).await;
        let (service, mut reader) = start(&world, &client, &challenge, spent + 10).await;
        service.send(Ok("data: 1\n\ndata: 2\n\n")).await.unwrap();
        drop(service);
        reader.piece().await.unwrap();
        // The client signs without being asked: before, while, or after the stream finds itself short.
        let signing = tokio::spawn({
            let (world, client, challenge) = (Arc::clone(&world), client.clone(), challenge.clone());
            async move {
                let at = std::time::Instant::now() + Duration::from_micros(2 * round);
                while std::time::Instant::now() < at {
                    std::hint::spin_loop();
                }
                hand_in(&world, &client, &challenge, spent + 20).await
            }
        });
        let mut piece = reader.piece().await.unwrap();
        if piece.contains("payment-need-voucher") {
            piece = reader.piece().await.unwrap();
        }
        assert_eq!(piece, "data: 2\n\n", "round {round}");
        assert_eq!(reader.receipt().await.units, Some(2));
        assert_eq!(signing.await.unwrap(), 204);
    }
}

#[tokio::test]
async fn many_ready_events_are_charged_in_bounded_steps() {
    let (world, client, challenge) = metered(100_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100_000).await;
    for _ in 0..200 {
        service.send(Ok("data: x\n\n")).await.unwrap();
    }
    drop(service);
    let mut delivered = 0;
    let mut steps = 0;
    while delivered < 200 {
        let count = reader.piece().await.unwrap().matches("data: x\n\n").count();
        assert!(count <= farebox_engine::http::sse::CHUNK_EVENTS_MAX);
        delivered += count;
        steps += 1;
        assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(10 * delivered as u128));
    }
    assert!(steps <= 8, "{steps} steps for 200 events");
    assert_eq!(reader.receipt().await.units, Some(200));
}

#[tokio::test]
async fn a_metered_route_that_answers_whole_costs_one_unit() {
    let (world, client, challenge) = metered(1_000).await;
    let seen = world.get(&client.voucher(&challenge, 100)).await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]));
    assert_eq!((seen.receipt().units, seen.receipt().spent), (Some(1), EVENT));
}

#[tokio::test]
async fn a_compressed_stream_cannot_be_metered() {
    let (world, client, challenge) = metered(1_000).await;
    let paid = world.paid(&client.voucher(&challenge, 100)).await;
    let mut answer = Response::new(Full::new(Bytes::from_static(b"\x1f\x8b")));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert("content-encoding", http::HeaderValue::from_static("gzip"));
    let seen = seen(paid.deliver(Ok::<_, std::io::Error>(answer)).await).await;
    assert_eq!(seen.status, 502);
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::ZERO);
}

/// The chain says that the payer wants to close while the service is quiet.
#[tokio::test]
async fn a_close_request_on_chain_ends_streams_at_once() {
    let (world, client, challenge) = metered(1_000).await;
    let (service, mut reader) = start(&world, &client, &challenge, 100).await;
    service.send(Ok("data: one\n\n")).await.unwrap();
    assert_eq!(reader.piece().await.unwrap(), "data: one\n\n");
    assert!(reader.is_quiet().await);
    let step = Step::CloseRequested {
        at: UnixSeconds(1_800_000_000),
        position: ChainPosition { block: 5, log_index: 0 },
    };
    world.engine.apply(client.channel, step).await.unwrap().accepted().unwrap();
    let receipt = reader.receipt().await;
    assert_eq!((receipt.units, receipt.spent), (Some(1), EVENT), "what was delivered is charged");
    assert!(service.is_closed(), "the service is not asked for more");
}

/// The same between the moment that the money is set aside and the service's answer.
#[tokio::test]
async fn a_close_request_before_the_answer_ends_the_stream_too() {
    let (world, client, challenge) = metered(1_000).await;
    let paid = world.paid(&client.voucher(&challenge, 100)).await;
    let step = Step::CloseRequested {
        at: UnixSeconds(1_800_000_000),
        position: ChainPosition { block: 5, log_index: 0 },
    };
    world.engine.apply(client.channel, step).await.unwrap().accepted().unwrap();
    let (service, pieces) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body = StreamBody::new(unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    }));
    let mut answer = Response::new(body);
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    let reader = Reader(paid.deliver(Ok::<_, std::io::Error>(answer)).await.into_body());
    assert_eq!(reader.receipt().await.units, Some(0));
    assert!(service.is_closed());
}

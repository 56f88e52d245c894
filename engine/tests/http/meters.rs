//! The meters: bytes, tokens, a header. What is delivered is paid before, and nothing else is charged.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use farebox_core::challenge::{Challenge, Receipt};
use farebox_core::units::Amount;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::{BoxError, DoorBody, Meter, Route, TokenRates};
use futures_util::stream::unfold;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::mpsc;

use crate::support::*;

const UNIT: Amount = Amount::new(10);

/// A world whose route has this meter, with an open channel of 1,000.
async fn metered(meter: Meter) -> (World, Client, Challenge) {
    let mut world = World::new();
    world.route = Route::metered(UNIT, "unit", meter);
    opened_in(world, ProtocolVersion::V2, 1_000).await
}

fn by_bytes(bytes: u64) -> Meter {
    Meter::Bytes { bytes_per_unit: NonZeroU64::new(bytes).unwrap() }
}

type Service = mpsc::Sender<Result<&'static str, std::io::Error>>;

/// A body whose pieces the test sends.
fn service() -> (Service, DoorBody) {
    let (sender, pieces) = mpsc::channel::<Result<&'static str, std::io::Error>>(100);
    let frames = unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        let frame = piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes())));
        Some((frame.map_err(BoxError::from), pieces))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

async fn next(body: &mut DoorBody) -> Option<Result<Frame<Bytes>, BoxError>> {
    tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("a frame in time")
}

async fn text(body: &mut DoorBody) -> String {
    let data = next(body).await.unwrap().unwrap().into_data().expect("data");
    String::from_utf8(data.to_vec()).unwrap()
}

async fn trailers(body: &mut DoorBody) -> Receipt {
    let trailers = next(body).await.unwrap().unwrap().into_trailers().expect("trailers");
    assert!(next(body).await.is_none());
    Receipt::parse_header(trailers["payment-receipt"].to_str().unwrap()).unwrap()
}

fn json(body: &'static str) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

#[tokio::test]
async fn bytes_are_charged_before_they_leave_and_pause_when_the_money_is_out() {
    let (world, client, challenge) = metered(by_bytes(4)).await;
    let paid = world.paid(&client.voucher(&challenge, 20)).await;
    let (service, body) = service();
    let answer = paid.deliver(Ok::<_, std::io::Error>(Response::new(body))).await;
    assert_eq!(answer.headers()["trailer"], "payment-receipt");
    let mut body = answer.into_body();
    service.send(Ok("ab")).await.unwrap();
    assert_eq!(text(&mut body).await, "ab");
    assert_eq!(world.snapshot(client.channel).await.spent, UNIT, "a unit that is begun counts");
    service.send(Ok("cdefghijkl")).await.unwrap();
    assert_eq!(text(&mut body).await, "cdefgh", "two units are eight bytes");
    let waits = tokio::time::timeout(Duration::from_millis(50), body.frame()).await;
    assert!(waits.is_err(), "nothing leaves unpaid");
    let voucher = empty(authorization(&client.voucher(&challenge, 30)));
    assert_eq!(world.answer(Method::POST, voucher).await.status, 204);
    assert_eq!(text(&mut body).await, "ijkl");
    drop(service);
    let receipt = trailers(&mut body).await;
    assert_eq!((receipt.units, receipt.spent), (Some(3), Amount::new(30)));
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.reserved, snapshot.units), (Amount::ZERO, 3));
}

#[tokio::test]
async fn a_body_without_a_further_voucher_breaks_off_and_costs_what_was_delivered() {
    let (world, client, challenge) = metered(by_bytes(4)).await;
    let paid = world.paid(&client.voucher(&challenge, 10)).await;
    let (service, body) = service();
    let mut body = paid.deliver(Ok::<_, std::io::Error>(Response::new(body))).await.into_body();
    service.send(Ok("abcdef")).await.unwrap();
    assert_eq!(text(&mut body).await, "abcd");
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "no voucher came for the rest of the body");
    assert!(next(&mut body).await.is_none());
    drop(body);
    assert!(service.is_closed(), "the service hears that nobody listens");
    assert_eq!(world.snapshot(client.channel).await.spent, UNIT);
}

#[tokio::test]
async fn a_body_that_costs_more_than_there_is_does_not_begin() {
    let (world, client, challenge) = metered(by_bytes(1)).await;
    let header = client.voucher(&challenge, 40);
    let paid = world.paid(&header).await;
    let mut answer = json("hello").unwrap();
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
    let refused = seen(paid.deliver(Ok::<_, std::io::Error>(answer)).await).await;
    let problem = refused.is(402, "session/insufficient-balance");
    assert_eq!((&problem["requiredTopUp"], &problem["requiredCumulative"]), (&"10".into(), &"50".into()));
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::ZERO);
    let paid = world.paid(&client.voucher(&challenge, 50)).await;
    let mut body = paid.deliver(json("hello")).await.into_body();
    assert_eq!(text(&mut body).await, "hello");
    assert_eq!(trailers(&mut body).await.units, Some(5));
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_left() {
    let (world, client, challenge) = metered(by_bytes(1)).await;
    let paid = world.paid(&client.voucher(&challenge, 1_000)).await;
    let (service, body) = service();
    let mut body = paid.deliver(Ok::<_, std::io::Error>(Response::new(body))).await.into_body();
    service.send(Ok("abc")).await.unwrap();
    assert_eq!(text(&mut body).await, "abc");
    service.send(Ok("never asked for")).await.unwrap();
    drop(body);
    while world.snapshot(client.channel).await.reserved > Amount::ZERO {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(30));
}

#[tokio::test]
async fn a_body_that_the_service_breaks_off_costs_what_came() {
    let (world, client, challenge) = metered(by_bytes(1)).await;
    let paid = world.paid(&client.voucher(&challenge, 1_000)).await;
    let (service, body) = service();
    let mut body = paid.deliver(Ok::<_, std::io::Error>(Response::new(body))).await.into_body();
    service.send(Ok("abc")).await.unwrap();
    assert_eq!(text(&mut body).await, "abc");
    service.send(Err(std::io::Error::other("gone"))).await.unwrap();
    assert_eq!(next(&mut body).await.unwrap().unwrap_err().to_string(), "gone");
    drop(body);
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(30));
}

#[tokio::test]
async fn the_usage_of_a_whole_answer_is_its_price() {
    let rates = TokenRates { input_weight: 1, output_weight: 4, tokens_per_unit: NonZeroU64::MIN };
    let (world, client, challenge) = metered(Meter::OpenAiUsage(rates)).await;
    const BODY: &str =
        r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let paid = world.paid(&client.voucher(&challenge, 100)).await;
    let refused = seen(paid.deliver(json(BODY)).await).await;
    let problem = refused.is(402, "session/insufficient-balance");
    assert_eq!((&problem["requiredTopUp"], &problem["requiredCumulative"]), (&"10".into(), &"110".into()));
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::ZERO, "not delivered, not charged");

    let paid = world.paid(&client.voucher(&challenge, 110)).await;
    let answer = seen(paid.deliver(json(BODY)).await).await;
    assert_eq!((answer.body.as_slice(), answer.receipt().units), (BODY.as_bytes(), Some(11)));
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(110));

    let paid = world.paid(&client.voucher(&challenge, 120)).await;
    let answer = seen(paid.deliver(json(r#"{"data":[]}"#)).await).await;
    assert_eq!(answer.receipt().units, Some(1), "an answer that names no usage is one unit");
}

#[tokio::test]
async fn the_usage_of_a_stream_is_charged_before_its_last_event() {
    let (world, client, challenge) = metered(Meter::OpenAiUsage(TokenRates::default())).await;
    let paid = world.paid(&client.voucher(&challenge, 50)).await;
    let (service, body) = service();
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let mut body = paid.deliver(Ok::<_, std::io::Error>(answer)).await.into_body();
    const DELTA: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n";
    for piece in [DELTA, DELTA] {
        service.send(Ok(piece)).await.unwrap();
        assert_eq!(text(&mut body).await, piece);
    }
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(20));
    service.send(Ok(USAGE)).await.unwrap();
    let asked = text(&mut body).await;
    assert!(
        asked.contains("payment-need-voucher") && asked.contains("\"requiredCumulative\":\"90\""),
        "{asked}"
    );
    let voucher = empty(authorization(&client.voucher(&challenge, 90)));
    assert_eq!(world.answer(Method::POST, voucher).await.status, 204);
    assert_eq!(text(&mut body).await, USAGE);
    drop(service);
    assert!(text(&mut body).await.contains("\"spent\":\"90\""));
    assert_eq!(world.snapshot(client.channel).await.units, 9);
}

#[tokio::test]
async fn a_header_names_the_units() {
    let (world, client, challenge) = metered(Meter::Header(HeaderName::from_static("x-units"))).await;
    let answer = |units: &'static str| {
        let mut answer = json("{}").unwrap();
        answer.headers_mut().append("x-units", HeaderValue::from_static(units));
        Ok::<_, std::io::Error>(answer)
    };
    let paid = world.paid(&client.voucher(&challenge, 70)).await;
    let served = seen(paid.deliver(answer("7")).await).await;
    assert_eq!((served.status, served.receipt().units), (200, Some(7)));
    for wrong in ["", "-1", "1.5", "0x7", "18446744073709551616", "seven"] {
        let paid = world.paid(&client.voucher(&challenge, 80)).await;
        assert_eq!(seen(paid.deliver(answer(wrong)).await).await.status, 502, "{wrong:?}");
    }
    let paid = world.paid(&client.voucher(&challenge, 80)).await;
    assert_eq!(seen(paid.deliver(json("{}")).await).await.status, 502, "no header");
    let paid = world.paid(&client.voucher(&challenge, 80)).await;
    seen(paid.deliver(answer("2")).await).await.is(402, "session/insufficient-balance");
    let paid = world.paid(&client.voucher(&challenge, 80)).await;
    assert_eq!(seen(paid.deliver(answer("18446744073709551615")).await).await.status, 402);
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(70));
    let paid = world.paid(&client.voucher(&challenge, 80)).await;
    assert_eq!(seen(paid.deliver(answer("0")).await).await.receipt().units, Some(0), "nothing is free");
}

#[tokio::test]
async fn a_reserve_is_set_aside_before_the_service_is_asked() {
    let (mut world, client, challenge) = metered(by_bytes(1)).await;
    world.route = world.route.clone().reserve(NonZeroU64::new(5).unwrap());
    let few = world.serve(Method::GET, authorization(&client.voucher(&challenge, 40))).await;
    assert_eq!(few.is(402, "session/insufficient-balance")["requiredCumulative"], "50");
    let paid = world.paid(&client.voucher(&challenge, 50)).await;
    assert_eq!(world.snapshot(client.channel).await.reserved, Amount::new(50));
    let mut body = paid.deliver(json("hi")).await.into_body();
    assert_eq!(text(&mut body).await, "hi");
    assert_eq!(trailers(&mut body).await.spent, Amount::new(20));
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!(
        (snapshot.reserved, snapshot.spent),
        (Amount::ZERO, Amount::new(20)),
        "the rest is given back"
    );
}

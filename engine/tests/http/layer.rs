//! The door as middleware of a router.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use farebox_core::challenge::{Challenge, Receipt};
use farebox_core::units::Amount;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::{PaymentLayer, Route};
use http::header::{AUTHORIZATION, HeaderMap};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt};

use crate::support::*;

/// A shop: `/free` is free, `/stream` costs by event, the rest by request.
fn shop(world: &World) -> Router {
    let layer = PaymentLayer::new(world.door.clone(), |parts| match parts.uri.path() {
        "/free" => None,
        "/stream" => Some(Route::per_event(Amount::new(10))),
        _ => Some(Route::per_request(PRICE)),
    });
    let stream = || async { ([("content-type", "text/event-stream")], "data: a\n\ndata: b\n\n") };
    Router::new()
        .route("/free", get(|| async { "free" }))
        .route(
            "/headers",
            get(|headers: HeaderMap| async move { format!("{:?}", headers.get(AUTHORIZATION)) }),
        )
        .route("/echo", post(|body: String| async move { body }))
        .route("/stream", get(stream))
        .route("/broken", get(|| async { http::StatusCode::INTERNAL_SERVER_ERROR }))
        .layer(layer)
}

async fn call(shop: &Router, method: &str, path: &str, header: Option<&str>, body: &'static str) -> Seen {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(header) = header {
        request = request.header(AUTHORIZATION, header).header("authorization", "Bearer mine");
    }
    let answer = shop.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Seen { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn challenge(shop: &Router, method: &str, path: &str) -> Challenge {
    let seen = call(shop, method, path, None, "").await;
    seen.is(402, "payment-required");
    seen.challenges().remove(0)
}

#[tokio::test]
async fn a_router_sells() {
    let world = World::new();
    let shop = shop(&world);
    let free = call(&shop, "GET", "/free", None, "").await;
    assert_eq!(
        (free.status, free.body.as_slice(), free.header("payment-receipt")),
        (200, &b"free"[..], None)
    );

    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let asked = challenge(&shop, "GET", "/headers").await;
    let seen = call(&shop, "GET", "/headers", Some(&client.open(&asked, 1_000, 100)), "").await;
    assert_eq!(seen.receipt().spent, PRICE);
    let body = String::from_utf8(seen.body).unwrap();
    assert_eq!(body, "Some(\"Bearer mine\")", "the credential stays at the door");

    let asked = challenge(&shop, "POST", "/echo").await;
    let seen = call(&shop, "POST", "/echo", Some(&client.voucher(&asked, 200)), "a body").await;
    assert_eq!((seen.receipt().spent, seen.body.as_slice()), (Amount::new(200), &b"a body"[..]));
    let seen = call(&shop, "POST", "/echo", Some(&client.voucher(&asked, 300)), "").await;
    assert_eq!((seen.status, seen.receipt().accepted), (204, Amount::new(300)), "an empty POST hands in");

    let asked = challenge(&shop, "GET", "/broken").await;
    let seen = call(&shop, "GET", "/broken", Some(&client.voucher(&asked, 300)), "").await;
    assert_eq!((seen.status, seen.header("payment-receipt")), (500, None));

    let asked = challenge(&shop, "GET", "/stream").await;
    let seen = call(&shop, "GET", "/stream", Some(&client.voucher(&asked, 300)), "").await;
    assert_eq!(seen.header("cache-control"), Some("private, no-cache, no-transform"));
    let body = String::from_utf8(seen.body).unwrap();
    let (events, receipt) = body.split_once("event: payment-receipt\ndata: ").unwrap();
    assert_eq!(events, "data: a\n\ndata: b\n\n");
    let receipt = Receipt::parse_json(receipt.trim_end().as_bytes()).unwrap();
    assert_eq!((receipt.units, receipt.spent), (Some(2), Amount::new(220)));
}

#[tokio::test]
async fn another_routes_challenge_is_refused() {
    let world = World::new();
    let shop = shop(&world);
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let cheap = challenge(&shop, "GET", "/stream").await;
    let seen = call(&shop, "GET", "/headers", Some(&client.open(&cheap, 1_000, 100)), "").await;
    seen.is(402, "invalid-challenge");
    assert!(world.books().await.is_empty());
}

/// What a paid request keeps while it waits, in bytes: allocators are fast up to about a kilobyte, and thousands wait.
const FUTURE_BYTES_MAX: usize = 1_024;

#[tokio::test]
async fn a_waiting_request_is_small() {
    let world = World::new();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let mut shop = PaymentLayer::flat(world.door.clone(), Route::per_request(PRICE)).layer(router);
    let request = Request::builder().uri("/").body(Body::empty()).unwrap();
    let answer = shop.call(request);
    let bytes = size_of_val(&*answer);
    assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes");
    assert_eq!(answer.await.unwrap().status(), 402);
}

//! Long streams that are killed, and many streams at once: what was delivered is what was charged.
//!
//! `FAREBOX_STREAM_KILLS` kills, and `FAREBOX_STREAMS` streams of `FAREBOX_STREAM_S` seconds, make it longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use farebox_core::challenge::{Challenge, NeedVoucher, Receipt};
use farebox_core::channel::{ChainPosition, Identity, Terms};
use farebox_core::units::{Address, Amount, B256};
use farebox_core::voucher::{ProtocolVersion, v2};
use farebox_engine::http::sse::CHUNK_EVENTS_MAX;
use farebox_engine::http::{DoorBody, Route};
use futures_util::stream::unfold;
use http::{Method, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use k256::ecdsa::SigningKey;

use crate::support::*;

const EVENT: Amount = Amount::new(10);
/// Events of a stream that is killed.
const EVENTS: u64 = 100_000;
/// What a service gives at once.
const BURST: u64 = 20;
/// Events that a voucher pays for when the client is asked for one.
const AHEAD: u64 = 3_000;
/// How often a service of the many speaks.
const SPEAKS_MS: u64 = 200;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A number that looks random, and is the same in every run.
fn scatter(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A service: so many events in bursts, perhaps with a pause between them, and it breaks off where it is told to.
fn service(
    events: u64,
    breaks_at: u64,
    pause: Duration,
) -> Response<impl Body<Data = Bytes, Error = std::io::Error> + Send + 'static> {
    let frames = unfold(0, move |sent| async move {
        if sent >= breaks_at {
            return (sent == breaks_at).then(|| (Err(std::io::Error::other("killed")), u64::MAX));
        }
        if sent >= events {
            return None;
        }
        if !pause.is_zero() && sent > 0 {
            tokio::time::sleep(pause).await;
        } else {
            tokio::task::yield_now().await;
        }
        let until = events.min(breaks_at).min(sent + BURST);
        let text: String = (sent..until).map(|index| format!("data: {index}\n\n")).collect();
        Some((Ok(Frame::data(Bytes::from(text))), until))
    });
    let mut answer = Response::new(StreamBody::new(frames));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    answer
}

/// What a client has read.
#[derive(Default)]
struct Read {
    events: u64,
    receipt: Option<Receipt>,
}

impl Read {
    /// Takes a piece; the voucher that the client is asked for, if it is.
    fn take(&mut self, piece: &[u8]) -> Option<NeedVoucher> {
        let text = std::str::from_utf8(piece).unwrap();
        let mut needed = None;
        for event in text.split_inclusive("\n\n") {
            if let Some(data) = event.strip_prefix("event: payment-need-voucher\ndata: ") {
                needed = Some(NeedVoucher::parse_json(data.trim_end().as_bytes()).unwrap());
            } else if let Some(data) = event.strip_prefix("event: payment-receipt\ndata: ") {
                self.receipt = Some(Receipt::parse_json(data.trim_end().as_bytes()).unwrap());
            } else {
                assert_eq!(event, format!("data: {}\n\n", self.events), "in order, and each once");
                self.events += 1;
            }
        }
        needed
    }
}

async fn begin<B>(world: &World, voucher: &str, answer: Response<B>) -> DoorBody
where
    B: Body<Data = Bytes, Error = std::io::Error> + Send + 'static,
{
    let paid = world.paid(voucher).await;
    paid.deliver(Ok::<_, std::io::Error>(answer)).await.into_body()
}

async fn hand_in(world: &World, client: &Client, challenge: &Challenge, amount: u128) {
    let headers = empty(authorization(&client.voucher(challenge, amount)));
    assert_eq!(world.answer(Method::POST, headers).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_killed_is_charged_for_what_was_delivered() {
    let kills = variable("FAREBOX_STREAM_KILLS", 6);
    let mut world = World::new();
    world.route = Route::per_event(EVENT);
    let deposit = EVENT.get() * u128::from(kills + 1) * u128::from(EVENTS + AHEAD);
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, deposit).await;
    let mut amount = 0;
    for kill in 0..kills {
        let before = world.snapshot(client.channel).await.spent.get();
        amount = EVENT.get().max(amount + 1).max(before + EVENT.get());
        let at = scatter(kill) % EVENTS;
        let is_by_client = kill % 2 == 0;
        let breaks_at = if is_by_client { u64::MAX } else { at };
        let voucher = client.voucher(&challenge, amount);
        let mut body = begin(&world, &voucher, service(EVENTS, breaks_at, Duration::ZERO)).await;
        let mut read = Read::default();
        loop {
            if is_by_client && read.events >= at {
                // A client leaves whenever it likes: also while what comes next is being charged.
                tokio::select! {
                    biased;
                    frame = body.frame() => {
                        let piece = frame.unwrap().unwrap().into_data().unwrap();
                        read.take(&piece);
                    }
                    () = leaves(kill) => {}
                }
                break;
            }
            let Some(frame) = body.frame().await else { break };
            let piece = frame.unwrap().into_data().unwrap();
            if let Some(needed) = read.take(&piece) {
                amount = needed.required.get() + EVENT.get() * u128::from(AHEAD);
                hand_in(&world, &client, &challenge, amount).await;
            }
        }
        drop(body);
        while !world.snapshot(client.channel).await.reserved.is_zero() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let charged = (world.snapshot(client.channel).await.spent.get() - before) / EVENT.get();
        let delivered = u128::from(read.events);
        assert!(charged >= delivered, "kill {kill}: {delivered} delivered, {charged} charged");
        assert!(charged - delivered <= CHUNK_EVENTS_MAX as u128, "kill {kill}: {delivered}, {charged}");
        if !is_by_client {
            assert_eq!(
                (read.events, charged),
                (at, u128::from(at)),
                "what the service said before it was killed"
            );
            assert_eq!(read.receipt.unwrap().units, Some(at));
        }
    }
}

/// Ready after a few turns of the others.
async fn leaves(kill: u64) {
    for _ in 0..scatter(kill) % 7 {
        tokio::task::yield_now().await;
    }
}

/// A payer of its own, with a channel in the books.
async fn payer(world: &World, index: u64, deposit: Amount) -> Client {
    let mut secret = [1; 32];
    secret[..8].copy_from_slice(&index.to_be_bytes());
    let key = SigningKey::from_slice(&secret).unwrap();
    let descriptor = v2::Descriptor {
        payer: address(&key),
        payee: PAYEE,
        operator: Address::ZERO,
        token: TOKEN,
        salt: B256::ZERO,
        authorized_signer: Address::ZERO,
        expiring_nonce_hash: B256::repeat_byte(0xEE),
    };
    let identity = Identity { chain_id: CHAIN, escrow: v2::CHANNEL_RESERVE, terms: Terms::V2(descriptor) };
    let opened = world.engine.open(identity.clone(), deposit, Amount::ZERO, ChainPosition::default()).await;
    opened.unwrap().accepted().unwrap();
    Client::of(key, identity)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_pay_as_they_go_and_the_books_agree() {
    let streams = variable("FAREBOX_STREAMS", 100);
    let seconds = variable("FAREBOX_STREAM_S", 2);
    let events = seconds * 1_000 / SPEAKS_MS * BURST;
    let mut world = World::new();
    world.route = Route::per_event(EVENT);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let world = Arc::new(world);
    let deposit = Amount::new(EVENT.get() * u128::from(events));
    let running = (0..streams).map(|index| {
        let (world, challenge) = (Arc::clone(&world), challenge.clone());
        tokio::spawn(async move {
            let client = payer(&world, index, deposit).await;
            // Not all at the same moment.
            tokio::time::sleep(Duration::from_millis(scatter(index) % SPEAKS_MS)).await;
            let pause = Duration::from_millis(SPEAKS_MS);
            let voucher = client.voucher(&challenge, EVENT.get());
            let mut body = begin(&world, &voucher, service(events, u64::MAX, pause)).await;
            let mut read = Read::default();
            while let Some(frame) = body.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                let needed = read.take(&piece);
                let delivered = EVENT.get() * u128::from(read.events);
                let snapshot = world.snapshot(client.channel).await;
                assert!(delivered <= snapshot.spent.get(), "nothing is delivered unpaid");
                if let Some(needed) = needed {
                    hand_in(&world, &client, &challenge, needed.required.get()).await;
                }
            }
            // Every event came, so it never waited in vain; and each was charged once.
            assert_eq!(read.events, events, "stream {index}");
            assert_eq!(read.receipt.unwrap().units, Some(events));
            let snapshot = world.snapshot(client.channel).await;
            assert_eq!(
                (snapshot.spent, snapshot.accepted, snapshot.reserved),
                (deposit, deposit, Amount::ZERO)
            );
        })
    });
    let running: Vec<_> = running.collect();
    for stream in running {
        stream.await.unwrap();
    }
    // Nothing of it asked the chain.
    assert_eq!(world.chain.opens.load(Ordering::SeqCst) + world.chain.top_ups.load(Ordering::SeqCst), 0);
    assert!(world.chain.claims.lock().is_empty());
    let total: u128 = world.books().await.iter().map(|channel| channel.snapshot.spent.get()).sum();
    assert_eq!(total, deposit.get() * u128::from(streams), "the books hold what all were charged");
}

//! Charges and reservations: what was accepted before is spent.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use farebox_engine::Step;

use super::answer::{Done, Failure};
use super::read::{self, CaptureText, SpendText, Unreadable, header_key, json};
use super::{Local, body};

/// `POST /v1/charges`.
pub(super) async fn charge(State(local): State<Arc<Local>>, request: Request<Body>) -> Result<Done, Failure> {
    let key = header_key(request.headers()).map_err(Failure::bad_request)?;
    let text = body(request).await?;
    let read = json(&text).and_then(|charge: SpendText| charge.charge(key));
    let (channel, spend) = read.map_err(Failure::bad_request)?;
    Ok(Done::of(channel, local.engine.apply(channel, Step::Spend(spend)).await))
}

/// `POST /v1/reservations`.
pub(super) async fn reserve(
    State(local): State<Arc<Local>>,
    request: Request<Body>,
) -> Result<Done, Failure> {
    let key = header_key(request.headers()).map_err(Failure::bad_request)?;
    let text = body(request).await?;
    let read = json(&text).and_then(|reserve: SpendText| reserve.reserve(key));
    let (channel, key, spend) = read.map_err(Failure::bad_request)?;
    let done = Done::of(channel, local.engine.apply(channel, Step::Spend(spend)).await);
    let reservation = (done.outcome == "done").then(|| read::shown(&key));
    Ok(Done { reservation, ..done })
}

/// `POST /v1/reservations/{channel}/{reservation}/capture`.
pub(super) async fn capture(
    State(local): State<Arc<Local>>,
    Path((channel, reservation)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Done, Failure> {
    let text = body(request).await?;
    let read = || {
        let (amount, units, finish) = json::<CaptureText>(&text)?.read()?;
        let key = read::reservation(&reservation)?;
        Ok::<_, Unreadable>((
            read::channel("the channel", &channel)?,
            Step::Capture { key, amount, units, finish },
        ))
    };
    let (channel, step) = read().map_err(Failure::bad_request)?;
    Ok(Done::of(channel, local.engine.apply(channel, step).await))
}

/// `POST /v1/reservations/{channel}/{reservation}/release`.
pub(super) async fn release(
    State(local): State<Arc<Local>>,
    Path((channel, reservation)): Path<(String, String)>,
) -> Result<Done, Failure> {
    let channel = read::channel("the channel", &channel).map_err(Failure::bad_request)?;
    let key = read::reservation(&reservation).map_err(Failure::bad_request)?;
    Ok(Done::of(channel, local.engine.apply(channel, Step::Release { key }).await))
}

//! Channels: read, opened, topped up, closed.
//!
//! What needs the chain goes on in a task of its own when the caller leaves: what was broadcast is booked in any case.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::Request;
use farebox_engine::Channel;
use farebox_engine::core::challenge::credential::{Payload, TopUp, VoucherFields};
use farebox_engine::core::channel::Rejection;
use farebox_engine::core::units::ChannelId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Failure;
use super::{Local, body, read};
use crate::view::ChannelView;

/// Channels on one page when nothing is said.
const PAGE_DEFAULT: usize = 100;
/// The most channels on one page.
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/channels`.
pub(super) async fn list(
    State(local): State<Arc<Local>>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Failure> {
    let limit = page.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let after = page.after.map(|after| read::channel("after", &after)).transpose();
    let found = local.engine.channels_page(after.map_err(Failure::bad_request)?, limit).await?;
    let next = (found.len() == limit).then(|| found.last().map(|last| last.id.to_string())).flatten();
    let channels: Vec<ChannelView> = found.iter().map(ChannelView::from).collect();
    Ok(Json(json!({ "channels": channels, "next": next })))
}

/// `GET /v1/channels/{id}`.
pub(super) async fn one(
    State(local): State<Arc<Local>>,
    Path(id): Path<String>,
) -> Result<Json<ChannelView>, Failure> {
    let id = read::channel("the channel", &id).map_err(Failure::bad_request)?;
    Ok(Json(ChannelView::from(&local.known(id).await?)))
}

/// `POST /v1/channels`: the payload of a client's `open`, as it came.
pub(super) async fn open(
    State(local): State<Arc<Local>>,
    request: Request<Body>,
) -> Result<Json<Value>, Failure> {
    let text = body(request).await?;
    let open = match Payload::parse(&text).map_err(Failure::bad_request)? {
        Payload::Open(open) => open,
        other => return Err(other_action(&other, "open")),
    };
    local.in_a_task(move |local| async move { local.open(open).await }).await.map(Json)
}

/// `POST /v1/channels/{id}/top-up`: the payload of a client's `topUp`, as it came.
pub(super) async fn top_up(
    State(local): State<Arc<Local>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Json<Value>, Failure> {
    let id = read::channel("the channel", &id).map_err(Failure::bad_request)?;
    let text = body(request).await?;
    let top_up: TopUp = match Payload::parse(&text).map_err(Failure::bad_request)? {
        Payload::TopUp(top_up) => top_up,
        other => return Err(other_action(&other, "topUp")),
    };
    same_channel(top_up.channel, id)?;
    local.in_a_task(move |local| async move { local.top_up(top_up).await }).await.map(Json)
}

/// `POST /v1/channels/{id}/close`: the payload of a client's `close` as it came, or nothing, when the service wants it.
pub(super) async fn close(
    State(local): State<Arc<Local>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Json<Value>, Failure> {
    let id = read::channel("the channel", &id).map_err(Failure::bad_request)?;
    let text = body(request).await?;
    let voucher: Option<VoucherFields> = if text.trim_ascii().is_empty() {
        None
    } else {
        match Payload::parse(&text).map_err(Failure::bad_request)? {
            Payload::Close(voucher) => Some(voucher),
            other => return Err(other_action(&other, "close")),
        }
    };
    if let Some(voucher) = &voucher {
        same_channel(voucher.channel, id)?;
    }
    local.in_a_task(move |local| async move { local.close(id, voucher).await }).await.map(Json)
}

fn other_action(payload: &Payload, expected: &str) -> Failure {
    Failure::bad_request(format!("action is {:?}, expected {expected:?}", payload.action()))
}

fn same_channel(found: ChannelId, expected: ChannelId) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::bad_request(format!("channelId is {found}, expected {expected}, which the path names")))
}

impl Local {
    /// A channel that the books know.
    pub(super) async fn known(&self, channel: ChannelId) -> Result<Channel, Failure> {
        let found = self.engine.read(channel).await?;
        found.ok_or_else(|| Failure::rejection(&Rejection::ChannelNotFound, channel))
    }
}

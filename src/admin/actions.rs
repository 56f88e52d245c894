//! What the admin API may be told to do: settle a channel now, close it now. Only with the admin key.
//!
//! The key comes in `Authorization: Bearer`, as 64 hex digits. A page of another site cannot send that header unasked.
//! Without a key in the configuration there are no actions.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use farebox_engine::core::units::ChannelId;
use farebox_engine::{Channel, Step, Verdict};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Admin, bad_id, problem, read_id, unavailable};
use crate::keys::Secret;
use crate::local::is_shown;
use crate::view::ChannelView;

/// The key that permits actions. It has no text form.
pub struct AdminKey(Secret);

impl AdminKey {
    /// The key of a key file.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// What a request sends to show it.
    pub fn bearer(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(80));
        text.push_str("Bearer ");
        for byte in self.0.iter() {
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
        text
    }

    /// Whether a request shows it. A wrong key takes as long as a nearly right one.
    fn opens(&self, headers: &HeaderMap) -> bool {
        is_shown(headers, &self.0)
    }
}

/// Refuses who has no key, and says what is missing.
pub(super) fn refuse(admin: &Admin, headers: &HeaderMap) -> Option<Response> {
    let Some(key) = &admin.key else {
        let detail = "actions are off: server.admin_key_file is not set";
        return Some(problem(StatusCode::FORBIDDEN, detail));
    };
    if key.opens(headers) {
        return None;
    }
    metrics::counter!("farebox_admin_refused_total").increment(1);
    let detail = "found no or another admin key, expected \"authorization: Bearer\" and its 64 hex digits";
    let mut response = problem(StatusCode::UNAUTHORIZED, detail);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(response)
}

/// `POST /v1/key`: whether the key is right.
pub(super) async fn check(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    refuse(&admin, &headers).unwrap_or_else(|| Json(json!({ "ok": true })).into_response())
}

/// `POST /v1/channels/{id}/close`: begins a close without the client, for what was spent. Settlement claims it.
pub(super) async fn close(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refuse(&admin, &headers) {
        return refusal;
    }
    let Some(id) = read_id(&id) else { return bad_id("id") };
    match admin.engine.apply(id, Step::BeginCloseForced).await {
        Ok(Verdict::Accepted(_)) => {
            tracing::info!(channel = %id, "closing: the operator asked for it");
            show(&admin, id).await
        }
        Ok(Verdict::Rejected(refusal)) => problem(StatusCode::CONFLICT, &refusal.to_string()),
        Err(error) => unavailable(&error),
    }
}

/// `POST /v1/channels/{id}/settle`: has a channel settled now, whatever `[settlement]` says, if there is anything that a
/// kept voucher can settle.
pub(super) async fn settle(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refuse(&admin, &headers) {
        return refusal;
    }
    let Some(id) = read_id(&id) else { return bad_id("id") };
    match admin.engine.read(id).await {
        Ok(None) => problem(StatusCode::NOT_FOUND, &format!("the books hold no channel {id}")),
        Ok(Some(Channel { snapshot, .. })) if snapshot.settleable <= snapshot.settled => {
            let detail = "nothing can be settled: no kept voucher is above what is settled and not above what was spent";
            problem(StatusCode::CONFLICT, detail)
        }
        Ok(Some(_)) if admin.probe.settle_now(id) => {
            tracing::info!(channel = %id, "settling: the operator asked for it");
            show(&admin, id).await
        }
        Ok(Some(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "settlement does not run"),
        Err(error) => unavailable(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct FromFrame {
    frame: u64,
}

/// `POST /v1/webhook/replay?frame=1`: sends money events from this frame on again.
pub(super) async fn replay(
    State(admin): State<Admin>,
    Query(FromFrame { frame }): Query<FromFrame>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refuse(&admin, &headers) {
        return refusal;
    }
    let Some(webhook) = &admin.webhook else {
        return problem(
            StatusCode::CONFLICT,
            "nobody is told about money: the configuration has no [webhook]",
        );
    };
    webhook.begin_at(frame);
    (StatusCode::ACCEPTED, Json(json!({ "fromFrame": frame }))).into_response()
}

async fn show(admin: &Admin, id: ChannelId) -> Response {
    match admin.engine.read(id).await {
        Ok(Some(channel)) => (StatusCode::ACCEPTED, Json(ChannelView::from(&channel))).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, &format!("the books hold no channel {id}")),
        Err(error) => unavailable(&error),
    }
}

//! The admin port: health, readiness, metrics, the books, the dashboard, and a few actions.
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | the dashboard |
//! | `GET /healthz` | 200 while the process runs |
//! | `GET /readyz` | 200 when paid traffic can be served, else 503; JSON says what is missing |
//! | `GET /metrics` | the text of Prometheus, or OpenMetrics for who asks for it |
//! | `GET /v1/overview?span=recent&after=0` | what the dashboard shows; points of its plots behind a moment (`span` is `recent` or `day`) |
//! | `GET /v1/channels?after=0x…&limit=100` | a page of channels by rising id; `next` is the `after` of the next page |
//! | `GET /v1/channels/{id}` | one channel |
//! | `GET /v1/channels/{id}/history` | what the last frames of the journal tell of it |
//! | `POST /v1/channels/{id}/settle`, `/close` | settles or closes it now; with the admin key |
//! | `GET /v1/denials` | who is shut out by hand |
//! | `POST /v1/channels/{id}/quarantine?for=3600`, `/release` | shuts a channel out, for a time or for good, or lets it in again; with the admin key |
//! | `POST /v1/payers/{address}/deny?for=3600`, `/allow` | the same for all channels of a payer |
//! | `POST /v1/webhook/replay?frame=1` | sends money events from a frame on again; with the admin key |
//! | `POST /v1/key` | whether the admin key is right |
//! | `POST /v1/snapshot` | takes a snapshot of the store, in the store's own folder, and says where; for `farebox backup` |
//!
//! Reading needs no password: bind it to an address that only operators reach. Actions need the key of
//! `server.admin_key_file`; without one there are none.

mod access;
mod actions;
mod alarms;
mod figures;
mod history;
mod journal;
mod overview;
mod page;
mod tally;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use farebox_engine::core::units::{B256, ChannelId};
use farebox_engine::ledger::Snapshots;
use farebox_engine::{Engine, EngineError, Health};
use farebox_settlement::SettlementHealth;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use self::history::Span;
use self::overview::{Overview, Source};
use crate::denials::Denials;
use crate::measure::{Format, Measures};
use crate::view::ChannelView;
use crate::webhook::Replay;

pub use self::actions::AdminKey;
pub use self::journal::{event as event_view, history as channel_history};
pub use self::overview::Facts;

/// Channels on one page when nothing is said.
const PAGE_DEFAULT: usize = 100;
/// The most channels on one page.
const PAGE_MAX: usize = 1_000;
/// How long running admin requests may take to end.
const DRAIN: Duration = Duration::from_secs(2);
/// Histories that are read from the journal at the same time: each reads up to twenty thousand frames.
const HISTORIES_MAX: usize = 1;

/// Tells how settlement stands.
pub trait Probe: Send + Sync + 'static {
    /// What is wrong, by name; empty when all is well.
    fn probe(&self) -> Vec<(&'static str, String)>;

    /// How the watcher is doing; `None` when nobody settles.
    fn settlement(&self) -> Option<SettlementHealth> {
        None
    }

    /// Has a channel settled now. False when nobody settles.
    fn settle_now(&self, _channel: ChannelId) -> bool {
        false
    }
}

/// What the API shows.
#[derive(Clone)]
pub struct Admin {
    /// The books.
    pub engine: Engine,
    /// How settlement stands.
    pub probe: Arc<dyn Probe>,
    /// The metrics.
    pub metrics: Measures,
    /// Takes snapshots of the store; `None` for books in memory.
    pub snapshots: Option<Snapshots>,
    /// Where the store is; `None` for books in memory.
    pub store: Option<PathBuf>,
    /// What permits actions; `None` permits none.
    pub key: Option<Arc<AdminKey>>,
    /// Sends money events again; `None` when nobody is told.
    pub webhook: Option<Replay>,
    /// Who is shut out by hand; `None` when nothing is sold here.
    pub denials: Option<Denials>,
    /// What the dashboard shows.
    pub board: Board,
}

/// The dashboard's own state.
#[derive(Clone)]
pub struct Board {
    facts: Facts,
    overview: Overview,
    histories: Arc<Semaphore>,
}

impl Board {
    /// Of a server with these facts.
    pub fn new(facts: Facts) -> Self {
        let histories = Arc::new(Semaphore::new(HISTORIES_MAX));
        Self { facts, overview: Overview::new(), histories }
    }
}

/// A running admin server.
pub struct Running {
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until it ended.
    pub async fn ended(self) {
        if tokio::time::timeout(DRAIN, self.task).await.is_err() {
            tracing::debug!("admin requests were cut");
        }
    }
}

impl Admin {
    /// Serves on `listener` until `stop` turns true.
    pub fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) -> Running {
        let Board { facts, overview, .. } = self.board.clone();
        let source = Source::new(self.engine.clone(), self.metrics.clone(), Arc::clone(&self.probe), facts);
        tokio::spawn(overview.run(source, stop.clone()));
        let router = self.router();
        let task = tokio::spawn(async move {
            let stopped = {
                let mut stop = stop.clone();
                async move {
                    let _ = stop.wait_for(|stop| *stop).await;
                }
            };
            let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = server.await {
                tracing::error!(%error, "the admin server ended");
            }
            // A server that failed is no reason to stop taking payments.
            let _ = stop.wait_for(|stop| *stop).await;
        });
        Running { task }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/v1/channels", get(channels))
            .route("/v1/overview", get(overview))
            .route("/v1/channels/{id}", get(channel))
            .route("/v1/channels/{id}/history", get(show_history))
            .route("/v1/channels/{id}/settle", post(actions::settle))
            .route("/v1/channels/{id}/close", post(actions::close))
            .route("/v1/channels/{id}/quarantine", post(access::quarantine))
            .route("/v1/channels/{id}/release", post(access::release))
            .route("/v1/payers/{address}/deny", post(access::deny_payer))
            .route("/v1/payers/{address}/allow", post(access::allow_payer))
            .route("/v1/denials", get(access::list))
            .route("/v1/webhook/replay", post(actions::replay))
            .route("/v1/key", post(actions::check))
            .route("/v1/snapshot", post(snapshot))
            .merge(page::router())
            .with_state(self)
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    let mut missing: Vec<(&str, String)> = match admin.engine.health() {
        Health::Running => Vec::new(),
        Health::Stopping => vec![("ledger", "stopping".into())],
        Health::Stopped => vec![("ledger", "stopped".into())],
        Health::Poisoned { cause } => vec![("ledger", format!("poisoned: {cause}"))],
    };
    missing.extend(admin.probe.probe());
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({ "ready": missing.is_empty() });
    for (name, what) in missing {
        body[name] = what.into();
    }
    (status, Json(body)).into_response()
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let format = Format::of(&headers);
    let head = [(CONTENT_TYPE, format.content_type()), (VARY, "accept")];
    (head, admin.metrics.render(format)).into_response()
}

#[derive(Deserialize)]
struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

async fn channels(State(admin): State<Admin>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let after = match page.after.as_deref().map(read_id) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return bad_id("after"),
    };
    match admin.engine.channels_page(after, limit).await {
        Ok(page) => {
            let next =
                (page.len() == limit).then(|| page.last().map(|channel| channel.id.to_string())).flatten();
            let channels: Vec<ChannelView> = page.iter().map(ChannelView::from).collect();
            Json(json!({ "channels": channels, "next": next })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn channel(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(id) = read_id(&id) else { return bad_id("id") };
    match admin.engine.read(id).await {
        Ok(Some(channel)) => Json(ChannelView::from(&channel)).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, &format!("the books hold no channel {id}")),
        Err(error) => unavailable(&error),
    }
}

#[derive(Deserialize)]
struct Wanted {
    span: Option<String>,
    after: Option<f64>,
}

async fn overview(State(admin): State<Admin>, Query(wanted): Query<Wanted>) -> Response {
    let span = match wanted.span.as_deref() {
        None | Some("recent") => Span::Recent,
        Some("day") => Span::Day,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "span is unknown, expected recent or day"),
    };
    Json(admin.board.overview.read(span, wanted.after.unwrap_or(-1.0))).into_response()
}

async fn show_history(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(id) = read_id(&id) else { return bad_id("id") };
    let Some(store) = admin.store.clone() else {
        return problem(StatusCode::CONFLICT, "books in memory keep no journal");
    };
    let Ok(permit) = admin.board.histories.clone().acquire_owned().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    };
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        journal::history(&store, id)
    });
    match read.await {
        Ok(Ok(history)) => Json(history).into_response(),
        Ok(Err(error)) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// What the caller says it sends. A page in a browser cannot say this to another site unasked.
const JSON: &str = "application/json";

async fn snapshot(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if headers.get(CONTENT_TYPE).is_none_or(|found| found != JSON) {
        let detail = format!("expected content-type: {JSON}");
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail);
    }
    let Some(snapshots) = admin.snapshots else {
        return problem(StatusCode::CONFLICT, "books in memory have no files to copy");
    };
    match tokio::task::spawn_blocking(move || snapshots.take()).await {
        Ok(Ok(folder)) => {
            tracing::info!(folder = %folder.display(), "took a snapshot of the books");
            Json(json!({ "snapshot": folder })).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a snapshot of the books failed");
            problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// A channel id in hex of either case, with `0x`.
fn read_id(text: &str) -> Option<ChannelId> {
    let digits = text.strip_prefix("0x")?;
    (digits.len() == 64).then(|| digits.parse::<B256>().ok()).flatten().map(ChannelId)
}

fn bad_id(name: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, &format!("{name} is malformed, expected 0x and 64 hex digits"))
}

fn unavailable(error: &EngineError) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title: Value = status.canonical_reason().into();
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests;

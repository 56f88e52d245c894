//! A small service that knows nothing of payments.
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/chat?tokens=n` | a stream of `n` server-sent events, one token each; `&every_ms=m` sets the pause |
//! | `GET /v1/fail` | 500 |
//! | anything else | one JSON object |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The usual pause between two tokens.
const TOKEN_EVERY_MS: u64 = 1;

/// What came through the door.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    payment_headers: AtomicU64,
}

/// The running service. Dropping it ends it.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::<Seen>::default();
        let router = Router::new()
            .route("/v1/chat", get(chat))
            .route("/v1/fail", get(fail))
            .fallback(quote)
            .with_state(Arc::clone(&seen));
        let server = tokio::spawn(async move {
            // It only ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Self { address, seen, server }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests that it got.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Requests with headers of the payment scheme: none may get here.
    pub fn payment_headers(&self) -> u64 {
        self.seen.payment_headers.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Seen {
    fn count(&self, headers: &HeaderMap) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let speaks_payment = headers.iter().any(|(name, value)| {
            name.as_str().contains("payment")
                || (name == AUTHORIZATION && value.as_bytes().starts_with(b"Payment"))
        });
        if speaks_payment {
            self.payment_headers.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[derive(serde::Deserialize)]
struct Chat {
    tokens: u64,
    every_ms: Option<u64>,
}

async fn chat(State(seen): State<Arc<Seen>>, headers: HeaderMap, Query(chat): Query<Chat>) -> Response {
    seen.count(&headers);
    let every = Duration::from_millis(chat.every_ms.unwrap_or(TOKEN_EVERY_MS));
    let tokens = stream::unfold(0, move |index| async move {
        if index == chat.tokens {
            return None;
        }
        tokio::time::sleep(every).await;
        Some((Ok::<_, Infallible>(format!("data: {{\"index\":{index}}}\n\n")), index + 1))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(tokens)).into_response()
}

async fn fail(State(seen): State<Arc<Seen>>, headers: HeaderMap) -> Response {
    seen.count(&headers);
    (StatusCode::INTERNAL_SERVER_ERROR, "the upstream failed").into_response()
}

async fn quote(State(seen): State<Arc<Seen>>, headers: HeaderMap) -> Response {
    seen.count(&headers);
    ([(CONTENT_TYPE, "application/json")], r#"{"quote":"a fare is paid at the door"}"#).into_response()
}

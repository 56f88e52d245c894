//! The local API: the engine's verify-and-charge steps over HTTP, for services in any language beside Farebox.
//!
//! | path | what it does |
//! |---|---|
//! | `POST /v1/vouchers` | takes a voucher, and charges or reserves in the same step; NDJSON takes up to 8,192 |
//! | `POST /v1/charges` | charges what was accepted before |
//! | `POST /v1/reservations` | sets money aside for a request whose price is not known yet |
//! | `POST /v1/reservations/{channel}/{key}/capture` | charges it; `/release` gives it back |
//! | `GET /v1/channels`, `GET /v1/channels/{id}` | the books |
//! | `POST /v1/channels` | opens a channel with a client's signed transaction |
//! | `POST /v1/channels/{id}/top-up`, `POST /v1/channels/{id}/close` | raises its deposit; closes it on chain |
//!
//! Every answer waits for durability. Refusals are problems (RFC 9457) in the words that the door has for payers, so
//! that a service can hand them on. Whoever reaches the API may charge and close channels: it listens on a Unix socket
//! of mode 0600, and on TCP only for who shows the key.
//!
//! Challenges are the service's own: it checks that a voucher answers what it asked for. No rule about money is here.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use farebox_engine::Engine;
use farebox_engine::chain::Chain;
use farebox_engine::core::units::{Address, ChainId};
use tokio::sync::Semaphore;

mod answer;
mod channels;
mod charges;
mod key;
mod listen;
mod open;
mod read;
mod server;
#[cfg(test)]
mod tests;
mod vouchers;

pub(crate) use key::is_shown;
pub use listen::{ListenError, Listener};
pub use server::{Bounds, Door, run};

use answer::Failure;

/// The most bytes of a body: 8,192 vouchers with a charge each, and room.
const BODY_BYTES_MAX: usize = 8 << 20;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Opens, top-ups and closes that are on their way at once.
const TRANSACTIONS_MAX: usize = 1_024;

/// The terms that channels must have.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The chain.
    pub chain_id: ChainId,
    /// Who is paid.
    pub payee: Address,
    /// In which token.
    pub token: Address,
    /// Who else may settle and close v2 channels; zero when nobody may (rule 11).
    pub operator: Address,
    /// The channel reserve.
    pub escrow_v2: Address,
    /// The legacy escrow, when it is on.
    pub escrow_v1: Option<Address>,
}

/// What the API works on.
pub struct Local {
    /// The books.
    pub engine: Engine,
    /// Opens, tops up and closes.
    pub chain: Arc<dyn Chain>,
    /// What channels must say.
    pub terms: Terms,
    transactions: Arc<Semaphore>,
}

impl Local {
    /// The API on these books.
    pub fn new(engine: Engine, chain: Arc<dyn Chain>, terms: Terms) -> Self {
        Self { engine, chain, terms, transactions: Arc::new(Semaphore::new(TRANSACTIONS_MAX)) }
    }

    /// The API as a service.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/vouchers", post(vouchers::take))
            .route("/v1/charges", post(charges::charge))
            .route("/v1/reservations", post(charges::reserve))
            .route("/v1/reservations/{channel}/{reservation}/capture", post(charges::capture))
            .route("/v1/reservations/{channel}/{reservation}/release", post(charges::release))
            .route("/v1/channels", get(channels::list).post(channels::open))
            .route("/v1/channels/{id}", get(channels::one))
            .route("/v1/channels/{id}/top-up", post(channels::top_up))
            .route("/v1/channels/{id}/close", post(channels::close))
            .fallback(|| async {
                Failure::new(StatusCode::NOT_FOUND, "no such path; see docs/settlement.md")
            })
            .method_not_allowed_fallback(|| async {
                Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
            })
            .with_state(Arc::new(self))
    }
}

/// A whole body, within its bounds.
async fn body(request: Request<Body>) -> Result<Bytes, Failure> {
    let read = to_bytes(request.into_body(), BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_WAIT, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let detail = format!("the body broke off, or has more than {BODY_BYTES_MAX} bytes");
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

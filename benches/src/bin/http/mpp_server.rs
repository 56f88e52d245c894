//! A peer: the session server of crate `mpp` as its own examples put it into axum, with its store in memory.
//!
//! For every voucher it reads the channel from the chain.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use farebox_core::voucher::v2;
use mpp::server::{
    Mpp, SessionChallengeOptions, SessionChannelStore, SessionMethodConfig, TempoChargeMethod, TempoConfig,
    TempoProvider, TempoSessionMethod, deduct_from_channel, tempo, tempo_provider,
};
use mpp::{PaymentCredential, parse_authorization};

use crate::payers::PRICE;
use crate::server::listen;

struct Server {
    payment: Mpp<TempoChargeMethod<TempoProvider>, TempoSessionMethod<TempoProvider>>,
    store: Arc<SessionChannelStore>,
}

/// Serves on a free port of loopback, which it prints.
pub fn run(rpc_url: &str, chain_id: &str, payee: &str, token: &str) -> Result<(), String> {
    let chain_id: u64 = chain_id.parse().map_err(|_| format!("found {chain_id:?}, expected a number"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    let server = tempo(TempoConfig { recipient: payee })
        .rpc_url(rpc_url)
        .chain_id(chain_id)
        .currencies([token])
        .realm("bench.example")
        .secret_key("a secret of at least thirty-two bytes");
    let base = Mpp::create(server).map_err(|error| error.to_string())?;
    let store = Arc::new(SessionChannelStore::new());
    let config = SessionMethodConfig { escrow_contract: v2::CHANNEL_RESERVE, chain_id, min_voucher_delta: 0 };
    let provider = tempo_provider(rpc_url).map_err(|error| error.to_string())?;
    let payment = base.with_session_method(TempoSessionMethod::new(provider, store.clone(), config));
    let router = Router::new().route("/", get(hello)).with_state(Arc::new(Server { payment, store }));
    runtime.block_on(listen(router))
}

async fn hello(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let found = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    match found.and_then(|header| parse_authorization(header).ok()) {
        Some(credential) => server.paid(&credential).await.unwrap_or_else(|error| {
            eprintln!("refused: {error}");
            server.challenge()
        }),
        None => server.challenge(),
    }
}

impl Server {
    async fn paid(&self, credential: &PaymentCredential) -> Result<Response, String> {
        let paid = self.payment.verify_session(credential).await.map_err(|error| error.to_string())?;
        let receipt = paid.receipt.to_header().map_err(|error| error.to_string())?;
        let receipt = [("payment-receipt", receipt)];
        if let Some(said) = paid.management_response {
            return Ok((StatusCode::OK, receipt, said.to_string()).into_response());
        }
        let store = self.store.as_ref();
        let charged = deduct_from_channel(store, &paid.receipt.reference, PRICE.get()).await;
        charged.map_err(|error| error.to_string())?;
        Ok((StatusCode::OK, receipt, "hello").into_response())
    }

    fn challenge(&self) -> Response {
        let (token, payee) = (self.payment.currency(), self.payment.recipient());
        let options = SessionChallengeOptions { unit_type: Some("request"), ..Default::default() };
        let price = PRICE.get().to_string();
        let made = self.payment.session_challenge_with_details(
            &price,
            token.unwrap_or_default(),
            payee.unwrap_or_default(),
            options,
        );
        match made.and_then(|challenge| challenge.to_header()) {
            Ok(header) => (StatusCode::PAYMENT_REQUIRED, [(WWW_AUTHENTICATE, header)], "").into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

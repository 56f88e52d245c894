//! One RPC endpoint: a request with a time limit, and an honest word about how it failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::U64;
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RpcError, RpcRecv, RpcSend};
use alloy::transports::http::reqwest;
use alloy::transports::{TransportError, TransportErrorKind};
use farebox_core::units::ChainId;
use tokio::time::Instant;

use super::reads::{Head, RawBlock};
use super::{ClientConfig, ClientError};

/// A node's message is shown up to here.
const MESSAGE_CHARS_MAX: usize = 200;
/// The JSON-RPC code of a reverted call.
const CODE_REVERTED: i64 = 3;

/// One node, or one balancer in front of many.
pub(super) struct Endpoint {
    name: String,
    chain_id: ChainId,
    client: RpcClient,
    timeout: Duration,
    cooldown: Duration,
    is_chain_checked: AtomicBool,
    cooling_until: parking_lot::Mutex<Option<Instant>>,
    /// How long it is not asked, after it said something else than the majority.
    aside: Duration,
    aside_until: parking_lot::Mutex<Option<Instant>>,
    /// The highest block that it ever reported.
    newest_block: AtomicU64,
}

/// How a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection: the request surely never left.
    NotSent { what: String },
    /// It left, or may have, and no answer came.
    NoAnswer { what: String },
    /// The node answered with an error.
    Node { code: i64, message: String },
    /// The answer is no answer to the question.
    BadAnswer { what: &'static str },
    /// The node serves another chain.
    WrongChain { found: ChainId, expected: ChainId },
}

impl Failure {
    /// True when the node ran the call and it reverted.
    pub(super) fn is_revert(&self) -> bool {
        match self {
            Self::Node { code, message } => {
                *code == CODE_REVERTED || message.to_ascii_lowercase().contains("revert")
            }
            _ => false,
        }
    }

    pub(super) fn into_error(self, endpoint: &str) -> ClientError {
        let endpoint = endpoint.to_owned();
        let is_revert = self.is_revert();
        match self {
            Self::NotSent { what } | Self::NoAnswer { what } => ClientError::NoAnswer { endpoint, what },
            Self::Node { message, .. } if is_revert => ClientError::Reverts { message },
            Self::Node { code, message } => ClientError::Refused { endpoint, code, message },
            Self::BadAnswer { what } => ClientError::BadAnswer { endpoint, what },
            Self::WrongChain { found, expected } => ClientError::WrongChain { endpoint, found, expected },
        }
    }
}

impl Endpoint {
    /// Prepares an endpoint; its name in logs is its host and port.
    pub(super) fn new(address: &str, chain_id: ChainId, config: &ClientConfig) -> Result<Self, ClientError> {
        let index = config.endpoints.iter().position(|other| other == address).map_or(0, |place| place + 1);
        let bad_address = ClientError::BadAddress { index };
        let url: reqwest::Url = address.parse().map_err(|_| bad_address.clone())?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let name = match (host, url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(bad_address),
        };
        let timeout = Duration::from_millis(config.request_timeout_ms);
        let http = reqwest::Client::builder()
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| bad_address)?;
        Ok(Self {
            name,
            chain_id,
            client: RpcClient::new_http_with_client(http, url),
            timeout,
            cooldown: Duration::from_millis(config.cooldown_ms),
            is_chain_checked: AtomicBool::new(false),
            cooling_until: parking_lot::Mutex::new(None),
            aside: Duration::from_millis(config.aside_ms),
            aside_until: parking_lot::Mutex::new(None),
            newest_block: AtomicU64::new(0),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// True while the endpoint comes last, because it failed a moment ago.
    pub(super) fn is_cooling(&self) -> bool {
        self.cooling_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// True while nobody asks it, because it said something else than the majority.
    pub(super) fn is_aside(&self) -> bool {
        self.aside_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// It said something else than the majority: it lies, or it is broken.
    pub(super) fn set_aside(&self, question: &'static str) {
        *self.aside_until.lock() = Some(Instant::now() + self.aside);
        // What it said of its height is not believed either.
        self.newest_block.store(0, Ordering::Relaxed);
        metrics::counter!("farebox_rpc_disagreements_total", "endpoint" => self.name.clone()).increment(1);
        tracing::error!(
            endpoint = self.name,
            question,
            aside = ?self.aside,
            "ALARM: an RPC endpoint says something else than the majority; it is set aside"
        );
    }

    /// The highest block that it reported.
    pub(super) fn newest_block(&self) -> u64 {
        self.newest_block.load(Ordering::Relaxed)
    }

    pub(super) fn saw_block(&self, number: u64) {
        self.newest_block.fetch_max(number, Ordering::Relaxed);
    }

    /// One request to the right chain, within the time limit.
    pub(super) async fn request<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, Failure> {
        self.ensure_chain().await?;
        self.request_unchecked(method, params).await
    }

    /// The endpoint's newest block.
    pub(super) async fn head(&self) -> Result<Head, Failure> {
        let block: RawBlock = self.request("eth_getBlockByNumber", ("latest", false)).await?;
        let head = Head::from(block);
        self.saw_block(head.number);
        Ok(head)
    }

    /// Asks for the chain id, once.
    pub(super) async fn ensure_chain(&self) -> Result<(), Failure> {
        if self.is_chain_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found: U64 = match self.request_unchecked("eth_chainId", ()).await {
            // This question may be lost without harm; what it guards was not sent.
            Err(Failure::NoAnswer { what }) => return Err(Failure::NotSent { what }),
            other => other?,
        };
        let (found, expected) = (ChainId(found.to()), self.chain_id);
        if found != expected {
            tracing::error!(endpoint = self.name, %found, %expected, "RPC endpoint serves another chain");
            return Err(Failure::WrongChain { found, expected });
        }
        self.is_chain_checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn request_unchecked<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, Failure> {
        let request = self.client.request::<P, R>(method, params);
        let outcome = match tokio::time::timeout(self.timeout, request).await {
            Ok(outcome) => outcome.map_err(classify),
            Err(_) => Err(Failure::NoAnswer { what: format!("timeout after {:?}", self.timeout) }),
        };
        if let Err(failure) = &outcome {
            self.note(method, failure);
        }
        outcome
    }

    fn note(&self, method: &'static str, failure: &Failure) {
        let kind = match failure {
            Failure::NotSent { .. } => "not_sent",
            Failure::NoAnswer { .. } => "no_answer",
            Failure::Node { .. } => "refused",
            Failure::BadAnswer { .. } => "bad_answer",
            Failure::WrongChain { .. } => "wrong_chain",
        };
        metrics::counter!("farebox_rpc_failures_total", "endpoint" => self.name.clone(), "kind" => kind)
            .increment(1);
        if !matches!(failure, Failure::Node { .. }) {
            *self.cooling_until.lock() = Some(Instant::now() + self.cooldown);
            tracing::warn!(endpoint = self.name, method, ?failure, "RPC request failed");
        }
    }
}

/// Tells a refusal from silence. Texts of the transport are not passed on: they hold the address.
fn classify(error: TransportError) -> Failure {
    match error {
        RpcError::ErrorResp(payload) => {
            let message = payload.message.chars().take(MESSAGE_CHARS_MAX).collect();
            Failure::Node { code: payload.code, message }
        }
        RpcError::NullResp => Failure::BadAnswer { what: "nothing" },
        RpcError::DeserError { .. } => Failure::BadAnswer { what: "not the expected JSON" },
        RpcError::UnsupportedFeature(_) | RpcError::LocalUsageError(_) | RpcError::SerError(_) => {
            Failure::NotSent { what: "the request could not be made".to_owned() }
        }
        RpcError::Transport(kind) => classify_transport(&kind),
    }
}

fn classify_transport(kind: &TransportErrorKind) -> Failure {
    let status = match kind {
        TransportErrorKind::HttpError(error) | TransportErrorKind::HttpErrorWithRetryAfter { error, .. } => {
            Some(error.status)
        }
        _ => None,
    };
    if let Some(status) = status {
        return Failure::NoAnswer { what: format!("HTTP status {status}") };
    }
    let cause = match kind {
        TransportErrorKind::Custom(cause) | TransportErrorKind::NonRetryable(cause) => {
            cause.downcast_ref::<reqwest::Error>()
        }
        _ => None,
    };
    match cause {
        Some(error) if error.is_connect() => Failure::NotSent { what: "no connection".to_owned() },
        Some(error) if error.is_timeout() => Failure::NoAnswer { what: "timeout".to_owned() },
        _ => Failure::NoAnswer { what: "the connection broke".to_owned() },
    }
}

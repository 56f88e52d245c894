//! The published Rust client (crate `mpp`) as its users drive it: it decides itself when to open, to sign a
//! voucher and to top up.

use std::time::Duration;

use alloy_primitives::B256;
use farebox_devnet::Account;
use mpp::client::{Fetch, PaymentContext, PaymentProvider, TempoSessionProvider};
use mpp::{MppError, PaymentChallenge, PaymentCredential, PrivateKeySigner};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{Protocol, World, good};

/// How long a whole stream may take.
const STREAM_MAX: Duration = Duration::from_secs(60);
/// More than any test spends, in base units.
const MAX_DEPOSIT: u128 = 1_000_000;

/// One payer with its channel.
pub struct Client {
    /// The client's own view: its channel, and what it was charged.
    pub session: TempoSessionProvider,
    protocol: Protocol,
    http: reqwest::Client,
}

/// The session, which takes the challenge of one protocol. By itself it takes the first one that it is offered.
#[derive(Clone)]
struct Chooser {
    session: TempoSessionProvider,
    protocol: Protocol,
}

impl PaymentProvider for Chooser {
    fn supports(&self, method: &str, intent: &str) -> bool {
        self.session.supports(method, intent)
    }

    fn select_challenge<'a>(&self, challenges: &[&'a PaymentChallenge]) -> Option<&'a PaymentChallenge> {
        challenges.iter().copied().find(|challenge| self.protocol.is_asked_by(challenge))
    }

    async fn pay(&self, challenge: &PaymentChallenge) -> Result<PaymentCredential, MppError> {
        self.session.pay(challenge).await
    }

    async fn pay_with_context(
        &self,
        challenge: &PaymentChallenge,
        context: PaymentContext,
    ) -> Result<PaymentCredential, MppError> {
        self.session.pay_with_context(challenge, context).await
    }

    async fn commit_payment(
        &self,
        challenge: &PaymentChallenge,
        credential: &PaymentCredential,
    ) -> Result<(), MppError> {
        self.session.commit_payment(challenge, credential).await
    }

    async fn rollback_payment(
        &self,
        challenge: &PaymentChallenge,
        credential: &PaymentCredential,
    ) -> Result<(), MppError> {
        self.session.rollback_payment(challenge, credential).await
    }

    async fn invalidate_payment(
        &self,
        challenge: &PaymentChallenge,
        credential: &PaymentCredential,
    ) -> Result<(), MppError> {
        self.session.invalidate_payment(challenge, credential).await
    }

    fn abandon_payment(&self, challenge: &PaymentChallenge, credential: &PaymentCredential) {
        self.session.abandon_payment(challenge, credential);
    }

    fn record_receipt(
        &self,
        context: &PaymentContext,
        challenge: &PaymentChallenge,
        receipt: &mpp::Receipt,
    ) -> Option<u128> {
        self.session.record_receipt(context, challenge, receipt)
    }
}

/// What a stream brought.
#[derive(Debug, Default)]
pub struct Streamed {
    /// The data of the service's events.
    pub messages: Vec<Value>,
    /// `payment-need-voucher` events that the client answered.
    pub vouchers_asked: usize,
    /// The data of `payment-receipt` events.
    pub receipts: Vec<Value>,
}

impl Client {
    /// A payer on the world's chain.
    pub fn new(world: &World, payer: &Account, protocol: Protocol) -> Self {
        let signer = good("a key", PrivateKeySigner::from_slice(payer.private_key.as_slice()));
        let session = TempoSessionProvider::new(signer, &world.chain.info().rpc_url);
        let session = good("a session", session).with_max_deposit(MAX_DEPOSIT);
        // The client trusts an escrow that it does not know only when it is told to.
        let session = session.with_allow_custom_escrow(protocol == Protocol::V1);
        Self { session, protocol, http: reqwest::Client::new() }
    }

    /// Sends a request and pays for it.
    pub async fn get(&self, url: &str) -> Response {
        // Without this header the client pays for nothing.
        let request = self.http.get(url).header("Accept-Payment", "tempo/session");
        let chooser = Chooser { session: self.session.clone(), protocol: self.protocol };
        good("a paid request", request.send_with_payment(&chooser).await)
    }

    /// Reads a paid stream to its end; the client answers what the server asks for in mid-stream.
    pub async fn stream(&self, url: &str) -> Streamed {
        let response = self.get(url).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().contains_key("payment-receipt"), "a stream begins with a receipt");
        let streamed = tokio::time::timeout(STREAM_MAX, self.read(url, response)).await;
        good("the stream ends in time", streamed)
    }

    async fn read(&self, url: &str, mut response: Response) -> Streamed {
        let mut streamed = Streamed::default();
        let mut buffer = String::new();
        while let Some(chunk) = good("a piece of the stream", response.chunk().await) {
            buffer.push_str(good("text", std::str::from_utf8(&chunk)));
            while let Some(end) = buffer.find("\n\n") {
                let event: String = buffer.drain(..end + 2).collect();
                self.event(url, &event, &mut streamed).await;
            }
        }
        assert_eq!(buffer, "", "half an event at the end");
        streamed
    }

    async fn event(&self, url: &str, event: &str, streamed: &mut Streamed) {
        let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let name = line("event:").unwrap_or("message");
        let data = line("data:").unwrap_or_default();
        let value: Value = good("the data is JSON", serde_json::from_str(data));
        match name {
            "message" => streamed.messages.push(value),
            "payment-need-voucher" => streamed.vouchers_asked += 1,
            "payment-receipt" => streamed.receipts.push(value),
            other => panic!("an event called {other}"),
        }
        if let Some(answer) = self.session.stream_event(&self.http, url, name, data) {
            good("the client answers the event", answer.await);
        }
    }

    /// Closes the channel cooperatively; returns the transaction that the receipt names.
    pub async fn close(&self, url: &str) -> String {
        let receipt = good("a close", self.session.close(&self.http, url).await);
        let receipt = receipt.expect("a receipt for the close");
        let tx_hash = receipt.extensions["txHash"].as_str();
        tx_hash.unwrap_or_else(|| panic!("no txHash in {receipt:?}")).to_owned()
    }

    /// The client's only channel.
    pub fn channel(&self) -> B256 {
        let channels = self.session.channels();
        assert_eq!(channels.len(), 1, "one channel");
        channels.into_values().next().expect("one channel").channel_id
    }

    /// What the client believes that the channel holds, in base units.
    pub fn deposit(&self) -> u128 {
        self.session.channels().into_values().map(|entry| entry.deposit).sum()
    }
}

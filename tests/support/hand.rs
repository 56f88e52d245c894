//! A client whose every step the test decides: parts of the published client (crate `mpp`), put together by hand.
//! For what a well-behaved client never does.

use std::net::SocketAddr;

use alloy_primitives::{Address, B256};
use farebox_contracts::v2::ITIP20ChannelReserve::ChannelDescriptor;
use farebox_devnet::Account;
use mpp::client::{TempoNetwork, channel_ops};
use mpp::protocol::methods::tempo::session::SessionCredentialPayload;
use mpp::{PaymentChallenge, PrivateKeySigner, ProviderBuilder, RootProvider};
use reqwest::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, World, good};

/// Where the test buys.
pub const PATH: &str = "/v1/quote";

/// One payer.
#[derive(Clone)]
pub struct Hand {
    signer: PrivateKeySigner,
    chain: RootProvider<TempoNetwork>,
    http: reqwest::Client,
    url: String,
}

/// A channel that the payer opened, or tried to open.
pub struct Opened {
    /// Its id.
    pub channel: B256,
    entry: channel_ops::ChannelEntry,
    /// The credential's payload; sent again it must not change anything.
    pub payload: SessionCredentialPayload,
}

/// What the server said.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, if it is JSON (a problem, most often).
    pub body: Value,
}

impl Answer {
    /// The receipt in the header.
    #[track_caller]
    pub fn receipt(&self) -> Value {
        let header = self.headers.get("payment-receipt").unwrap_or_else(|| panic!("no receipt: {self:?}"));
        let bytes = good("base64url", mpp::base64url_decode(good("ASCII", header.to_str())));
        good("a receipt is JSON", serde_json::from_slice(&bytes))
    }

    /// Asserts a refusal: its status, the last part of its problem type, no receipt.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, problem: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let found = self.body["type"].as_str().unwrap_or_default();
        assert_eq!(found.rsplit('/').next(), Some(problem), "{self:?}");
        assert!(!self.headers.contains_key("payment-receipt"), "{self:?}");
        if status == 402 || status == 410 {
            assert!(self.headers.contains_key(WWW_AUTHENTICATE), "a fresh challenge: {self:?}");
        }
    }
}

impl Opened {
    /// Which protocol the channel speaks.
    pub fn protocol(&self) -> Protocol {
        if self.entry.descriptor.is_some() { Protocol::V2 } else { Protocol::V1 }
    }

    /// The terms as the contracts take them.
    pub fn descriptor(&self) -> ChannelDescriptor {
        let wire = self.entry.descriptor.as_ref().expect("a v2 channel");
        ChannelDescriptor {
            payer: good("payer", wire.payer.parse()),
            payee: good("payee", wire.payee.parse()),
            operator: good("operator", wire.operator.parse()),
            token: good("token", wire.token.parse()),
            salt: good("salt", wire.salt.parse()),
            authorizedSigner: good("authorizedSigner", wire.authorized_signer.parse()),
            expiringNonceHash: good("expiringNonceHash", wire.expiring_nonce_hash.parse()),
        }
    }
}

impl Hand {
    /// A payer in the world.
    pub fn new(world: &World, payer: &Account) -> Self {
        let url = good("the RPC URL", world.chain.info().rpc_url.parse());
        Self {
            signer: good("a key", PrivateKeySigner::from_slice(payer.private_key.as_slice())),
            chain: ProviderBuilder::<_, _, TempoNetwork>::default().connect_http(url),
            http: reqwest::Client::new(),
            url: world.url(PATH),
        }
    }

    /// The same payer at another path.
    pub fn at(&self, world: &World, path: &str) -> Self {
        Self { url: world.url(path), ..self.clone() }
    }

    /// The same payer by way of another address.
    pub fn by_way_of(self, address: SocketAddr) -> Self {
        Self { url: format!("http://{address}{PATH}"), ..self }
    }

    /// The same payer with a new connection for each request.
    pub fn with_fresh_connections(self) -> Self {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build();
        Self { http: good("a client", http), ..self }
    }

    /// Asks without paying, and takes the challenge for `protocol`.
    pub async fn challenge(&self, protocol: Protocol) -> PaymentChallenge {
        let answer = self.send(Method::GET, None).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
        let values = answer.headers.get_all(WWW_AUTHENTICATE).iter().map(|value| value.as_bytes());
        let challenges = mpp::parse_www_authenticate_all_bytes(values).into_iter();
        let mut challenges = challenges.map(|challenge| good("a challenge", challenge));
        challenges
            .find(|challenge| protocol.is_asked_by(challenge))
            .unwrap_or_else(|| panic!("no challenge for {protocol:?}"))
    }

    /// Signs what opens a channel and pays the first request. Nothing is sent.
    pub async fn prepare_open(&self, world: &World, protocol: Protocol, operator: Address) -> Opened {
        let (info, payer) = (world.chain.info(), self.signer.address());
        let (entry, payload) = match protocol {
            Protocol::V1 => {
                let options = channel_ops::OpenPayloadOptions {
                    authorized_signer: None,
                    escrow_contract: info.escrow_v1,
                    payee: world.payee.address,
                    currency: info.token,
                    deposit: SUGGESTED_DEPOSIT,
                    initial_amount: REQUEST_PRICE,
                    chain_id: info.chain_id,
                    fee_payer: false,
                };
                let made =
                    channel_ops::create_open_payload(&self.chain, &self.signer, None, payer, options).await;
                good("a v1 open", made)
            }
            Protocol::V2 => {
                let options = channel_ops::OpenPrecompilePayloadOptions {
                    prefix_calls: Vec::new(),
                    operator,
                    authorized_signer: None,
                    payee: world.payee.address,
                    currency: info.token,
                    fee_token: info.token,
                    deposit: SUGGESTED_DEPOSIT,
                    initial_amount: REQUEST_PRICE,
                    chain_id: info.chain_id,
                    fee_payer: false,
                    salt: None,
                };
                let made = channel_ops::create_precompile_open_payload(
                    &self.chain,
                    &self.signer,
                    None,
                    payer,
                    options,
                );
                good("a v2 open", made.await)
            }
        };
        Opened { channel: entry.channel_id, entry, payload }
    }

    /// Opens a channel and pays the first request; both must succeed.
    pub async fn open(&self, world: &World, protocol: Protocol) -> Opened {
        let opened = self.prepare_open(world, protocol, Address::ZERO).await;
        let answer = self.hand_in(&opened, opened.payload.clone(), protocol, Method::GET).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        opened
    }

    /// A voucher for `cumulative`, as it goes into a credential.
    pub async fn voucher(&self, opened: &Opened, cumulative: u128) -> SessionCredentialPayload {
        let entry = &opened.entry;
        let voucher = match entry.descriptor.clone() {
            Some(descriptor) => {
                channel_ops::create_precompile_voucher_payload_with_descriptor(
                    &self.signer,
                    descriptor,
                    cumulative,
                    entry.chain_id,
                )
                .await
            }
            None => {
                channel_ops::create_voucher_payload(
                    &self.signer,
                    entry.channel_id,
                    cumulative,
                    entry.escrow_contract,
                    entry.chain_id,
                )
                .await
            }
        };
        good("a voucher", voucher)
    }

    /// Buys one request with a voucher.
    pub async fn pay(&self, opened: &Opened, cumulative: u128) -> Answer {
        let voucher = self.voucher(opened, cumulative).await;
        self.hand_in(opened, voucher, opened.protocol(), Method::GET).await
    }

    /// Hands in a voucher that buys nothing yet.
    pub async fn promise(&self, opened: &Opened, cumulative: u128) -> Answer {
        let voucher = self.voucher(opened, cumulative).await;
        self.hand_in(opened, voucher, opened.protocol(), Method::POST).await
    }

    /// Begins a paid request and returns its answer while its body still comes.
    pub async fn begin(&self, opened: &Opened, cumulative: u128) -> Response {
        let voucher = self.voucher(opened, cumulative).await;
        let authorization = self.credential(opened, voucher, opened.protocol()).await;
        good("the server answers", self.request(Method::GET, Some(authorization)).await)
    }

    /// Raises the deposit, as a management request.
    pub async fn top_up(&self, opened: &Opened, more: u128) -> Answer {
        let descriptor = opened.entry.descriptor.as_ref().expect("a v2 channel");
        let options = channel_ops::TopUpPrecompilePayloadOptions {
            prefix_calls: Vec::new(),
            descriptor,
            fee_token: good("token", descriptor.token.parse()),
            additional_deposit: more,
            chain_id: opened.entry.chain_id,
            fee_payer: false,
        };
        let payer = self.signer.address();
        let made = channel_ops::create_precompile_top_up_transaction_payload(
            &self.chain,
            &self.signer,
            None,
            payer,
            options,
        );
        let payload = good("a top-up", made.await);
        self.hand_in(opened, payload, Protocol::V2, Method::POST).await
    }

    /// Asks for a cooperative close with a voucher for `cumulative`.
    pub async fn close(&self, opened: &Opened, cumulative: u128) -> Answer {
        let voucher = self.voucher(opened, cumulative).await;
        let SessionCredentialPayload::Voucher {
            channel_id, descriptor, cumulative_amount, signature, ..
        } = voucher
        else {
            unreachable!("a voucher was made")
        };
        let close = SessionCredentialPayload::Close {
            channel_id,
            descriptor,
            settlement_route: None,
            cumulative_amount,
            signature,
            close_signature: None,
        };
        self.hand_in(opened, close, opened.protocol(), Method::POST).await
    }

    /// Sends a payload under a fresh challenge.
    pub async fn hand_in(
        &self,
        opened: &Opened,
        payload: SessionCredentialPayload,
        protocol: Protocol,
        method: Method,
    ) -> Answer {
        let authorization = self.credential(opened, payload, protocol).await;
        self.send(method, Some(authorization)).await
    }

    async fn credential(
        &self,
        opened: &Opened,
        payload: SessionCredentialPayload,
        protocol: Protocol,
    ) -> String {
        let challenge = self.challenge(protocol).await;
        let (chain_id, payer) = (opened.entry.chain_id, self.signer.address());
        let credential = channel_ops::build_credential(&challenge, payload, chain_id, payer);
        good("a credential", mpp::format_authorization(&credential))
    }

    async fn send(&self, method: Method, authorization: Option<String>) -> Answer {
        let response = good("the server answers", self.request(method, authorization).await);
        let (status, headers) = (response.status(), response.headers().clone());
        let body = good("a body", response.bytes().await);
        Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    async fn request(&self, method: Method, authorization: Option<String>) -> reqwest::Result<Response> {
        let mut request = self.http.request(method, &self.url);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await
    }
}

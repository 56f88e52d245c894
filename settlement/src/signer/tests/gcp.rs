//! The signer of Google Cloud against a service on this machine that speaks gRPC: HTTP/2, frames, trailers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy_signer_gcp::gcloud_sdk::google::cloud::kms::v1::{
    AsymmetricSignRequest, AsymmetricSignResponse, GetPublicKeyRequest, PublicKey, digest,
};
use alloy_signer_gcp::gcloud_sdk::prost::Message;
use alloy_signer_gcp::gcloud_sdk::{ExternalJwtFunctionSource, Token, TokenSourceType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::super::gcp::GcpKey;
use super::{HASH, conforms, der, private_key};
use crate::signer::{KeyService, KmsKeyName, PayeeSigner, SigningError};

const KEY: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/payee/cryptoKeyVersions/3";

/// The gRPC status that the fake answers signatures with; 0 signs.
const OK: u16 = 0;
const NOT_FOUND: u16 = 5;
const PERMISSION_DENIED: u16 = 7;
const UNAVAILABLE: u16 = 14;

struct Kms {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Kms {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kms {
    async fn start(key: PrivateKeySigner, status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (key, seen) = (key.clone(), Arc::clone(&seen));
                let service = hyper::service::service_fn(move |request| {
                    answer(request, key.clone(), status, Arc::clone(&seen))
                });
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, asked, task }
    }

    fn signer(&self, expected: Address) -> PayeeSigner {
        let Ok(KmsKeyName::Gcp(name)) = format!("gcp:{KEY}").parse() else { panic!("a name") };
        let tokens = || {
            let token = || async {
                let expiry = SystemTime::now() + Duration::from_secs(3_600);
                Ok(Token::new("Bearer".to_owned(), "test-token".into(), expiry.into()))
            };
            TokenSourceType::ExternalSource(Box::new(ExternalJwtFunctionSource::new(token)))
        };
        KeyService::new(GcpKey::at(name, self.url.clone(), Box::new(tokens)), expected).into()
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    key: PrivateKeySigner,
    status: u16,
    seen: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Body>, Infallible> {
    let operation = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    assert_eq!(request.headers()["authorization"], "Bearer test-token");
    seen.lock().push(operation.clone());
    let framed = request.into_body().collect().await.expect("a body").to_bytes();
    // One frame: a flag, the length in four bytes, the message.
    let message = framed.slice(5..);
    let status = if operation == "AsymmetricSign" { status } else { OK };
    let reply = match operation.as_str() {
        "GetPublicKey" => {
            assert_eq!(GetPublicKeyRequest::decode(message).expect("a message").name, KEY);
            let der = STANDARD.encode(der::public_key(&key));
            let pem = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
                &der[..64],
                &der[64..]
            );
            PublicKey { pem, ..PublicKey::default() }.encode_to_vec()
        }
        "AsymmetricSign" => {
            let asked = AsymmetricSignRequest::decode(message).expect("a message");
            assert_eq!(asked.name, KEY);
            let Some(digest::Digest::Sha256(hash)) = asked.digest.and_then(|digest| digest.digest) else {
                panic!("a digest of 32 bytes")
            };
            let hash = B256::from_slice(&hash);
            let signature = key.sign_hash_sync(&hash).expect("signs");
            let signature = der::signature(&signature, hash[31] % 2 == 1);
            AsymmetricSignResponse { signature, ..AsymmetricSignResponse::default() }.encode_to_vec()
        }
        other => panic!("an operation that nobody needs: {other}"),
    };
    let mut frame = vec![0];
    frame.extend((reply.len() as u32).to_be_bytes());
    frame.extend(reply);
    let frame = if status == OK { Bytes::from(frame) } else { Bytes::new() };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    trailers.insert("grpc-message", HeaderValue::from_static("as the test wants it"));
    let body = Full::new(frame).with_trailers(std::future::ready(Some(Ok(trailers)))).boxed();
    let response = Response::builder().header("content-type", "application/grpc").body(body);
    Ok(response.expect("a response"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_google_cloud_conforms() {
    let kms = Kms::start(private_key(7), OK).await;
    conforms(kms.signer(private_key(7).address()), private_key(7).address()).await;
    assert_eq!(kms.asked.lock().len(), 1 + 1 + 20 + 8 + 1, "one question a signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_somebody_else_signs_nothing() {
    let kms = Kms::start(private_key(8), OK).await;
    let expected = private_key(7).address();
    let error = kms.signer(expected).check().await.expect_err("refused");
    assert_eq!(error, SigningError::Stranger { found: private_key(8).address(), expected });
    assert_eq!(*kms.asked.lock(), ["GetPublicKey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_refuses_is_told_apart_from_what_it_cannot_do_now() {
    for (status, name, asked) in
        [(PERMISSION_DENIED, "denied", 1), (NOT_FOUND, "denied", 1), (UNAVAILABLE, "unavailable", 3)]
    {
        let kms = Kms::start(private_key(7), status).await;
        let error = kms.signer(private_key(7).address()).sign_hash(HASH).await.expect_err("no signature");
        assert_eq!(error.name(), name, "{error}");
        assert!(error.to_string().contains("as the test wants it"), "{error}");
        assert_eq!(kms.asked.lock().len(), 1 + asked, "{status}");
    }
}

/// Also shows that TLS is set up: to make it ready comes before the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_away() {
    let Ok(KmsKeyName::Gcp(name)) = format!("gcp:{KEY}").parse() else { panic!("a name") };
    let key = GcpKey::at(name, "https://127.0.0.1:9".to_owned(), Box::new(|| TokenSourceType::Default));
    let signer = PayeeSigner::from(KeyService::new(key, private_key(7).address()));
    let error = signer.check().await.expect_err("nobody is there");
    assert_eq!(error.name(), "unavailable", "{error}");
}

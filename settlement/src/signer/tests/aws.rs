//! The signer of AWS against a service on this machine that speaks its JSON protocol.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::config::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::aws::AwsKey;
use super::{HASH, conforms, der, private_key};
use crate::signer::{KeyService, KmsKeyName, PayeeSigner, SigningError};

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

/// What the fake does with a question, by what it does: a status and a body, or nothing for an honest answer.
type Judge = dyn Fn(&str) -> Option<(u16, Value)> + Send + Sync;

/// A fake of AWS KMS with one key.
struct Kms {
    url: String,
    /// Operations and bodies that came.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Kms {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kms {
    async fn start(key: PrivateKeySigner, judge: Arc<Judge>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (key, judge, seen) = (key.clone(), Arc::clone(&judge), Arc::clone(&seen));
                tokio::spawn(async move { serve(stream, &key, &*judge, &seen).await });
            }
        });
        Self { url, asked, task }
    }

    fn signer(&self, expected: Address) -> PayeeSigner {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test"))
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .endpoint_url(&self.url)
            .build();
        let Ok(KmsKeyName::Aws(name)) = format!("aws:{KEY}").parse() else { panic!("a name") };
        let key = AwsKey::with_client(name, aws_sdk_kms::Client::from_conf(config));
        KeyService::new(key, expected).into()
    }

    fn operations(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(operation, _)| operation.clone()).collect()
    }
}

/// Answers one connection's questions.
async fn serve(
    mut stream: TcpStream,
    key: &PrivateKeySigner,
    judge: &Judge,
    seen: &Mutex<Vec<(String, Value)>>,
) {
    let mut received = Vec::new();
    loop {
        let Some((operation, body)) = request(&mut stream, &mut received).await else { return };
        seen.lock().push((operation.clone(), body.clone()));
        let (status, answer) = judge(&operation).unwrap_or_else(|| (200, honest(key, &operation, &body)));
        if status == 0 {
            // A service that takes the question and says nothing.
            std::future::pending::<()>().await;
        }
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The operation and the body of the next request.
async fn request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<(String, Value)> {
    loop {
        let text = String::from_utf8_lossy(received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                head.lines().find_map(|line| {
                    let (found, value) = line.split_once(':')?;
                    found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                })
            };
            let length: usize = header("content-length")?.parse().ok()?;
            if body.len() >= length {
                let value = serde_json::from_str(&body[..length]).ok()?;
                let operation = header("x-amz-target")?.strip_prefix("TrentService.")?.to_owned();
                assert!(header("authorization")?.contains("/eu-central-1/kms/"), "signed for its region");
                received.drain(..head.len() + 4 + length);
                return Some((operation, value));
            }
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

fn honest(key: &PrivateKeySigner, operation: &str, body: &Value) -> Value {
    assert_eq!(body["KeyId"], KEY);
    match operation {
        "GetPublicKey" => json!({
            "KeyId": KEY,
            "PublicKey": STANDARD.encode(der::public_key(key)),
            "KeySpec": "ECC_SECG_P256K1",
            "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": ["ECDSA_SHA_256"],
        }),
        "Sign" => {
            assert_eq!(
                (&body["MessageType"], &body["SigningAlgorithm"]),
                (&json!("DIGEST"), &json!("ECDSA_SHA_256"))
            );
            let digest = STANDARD.decode(body["Message"].as_str().expect("text")).expect("base64");
            let hash = B256::from_slice(&digest);
            let signature = key.sign_hash_sync(&hash).expect("signs");
            // The service does not choose the lower half: about every second signature is in the upper one.
            let signature = der::signature(&signature, hash[31] % 2 == 1);
            json!({ "KeyId": KEY, "Signature": STANDARD.encode(signature), "SigningAlgorithm": "ECDSA_SHA_256" })
        }
        other => panic!("an operation that nobody needs: {other}"),
    }
}

fn says(status: u16, code: &'static str) -> Option<(u16, Value)> {
    Some((status, json!({ "__type": code, "message": "as the test wants it" })))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_aws_conforms() {
    let kms = Kms::start(private_key(7), Arc::new(|_| None)).await;
    conforms(kms.signer(private_key(7).address()), private_key(7).address()).await;
    let operations = kms.operations();
    assert_eq!(operations.iter().filter(|operation| *operation == "GetPublicKey").count(), 1);
    assert_eq!(operations.len(), 1 + 1 + 20 + 8 + 1, "one question a signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_somebody_else_signs_nothing() {
    let kms = Kms::start(private_key(8), Arc::new(|_| None)).await;
    let expected = private_key(7).address();
    let error = kms.signer(expected).check().await.expect_err("refused");
    assert_eq!(error, SigningError::Stranger { found: private_key(8).address(), expected });
    assert_eq!(kms.operations(), ["GetPublicKey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_refuses_is_told_apart_from_what_it_cannot_do_now() {
    for (status, code, name, asked) in [
        (400, "AccessDeniedException", "denied", 1),
        (400, "DisabledException", "denied", 1),
        (400, "NotFoundException", "denied", 1),
        (400, "ThrottlingException", "unavailable", 3),
        (500, "KMSInternalException", "unavailable", 3),
    ] {
        let judge = move |operation: &str| if operation == "Sign" { says(status, code) } else { None };
        let kms = Kms::start(private_key(7), Arc::new(judge)).await;
        let error = kms.signer(private_key(7).address()).sign_hash(HASH).await.expect_err("no signature");
        assert_eq!(error.name(), name, "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(kms.operations().len(), 1 + asked, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_signature_are_refused() {
    let other = private_key(8).sign_hash_sync(&HASH).expect("signs");
    for (answer, name) in [
        (json!({ "KeyId": KEY }), "malformed"),
        (json!({ "KeyId": KEY, "Signature": STANDARD.encode([1, 2, 3]) }), "malformed"),
        (json!({ "KeyId": KEY, "Signature": STANDARD.encode(der::signature(&other, false)) }), "stranger"),
    ] {
        let judge = move |operation: &str| (operation == "Sign").then(|| (200, answer.clone()));
        let kms = Kms::start(private_key(7), Arc::new(judge)).await;
        let error = kms.signer(private_key(7).address()).sign_hash(HASH).await.expect_err("refused");
        assert_eq!(error.name(), name, "{error}");
        assert_eq!(kms.operations().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_is_slow_and_one_that_is_not_there_is_away() {
    let kms = Kms::start(private_key(7), Arc::new(|name| (name == "Sign").then_some((0, Value::Null)))).await;
    let signer = kms.signer(private_key(7).address());
    let error = signer.sign_hash(HASH).await.expect_err("silence");
    assert_eq!(error.name(), "slow", "{error}");
    assert_eq!(kms.operations().len(), 4);
    let gone = kms.signer(private_key(7).address());
    drop(kms);
    // The address is free again once the task is gone.
    tokio::task::yield_now().await;
    let error = gone.check().await.expect_err("nobody is there");
    assert!(["unavailable", "slow"].contains(&error.name()), "{error}");
    assert_eq!(gone.health().failures, 1);
}

//! One suite for every signer, and a key service that does everything wrong.

#[cfg(feature = "kms-aws")]
mod aws;
#[cfg(any(feature = "kms-aws", feature = "kms-gcp"))]
mod der;
#[cfg(feature = "kms-gcp")]
mod gcp;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use alloy::primitives::keccak256;
use alloy::signers::SignerSync;
use farebox_engine::chain::BoxFuture;
use parking_lot::Mutex;

use super::service::{ASK_WAIT_MS, ASKS_MAX};
use super::*;

fn private_key(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).expect("a key")
}

fn order() -> Order {
    Order {
        chain_id: ChainId(42),
        calls: vec![
            (Address::repeat_byte(1), Bytes::from_static(&[1, 2, 3])),
            (Address::repeat_byte(4), Bytes::new()),
        ],
        gas_limit: 100_000,
        max_fee_per_gas: 2,
        max_priority_fee_per_gas: 1,
        fee_token: Address::repeat_byte(2),
        valid_before: UnixSeconds(1_000),
    }
}

/// What every signer must do, wherever its key is.
async fn conforms(signer: PayeeSigner, expected: Address) {
    assert_eq!(signer.address(), expected);
    signer.ready().await.expect("it can be asked");
    signer.check().await.expect("it signs");
    for number in 0..20_u64 {
        let hash = keccak256(number.to_be_bytes());
        let signature = signer.sign_hash(hash).await.expect("a signature");
        assert_eq!(signature.recover_address_from_prehash(&hash).expect("recovers"), expected);
        assert!(signature.normalize_s().is_none(), "the lower of two forms");
    }
    let many: Vec<_> = (0..8_u64)
        .map(|number| {
            let signer = signer.clone();
            tokio::spawn(async move {
                let hash = keccak256(number.to_le_bytes());
                (hash, signer.sign_hash(hash).await.expect("a signature"))
            })
        })
        .collect();
    for one in many {
        let (hash, signature) = one.await.expect("no panic");
        assert_eq!(signature.recover_address_from_prehash(&hash).expect("recovers"), expected);
    }
    let signed = signer.sign(order()).await.expect("a transaction");
    let read = crate::transaction::ClientTransaction::decode(&signed.bytes).expect("a Tempo transaction");
    assert_eq!((read.sender, read.tx_hash), (expected, Some(signed.tx_hash)));
    assert!(read.has_expiring_nonce);
    assert_eq!(read.valid_before, Some(UnixSeconds(1_000)));
    assert_eq!((read.chain_id, read.fee_token), (ChainId(42), Some(Address::repeat_byte(2))));
    assert_eq!((read.calls.len(), read.calls[0].to), (2, Address::repeat_byte(1)));
    assert_eq!(signer.health(), KeyHealth::default());
    assert_eq!(format!("{signer:?}"), format!("PayeeSigner({expected:?})"));
}

#[tokio::test]
async fn a_key_that_is_given_conforms() {
    conforms(PayeeSigner::from_signer(private_key(7)), private_key(7).address()).await;
}

#[tokio::test]
async fn a_key_of_a_file_conforms() {
    use std::os::unix::fs::PermissionsExt;

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "07".repeat(32)).expect("written");
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).expect("mode set");
    conforms(PayeeSigner::from_file(file.path()).expect("a key"), private_key(7).address()).await;
}

/// What a scripted service does with the next question; it signs when the script is over.
enum Act {
    Say(SigningError),
    Hang,
    SignAs(u8),
    SignAnother,
    HighS,
    Nonsense,
}

#[derive(Default)]
struct Script {
    connects: Mutex<VecDeque<Act>>,
    signs: Mutex<VecDeque<Act>>,
    asked: AtomicU32,
}

struct Scripted(Arc<Script>);

impl RemoteKey for Scripted {
    fn connect(&self) -> BoxFuture<'_, Result<Address, SigningError>> {
        Box::pin(async {
            let act = self.0.connects.lock().pop_front();
            match act {
                None => Ok(private_key(7).address()),
                Some(Act::Say(error)) => Err(error),
                Some(Act::SignAs(byte)) => Ok(private_key(byte).address()),
                Some(_) => std::future::pending().await,
            }
        })
    }

    fn sign(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SigningError>> {
        Box::pin(async move {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            let right = private_key(7).sign_hash_sync(&hash).expect("signs");
            let act = self.0.signs.lock().pop_front();
            match act {
                None => Ok(right),
                Some(Act::Say(error)) => Err(error),
                Some(Act::Hang) => std::future::pending().await,
                Some(Act::SignAs(byte)) => Ok(private_key(byte).sign_hash_sync(&hash).expect("signs")),
                Some(Act::SignAnother) => Ok(private_key(7).sign_hash_sync(&keccak256(hash)).expect("signs")),
                Some(Act::HighS) => {
                    let n = U256::from_be_slice(&alloy::primitives::hex!(
                        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
                    ));
                    Ok(Signature::new(right.r(), n - right.s(), !right.v()))
                }
                Some(Act::Nonsense) => Ok(Signature::new(U256::ZERO, U256::ZERO, false)),
            }
        })
    }
}

fn scripted(connects: Vec<Act>, signs: Vec<Act>) -> (PayeeSigner, Arc<Script>) {
    let script = Script {
        connects: Mutex::new(connects.into()),
        signs: Mutex::new(signs.into()),
        ..Script::default()
    };
    let script = Arc::new(script);
    let service = KeyService::new(Scripted(Arc::clone(&script)), private_key(7).address());
    (service.into(), script)
}

fn away() -> SigningError {
    SigningError::unavailable(&"away")
}

fn denied() -> SigningError {
    SigningError::denied(&"AccessDeniedException")
}

const HASH: B256 = B256::repeat_byte(3);

#[tokio::test]
async fn a_key_of_a_service_conforms() {
    let (signer, _) = scripted(vec![], vec![]);
    conforms(signer, private_key(7).address()).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_away_or_slow_for_a_moment_costs_a_moment() {
    let (signer, script) = scripted(vec![], vec![Act::Say(away()), Act::Hang]);
    signer.sign_hash(HASH).await.expect("at the third time");
    assert_eq!(script.asked.load(Ordering::SeqCst), 3);
    assert_eq!(signer.health(), KeyHealth::default());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stays_away_is_asked_so_often_and_no_more() {
    let (signer, script) = scripted(vec![], (0..9).map(|_| Act::Hang).collect());
    let before = tokio::time::Instant::now();
    for failures in 1..=3 {
        let error = signer.sign_hash(HASH).await.expect_err("no answer");
        assert_eq!(error, SigningError::Slow { waited_ms: ASK_WAIT_MS });
        assert_eq!(signer.health(), KeyHealth { failures, last_error: Some(error) });
        assert_eq!(script.asked.load(Ordering::SeqCst), failures * ASKS_MAX);
    }
    assert!(before.elapsed().as_millis() < 21_000, "within the bounds");
    signer.sign_hash(HASH).await.expect("it is back");
    assert_eq!(signer.health(), KeyHealth::default());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_denies_is_not_asked_again_at_once() {
    let (signer, script) = scripted(vec![], vec![Act::Say(denied())]);
    assert_eq!(signer.sign_hash(HASH).await, Err(denied()));
    assert_eq!(script.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_wrong_signature_is_never_passed_on() {
    let expected = private_key(7).address();
    let wrong = [Act::SignAs(8), Act::SignAnother, Act::HighS, Act::Nonsense];
    let (signer, script) = scripted(vec![], wrong.into());
    let stranger = SigningError::Stranger { found: private_key(8).address(), expected };
    assert_eq!(signer.sign_hash(HASH).await, Err(stranger));
    let another = signer.sign_hash(HASH).await.expect_err("of another hash");
    assert!(matches!(another, SigningError::Stranger { .. } | SigningError::Malformed { .. }), "{another}");
    for what in ["upper half", ""] {
        let error = signer.sign_hash(HASH).await.expect_err("no signature");
        assert!(
            matches!(error, SigningError::Malformed { .. }) && error.to_string().contains(what),
            "{error}"
        );
    }
    assert_eq!(script.asked.load(Ordering::SeqCst), 4, "none is asked for again");
    assert_eq!(signer.health().failures, 4);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_signed_before_the_public_key_is_the_right_one() {
    let (signer, script) = scripted(vec![Act::Hang, Act::Say(denied()), Act::SignAs(9)], vec![]);
    let slow = signer.sign(order()).await.expect_err("no contact");
    assert!(matches!(slow, SigningError::Slow { .. }), "{slow}");
    assert_eq!(signer.ready().await, Err(denied()));
    let expected = private_key(7).address();
    let stranger = SigningError::Stranger { found: private_key(9).address(), expected };
    assert_eq!(signer.check().await, Err(stranger));
    assert_eq!((script.asked.load(Ordering::SeqCst), signer.health().failures), (0, 3));
    signer.check().await.expect("the right one at last");
}

/// Asking for a signature must leave most of a claim's validity to its broadcast.
#[test]
fn asking_takes_a_small_part_of_the_time_for_which_a_claim_is_valid() {
    use super::service::ASK_PAUSE_MS;

    let most_ms = u64::from(ASKS_MAX) * (ASK_WAIT_MS + ASK_PAUSE_MS);
    assert!(most_ms * 3 < crate::config::CloseConfig::default().validity_seconds * 1_000);
}

#[test]
fn what_a_service_says_is_cut() {
    let SigningError::Denied { what } = SigningError::denied(&"ä".repeat(1_000)) else { panic!("denied") };
    assert!(what.len() < 310 && what.ends_with('…'), "{}", what.len());
}

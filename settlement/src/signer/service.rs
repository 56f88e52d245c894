//! A key that somebody else keeps, and how far that one is trusted: not at all.
//!
//! Each question has a bound in time, each signature a bound in questions, and every answer is checked: a signature
//! counts only when it recovers to the account that the configuration names. What does not is an alarm, and no claim
//! leaves with it. A service that denies or lies is not asked again at once; one that is slow or away is.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy::primitives::{Address, B256, Signature, keccak256};
use farebox_engine::chain::BoxFuture;
use parking_lot::Mutex;

/// How long the first contact may take: credentials are looked for, and the public key is asked for.
pub(crate) const CONNECT_WAIT_MS: u64 = 10_000;
/// How long one question for a signature may take.
pub(crate) const ASK_WAIT_MS: u64 = 2_000;
/// How often one signature is asked for. With its pauses that is a quarter of the time for which a claim is valid.
pub(crate) const ASKS_MAX: u32 = 3;
/// The pause between two of them.
pub(crate) const ASK_PAUSE_MS: u64 = 200;
/// The most bytes that are kept of what a service says about a failure.
const WHAT_BYTES_MAX: usize = 300;
/// What is signed to find out whether the service signs: the hash of words, so of no transaction.
const CHECK_WORDS: &[u8] = b"Farebox asks whether this key signs";

/// A key that can be asked over a wire.
pub trait RemoteKey: Send + Sync + 'static {
    /// Gets ready to ask, and says whose key it is. Called again after a failure.
    fn connect(&self) -> BoxFuture<'_, Result<Address, SigningError>>;

    /// Signs a hash as it is. Called after [`RemoteKey::connect`] succeeded. May be dropped half-way.
    fn sign(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SigningError>>;
}

impl<K: RemoteKey + ?Sized> RemoteKey for Box<K> {
    fn connect(&self) -> BoxFuture<'_, Result<Address, SigningError>> {
        (**self).connect()
    }

    fn sign(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SigningError>> {
        (**self).sign(hash)
    }
}

/// Why there is no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Nothing came in time.
    #[error("the key service gave no answer within {waited_ms} ms")]
    Slow {
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The service cannot be reached, or says that it cannot.
    #[error("the key service does not answer: {what}")]
    Unavailable {
        /// What was said.
        what: String,
    },
    /// The service refuses: no permission, no such key, a key that is disabled.
    #[error("the key service denies it: {what}")]
    Denied {
        /// What was said.
        what: String,
    },
    /// The service signs with another key.
    #[error("the key service signs for {found}, expected {expected}")]
    Stranger {
        /// Whose key it is.
        found: Address,
        /// Whose it should be.
        expected: Address,
    },
    /// What it answered is no signature.
    #[error("the key service answers what is no signature: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

impl SigningError {
    pub(crate) fn malformed(cause: &dyn fmt::Display) -> Self {
        Self::Malformed { what: short(cause) }
    }

    #[cfg(any(feature = "kms-aws", feature = "kms-gcp", test))]
    pub(crate) fn unavailable(cause: &dyn fmt::Display) -> Self {
        Self::Unavailable { what: short(cause) }
    }

    #[cfg(any(feature = "kms-aws", feature = "kms-gcp", test))]
    pub(crate) fn denied(cause: &dyn fmt::Display) -> Self {
        Self::Denied { what: short(cause) }
    }

    /// Its name in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow",
            Self::Unavailable { .. } => "unavailable",
            Self::Denied { .. } => "denied",
            Self::Stranger { .. } => "stranger",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// Whether the next question may well be answered.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Unavailable { .. })
    }
}

/// How a key is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHealth {
    /// Signatures in a row that were not given.
    pub failures: u32,
    /// Why the last one was not.
    pub last_error: Option<SigningError>,
}

/// The key of one account, kept by a service.
pub struct KeyService {
    key: Box<dyn RemoteKey>,
    address: Address,
    /// Whether its public key was seen, and is that of the account.
    is_known: AtomicBool,
    health: Mutex<KeyHealth>,
}

impl fmt::Debug for KeyService {
    /// The address alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyService").field(&self.address).finish()
    }
}

impl KeyService {
    /// The key of this account. Nothing is asked yet: a server can start, and take vouchers, while the service is away.
    pub fn new(key: impl RemoteKey, address: Address) -> Self {
        let (is_known, health) = (AtomicBool::new(false), Mutex::default());
        Self { key: Box::new(key), address, is_known, health }
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.address
    }

    /// How it is doing.
    pub(super) fn health(&self) -> KeyHealth {
        self.health.lock().clone()
    }

    /// Has it sign what is good for nothing.
    pub(super) async fn check(&self) -> Result<(), SigningError> {
        self.sign_hash(keccak256(CHECK_WORDS)).await.map(drop)
    }

    /// Makes the first contact, if there was none yet.
    pub(super) async fn ready(&self) -> Result<(), SigningError> {
        let result = self.try_ready().await;
        if let Err(error) = &result {
            self.note_failure(error);
        }
        result
    }

    /// Asks for a signature, as often as makes sense, and believes none that is of somebody else.
    pub(super) async fn sign_hash(&self, hash: B256) -> Result<Signature, SigningError> {
        self.ready().await?;
        let result = self.ask(hash).await;
        match &result {
            Ok(_) => self.note_success(),
            Err(error) => self.note_failure(error),
        }
        result
    }

    async fn try_ready(&self) -> Result<(), SigningError> {
        if self.is_known.load(Ordering::Acquire) {
            return Ok(());
        }
        let found = within(CONNECT_WAIT_MS, self.key.connect()).await?;
        self.check_address(found)?;
        self.is_known.store(true, Ordering::Release);
        Ok(())
    }

    async fn ask(&self, hash: B256) -> Result<Signature, SigningError> {
        let mut asked = 1;
        loop {
            let answer = within(ASK_WAIT_MS, self.key.sign(hash)).await;
            match answer.and_then(|signature| self.believe(signature, hash)) {
                Err(error) if error.is_passing() && asked < ASKS_MAX => {
                    tracing::debug!(%error, asked, "a signature is asked for again");
                }
                result => return result,
            }
            asked += 1;
            tokio::time::sleep(Duration::from_millis(ASK_PAUSE_MS)).await;
        }
    }

    /// A signature of this very hash by this very account, with the lower of its two forms: the chain takes no other.
    fn believe(&self, signature: Signature, hash: B256) -> Result<Signature, SigningError> {
        if signature.normalize_s().is_some() {
            return Err(SigningError::malformed(&"its s is in the upper half"));
        }
        let found =
            signature.recover_address_from_prehash(&hash).map_err(|error| SigningError::malformed(&error))?;
        self.check_address(found)?;
        Ok(signature)
    }

    fn check_address(&self, found: Address) -> Result<(), SigningError> {
        if found != self.address {
            return Err(SigningError::Stranger { found, expected: self.address });
        }
        Ok(())
    }

    fn note_success(&self) {
        let before = std::mem::take(&mut *self.health.lock());
        if before.failures > 0 {
            tracing::info!(key = %self.address, failures = before.failures, "the key service signs again");
        }
        metrics::gauge!("farebox_key_failures").set(0.0);
    }

    fn note_failure(&self, error: &SigningError) {
        let failures = {
            let mut health = self.health.lock();
            health.failures = health.failures.saturating_add(1);
            health.last_error = Some(error.clone());
            health.failures
        };
        metrics::gauge!("farebox_key_failures").set(f64::from(failures));
        metrics::counter!("farebox_key_refused_total", "reason" => error.name()).increment(1);
        tracing::error!(key = %self.address, %error, failures, "ALARM: claims cannot be signed");
    }
}

async fn within<T>(
    wait_ms: u64,
    answer: impl Future<Output = Result<T, SigningError>>,
) -> Result<T, SigningError> {
    let answered = tokio::time::timeout(Duration::from_millis(wait_ms), answer).await;
    answered.unwrap_or(Err(SigningError::Slow { waited_ms: wait_ms }))
}

/// What a service said, cut where it gets long.
fn short(cause: &dyn fmt::Display) -> String {
    let mut what = cause.to_string();
    if what.len() > WHAT_BYTES_MAX {
        let end = (0..=WHAT_BYTES_MAX).rev().find(|end| what.is_char_boundary(*end)).unwrap_or(0);
        what.truncate(end);
        what.push('…');
    }
    what
}

/// The same signature with the parity that makes it one of this account. A service does not say the parity.
#[cfg(any(feature = "kms-aws", feature = "kms-gcp"))]
pub(super) fn with_parity_of(signature: Signature, hash: B256, address: Address) -> Signature {
    let is_right = |signature: &Signature| {
        signature.recover_address_from_prehash(&hash).is_ok_and(|found| found == address)
    };
    [false, true].map(|is_odd| signature.with_parity(is_odd)).into_iter().find(is_right).unwrap_or(signature)
}

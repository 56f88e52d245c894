//! Keys: the payee's, which signs settle and close, the sponsor's, which pays fees, and the key that binds challenges.
//!
//! `serve` and `--check-config` read them here and nowhere else. A key file belongs to its owner alone (mode
//! 0600 or stricter), or it is refused with the command that repairs it. No error, log line or debug output
//! ever shows what is in one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use alloy::signers::local::PrivateKeySigner;
use farebox_engine::core::units::Address;
use farebox_engine::entropy::{Entropy, SystemEntropy, bytes};
use farebox_settlement::{KeyService, KmsKeyName, LocalKey, PayeeSigner, RemoteKey, SigningError};
use zeroize::Zeroizing;

use crate::admin::AdminKey;
use crate::config::{Config, Payee, PayeeKey, Sponsor};

/// The most bytes of a key file: 32 bytes in hex with `0x`, and room for white space.
const KEY_FILE_BYTES_MAX: u64 = 256;
/// What nobody but the owner may do with a key file.
const MODE_OF_OTHERS: u32 = 0o077;

/// A 32-byte secret, wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// Why a key file is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read (or, for the challenge key, made).
    #[error("{key}: {}: {cause}", path.display())]
    Io {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Others may read it.
    #[error(
        "{key}: {}: found mode {mode:04o}, expected 0600: others must not read it (chmod 600 {})",
        path.display(), path.display()
    )]
    Mode {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no key.
    #[error("{key}: {}: found {found}, expected 32 bytes as 64 hex digits, with or without 0x", path.display())]
    Malformed {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What kind of thing it holds; never the thing.
        found: String,
    },
    /// The environment variable that stands for the file holds no key.
    #[error("{variable}: found {found}, expected 32 bytes as 64 hex digits, with or without 0x")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What kind of thing it holds; never the thing.
        found: String,
    },
    /// It holds no secret key of Stripe's.
    #[error("{place}: found {found_bytes} characters that are no secret key, expected sk_... or rk_...")]
    Stripe {
        /// The key of the configuration with its file, or the variable.
        place: String,
        /// How many characters.
        found_bytes: usize,
    },
    /// It is the key of somebody else.
    #[error("{place}: found the key of {found}, expected the key of {}", expected.join(" or "))]
    Stranger {
        /// Where it is.
        place: String,
        /// Whose key it is.
        found: Address,
        /// Whose it may be, with the reason.
        expected: Vec<String>,
    },
    /// It is in a service that this program was built without.
    #[error("payee.kms: found \"{name}\", but this program was built without the feature {feature}")]
    NoService {
        /// Its name.
        name: KmsKeyName,
        /// What the build misses.
        feature: &'static str,
    },
}

/// The environment variable that holds the payee's key, for those who keep no key files.
pub const PAYEE_KEY_VARIABLE: &str = "FAREBOX_PAYEE_KEY";

/// The payee's key: of the environment, else of the file, or in a service. A key that is here is checked: it is the
/// payee's, or, when v1 is off (the legacy escrow knows no operators), the operator's. A service is not asked yet; see
/// [`check_payee_key`].
pub fn payee_key(config: &Config) -> Result<PayeeSigner, KeyError> {
    const KEY: &str = "payee.key_file";
    let path = match &config.payee.key {
        PayeeKey::File(path) => path,
        PayeeKey::Kms(name) => return kms_key(config, name),
    };
    let (secret, place) = match of_environment(PAYEE_KEY_VARIABLE)? {
        Some(secret) => (secret, Place::Variable(PAYEE_KEY_VARIABLE)),
        None => (read(KEY, path)?, Place::File(KEY, path)),
    };
    let key = place.key(&secret)?;
    let Payee { address: payee, operator, .. } = &config.payee;
    let operator_may = operator_may_sign(config);
    let address = key.address();
    if address == *payee || Some(address) == operator_may {
        return Ok(key.into());
    }
    let mut expected = vec![format!("{payee} (payee.address)")];
    match (operator, operator_may) {
        (_, Some(operator)) => expected.push(format!("{operator} (payee.operator)")),
        (Some(_), None) => expected[0].push_str("; escrow.v1 is on, and it lets no operator close"),
        (None, None) => {}
    }
    Err(KeyError::Stranger { place: place.to_string(), found: address, expected })
}

/// The operator, when its key may sign every claim.
fn operator_may_sign(config: &Config) -> Option<Address> {
    config.escrow.v1.is_none().then_some(config.payee.operator).flatten()
}

/// The key in a service. Whose it must be is sure before it is asked: the operator's, when there is one that may sign.
fn kms_key(config: &Config, name: &KmsKeyName) -> Result<PayeeSigner, KeyError> {
    let address = operator_may_sign(config).unwrap_or(config.payee.address);
    let key: Result<Box<dyn RemoteKey>, &'static str> = match name {
        #[cfg(feature = "kms-aws")]
        KmsKeyName::Aws(name) => Ok(Box::new(farebox_settlement::signer::aws::AwsKey::new(name.clone()))),
        #[cfg(not(feature = "kms-aws"))]
        KmsKeyName::Aws(_) => Err("kms-aws"),
        #[cfg(feature = "kms-gcp")]
        KmsKeyName::Gcp(name) => Ok(Box::new(farebox_settlement::signer::gcp::GcpKey::new(name.clone()))),
        #[cfg(not(feature = "kms-gcp"))]
        KmsKeyName::Gcp(_) => Err("kms-gcp"),
    };
    match key {
        Ok(key) => Ok(KeyService::new(key, address).into()),
        Err(feature) => Err(KeyError::NoService { name: name.clone(), feature }),
    }
}

/// Asks a key service for a signature before anything is served. One that is away or denies is no reason not to serve:
/// claims wait for it, and the signer has raised the alarm. The key of somebody else is.
pub async fn check_payee_key(config: &Config, signer: &PayeeSigner) -> Result<(), KeyError> {
    let PayeeKey::Kms(name) = &config.payee.key else { return Ok(()) };
    match signer.check().await {
        Err(SigningError::Stranger { found, expected }) => Err(KeyError::Stranger {
            place: format!("payee.kms: {name}"),
            found,
            expected: vec![expected.to_string()],
        }),
        Err(_) => Ok(()),
        Ok(()) => {
            tracing::info!(%name, address = %signer.address(), "the key service signs");
            Ok(())
        }
    }
}

/// Where a secret comes from.
enum Place<'a> {
    File(&'static str, &'a Path),
    Variable(&'static str),
}

impl Place<'_> {
    fn key(&self, secret: &Secret) -> Result<LocalKey, KeyError> {
        PrivateKeySigner::from_slice(secret.as_slice()).map(LocalKey::from_signer).map_err(|_| {
            let found = "32 bytes that are no secp256k1 key (zero, or not below the group order)".to_owned();
            match *self {
                Self::File(key, path) => KeyError::Malformed { key, path: path.into(), found },
                Self::Variable(variable) => KeyError::Variable { variable, found },
            }
        })
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(key, path) => write!(f, "{key}: {}", path.display()),
            Self::Variable(variable) => f.write_str(variable),
        }
    }
}

/// The environment variable that holds the sponsor's key, for those who keep no key files.
pub const SPONSOR_KEY_VARIABLE: &str = "FAREBOX_SPONSOR_KEY";

/// The key of the account that pays fees: of the environment, else of the file. `None` when nobody is to pay them.
pub fn sponsor_key(config: &Config) -> Result<Option<LocalKey>, KeyError> {
    const KEY: &str = "sponsor.key_file";
    let Some(Sponsor { key_file: path, .. }) = &config.sponsor else { return Ok(None) };
    let (secret, place) = match of_environment(SPONSOR_KEY_VARIABLE)? {
        Some(secret) => (secret, Place::Variable(SPONSOR_KEY_VARIABLE)),
        None => (read(KEY, path)?, Place::File(KEY, path)),
    };
    place.key(&secret).map(Some)
}

/// The environment variable that holds Stripe's secret key, for those who keep no key files.
pub const STRIPE_KEY_VARIABLE: &str = "FAREBOX_STRIPE_SECRET_KEY";

/// The secret key of the account at Stripe: of the environment, else of the file. `None` when nobody pays with Stripe.
pub fn stripe_key(config: &Config) -> Result<Option<Zeroizing<String>>, KeyError> {
    const KEY: &str = "stripe.secret_key_file";
    let Some(stripe) = &config.stripe else { return Ok(None) };
    let path = &stripe.secret_key_file;
    let (text, place) = match std::env::var_os(STRIPE_KEY_VARIABLE) {
        Some(text) => (Zeroizing::new(text.into_encoded_bytes()), STRIPE_KEY_VARIABLE.to_owned()),
        None => (read_text(KEY, path)?, format!("{KEY}: {}", path.display())),
    };
    let text = text.trim_ascii();
    let is_key = [b"sk_".as_slice(), b"rk_"].iter().any(|prefix| text.starts_with(prefix))
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    match std::str::from_utf8(text) {
        Ok(key) if is_key => Ok(Some(Zeroizing::new(key.to_owned()))),
        _ => Err(KeyError::Stripe { place, found_bytes: text.len() }),
    }
}

/// The secret in a variable, if it is set.
fn of_environment(variable: &'static str) -> Result<Option<Secret>, KeyError> {
    let Some(text) = std::env::var_os(variable) else { return Ok(None) };
    let text = Zeroizing::new(text.into_encoded_bytes());
    parse(&text).map(Some).map_err(|found| KeyError::Variable { variable, found })
}

/// Reads the key that binds challenges, or makes it (mode 0600) when it is absent.
pub fn challenge_key(path: &Path) -> Result<Secret, KeyError> {
    match make(path) {
        Ok(()) => tracing::info!(path = %path.display(), "made a new challenge key"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(KeyError::Io { key: CHALLENGE, path: path.into(), cause }),
    }
    read(CHALLENGE, path)
}

/// Checks the key that binds challenges if it is there; never makes it.
pub fn check_challenge_key(path: &Path) -> Result<(), KeyError> {
    match read(CHALLENGE, path) {
        Err(KeyError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Reads the keys from before a rotation. They must be there: who names one wants its challenges to hold.
pub fn previous_challenge_keys(paths: &[PathBuf]) -> Result<Vec<Secret>, KeyError> {
    paths.iter().map(|path| read("server.previous_challenge_key_files", path)).collect()
}

/// Reads the key that signs money events.
pub fn webhook_key(path: &Path) -> Result<Secret, KeyError> {
    read("webhook.key_file", path)
}

/// Reads the key that permits actions of the admin API.
pub fn admin_key(path: &Path) -> Result<AdminKey, KeyError> {
    Ok(AdminKey::new(read("server.admin_key_file", path)?))
}

const CHALLENGE: &str = "server.challenge_key_file";

/// The environment variable that holds the local API's key, for those who keep no key files.
pub const LOCAL_KEY_VARIABLE: &str = "FAREBOX_LOCAL_KEY";

/// The key of the local API: of the environment, else of the file, which is made when absent.
pub fn local_key(path: &Path) -> Result<Secret, KeyError> {
    if let Some(secret) = of_environment(LOCAL_KEY_VARIABLE)? {
        return Ok(secret);
    }
    match make(path) {
        Ok(()) => tracing::info!(path = %path.display(), "made a new key for the local API"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(KeyError::Io { key: LOCAL, path: path.into(), cause }),
    }
    read(LOCAL, path)
}

const LOCAL: &str = "local.key_file";

/// Makes a key file with random bytes; `AlreadyExists` when there is one. The file appears whole or not at
/// all: it is written under another name first.
fn make(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let secret = Zeroizing::new(bytes::<32>(&SystemEntropy as &dyn Entropy).map_err(io::Error::other)?);
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in secret.iter() {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('\n');
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::hard_link(&draft, path)
        });
    let removed = std::fs::remove_file(&draft);
    written.and(removed)
}

fn read(key: &'static str, path: &Path) -> Result<Secret, KeyError> {
    let text = read_text(key, path)?;
    parse(&text).map_err(|found| KeyError::Malformed { key, path: path.into(), found })
}

/// The bytes of a file that belongs to its owner alone.
fn read_text(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let io = |cause| KeyError::Io { key, path: path.into(), cause };
    let malformed = |found: String| KeyError::Malformed { key, path: path.into(), found };
    let file = File::open(path).map_err(io)?;
    // The open file is asked, not the path: nobody can exchange it in between.
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(malformed("something that is no file".into()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & MODE_OF_OTHERS != 0 {
        return Err(KeyError::Mode { key, path: path.into(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX as usize + 1));
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(malformed(format!("more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// 32 bytes in hex; otherwise what kind of thing it is.
pub fn parse(text: &[u8]) -> Result<Secret, String> {
    let digits = text.trim_ascii();
    let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
    let mut secret = Zeroizing::new([0; 32]);
    if digits.len() != 64 {
        return Err(format!("{} characters", digits.len()));
    }
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (high, low) else {
            return Err("characters that are no hex digits".into());
        };
        *byte = (high * 16 + low) as u8;
    }
    Ok(secret)
}

#[cfg(test)]
mod tests;

//! TLS by rustls: certificate and key from files, read again when they change.
//!
//! A renewed certificate is taken for new connections without a restart. Files that cannot be read, or do not belong
//! together, change nothing: the certificate from before goes on, and the log says why.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What nobody but owner and group may do with a key file.
const MODE_OF_OTHERS: u32 = 0o007;
/// What is spoken over TLS, in our order.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why certificate and key are refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key}: {}: {cause}", path.display())]
    Io {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is not what it must be.
    #[error("{key}: {}: {found}, expected {expected}", path.display())]
    Malformed {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// What must be there.
        expected: &'static str,
    },
    /// They do not work together.
    #[error("server.tls_cert_file and server.tls_key_file do not work together: {0}")]
    Mismatch(rustls::Error),
}

/// Certificate and key.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(read(files)?);
        Ok(Arc::new(Self { files: files.clone(), current }))
    }

    /// Takes the next connection, with the newest certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Looks for changed files until told to stop.
    pub async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut seen = stamp(&self.files);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = stamp(&self.files);
            if now == seen {
                continue;
            }
            seen = now;
            self.reload();
        }
    }

    /// Reads the files again; what is wrong with them is logged, and changes nothing.
    pub fn reload(&self) -> bool {
        match read(&self.files) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!(cert = %self.files.cert.display(), "the certificate changed");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the certificate changed and cannot be used; the one before goes on");
                false
            }
        }
    }
}

/// What tells whether a file is another one than before.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |metadata: Metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    [&files.cert, &files.key].map(|path| std::fs::metadata(path).ok().map(of))
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = certificates(&files.cert)?;
    let key = private_key(&files.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Mismatch)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(TlsError::Mismatch)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const KEY: &str = "server.tls_cert_file";
    const EXPECTED: &str = "a certificate chain in PEM, the server's own certificate first";
    let wrong = |error| wrong(KEY, path, error, EXPECTED);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let chain = chain.map_err(wrong)?;
    if chain.is_empty() {
        return Err(wrong(pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const KEY: &str = "server.tls_key_file";
    const EXPECTED: &str = "a private key in PEM that others cannot read";
    let metadata =
        std::fs::metadata(path).map_err(|cause| TlsError::Io { key: KEY, path: path.into(), cause })?;
    if metadata.mode() & MODE_OF_OTHERS != 0 {
        let found = format!("mode {:04o}", metadata.mode() & 0o7777);
        return Err(TlsError::Malformed { key: KEY, path: path.into(), found, expected: EXPECTED });
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(KEY, path, error, EXPECTED))
}

/// The refusal of a file. The kinds of errors say where the syntax broke, never what is in the file.
fn wrong(key: &'static str, path: &Path, error: pem::Error, expected: &'static str) -> TlsError {
    let path = path.into();
    match error {
        pem::Error::Io(cause) => TlsError::Io { key, path, cause },
        pem::Error::NoItemsFound => {
            TlsError::Malformed { key, path, found: "nothing of that kind".into(), expected }
        }
        _ => TlsError::Malformed { key, path, found: "broken PEM".into(), expected },
    }
}

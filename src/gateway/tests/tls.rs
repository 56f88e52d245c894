//! TLS: both protocols, and a certificate that is renewed while the gateway runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use http::Version;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::TlsFiles;

/// Writes a certificate of its own for `localhost`, and its key.
fn certify(directory: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let files = TlsFiles { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    files
}

/// Asks for a free page over TLS, trusting the certificate that is in the file.
async fn ask(address: &str, cert: &Path, protocol: &[u8]) -> Result<(u16, Version), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let io = TokioIo::new(stream.map_err(|error| error.to_string())?);
    let request = Request::get("https://localhost/free/x").header("host", "localhost");
    let request = request.body(full(Bytes::new())).unwrap();
    let answer = if protocol == b"h2" {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let answer = answer.map_err(|error| error.to_string())?;
    let seen = (answer.status().as_u16(), answer.version());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("x-forwarded-proto: https"), "{body}");
    Ok(seen)
}

#[tokio::test]
async fn both_protocols_are_spoken_and_a_renewed_certificate_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let files = certify(directory.path());
    let tls = Tls::load(&files).unwrap();
    let upstream = upstream::Upstream::start().await;
    let world = World::start_with(&upstream.url, BOUNDS, Some(tls.clone()), |config| {
        config.server.tls = Some(files.clone());
    })
    .await;
    let address = world.address().to_owned();
    assert_eq!(ask(&address, &files.cert, b"http/1.1").await, Ok((200, Version::HTTP_11)));
    assert_eq!(ask(&address, &files.cert, b"h2").await, Ok((200, Version::HTTP_2)));

    let old = directory.path().join("old.pem");
    std::fs::rename(&files.cert, &old).unwrap();
    std::fs::write(&files.cert, "no certificate").unwrap();
    assert!(!tls.reload(), "what cannot be used changes nothing");
    assert_eq!(ask(&address, &old, b"h2").await, Ok((200, Version::HTTP_2)));
    certify(directory.path());
    assert!(tls.reload());
    assert!(ask(&address, &old, b"h2").await.is_err(), "the old one is gone");
    assert_eq!(ask(&address, &files.cert, b"h2").await, Ok((200, Version::HTTP_2)));

    // Who speaks plain HTTP to it gets nothing.
    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(b"GET /free/x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(world.stop().await, 0);
}

#[test]
fn files_that_are_no_certificate_and_key_are_refused_with_their_key_in_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let files = certify(directory.path());
    let refused = |files: &TlsFiles| Tls::load(files).map(|_| ()).unwrap_err().to_string();
    let swapped = TlsFiles { cert: files.key.clone(), key: files.key.clone() };
    assert!(refused(&swapped).starts_with("server.tls_cert_file: "), "{}", refused(&swapped));
    let absent = TlsFiles { key: directory.path().join("absent.pem"), ..files.clone() };
    assert!(refused(&absent).starts_with("server.tls_key_file: "), "{}", refused(&absent));
    let other = tempfile::tempdir().unwrap();
    let foreign = TlsFiles { key: certify(other.path()).key, ..files.clone() };
    assert!(refused(&foreign).contains("do not work together"), "{}", refused(&foreign));
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&files).contains("mode 0644"), "{}", refused(&files));
}

//! Asking a running server's admin API: one POST, one answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::AdminKey;

/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "the admin API at {address} cannot be reached: {cause} (server.admin_listen, or --admin, says where it is)"
    )]
    Away { address: SocketAddr, cause: io::Error },
    #[error("the admin API refuses: {what}")]
    Refused { status: u16, what: String },
}

/// Sends an action with the key, and gives the answer's JSON.
pub(super) fn post(address: SocketAddr, path: &str, key: &AdminKey) -> Result<Value, AskError> {
    let away = |cause| AskError::Away { address, cause };
    let answer = send(address, path, key).map_err(away)?;
    let nonsense = || away(io::Error::other("its answer is no HTTP"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(nonsense)?;
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(nonsense)?;
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| json!({}));
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let what = body["detail"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
    Err(AskError::Refused { status, what })
}

fn send(address: SocketAddr, path: &str, key: &AdminKey) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(CONNECT_WAIT))?;
    let bearer = key.bearer();
    // HTTP/1.0: an answer of one piece, until the end.
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nhost: {address}\r\nauthorization: {}\r\ncontent-length: 0\r\n\r\n",
        *bearer
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

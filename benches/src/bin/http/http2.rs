//! Streams that wait, many of them on each connection of HTTP/2.

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Streams of one connection: as many as a server of HTTP/2 should allow at least.
const STREAMS: usize = 100;

/// A connection with streams that wait; they end with it.
pub struct Waiting {
    streams: Vec<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Begins a stream for every credential, and reads its first event.
pub async fn begin(address: &str, credentials: &[Option<String>]) -> Result<Vec<Waiting>, String> {
    let mut waiting = Vec::new();
    for credentials in credentials.chunks(STREAMS) {
        waiting.push(connection(address, credentials).await?);
    }
    Ok(waiting)
}

async fn connection(address: &str, credentials: &[Option<String>]) -> Result<Waiting, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
    let shaken = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(async move { drop(connection.await) });
    let mut waiting = Waiting { streams: Vec::new(), connection };
    for credential in credentials {
        let mut request = Request::get(format!("http://{address}/stream"));
        if let Some(header) = credential {
            request = request.header("authorization", header);
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let mut answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let first = answer.body_mut().frame().await.and_then(Result::ok);
        let first = first.and_then(|frame| frame.into_data().ok());
        if answer.status() != 200 || first.as_deref() != Some(&b"data: 0\n\n"[..]) {
            return Err(format!("a stream began with {} and {first:?}", answer.status()));
        }
        waiting.streams.push(answer.into_body());
    }
    Ok(waiting)
}

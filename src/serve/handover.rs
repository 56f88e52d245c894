//! The hand-over of listening sockets from a running server to the one that replaces it.
//!
//! At `server.handover_socket`, which only the server's own user may open, three lines and the sockets change hands:
//!
//! 1. the new process: [`HELLO`]
//! 2. the old one: a line of JSON (its process, and what each socket is for), with the sockets attached (`SCM_RIGHTS`)
//! 3. the new one: [`TAKEN`]. Only now does the old one stop: whatever fails before costs nothing
//! 4. the old one, when its books are closed: [`CLOSED`]. When it dies instead, the connection ends, and its books are free as well
//!
//! One process writes the books at any time; in between requests wait in the sockets' queues.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde_json::{Value, json};

use super::sockets::{Offer, SOCKETS_MAX};
use crate::local::Listener;

const HELLO: &[u8] = b"farebox hand-over 1\n";
const TAKEN: &[u8] = b"taken\n";
const CLOSED: &[u8] = b"closed\n";
/// How long the other side may take to say a line.
const LINE_WAIT: Duration = Duration::from_secs(5);
/// The most bytes of a line.
const LINE_BYTES_MAX: usize = 4_096;
/// The pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that came: its key, its place, itself.
pub(super) type Taken = (String, String, OwnedFd);

/// The running server's side.
pub(super) struct Handover {
    listener: Listener,
    offers: Arc<[Offer]>,
    keepers: Vec<Arc<AtomicBool>>,
}

impl Handover {
    pub(super) fn new(listener: Listener, offers: Vec<Offer>, keepers: Vec<Arc<AtomicBool>>) -> Self {
        Self { listener, offers: offers.into(), keepers }
    }

    /// Waits until another process has the sockets. Dropped, nobody can ask any more.
    pub(super) async fn taken(self) -> Successor {
        let Listener::Unix { listener, .. } = &self.listener else {
            unreachable!("a hand-over listens on a Unix socket")
        };
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept who would take over");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let offers = Arc::clone(&self.offers);
            let given = tokio::task::spawn_blocking(move || give(stream.into_std()?, &offers)).await;
            match given.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(successor) => {
                    for keeper in &self.keepers {
                        keeper.store(true, Ordering::Release);
                    }
                    return successor;
                }
                Err(error) => tracing::warn!(%error, "nobody took over: this server goes on"),
            }
        }
    }
}

/// The process that took the sockets, and waits for the books.
#[derive(Debug)]
pub(super) struct Successor(UnixStream);

impl Successor {
    /// Says that the books are closed.
    pub(super) fn tell_closed(mut self) {
        if let Err(error) = self.0.write_all(CLOSED) {
            tracing::warn!(%error, "who took over cannot be told that the books are closed");
        }
    }
}

fn give(mut stream: UnixStream, offers: &[Offer]) -> io::Result<Successor> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LINE_WAIT))?;
    stream.set_write_timeout(Some(LINE_WAIT))?;
    let hello = line(&mut stream)?;
    if hello != HELLO {
        return Err(unexpected("the words of a newer or older hand-over", &hello));
    }
    let names: Vec<Value> =
        offers.iter().map(|offer| json!({ "key": offer.key, "place": offer.place })).collect();
    let mut text = json!({ "process": std::process::id(), "sockets": names }).to_string();
    text.push('\n');
    let sockets: Vec<BorrowedFd<'_>> = offers.iter().map(|offer| offer.socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !attached.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("more sockets than a message holds"));
    }
    let sent = sendmsg(&stream, &[IoSlice::new(text.as_bytes())], &mut attached, SendFlags::empty())?;
    stream.write_all(&text.as_bytes()[sent..])?;
    let taken = line(&mut stream)?;
    if taken != TAKEN {
        return Err(unexpected("another answer than \"taken\"", &taken));
    }
    Ok(Successor(stream))
}

/// Whom this process takes over from.
#[derive(Debug)]
pub(super) struct Former {
    stream: UnixStream,
    /// Its process.
    pub process: u64,
}

impl Former {
    /// Waits until it closed its books, or is gone. False when it did neither in time.
    pub(super) fn closed_by(mut self, end: Instant) -> io::Result<bool> {
        let mut said = Vec::new();
        let mut byte = [0];
        while said != CLOSED {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if said.len() < CLOSED.len() => said.push(byte[0]),
                Ok(_) => return Err(unexpected("another word than \"closed\"", &said)),
                Err(error) if is_late(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Takes the sockets of the process that answers at `path`; `None` when none does.
pub(super) fn take(path: &Path) -> io::Result<Option<(Vec<Taken>, Former)>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let owner = std::fs::metadata(path)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        let what = format!("{}: found a socket of user {owner}, expected one of this user", path.display());
        return Err(io::Error::other(what));
    }
    stream.set_read_timeout(Some(LINE_WAIT))?;
    stream.set_write_timeout(Some(LINE_WAIT))?;
    stream.write_all(HELLO)?;
    let (text, sockets) = receive(&mut stream)?;
    let said: Value = serde_json::from_slice(&text)?;
    let names = said["sockets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let process = said["process"].as_u64().unwrap_or_default();
    if names.len() != sockets.len() {
        let what = format!("the running server names {} sockets and sends {}", names.len(), sockets.len());
        return Err(io::Error::other(what));
    }
    let word = |name: &Value, key: &str| name[key].as_str().unwrap_or_default().to_owned();
    let taken =
        names.iter().zip(sockets).map(|(name, socket)| (word(name, "key"), word(name, "place"), socket));
    let taken = taken.collect();
    stream.write_all(TAKEN)?;
    Ok(Some((taken, Former { stream, process })))
}

/// A line, and the sockets that came with it.
fn receive(stream: &mut UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = [0; LINE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let received = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        recvmsg(&*stream, &mut parts, &mut attached, RecvFlags::CMSG_CLOEXEC)?
    };
    let mut sockets = Vec::new();
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    let mut text = buffer[..received.bytes].to_vec();
    if text.last() != Some(&b'\n') {
        text.extend(line(stream)?);
    }
    Ok((text, sockets))
}

/// Up to and with the next line feed.
fn line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
        if byte[0] == b'\n' {
            return Ok(line);
        }
    }
    Err(io::Error::other(format!("found no end of a line in {LINE_BYTES_MAX} bytes")))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn unexpected(what: &str, found: &[u8]) -> io::Error {
    io::Error::other(format!("found {what}: {:?}", String::from_utf8_lossy(found)))
}

#[cfg(test)]
mod tests;

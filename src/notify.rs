//! Tells the service manager how far we are: one datagram to the socket that systemd names in `NOTIFY_SOCKET`. Without the
//! variable nothing is sent; a message that cannot be sent is no reason not to serve.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Ports are open and the books are recovered.
    Ready,
    /// The end began.
    Stopping,
}

/// Tells it.
pub fn tell(state: State) {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let message = match state {
        State::Ready => "READY=1\nSTATUS=taking payments\n",
        State::Stopping => "STOPPING=1\nSTATUS=closing the books\n",
    };
    let sent = address(socket.as_encoded_bytes())
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// A path, or a name in the system's own space, which begins with `@`.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    let path = std::str::from_utf8(name).map_err(io::Error::other)?;
    SocketAddr::from_pathname(path)
}

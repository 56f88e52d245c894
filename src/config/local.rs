//! `[local]`: where services beside Farebox reach the engine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::expected::expected;
use super::problem::{Problems, quoted};
use super::{file, raw};

/// The most bytes of a socket's path: what the system's addresses hold, less the room to make it in.
const SOCKET_BYTES_MAX: usize = 96;

/// The engine's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// A Unix socket.
    pub socket: Option<PathBuf>,
    /// A TCP address, whose clients show a key.
    pub listen: Option<SocketAddr>,
    /// The key's file.
    pub key_file: PathBuf,
    /// Open connections.
    pub connections_max: usize,
}

/// The API of the file.
pub(super) fn local(raw: &raw::Local, directory: &Path, problems: &mut Problems) -> Option<Local> {
    let socket = socket("local.socket", raw.socket.as_deref(), directory, problems);
    let listen = match &raw.listen {
        Some(listen) => problems
            .check("local.listen", listen, expected("local.listen"), |text| text.parse::<SocketAddr>().ok())
            .filter(|address| {
                let allowed = raw.allow_remote || address.ip().is_loopback();
                if !allowed {
                    let expected = "an address of the loopback interface, or local.allow_remote = true: who has \
                                    the key may charge and close channels, and nothing is encrypted";
                    problems.add("local.listen", quoted(listen), expected);
                }
                allowed
            })
            .map(Some),
        None => Some(None),
    };
    let key_file = file("local.key_file", &raw.key_file, directory, problems);
    let connections = usize::try_from(raw.connections_max).ok().filter(|count| (1..=65_536).contains(count));
    if connections.is_none() {
        let key = "local.connections_max";
        problems.add(key, raw.connections_max.to_string(), expected(key));
    }
    Some(Local { socket: socket?, listen: listen?, key_file: key_file?, connections_max: connections? })
}

/// The path of a Unix socket, if there is to be one.
pub(super) fn socket(
    key: &str,
    raw: Option<&str>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Option<PathBuf>> {
    let Some(raw) = raw else { return Some(None) };
    let read = |text: &str| {
        let path = directory.join(text);
        let fits = !text.is_empty() && path.as_os_str().len() <= SOCKET_BYTES_MAX;
        fits.then_some(path)
    };
    problems.check(key, raw, expected(key), read).map(Some)
}

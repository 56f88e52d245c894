//! Listening sockets: those that the service manager made (`LISTEN_FDS`), those of the process before this one
//! ([`super::handover`]), and those that are opened here.
//!
//! A socket that outlives its process keeps its queue: who connects while the books change hands waits, and is not refused.
//! A second socket on the same port (`SO_REUSEPORT`) would not do: connections in the queue of the one that closes are lost.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::ServeError;
use super::handover::{Former, Handover};
use crate::config::Config;
use crate::local::{ListenError, Listener};

/// The most listening sockets of a server: paid traffic, admin API, local API on TCP and on a Unix socket.
pub(super) const SOCKETS_MAX: usize = 4;
/// The keys that name places to listen.
pub(super) const LISTEN: &str = "server.listen";
pub(super) const ADMIN: &str = "server.admin_listen";
pub(super) const LOCAL: &str = "local.listen";
pub(super) const LOCAL_SOCKET: &str = "local.socket";

/// A listening socket of either kind.
#[derive(Debug)]
enum Socket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// A socket that came from elsewhere.
#[derive(Debug)]
struct Given {
    /// What the former process had it for; the service manager does not say.
    key: Option<String>,
    place: String,
    socket: Socket,
}

/// A socket that the next process may have.
#[derive(Debug)]
pub(super) struct Offer {
    pub key: &'static str,
    pub place: String,
    pub socket: OwnedFd,
}

/// What this process listens with.
#[derive(Debug, Default)]
pub struct Sockets {
    given: Vec<Given>,
    former: Option<Former>,
    offers: Vec<Offer>,
    /// What keeps the files of Unix sockets.
    keepers: Vec<Arc<AtomicBool>>,
}

impl Sockets {
    /// Those of the service manager. Called before there is a second thread: the variables are taken away.
    pub fn from_environment() -> io::Result<Self> {
        let mut descriptors = ListenFd::from_env();
        let mut given = Vec::new();
        for index in 0..descriptors.len() {
            let place_of = |place: io::Result<String>| place.unwrap_or_else(|_| "an unnamed socket".into());
            let (place, socket) = match descriptors.take_tcp_listener(index) {
                Ok(Some(listener)) => {
                    let address = listener.local_addr().map(|address| address.to_string());
                    (place_of(address), Socket::Tcp(listener))
                }
                _ => match descriptors.take_unix_listener(index)? {
                    Some(listener) => (place_of(unix_place(&listener)), Socket::Unix(listener)),
                    None => continue,
                },
            };
            given.push(Given { key: None, place, socket });
        }
        Ok(Self { given, ..Self::default() })
    }

    /// Refuses sockets of the service manager that the configuration does not name: it would listen there in vain.
    pub(super) fn check(&self, config: &Config) -> Result<(), ServeError> {
        let tcp = [Some(config.server.listen), Some(config.server.admin_listen), config.local.listen];
        let known = |given: &Given| match &given.socket {
            Socket::Tcp(_) => tcp.iter().flatten().any(|address| address.to_string() == given.place),
            Socket::Unix(_) => {
                config.local.socket.as_ref().is_some_and(|path| path.display().to_string() == given.place)
            }
        };
        match self.given.iter().find(|given| !known(given)) {
            Some(given) => Err(ServeError::Given { place: given.place.clone() }),
            None => Ok(()),
        }
    }

    /// Takes those of the running process, which begins to stop with that. When none answers, there are none.
    pub(super) async fn take_over(&mut self, config: &Config) -> Result<(), ServeError> {
        let Some(path) = config.server.handover_socket.clone() else {
            return Err(ServeError::NoHandover);
        };
        let asked = tokio::task::spawn_blocking(move || super::handover::take(&path));
        let failed = |cause| ServeError::System { what: "take over", cause };
        let Some((taken, former)) =
            asked.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?
        else {
            tracing::info!("nobody runs whom this server could take over from");
            return Ok(());
        };
        for (key, place, socket) in taken {
            let socket = if key == LOCAL_SOCKET {
                Socket::Unix(UnixListener::from(socket))
            } else {
                Socket::Tcp(std::net::TcpListener::from(socket))
            };
            self.given.push(Given { key: Some(key), place, socket });
        }
        self.former = Some(former);
        Ok(())
    }

    /// Whom the books come from.
    pub(super) const fn former(&mut self) -> Option<Former> {
        self.former.take()
    }

    /// Listens on a TCP address, with the socket that came for it if there is one.
    pub(super) async fn tcp(
        &mut self,
        key: &'static str,
        wanted: SocketAddr,
    ) -> Result<TcpListener, ServeError> {
        let failed = |cause| ServeError::Listen { key, address: wanted, cause };
        let listener = match self.find(key, |place| {
            place.parse::<SocketAddr>().is_ok_and(|place| place == wanted || wanted.port() == 0)
        }) {
            Some(Socket::Tcp(listener)) => listener
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(listener))
                .map_err(failed)?,
            _ => TcpListener::bind(wanted).await.map_err(failed)?,
        };
        let place = listener.local_addr().map_err(failed)?.to_string();
        let socket = listener.as_fd().try_clone_to_owned().map_err(failed)?;
        self.offers.push(Offer { key, place, socket });
        Ok(listener)
    }

    /// Listens on a Unix socket, likewise.
    pub(super) fn unix(&mut self, path: &Path) -> Result<Listener, ListenError> {
        let place = path.display().to_string();
        let failed = |cause| ListenError::System { key: LOCAL_SOCKET, place: place.clone(), cause };
        let found = self
            .given
            .iter()
            .position(|given| matches!(given.socket, Socket::Unix(_)) && given.place == place);
        let listener = match found.map(|index| self.given.swap_remove(index)) {
            Some(Given { key, socket: Socket::Unix(listener), .. }) => {
                Listener::unix_given(listener, path, key.is_some()).map_err(failed)?
            }
            _ => Listener::unix(LOCAL_SOCKET, path)?,
        };
        self.keepers.extend(listener.keeper());
        let socket = listener.duplicate().map_err(failed)?;
        self.offers.push(Offer { key: LOCAL_SOCKET, place, socket });
        Ok(listener)
    }

    fn find(&mut self, key: &str, is_wanted: impl Fn(&str) -> bool) -> Option<Socket> {
        let found = self.given.iter().position(|given| {
            let is_kind = matches!(given.socket, Socket::Tcp(_));
            // Without a name the whole address must be the same: port 0 would take any.
            let is_named = given.key.as_deref() == Some(key);
            is_kind && (is_named || given.key.is_none()) && is_wanted(&given.place)
        })?;
        Some(self.given.swap_remove(found).socket)
    }

    /// From now on another process may have them, if the configuration says where it asks. Those that came and were not
    /// wanted are closed.
    pub(super) fn offer(self, path: Option<&PathBuf>) -> Result<Option<Handover>, ServeError> {
        let Some(path) = path else { return Ok(None) };
        let listener = Listener::unix("server.handover_socket", path)?;
        Ok(Some(Handover::new(listener, self.offers, self.keepers)))
    }
}

fn unix_place(listener: &UnixListener) -> io::Result<String> {
    let address = listener.local_addr()?;
    let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
    Ok(path.display().to_string())
}

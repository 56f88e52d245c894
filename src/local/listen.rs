//! Where the API listens: a Unix socket that only its owner opens, or a TCP address.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Who may open the socket: its owner.
const SOCKET_MODE: u32 = 0o600;

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system says no.
    #[error("{key}: cannot listen on {place}: {cause}")]
    System {
        /// The configuration key.
        key: &'static str,
        /// Where.
        place: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Another process answers there.
    #[error("local.socket: {}: found a socket that another process answers, expected none", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("local.socket: {}: found something that is no socket, expected nothing or a socket", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
}

/// A place to listen.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket, and its file.
    Unix {
        /// Takes connections.
        listener: UnixListener,
        /// Removed when this is dropped.
        _file: SocketFile,
    },
    /// A TCP address.
    Tcp(TcpListener),
}

/// A stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Makes a socket of mode 0600. It is made under another name, in a folder that nobody else may enter, and moved
    /// into place with its mode: at no moment can somebody else open it. What a dead process left there is replaced.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed =
            |cause| ListenError::System { key: "local.socket", place: path.display().to_string(), cause };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ListenError::NoSocket { path: path.into() });
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(ListenError::Taken { path: path.into() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let draft = folder.unwrap_or(Path::new(".")).join(format!(".{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&draft).map_err(failed)?;
        let made = Self::make(&draft.join("s"), path).map_err(failed);
        let removed = std::fs::remove_dir_all(&draft).map_err(failed);
        let made = made?;
        removed?;
        Ok(made)
    }

    fn make(draft: &Path, path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(draft)?;
        std::fs::set_permissions(draft, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        let inode = std::fs::symlink_metadata(draft)?.ino();
        std::fs::rename(draft, path)?;
        Ok(Self::Unix { listener, _file: SocketFile { path: path.into(), inode } })
    }

    /// Listens on a TCP address.
    pub async fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |cause| ListenError::System { key: "local.listen", place: address.to_string(), cause };
        TcpListener::bind(address).await.map(Self::Tcp).map_err(failed)
    }

    /// The TCP address.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix { listener, .. } => Ok(Box::new(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer is small and wanted at once.
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
        }
    }
}

/// The socket's file. Dropped, it removes it, unless another process has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // A file that stays is replaced by the next process.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("farebox.sock");
        let listener = Listener::unix(&path).unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(matches!(Listener::unix(&path), Err(ListenError::Taken { .. })));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("farebox.sock");
        // Its listener is gone, its file is not: as after a crash.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Listener::unix(&path).unwrap());
        std::fs::write(&path, "books").unwrap();
        assert!(matches!(Listener::unix(&path), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"books");
    }
}

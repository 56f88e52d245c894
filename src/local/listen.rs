//! Where the API listens: a Unix socket that only its owner opens, or a TCP address.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    #[error("{key}: {}: found a socket that another process answers, expected none", path.display())]
    Taken {
        /// The configuration key.
        key: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("{key}: {}: found something that is no socket, expected nothing or a socket", path.display())]
    NoSocket {
        /// The configuration key.
        key: &'static str,
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
        /// Removed when this is dropped, if it is this process's.
        file: Option<SocketFile>,
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
    pub fn unix(key: &'static str, path: &Path) -> Result<Self, ListenError> {
        let failed = |cause| ListenError::System { key, place: path.display().to_string(), cause };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ListenError::NoSocket { key, path: path.into() });
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(ListenError::Taken { key, path: path.into() });
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
        Ok(Self::Unix { listener, file: Some(SocketFile::new(path.into(), inode)) })
    }

    /// A socket that somebody else made. Its file is removed at the end only if `is_ours`: the process before this one left it
    /// to us; the service manager keeps its own.
    pub fn unix_given(
        listener: std::os::unix::net::UnixListener,
        path: &Path,
        is_ours: bool,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        let file = is_ours.then(|| SocketFile::new(path.into(), inode));
        Ok(Self::Unix { listener: UnixListener::from_std(listener)?, file })
    }

    /// What keeps the socket's file when this process ends.
    pub fn keeper(&self) -> Option<Arc<AtomicBool>> {
        match self {
            Self::Unix { file: Some(file), .. } => Some(Arc::clone(&file.stays)),
            _ => None,
        }
    }

    /// The same socket once more, for another process.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix { listener, .. } => listener.as_fd().try_clone_to_owned(),
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
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
    /// The socket lives on in another process.
    stays: Arc<AtomicBool>,
}

impl SocketFile {
    fn new(path: PathBuf, inode: u64) -> Self {
        Self { path, inode, stays: Arc::default() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.stays.load(Ordering::Acquire) {
            return;
        }
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
        let listener = Listener::unix("local.socket", &path).unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(matches!(Listener::unix("local.socket", &path), Err(ListenError::Taken { .. })));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("farebox.sock");
        // Its listener is gone, its file is not: as after a crash.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Listener::unix("local.socket", &path).unwrap());
        std::fs::write(&path, "books").unwrap();
        assert!(matches!(Listener::unix("local.socket", &path), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"books");
    }
}

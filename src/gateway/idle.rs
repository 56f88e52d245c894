//! Connections that went over to another protocol: nobody reads requests there any more, so somebody must see when
//! nothing is said at all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// When something was said last, on any of the connections that share it.
#[derive(Clone, Debug)]
pub struct Activity {
    since: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    /// Begins now.
    pub fn new() -> Self {
        Self { since: Instant::now(), last_ms: Arc::default() }
    }

    fn note(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Ready when nothing was said for so long.
    pub async fn idle(&self, after: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = self.since + last + after;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// A connection that notes what is said.
#[derive(Debug)]
pub struct Watched<T> {
    inner: T,
    activity: Activity,
}

impl<T> Watched<T> {
    /// Notes what is said on `inner`.
    pub fn new(inner: T, activity: &Activity) -> Self {
        Self { inner, activity: activity.clone() }
    }

    fn noted<V>(&self, poll: Poll<V>) -> Poll<V> {
        if poll.is_ready() {
            self.activity.note();
        }
        poll
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.noted(poll)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.noted(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_silence_ends_a_connection() {
        let (one, mut other) = tokio::io::duplex(64);
        let activity = Activity::new();
        let mut watched = Watched::new(one, &activity);
        let talk = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                other.write_all(b"a").await.unwrap();
                watched.read_u8().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let began = Instant::now();
        tokio::select! {
            () = talk => {}
            () = activity.idle(Duration::from_secs(10)) => {}
        }
        assert_eq!(began.elapsed().as_secs(), 34);
    }
}

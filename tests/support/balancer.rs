//! Between clients and a server: a balancer of connections, as operators have one in front of a service that they replace.
//!
//! It passes bytes and looks at none. While it is held, who connects waits and is refused nothing; what is under way comes to
//! its end with the server that it went to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long what is under way may take to its end.
const DRAINED_MAX: Duration = Duration::from_secs(30);
/// The pause between two looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The running balancer. Dropping it ends it.
pub struct Balancer {
    /// Where clients connect.
    pub address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    under_way: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Balancer {
    /// Starts it in front of `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, targets) = watch::channel(Some(target));
        let under_way = Arc::new(AtomicUsize::new(0));
        let acceptor = tokio::spawn(accept(listener, targets, Arc::clone(&under_way)));
        Self { address, target: sender, under_way, acceptor }
    }

    /// Sends nobody to the server any more, and returns when nothing is under way to it.
    pub async fn hold(&self) {
        self.target.send_replace(None);
        let end = Instant::now() + DRAINED_MAX;
        while self.under_way.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < end, "a connection did not end in {DRAINED_MAX:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends everybody, and who waited first, to `target`.
    pub fn send_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(
    listener: TcpListener,
    mut targets: watch::Receiver<Option<SocketAddr>>,
    under_way: Arc<AtomicUsize>,
) {
    while let Ok((mut client, _)) = listener.accept().await {
        let target = loop {
            // Counted before it is looked, so that a connection is either held or waited for.
            under_way.fetch_add(1, Ordering::SeqCst);
            if let Some(target) = *targets.borrow_and_update() {
                break target;
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            if targets.changed().await.is_err() {
                return;
            }
        };
        let under_way = Arc::clone(&under_way);
        tokio::spawn(async move {
            let mut server = TcpStream::connect(target).await.expect("the server listens");
            // A side that goes away is seen by the other one.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

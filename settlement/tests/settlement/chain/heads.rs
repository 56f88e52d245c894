//! New blocks are told over a WebSocket, and nothing depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use farebox_settlement::HeadsUrl;
use tokio::net::{TcpListener, TcpStream};

use crate::support::world::{World, devnet, eventually};

/// Longer than any test.
const NEVER_MS: u64 = 3_600_000;

/// Something in front of a node that can be cut. Gives its address, the switch, and how often somebody connected.
async fn relay(to: String) -> (String, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (is_cut, connected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (cut, count) = (Arc::clone(&is_cut), Arc::clone(&connected));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let (to, cut) = (to.clone(), Arc::clone(&cut));
            tokio::spawn(async move {
                if cut.load(Ordering::SeqCst) {
                    return;
                }
                let mut far = TcpStream::connect(&to).await.expect("the node listens");
                let ended = async {
                    while !cut.load(Ordering::SeqCst) {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = ended => {}
                }
            });
        }
    });
    (format!("ws://{address}"), is_cut, connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn told_blocks_are_looked_at_and_without_them_the_nodes_are_polled() {
    let devnet = devnet().await;
    let url = devnet.info().rpc_url.clone();
    let node = devnet.anvil_url().trim_start_matches("http://").to_owned();
    let (heads, is_cut, connected) = relay(node).await;
    let world = World::tuned(devnet, vec![url], |config| {
        config.heads = Some(HeadsUrl(heads));
        config.work.close_request_rest_s = 10_000;
        // Only a word about a new block makes it look.
        config.watch.poll_told_ms = NEVER_MS;
    })
    .await;
    let (first, second) = (world.open_v2(), world.open_v2());
    for opened in [&first, &second] {
        world.open(opened).await.expect("an open");
    }
    eventually("the subscription", async || (connected.load(Ordering::SeqCst) > 0).then_some(())).await;
    assert!(world.send(&world.payer.request_close(&first)).await.success);
    let is_known = |books: &farebox_engine::Channel| books.snapshot.close_requested_at.is_some();
    world.books_until(first.channel, "the first close request", is_known).await;

    // The node's WebSocket goes away, and does not come back.
    is_cut.store(true, Ordering::SeqCst);
    let before = connected.load(Ordering::SeqCst);
    assert!(world.send(&world.payer.request_close(&second)).await.success);
    world.books_until(second.channel, "the second close request", is_known).await;
    eventually("another try", async || (connected.load(Ordering::SeqCst) > before).then_some(())).await;
    let health = world.settlement.health();
    assert!(health.is_running && health.watcher.failures == 0, "{health:?}");
    world.stop().await;
}

//! The example of an axum service sells to the published Rust client.
#![cfg(feature = "program")]

#[allow(dead_code, reason = "the test starts the service itself")]
#[path = "../examples/axum_llm.rs"]
mod axum_llm;

use farebox_devnet::{Devnet, Options};
use futures_util::StreamExt;
use mpp::PrivateKeySigner;
use mpp::client::{Fetch, TempoSessionProvider};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_sells_tokens_to_a_client() {
    let net = Devnet::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for books in [None, folder.path().to_str()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/chat", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let buying = async {
            let client = reqwest::Client::new();
            let asked = client.get(&url).send().await.unwrap();
            assert_eq!(asked.status(), 402);
            let signer = PrivateKeySigner::from_slice(net.info().accounts[1].private_key.as_slice()).unwrap();
            let session = TempoSessionProvider::new(signer, &net.info().rpc_url).unwrap();
            let session = session.with_max_deposit(1_000_000);
            let request = client.get(&url).header("Accept-Payment", "tempo/session");
            let answer = request.send_with_payment(&session).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.headers().contains_key("payment-receipt"));
            let first = answer.bytes_stream().next().await.unwrap().unwrap();
            assert!(first.starts_with(b"data: Fares"), "{first:?}");
            stop.send(()).unwrap();
        };
        let stopped = async {
            let _ = stopped.await;
        };
        let (served, ()) = tokio::join!(axum_llm::serve(net.info(), books, listener, stopped), buying);
        served.unwrap();
    }
    net.stop().await;
}

//! A key service that denies, lies, hangs and comes back, while payers ask to close.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use farebox_core::channel::Phase;
use farebox_engine::chain::BoxFuture;
use farebox_settlement::{KeyHealth, KeyService, PayeeSigner, Quarantine, RemoteKey, SigningError};

use super::batch::{NOBODY, open_many, request_closes, spent_in, wait_captured};
use crate::support::node::{Answer, Node};
use crate::support::world::{World, devnet, eventually};

/// What the service does.
const DENIES: u8 = 0;
const SIGNS_AS_ANOTHER: u8 = 1;
const HANGS: u8 = 2;
const SIGNS: u8 = 3;

struct Moody {
    key: PrivateKeySigner,
    other: PrivateKeySigner,
    mood: Arc<AtomicU8>,
}

impl RemoteKey for Moody {
    fn connect(&self) -> BoxFuture<'_, Result<Address, SigningError>> {
        Box::pin(std::future::ready(Ok(self.key.address())))
    }

    fn sign(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SigningError>> {
        Box::pin(async move {
            match self.mood.load(Ordering::SeqCst) {
                DENIES => Err(SigningError::Denied { what: "no permission".to_owned() }),
                SIGNS_AS_ANOTHER => Ok(self.other.sign_hash_sync(&hash).expect("signs")),
                HANGS => std::future::pending().await,
                _ => Ok(self.key.sign_hash_sync(&hash).expect("signs")),
            }
        })
    }
}

/// The claims wait, nothing leaves that is signed wrong, no channel is blamed, and they are paid at last.
#[tokio::test(flavor = "multi_thread")]
async fn claims_wait_for_a_key_service_and_nothing_is_sent_without_the_right_signature() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = open_many(&world, (0..3).map(|_| world.open_v2())).await;
    world.config.work.gather_ms = 500;
    let world = world.restart(vec![NOBODY.to_owned()]).await;
    request_closes(&world, &opened).await;
    let sent = node.count("eth_sendRawTransaction");
    let mood = Arc::new(AtomicU8::new(DENIES));
    let (key, other) = (world.payee.key.clone(), world.stranger.key.clone());
    let address = key.address();
    let service = KeyService::new(Moody { key, other, mood: Arc::clone(&mood) }, address);
    let world = world.restart_signing(vec![node.url.clone()], PayeeSigner::from(service)).await;
    for (next, name) in [(SIGNS_AS_ANOTHER, "denied"), (HANGS, "stranger"), (SIGNS, "slow")] {
        eventually(&format!("the alarm: {name}"), async || {
            let KeyHealth { failures, last_error } = world.settlement.health().key;
            (failures > 0 && last_error.is_some_and(|error| error.name() == name)).then_some(())
        })
        .await;
        assert_eq!(node.count("eth_sendRawTransaction"), sent, "{name}: nothing is sent");
        assert!(
            Quarantine::all(&world.engine).await.expect("readable").is_empty(),
            "{name}: nobody is blamed"
        );
        for one in &opened {
            let books = world.books(one.channel).await;
            assert!(!matches!(books.snapshot.phase, Phase::Closed(_)), "{name}");
        }
        mood.store(next, Ordering::SeqCst);
    }
    for (number, one) in opened.iter().enumerate() {
        wait_captured(&world, one, spent_in(number)).await;
    }
    assert_eq!(node.count("eth_sendRawTransaction") - sent, 1, "one transaction for all");
    assert_eq!(world.settlement.health().key, KeyHealth::default());
    world.stop().await;
}

use std::sync::Arc;

use farebox_core::channel::{ChainPosition, Event, Identity, RequestKey, Spend, Terms};
use farebox_core::journal::{FrameBuilder, encode_event};
use farebox_core::units::{Amount, B256, UnixSeconds};
use farebox_core::voucher::{ProtocolVersion, Signature, v1, v2};
use farebox_crypto::keccak256;
use k256::ecdsa::SigningKey;

use super::*;
use crate::ledger::{Ledger, MemoryLedger, MemoryStore};
use crate::{Config, Engine, SystemClock, block_on};

fn verifier() -> Verifier {
    Verifier::with(farebox_crypto::backend::Backend::detect(), 1 << 20)
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn identity(protocol: ProtocolVersion, salt: u8) -> Identity {
    let public = key().verifying_key().to_sec1_point(false);
    let payer = Address::from_slice(&keccak256(&public.as_bytes()[1..])[12..]);
    let (payee, token, salt) = (Address::repeat_byte(2), Address::repeat_byte(3), B256::repeat_byte(salt));
    let authorized_signer = Address::ZERO;
    let terms = match protocol {
        ProtocolVersion::V1 => Terms::V1(v1::Terms { payer, payee, token, salt, authorized_signer }),
        ProtocolVersion::V2 => Terms::V2(v2::Descriptor {
            payer,
            payee,
            operator: Address::ZERO,
            token,
            salt,
            authorized_signer,
            expiring_nonce_hash: B256::repeat_byte(4),
        }),
    };
    Identity { chain_id: ChainId(7), escrow: Address::repeat_byte(5), terms }
}

fn sign(identity: &Identity, amount: u128) -> AnySignedVoucher {
    let domain = AnyDomain::new(identity.protocol(), identity.chain_id, identity.escrow);
    let voucher = Voucher { channel_id: identity.channel_id(), cumulative_amount: Amount::new(amount) };
    let digest = domain.digest(&voucher).unwrap();
    let (signature, parity) = key().sign_prehash_recoverable(digest.as_slice());
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + parity.to_byte());
    domain.parse(voucher, &bytes).unwrap()
}

/// Books of a v1 and a v2 channel, each with two kept vouchers, written by the engine.
fn books() -> (MemoryStore, [ChannelId; 2]) {
    let store = MemoryStore::new();
    let channels = [(ProtocolVersion::V1, 1), (ProtocolVersion::V2, 2)].map(|(protocol, salt)| {
        // An engine each, so that there are two epochs and a checkpoint between them.
        let engine = Engine::start(Config::default(), MemoryLedger::open(&store), SystemClock).unwrap();
        let identity = identity(protocol, salt);
        let channel = identity.channel_id();
        block_on(async {
            let opened =
                engine.open(identity.clone(), Amount::new(1_000), Amount::ZERO, ChainPosition::default());
            opened.await.unwrap().accepted().unwrap();
            for amount in [100_u128, 250] {
                let key = RequestKey([amount as u8; 16]);
                let price = Spend::Charge { key: Some(key), amount: Amount::new(100), units: 1 };
                engine.submit(channel, sign(&identity, amount), price).await.unwrap().paid().unwrap();
            }
            engine.shutdown().await.unwrap();
        });
        channel
    });
    (store, channels)
}

fn places(summary: &Summary) -> Vec<Place> {
    summary.findings.iter().map(|finding| finding.place).collect()
}

#[test]
fn whole_books_are_sound() {
    let (store, _) = books();
    let summary = check(&store, &verifier());
    assert!(summary.is_sound(), "{summary:?}");
    assert_eq!((summary.channels, summary.open, summary.epoch), (2, 2, 2));
    // Each keeps 100, the highest within the 200 that are spent, and 250.
    assert_eq!(summary.vouchers, 4);
    assert_eq!(summary.chains, BTreeSet::from([ChainId(7)]));
    assert_eq!((summary.mark, summary.torn_frame), (summary.last_frame, None));
}

#[test]
fn an_empty_ledger_is_sound() {
    let summary = check(&MemoryStore::new(), &verifier());
    assert_eq!(summary, Summary::default());
}

#[test]
fn balances_that_cannot_be_are_named_by_channel_and_the_others_are_still_looked_at() {
    type Damage = fn(&mut farebox_core::channel::State);
    let damages: [(Damage, &str); 4] = [
        (|state| state.spent = Amount::new(251), "exceed the accepted amount 250"),
        (|state| state.deposit = Amount::new(249), "exceeds the deposit 249"),
        (|state| state.settled = Amount::new(1_001), "settled amount 1001 exceeds the deposit 1000"),
        (|state| state.accepted = Amount::new(260), "the highest kept voucher says"),
    ];
    for (damage, says) in damages {
        let (store, channels) = books();
        store.damage_image(channels[0], damage);
        let summary = check(&store, &verifier());
        assert_eq!(places(&summary), [Place::Channel(channels[0])]);
        assert!(summary.findings[0].what.contains(says), "{summary:?}");
        assert_eq!(summary.channels, 2);
    }
}

#[test]
fn terms_of_another_channel_are_named() {
    let (store, channels) = books();
    let ledger = MemoryLedger::open(&store);
    let mut stored = ledger.load(channels[0]).unwrap().unwrap();
    stored.identity = Arc::new(identity(ProtocolVersion::V1, 9));
    ledger.store_images(&[stored]).unwrap();
    let summary = check(&store, &verifier());
    assert_eq!(places(&summary), [Place::Channel(channels[0])]);
    assert!(summary.findings[0].what.starts_with("its terms are those of channel 0x"), "{summary:?}");
}

/// Appends a frame with these events behind the books.
fn append(store: &MemoryStore, channel: ChannelId, sequence: u64, events: &[Event]) {
    let ledger = MemoryLedger::open(store);
    let head = recover(&ledger).unwrap().head;
    let mut records = Vec::new();
    for (event, sequence) in events.iter().zip(sequence..) {
        encode_event(&mut records, channel, sequence, event);
    }
    let mut frame = FrameBuilder::new();
    frame.append(&records).unwrap();
    let bytes = frame.finish(ledger.epoch(), head.sequence + 1, head.link, None).to_vec();
    ledger.append(&bytes, head.sequence + 1).unwrap();
}

#[test]
fn a_voucher_that_nobody_signed_is_named() {
    let (store, channels) = books();
    let next = store.load(channels[1]).unwrap().unwrap().state.sequence + 1;
    let of_less = sign(&identity(ProtocolVersion::V2, 2), 299).to_chain_bytes();
    let accepted =
        |amount, signature| Event::Accepted { amount: Amount::new(amount), signature, at: UnixSeconds(1) };
    append(&store, channels[1], next, &[accepted(300, of_less)]);
    let summary = check(&store, &verifier());
    assert_eq!(places(&summary), [Place::Channel(channels[1])]);
    assert!(summary.findings[0].what.starts_with("its voucher of 300 does not hold"), "{summary:?}");
    assert_eq!(summary.vouchers, 4);
    // One that is not even in range.
    append(&store, channels[1], next + 1, &[accepted(400, Signature::restore(&[255; 65]).unwrap())]);
    assert_eq!(places(&check(&store, &verifier())), [Place::Channel(channels[1])]);
}

#[test]
fn frames_are_named_also_those_that_the_images_cover() {
    let (store, _) = books();
    let last = store.standing().unwrap().last_frame;
    assert!(last > 3, "{last}");
    for frame in 1..=last {
        let (store, _) = books();
        store.damage_frame(frame, |mut bytes| {
            bytes[90] ^= 1;
            Some(bytes)
        });
        let summary = check(&store, &verifier());
        assert_eq!(places(&summary), [Place::Frame(frame)], "{summary:?}");
        assert_eq!(summary.channels, 2);
        let (store, _) = books();
        store.damage_frame(frame, |_| None);
        let summary = check(&store, &verifier());
        // The first ones may have been forgotten, and the last is covered by images.
        let expected = if frame == 1 || frame == last { vec![] } else { vec![Place::Frame(frame)] };
        assert_eq!(places(&summary), expected, "frame {frame}: {summary:?}");
    }
}

#[test]
fn a_torn_tail_is_no_damage_and_damage_inside_is() {
    let (store, channels) = books();
    let next = store.load(channels[0]).unwrap().unwrap().state.sequence + 1;
    append(&store, channels[0], next, &[Event::ToppedUp { deposit: Amount::new(1_100) }]);
    append(&store, channels[0], next + 1, &[Event::ToppedUp { deposit: Amount::new(1_200) }]);
    let last = store.standing().unwrap().last_frame;
    store.damage_frame(last, |bytes| Some(bytes[..20].to_vec()));
    let summary = check(&store, &verifier());
    assert!(summary.is_sound(), "{summary:?}");
    assert_eq!((summary.torn_frame, summary.last_frame), (Some(last), last - 1));
    store.damage_frame(last - 1, |mut bytes| {
        bytes[90] ^= 1;
        Some(bytes)
    });
    let summary = check(&store, &verifier());
    assert_eq!(places(&summary), [Place::Frame(last - 1)], "{summary:?}");
}

#[test]
fn findings_are_bounded_and_counted() {
    let mut summary = Summary::default();
    for _ in 0..FINDINGS_MAX + 3 {
        summary.note(Place::Store, "x");
    }
    assert_eq!((summary.findings.len(), summary.findings_left_out), (FINDINGS_MAX, 3));
}

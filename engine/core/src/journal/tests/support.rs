//! Random events and frames.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::channel::{ChainPosition, Event, Identity, RequestKey, Terms};
use crate::journal::*;
use crate::units::{Address, Amount, B256, BlockNumber, ChainId, ChannelId, UnixSeconds};
use crate::voucher::{Signature, v1, v2};

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![any::<u128>(), Just(0), Just(u128::MAX)].prop_map(Amount::new)
}

fn seconds() -> impl Strategy<Value = UnixSeconds> {
    any::<u64>().prop_map(UnixSeconds)
}

fn key() -> impl Strategy<Value = RequestKey> {
    any::<[u8; 16]>().prop_map(RequestKey)
}

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address::new)
}

fn hash() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::new)
}

fn position() -> impl Strategy<Value = ChainPosition> {
    (any::<u64>(), any::<u32>()).prop_map(|(block, log_index)| ChainPosition { block, log_index })
}

/// A signature of any kind that an escrow takes, by its shape.
pub fn signature() -> impl Strategy<Value = Signature> {
    let typed = |prefix: u8, bytes| {
        prop::collection::vec(any::<u8>(), bytes).prop_map(move |mut bytes| {
            bytes[0] = prefix;
            bytes
        })
    };
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 65),
        1 => typed(1, 130..=130),
        1 => typed(2, 129..=2049),
    ]
    .prop_map(|bytes| Signature::restore(&bytes).unwrap())
}

pub fn identity() -> impl Strategy<Value = Identity> {
    let v1 = (address(), address(), address(), hash(), address()).prop_map(
        |(payer, payee, token, salt, authorized_signer)| {
            Terms::V1(v1::Terms { payer, payee, token, salt, authorized_signer })
        },
    );
    let v2 = (address(), address(), address(), address(), hash(), address(), hash()).prop_map(
        |(payer, payee, operator, token, salt, authorized_signer, expiring_nonce_hash)| {
            Terms::V2(v2::Descriptor {
                payer,
                payee,
                operator,
                token,
                salt,
                authorized_signer,
                expiring_nonce_hash,
            })
        },
    );
    (any::<u64>(), address(), prop_oneof![v1, v2]).prop_map(|(chain_id, escrow, terms)| Identity {
        chain_id: ChainId(chain_id),
        escrow,
        terms,
    })
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (identity(), amount(), amount(), seconds(), position()).prop_map(
            |(identity, deposit, settled, at, position)| Event::Opened {
                identity: Box::new(identity),
                deposit,
                settled,
                at,
                position
            }
        ),
        (amount(), signature(), seconds()).prop_map(|(amount, signature, at)| Event::Accepted {
            amount,
            signature,
            at
        }),
        (amount(), signature(), seconds()).prop_map(|(amount, signature, at)| Event::VoucherKept {
            amount,
            signature,
            at
        }),
        (prop::option::of(key()), amount(), any::<u64>(), seconds())
            .prop_map(|(key, amount, units, at)| Event::Charged { key, amount, units, at }),
        (key(), amount(), seconds()).prop_map(|(key, amount, at)| Event::Reserved { key, amount, at }),
        (key(), amount(), any::<u64>(), any::<bool>(), seconds()).prop_map(
            |(key, amount, units, finished, at)| Event::Captured { key, amount, units, finished, at }
        ),
        (key(), seconds()).prop_map(|(key, at)| Event::Released { key, at }),
        amount().prop_map(|deposit| Event::ToppedUp { deposit }),
        (seconds(), position()).prop_map(|(at, position)| Event::CloseRequested { at, position }),
        position().prop_map(|position| Event::CloseRequestCancelled { position }),
        amount().prop_map(|settled| Event::Settled { settled }),
        amount().prop_map(|capture| Event::CloseStarted { capture }),
        Just(Event::CloseAborted),
        (amount(), amount(), seconds(), position()).prop_map(|(captured, refunded, at, position)| {
            Event::Closed { captured, refunded, at, position }
        }),
        seconds().prop_map(|at| Event::Retired { at }),
    ]
}

pub fn record() -> impl Strategy<Value = Record> {
    (hash(), any::<u64>(), event()).prop_map(|(channel, sequence, event)| {
        let channel = match &event {
            Event::Opened { identity, .. } => identity.channel_id(),
            _ => ChannelId(channel),
        };
        Record { channel, sequence, event }
    })
}

pub fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(record(), 0..12)
}

pub fn cursor() -> impl Strategy<Value = Option<Cursor>> {
    let cursor =
        (any::<u64>(), hash()).prop_map(|(block, parent)| Cursor { next_block: BlockNumber(block), parent });
    prop::option::of(cursor)
}

/// A small frame with a bit of everything.
pub fn sample() -> Vec<u8> {
    let channel = ChannelId(B256::repeat_byte(0xab));
    let signature = Signature::restore(&[7; 65]).unwrap();
    let at = UnixSeconds(5);
    let events = [
        Event::Accepted { amount: Amount::new(500), signature, at },
        Event::Charged { key: Some(RequestKey([9; 16])), amount: Amount::new(25), units: 1, at },
        Event::CloseAborted,
    ];
    let mut builder = FrameBuilder::new();
    for (event, sequence) in events.into_iter().zip(2..) {
        builder.push(&Record { channel, sequence, event }).unwrap();
    }
    let cursor = Cursor { next_block: BlockNumber(77), parent: B256::repeat_byte(0xcd) };
    builder.finish(3, 1, Link::GENESIS, Some(cursor)).to_vec()
}

/// Frames that follow each other, as a ledger holds them.
pub fn chain(frames: u64) -> Vec<Vec<u8>> {
    let mut builder = FrameBuilder::new();
    let (mut link, mut stored) = (Link::GENESIS, vec![]);
    for sequence in 1..=frames {
        let record = Record {
            channel: ChannelId(B256::repeat_byte(1)),
            sequence,
            event: Event::Settled { settled: Amount::new(sequence.into()) },
        };
        builder.push(&record).unwrap();
        let frame = builder.finish(1 + sequence / 3, sequence, link, None);
        link = Link::to(frame);
        stored.push(frame.to_vec());
    }
    stored
}

//! The layouts, byte by byte. A change here is a change of format: it needs a new version number and a
//! reader for the old one.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::support::sample;
use crate::channel::*;
use crate::journal::codec::checksum;
use crate::journal::*;
use crate::units::{Address, Amount, B256, ChainId, ChannelId, UnixSeconds};
use crate::voucher::{Signature, v1, v2};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn v2_identity() -> Identity {
    let byte = Address::repeat_byte;
    let terms = Terms::V2(v2::Descriptor {
        payer: byte(1),
        payee: byte(2),
        operator: byte(3),
        token: byte(4),
        salt: B256::repeat_byte(5),
        authorized_signer: byte(6),
        expiring_nonce_hash: B256::repeat_byte(7),
    });
    Identity { chain_id: ChainId(42431), escrow: byte(8), terms }
}

/// The hexadecimal text of a field that repeats one byte.
fn repeated(byte: &str, bytes: usize) -> String {
    byte.repeat(bytes)
}

#[test]
fn the_checksum_is_xxh3() {
    // The published value for no bytes.
    assert_eq!(checksum(b""), 0x2d06_8005_38d3_94c2);
}

#[test]
fn a_frame() {
    let frame = sample();
    let body = &frame[..frame.len() - 8];
    let channel = repeated("ab", 32);
    let expected = [
        // Header: magic, version, flags, epoch, sequence, link, cursor, count, bytes.
        "4642584a",
        "0100",
        "0100",
        "0300000000000000",
        "0100000000000000",
        "0000000000000000",
        "4d00000000000000",
        &repeated("cd", 32),
        "03000000",
        "0f010000",
        // Accepted: kind, zero, body bytes, sequence, channel, amount, signature, time.
        "02",
        "00",
        "5b00",
        "0200000000000000",
        &channel,
        "f4010000000000000000000000000000",
        "4100",
        &repeated("07", 65),
        "0500000000000000",
        // Charged: key, amount, units, time.
        "04",
        "00",
        "3000",
        "0300000000000000",
        &channel,
        &repeated("09", 16),
        "19000000000000000000000000000000",
        "0100000000000000",
        "0500000000000000",
        // CloseAborted.
        "0d",
        "00",
        "0000",
        "0400000000000000",
        &channel,
    ];
    assert_eq!(hex(body), expected.concat());
    assert_eq!(hex(&frame[frame.len() - 8..]), "661a19a988bd8661");
}

#[test]
fn an_identity_of_each_protocol() {
    let encoded = |identity: &Identity| {
        let mut bytes = Vec::new();
        encode_identity(&mut bytes, identity);
        hex(&bytes)
    };
    let expected = [
        "46425849",
        "0100",
        "bfa5000000000000",
        &repeated("08", 20),
        "02",
        &repeated("01", 20),
        &repeated("02", 20),
        &repeated("03", 20),
        &repeated("04", 20),
        &repeated("05", 32),
        &repeated("06", 20),
        &repeated("07", 32),
        "9b622e58dd7cdc39",
    ];
    assert_eq!(encoded(&v2_identity()), expected.concat());
    let byte = Address::repeat_byte;
    let terms = v1::Terms {
        payer: byte(1),
        payee: byte(2),
        token: byte(4),
        salt: B256::repeat_byte(5),
        authorized_signer: byte(6),
    };
    let expected = [
        "46425849",
        "0100",
        "bfa5000000000000",
        &repeated("08", 20),
        "01",
        &repeated("01", 20),
        &repeated("02", 20),
        &repeated("04", 20),
        &repeated("05", 32),
        &repeated("06", 20),
        "00626a2fa9845819",
    ];
    assert_eq!(encoded(&Identity { terms: Terms::V1(terms), ..v2_identity() }), expected.concat());
}

#[test]
fn every_event() {
    let key = RequestKey([9; 16]);
    let (amount, at) = (Amount::new(0x0102), UnixSeconds(0x03));
    let position = ChainPosition { block: 4, log_index: 5 };
    let signature = Signature::restore(&[7; 65]).unwrap();
    let (amount_hex, at_hex) = (format!("0201{}", repeated("00", 14)), format!("03{}", repeated("00", 7)));
    let (key_hex, position_hex) =
        (repeated("09", 16), format!("04{}05{}", repeated("00", 7), repeated("00", 3)));
    let signature_hex = format!("4100{}", repeated("07", 65));
    let identity = Box::new(v2_identity());
    let mut identity_hex = Vec::new();
    encode_identity(&mut identity_hex, &identity);
    let identity_hex = hex(&identity_hex[6..identity_hex.len() - 8]);
    let kinds = [
        (
            1,
            Event::Opened { identity, deposit: amount, settled: amount, at, position },
            [identity_hex, amount_hex.clone(), amount_hex.clone(), at_hex.clone(), position_hex.clone()]
                .concat(),
        ),
        (
            2,
            Event::Accepted { amount, signature: signature.clone(), at },
            [&*amount_hex, &signature_hex, &at_hex].concat(),
        ),
        (3, Event::VoucherKept { amount, signature, at }, [&*amount_hex, &signature_hex, &at_hex].concat()),
        (
            4,
            Event::Charged { key: Some(key), amount, units: 3, at },
            [&*key_hex, &amount_hex, &at_hex, &at_hex].concat(),
        ),
        (16, Event::Charged { key: None, amount, units: 3, at }, [&*amount_hex, &at_hex, &at_hex].concat()),
        (5, Event::Reserved { key, amount, at }, [&*key_hex, &amount_hex, &at_hex].concat()),
        (
            6,
            Event::Captured { key, amount, units: 3, finished: true, at },
            [&*key_hex, &amount_hex, &at_hex, "01", &at_hex].concat(),
        ),
        (7, Event::Released { key, at }, [&*key_hex, &at_hex].concat()),
        (8, Event::ToppedUp { deposit: amount }, amount_hex.clone()),
        (9, Event::CloseRequested { at, position }, [&*at_hex, &position_hex].concat()),
        (10, Event::CloseRequestCancelled { position }, position_hex.clone()),
        (11, Event::Settled { settled: amount }, amount_hex.clone()),
        (12, Event::CloseStarted { capture: amount }, amount_hex.clone()),
        (13, Event::CloseAborted, String::new()),
        (
            18,
            Event::Closed { captured: amount, refunded: amount, at, position },
            [&*amount_hex, &amount_hex, &at_hex, &position_hex].concat(),
        ),
        (19, Event::Retired { at }, at_hex.clone()),
    ];
    for (kind, event, body) in kinds {
        let mut bytes = Vec::new();
        encode_event(&mut bytes, ChannelId(B256::repeat_byte(0xab)), 6, &event);
        let body_bytes = u16::try_from(body.len() / 2).unwrap().to_le_bytes();
        let header = format!("{kind:02x}00{}06{}{}", hex(&body_bytes), repeated("00", 7), repeated("ab", 32));
        assert_eq!(hex(&bytes), header + &body, "{event:?}");
    }
}

#[test]
fn a_state() {
    let identity = v2_identity();
    let (channel, signer) = (identity.channel_id(), identity.expected_signer());
    let at = UnixSeconds(0x0a);
    let signature = Signature::restore(&[7; 65]).unwrap();
    let events = [
        Event::Opened {
            identity: Box::new(identity),
            deposit: Amount::new(100),
            settled: Amount::ZERO,
            at,
            position: ChainPosition { block: 1, log_index: 2 },
        },
        Event::Accepted { amount: Amount::new(90), signature, at },
        Event::Charged { key: Some(RequestKey([1; 16])), amount: Amount::new(30), units: 3, at },
        Event::Reserved { key: RequestKey([2; 16]), amount: Amount::new(40), at },
        Event::Captured { key: RequestKey([2; 16]), amount: Amount::new(5), units: 1, finished: false, at },
        Event::CloseRequested { at: UnixSeconds(0x0b), position: ChainPosition { block: 3, log_index: 4 } },
    ];
    let mut state = State::from_opened(&events[0]).unwrap();
    events[1..].iter().for_each(|event| state.evolve(event));
    let number = |value: u8, bytes: usize| format!("{value:02x}{}", repeated("00", bytes - 1));
    let expected = [
        "46425853".into(),
        number(4, 2),
        hex(channel.0.as_slice()),
        hex(signer.as_slice()),
        "02".into(),
        number(6, 8),
        // Phase, deposit, settled, accepted, spent, units.
        "00".into(),
        number(100, 16),
        number(0, 16),
        number(90, 16),
        number(35, 16),
        number(4, 8),
        // One kept voucher.
        "01".into(),
        number(90, 16),
        number(65, 2),
        repeated("07", 65),
        // One running request: key, set aside, charged, units.
        "01".into(),
        repeated("02", 16),
        number(35, 16),
        number(5, 16),
        number(1, 8),
        // One outcome: key, charged, units, accepted, spent, when.
        "01".into(),
        repeated("01", 16),
        number(30, 16),
        number(3, 8),
        number(90, 16),
        number(30, 16),
        number(0x0a, 8),
        // The close request and its place, opened, active, since when something is unsettled.
        "01".into(),
        number(0x0b, 8),
        number(3, 8),
        number(4, 4),
        number(0x0a, 8),
        number(0x0a, 8),
        "01".into(),
        number(0x0a, 8),
        // Not retired.
        "00".into(),
    ];
    let mut bytes = Vec::new();
    encode_state(&mut bytes, &state);
    assert_eq!(hex(&bytes[..bytes.len() - 8]), expected.concat());
    former_versions(&bytes, &state);
    let phase = |phase| {
        let mut closing = state.clone();
        closing.phase = phase;
        let mut bytes = Vec::new();
        encode_state(&mut bytes, &closing);
        hex(&bytes[67..])
    };
    assert!(
        phase(Phase::Closing { capture: Amount::new(35) })
            .starts_with(&(String::from("01") + &number(35, 16)))
    );
    let (captured, refunded, lost) = (Amount::new(1), Amount::new(2), Amount::new(3));
    let position = ChainPosition { block: 4, log_index: 5 };
    let closure = Closure { captured, refunded, lost, at: UnixSeconds(6), position };
    let amounts =
        [number(1, 16), number(2, 16), number(3, 16), number(6, 8), number(4, 8), number(5, 4)].concat();
    assert!(phase(Phase::Closed(closure)).starts_with(&(String::from("02") + &amounts)));
}

/// Books of the second version do not say when a request ended, those of the first lack the last field as well: both is
/// taken to be as of the last activity.
fn former_versions(bytes: &[u8], state: &State) {
    let sealed = |version: u8, body: &[u8]| {
        let mut bytes = body.to_vec();
        bytes[4] = version;
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    };
    // The third lacks the last flag. Behind the outcome then stand the close request and its place, three times and a
    // flag: 9 + 12 + 16 + 9 bytes.
    let mut body = bytes[..bytes.len() - 8 - 1].to_vec();
    assert_eq!(decode_state(&sealed(3, &body)).as_ref(), Ok(state));
    let time_at = body.len() - 46 - 8;
    body.drain(time_at..time_at + 8);
    assert_eq!(decode_state(&sealed(2, &body)).as_ref(), Ok(state));
    let first = decode_state(&sealed(1, &body[..body.len() - 9])).unwrap();
    assert_eq!((first.unsettled_since, &first), (Some(state.active_at), state));
    assert_eq!(first.outcomes.iter().next().unwrap().at, state.active_at);
    let unknown = StoredError::UnknownVersion { found: 5, expected: 4 };
    assert_eq!(decode_state(&sealed(5, &body)), Err(unknown));
}

#[test]
fn a_voucher_that_pays_is_one_record() {
    let (accepted, charged) = paid_step(7);
    let mut bytes = Vec::new();
    let channel = ChannelId(B256::repeat_byte(0xab));
    assert_eq!(encode_step(&mut bytes, channel, 6, &[accepted, charged]), 1);
    let expected = [
        "0f00",
        // The body: amount, length and signature, time; key, price, units.
        "8300",
        "0600000000000000",
        &repeated("ab", 32),
        &format!("0201{}", repeated("00", 14)),
        "4100",
        &repeated("07", 65),
        "0700000000000000",
        &repeated("09", 16),
        &format!("0101{}", repeated("00", 14)),
        "0300000000000000",
    ]
    .concat();
    assert_eq!(hex(&bytes), expected);
}

#[test]
fn a_voucher_that_pays_for_nothing_that_has_a_name_is_a_shorter_record() {
    let (accepted, charged) = paid_step(7);
    let (mut named, mut nameless) = (Vec::new(), Vec::new());
    let channel = ChannelId(B256::repeat_byte(0xab));
    encode_step(&mut named, channel, 6, &[accepted.clone(), charged.clone()]);
    assert_eq!(encode_step(&mut nameless, channel, 6, &[accepted, without_name(charged)]), 1);
    let mut expected = named;
    (expected[0], expected[2]) = (0x11, 0x73);
    // Before the price and the units.
    let key_at = expected.len() - 40;
    expected.drain(key_at..key_at + 16);
    assert_eq!(hex(&nameless), hex(&expected));
}

fn without_name(charged: Event) -> Event {
    let Event::Charged { amount, units, at, .. } = charged else { panic!("{charged:?} is no charge") };
    Event::Charged { key: None, amount, units, at }
}

/// A voucher of time 7, and its charge.
fn paid_step(charged_at: u64) -> (Event, Event) {
    let signature = Signature::restore(&[7; 65]).unwrap();
    let accepted = Event::Accepted { amount: Amount::new(0x0102), signature, at: UnixSeconds(7) };
    let (key, amount, at) = (RequestKey([9; 16]), Amount::new(0x0101), UnixSeconds(charged_at));
    (accepted, Event::Charged { key: Some(key), amount, units: 3, at })
}

#[test]
fn every_step_is_read_back_event_by_event() {
    let channel = ChannelId(B256::repeat_byte(0xab));
    let (accepted, charged) = paid_step(7);
    let later = paid_step(8).1;
    let nameless = without_name(charged.clone());
    let steps: [(&[Event], u32); 8] = [
        (&[accepted.clone(), nameless.clone()], 1),
        (core::slice::from_ref(&nameless), 1),
        (&[accepted.clone(), charged.clone()], 1),
        (&[accepted.clone(), later], 2),
        (&[charged.clone(), accepted.clone()], 2),
        (core::slice::from_ref(&accepted), 1),
        (&[accepted.clone(), charged.clone(), charged], 3),
        (&[], 0),
    ];
    let (mut builder, mut expected, mut sequence, mut count) = (FrameBuilder::new(), Vec::new(), 0, 0);
    for (events, records) in steps {
        let first = sequence + 1;
        sequence += events.len() as u64;
        let mut bytes = Vec::new();
        assert_eq!(encode_step(&mut bytes, channel, sequence, events), records);
        builder.append(&bytes).unwrap();
        count += records;
        let numbered = (first..).zip(events);
        expected.extend(numbered.map(|(sequence, event)| Record { channel, sequence, event: event.clone() }));
    }
    assert_eq!(builder.records(), count);
    let frame = decode(builder.finish(1, 1, Link::GENESIS, None)).unwrap();
    assert_eq!(frame.records, expected);
}

/// Until version 3 of the books an end had neither time nor place.
#[test]
fn an_end_without_a_time_is_read_as_of_the_last_activity() {
    let identity = v2_identity();
    let channel = identity.channel_id();
    let (deposit, settled, position) = (Amount::new(9), Amount::ZERO, ChainPosition::default());
    let opened =
        Event::Opened { identity: Box::new(identity), deposit, settled, at: UnixSeconds(7), position };
    let mut record = Vec::new();
    let closed = Event::Closed { captured: settled, refunded: deposit, at: UnixSeconds(99), position };
    encode_event(&mut record, channel, 2, &closed);
    record[0] = 14;
    record[2..4].copy_from_slice(&32_u16.to_le_bytes());
    record.truncate(record.len() - 20);
    let mut builder = FrameBuilder::new();
    builder.append(&record).unwrap();
    let frame = decode(builder.finish(1, 1, Link::GENESIS, None)).unwrap();
    let mut state = State::from_opened(&opened).unwrap();
    state.evolve(&frame.records[0].event);
    let closure =
        Closure { captured: settled, refunded: deposit, lost: settled, at: UnixSeconds(7), position };
    assert_eq!(state.phase, Phase::Closed(closure));
}

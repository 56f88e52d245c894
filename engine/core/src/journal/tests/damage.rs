//! Damaged, foreign and hostile bytes are refused with a reason, never with a panic.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::support::*;
use crate::channel::{ChainPosition, Event, State, Violation};
use crate::journal::codec::{Malformed, checksum};
use crate::journal::*;
use crate::units::{Amount, ChannelId, UnixSeconds};

/// Gives changed bytes a true checksum again, so that the layout itself is tested.
fn reseal(bytes: &mut [u8]) {
    let covered = bytes.len() - 8;
    let sum = checksum(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&sum.to_le_bytes());
}

fn sample_state() -> Vec<u8> {
    let identity = proptest::strategy::ValueTree::current(
        &identity().new_tree(&mut proptest::test_runner::TestRunner::deterministic()).unwrap(),
    );
    let opened = Event::Opened {
        identity: identity.into(),
        deposit: Amount::new(100),
        settled: Amount::ZERO,
        at: UnixSeconds(1),
        position: ChainPosition::default(),
    };
    let mut bytes = Vec::new();
    encode_state(&mut bytes, &State::from_opened(&opened).unwrap());
    bytes
}

#[test]
fn every_flipped_bit_of_a_frame_is_detected() {
    let frame = sample();
    for bit in 0..frame.len() * 8 {
        let mut damaged = frame.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = decode(&damaged).expect_err("a flipped bit");
        assert!(error.is_damage(), "bit {bit}: {error}");
    }
}

#[test]
fn every_cut_of_a_frame_is_detected() {
    let frame = sample();
    for length in 0..frame.len() {
        assert!(decode(&frame[..length]).expect_err("a cut").is_damage(), "{length} bytes");
    }
    let mut longer = frame;
    longer.push(0);
    assert!(decode(&longer).expect_err("an added byte").is_damage());
}

#[test]
fn every_flipped_bit_and_cut_of_a_state_is_detected() {
    let state = sample_state();
    for bit in 0..state.len() * 8 {
        let mut damaged = state.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_state(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..state.len() {
        assert!(decode_state(&state[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn an_intact_frame_that_is_not_understood_is_not_damage() {
    let resealed = |change: fn(&mut [u8])| {
        let mut frame = sample();
        change(&mut frame);
        reseal(&mut frame);
        let error = decode(&frame).unwrap_err();
        assert!(!error.is_damage(), "{error}");
        error
    };
    assert_eq!(resealed(|frame| frame[4] = 2), FrameError::UnknownVersion { found: 2 });
    assert_eq!(resealed(|frame| frame[7] = 1), FrameError::UnknownFlags { found: 0x0101 });
    assert_eq!(resealed(|frame| frame[6] = 0), FrameError::StrayCursor);
    assert!(matches!(resealed(|frame| frame[76] += 1), FrameError::WrongLength { .. }));
    assert!(matches!(resealed(|frame| frame[79] = 0xff), FrameError::WrongLength { .. }));
    assert!(matches!(resealed(|frame| frame[72] = 2), FrameError::WrongCount { promised: 2, .. }));
    assert!(matches!(resealed(|frame| frame[75] = 0xff), FrameError::WrongCount { .. }));
    let bad = |index, malformed| FrameError::BadRecord { index, malformed };
    let kind = Malformed::UnknownTag { field: "the kind of the record", found: 99 };
    assert_eq!(resealed(|frame| frame[80] = 99), bad(0, kind));
    let second = Malformed::UnknownTag { field: "the record's second byte", found: 1 };
    assert_eq!(resealed(|frame| frame[81] = 1), bad(0, second));
}

#[test]
fn a_record_with_more_or_less_than_its_fields_is_refused() {
    let event = Event::Settled { settled: Amount::new(1) };
    let mut whole = Vec::new();
    encode_event(&mut whole, ChannelId(crate::units::B256::ZERO), 1, &event);
    for (body_bytes, malformed) in [
        (17, Malformed::LeftOver { bytes: 1 }),
        (15, Malformed::UnexpectedEnd { needed_bytes: 16, found_bytes: 15 }),
    ] {
        let mut record = whole.clone();
        record.resize(RECORD_BYTES_MIN + body_bytes, 0);
        record[2] = body_bytes as u8;
        let mut builder = FrameBuilder::new();
        builder.append(&record).unwrap();
        let refused = decode(builder.finish(1, 1, Link::GENESIS, None));
        assert_eq!(refused, Err(FrameError::BadRecord { index: 0, malformed }));
    }
}

#[test]
fn terms_of_another_channel_are_refused() {
    let Event::Opened { identity, .. } = opened() else { unreachable!("it is Opened") };
    let foreign = ChannelId(crate::units::B256::repeat_byte(1));
    let mut builder = FrameBuilder::new();
    builder.push(&Record { channel: foreign, sequence: 1, event: opened() }).unwrap();
    let malformed = Malformed::ForeignTerms { found: identity.channel_id(), expected: foreign };
    let refused = decode(builder.finish(1, 1, Link::GENESIS, None));
    assert_eq!(refused, Err(FrameError::BadRecord { index: 0, malformed }));
}

fn opened() -> Event {
    let identity = proptest::strategy::ValueTree::current(
        &identity().new_tree(&mut proptest::test_runner::TestRunner::deterministic()).unwrap(),
    );
    Event::Opened {
        identity: identity.into(),
        deposit: Amount::new(100),
        settled: Amount::ZERO,
        at: UnixSeconds(1),
        position: ChainPosition::default(),
    }
}

#[test]
fn an_intact_state_with_impossible_books_is_refused() {
    let mut state = State::from_opened(&opened()).unwrap();
    state.accepted = Amount::new(101);
    let mut bytes = Vec::new();
    encode_state(&mut bytes, &state);
    let violation = Violation::AcceptedAboveDeposit { accepted: Amount::new(101), deposit: Amount::new(100) };
    assert_eq!(decode_state(&bytes), Err(StoredError::Violation(violation)));
}

#[test]
fn an_unknown_version_of_stored_books_is_named() {
    let mut bytes = sample_state();
    bytes[4] = 9;
    reseal(&mut bytes);
    assert_eq!(decode_state(&bytes), Err(StoredError::UnknownVersion { found: 9, expected: 4 }));
    bytes[0] = b'?';
    assert!(matches!(decode_state(&bytes), Err(StoredError::WrongMagic { .. })));
    assert!(matches!(decode_identity(&sample_state()), Err(StoredError::WrongMagic { .. })));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), magic in 0..4u8) {
        let names: [&[u8]; 4] = [b"", b"FBXJ\x01\0", b"FBXS\x01\0", b"FBXI\x01\0"];
        let name = names[usize::from(magic)];
        if bytes.len() >= name.len() + 8 {
            bytes[..name.len()].copy_from_slice(name);
            reseal(&mut bytes);
        }
        let _ = decode(&bytes);
        let _ = decode_state(&bytes);
        let _ = decode_identity(&bytes);
    }

    /// Random changes behind a true checksum: what is still a frame is one that encodes to the same
    /// bytes, so nothing that was read was misread.
    #[test]
    fn what_decodes_is_what_was_written(
        records in records(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut builder = FrameBuilder::new();
        for record in &records {
            builder.push(record).unwrap();
        }
        let mut bytes = builder.finish(1, 1, Link::GENESIS, None).to_vec();
        let covered = bytes.len() - 8;
        for (place, value) in changes {
            bytes[place.index(covered)] = value;
        }
        reseal(&mut bytes);
        if let Ok(frame) = decode(&bytes) {
            for record in &frame.records {
                builder.push(record).unwrap();
            }
            let again = builder.finish(frame.epoch, frame.sequence, frame.link, frame.cursor);
            prop_assert_eq!(again, &bytes[..]);
        }
    }

    #[test]
    fn states_that_decode_are_what_was_written(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = sample_state();
        let covered = bytes.len() - 8;
        for (place, value) in changes {
            bytes[place.index(covered)] = value;
        }
        reseal(&mut bytes);
        if let Ok(state) = decode_state(&bytes) {
            let mut again = Vec::new();
            encode_state(&mut again, &state);
            prop_assert_eq!(again, bytes);
        }
    }
}

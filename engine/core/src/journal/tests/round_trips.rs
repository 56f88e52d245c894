//! What is written is read back.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::support::*;
use crate::channel::{ChainPosition, Event, State};
use crate::journal::*;
use crate::units::{Amount, B256, ChannelId, UnixSeconds};

proptest! {
    #[test]
    fn frames(
        epoch: u64,
        sequence: u64,
        link: u64,
        cursor in cursor(),
        records in records(),
        chunk_records in 1..5usize,
    ) {
        let mut builder = FrameBuilder::new();
        // What was built before leaves no trace.
        builder.append(&[]).unwrap();
        builder.finish(9, 9, Link(9), None);
        for chunk in records.chunks(chunk_records) {
            let mut encoded = Vec::new();
            chunk.iter().for_each(|record| encode_record(&mut encoded, record));
            builder.append(&encoded).unwrap();
        }
        prop_assert_eq!(builder.records() as usize, records.len());
        let bytes = builder.finish(epoch, sequence, Link(link), cursor);
        let frame = decode(bytes).unwrap();
        let checksum = Link::to(bytes);
        prop_assert_eq!(frame, Frame { epoch, sequence, link: Link(link), cursor, records, checksum });
        prop_assert!(builder.is_empty());
    }

    #[test]
    fn records_one_by_one_and_in_chunks_give_the_same_frame(records in records()) {
        let (mut one_by_one, mut at_once, mut encoded) = (FrameBuilder::new(), FrameBuilder::new(), Vec::new());
        for record in &records {
            one_by_one.push(record).unwrap();
            encode_record(&mut encoded, record);
        }
        at_once.append(&encoded).unwrap();
        let finish = |builder: &mut FrameBuilder| builder.finish(1, 1, Link::GENESIS, None).to_vec();
        prop_assert_eq!(finish(&mut one_by_one), finish(&mut at_once));
    }

    #[test]
    fn identities(identity in identity()) {
        let mut bytes = Vec::new();
        encode_identity(&mut bytes, &identity);
        prop_assert_eq!(decode_identity(&bytes), Ok(identity));
    }

    /// States of random channels go through bytes in the test of rule 8; here with any signature.
    #[test]
    fn states_with_signatures_of_any_kind(
        identity in identity(),
        signatures in prop::collection::vec(signature(), 0..8),
    ) {
        let opened = Event::Opened {
            identity: identity.into(),
            deposit: Amount::new(1_000),
            settled: Amount::ZERO,
            at: UnixSeconds(1),
            position: ChainPosition { block: 1, log_index: 2 },
        };
        let mut state = State::from_opened(&opened).unwrap();
        for (signature, amount) in signatures.into_iter().zip(1..) {
            state.evolve(&Event::Accepted { amount: Amount::new(amount), signature, at: UnixSeconds(2) });
        }
        let mut bytes = Vec::new();
        encode_state(&mut bytes, &state);
        prop_assert_eq!(decode_state(&bytes), Ok(state));
    }
}

#[test]
fn an_unfinished_frame_can_be_dropped() {
    let mut builder = FrameBuilder::new();
    let event = Event::CloseAborted;
    let record = Record { channel: ChannelId(B256::ZERO), sequence: 1, event };
    builder.push(&record).unwrap();
    builder.reset();
    assert!(builder.is_empty());
    assert_eq!(decode(builder.finish(1, 1, Link::GENESIS, None)).unwrap().records, []);
}

#[test]
fn a_full_frame_takes_no_more_and_keeps_what_it_has() {
    let record = Record { channel: ChannelId(B256::ZERO), sequence: 1, event: Event::CloseAborted };
    let mut chunk = Vec::new();
    while chunk.len() < FRAME_PAYLOAD_BYTES_MAX - RECORD_BYTES_MIN {
        encode_record(&mut chunk, &record);
    }
    let mut builder = FrameBuilder::new();
    builder.append(&chunk).unwrap();
    let full = FrameFull { held_bytes: chunk.len(), more_bytes: RECORD_BYTES_MIN };
    assert_eq!(builder.push(&record), Err(full));
    assert_eq!(builder.append(&chunk[..RECORD_BYTES_MIN]), Err(full));
    let held = builder.records() as usize;
    assert_eq!(decode(builder.finish(1, 1, Link::GENESIS, None)).unwrap().records.len(), held);
}

#[test]
#[should_panic(expected = "whole records")]
fn half_a_record_is_never_put_into_a_frame() {
    let record = Record { channel: ChannelId(B256::ZERO), sequence: 1, event: Event::CloseAborted };
    let mut chunk = Vec::new();
    encode_record(&mut chunk, &record);
    let _ = FrameBuilder::new().append(&chunk[..chunk.len() - 1]);
}

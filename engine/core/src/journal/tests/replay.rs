//! Torn tails are dropped, everything else that is wrong stops recovery.

use alloc::vec::Vec;

use super::support::*;
use crate::channel::Event;
use crate::journal::*;
use crate::units::{Amount, B256, BlockNumber, ChannelId};

/// Feeds what a ledger holds, and gives the events' amounts and the end.
fn replay(stored: &[(u64, Vec<u8>)]) -> Result<(Vec<u128>, End), Corruption> {
    let (mut replay, mut applied) = (Replay::after(Head::GENESIS), Vec::new());
    for (stored_as, bytes) in stored {
        if let Step::Apply(frame) = replay.feed(*stored_as, bytes)? {
            applied.extend(frame.records.iter().map(|record| match record.event {
                Event::Settled { settled } => settled.get(),
                _ => unreachable!("the chain holds settlements only"),
            }));
        }
    }
    Ok((applied, replay.finish()))
}

fn stored(frames: u64) -> Vec<(u64, Vec<u8>)> {
    (1..).zip(chain(frames)).collect()
}

#[test]
fn a_whole_journal_is_applied_in_order() {
    let stored = stored(5);
    let (applied, end) = replay(&stored).unwrap();
    assert_eq!(applied, [1, 2, 3, 4, 5]);
    let head = Head { epoch: 2, sequence: 5, link: Link::to(&stored[4].1), cursor: None };
    assert_eq!(end, End { head, torn_tail: None });
    assert_eq!(replay(&[]).unwrap().1.head, Head::GENESIS);
}

#[test]
fn replay_goes_on_after_a_checkpoint() {
    let stored = stored(5);
    let head = Head { epoch: 1, sequence: 3, link: Link::to(&stored[2].1), cursor: None };
    let mut replay = Replay::after(head);
    for (stored_as, bytes) in &stored[3..] {
        assert!(matches!(replay.feed(*stored_as, bytes), Ok(Step::Apply(_))));
    }
    assert_eq!(replay.finish().head.sequence, 5);
}

#[test]
fn a_torn_tail_is_dropped_wherever_it_was_cut() {
    let whole = stored(4);
    for length in 0..whole[3].1.len() {
        let mut torn = whole.clone();
        torn[3].1.truncate(length);
        let (applied, end) = replay(&torn).unwrap();
        assert_eq!(applied, [1, 2, 3]);
        assert_eq!(end.head.sequence, 3);
        assert_eq!(end.torn_tail.unwrap().sequence, 4);
    }
}

#[test]
fn a_damaged_frame_that_another_one_follows_is_corruption() {
    for place in 0..3 {
        let mut stored = stored(4);
        stored[place].1[100] ^= 1;
        let sequence = place as u64 + 1;
        let refused = replay(&stored).unwrap_err();
        assert!(
            matches!(refused, Corruption::DamagedInside { sequence: found, followed_by, .. }
                if found == sequence && followed_by == sequence + 1),
            "{refused}"
        );
    }
    // Also when what follows is damaged as well: it was stored after the first one was durable.
    let mut stored = stored(4);
    stored[2].1[100] ^= 1;
    stored[3].1.clear();
    assert!(matches!(replay(&stored), Err(Corruption::DamagedInside { sequence: 3, followed_by: 4, .. })));
}

#[test]
fn a_missing_frame_is_corruption() {
    let mut stored = stored(4);
    stored.remove(1);
    assert_eq!(replay(&stored), Err(Corruption::Gap { expected: 2, found: 3 }));
}

#[test]
fn a_frame_under_another_number_is_corruption() {
    let mut stored = stored(4);
    stored[2].1 = stored[1].1.clone();
    assert_eq!(replay(&stored), Err(Corruption::Misplaced { stored_as: 3, found: 2 }));
}

#[test]
fn a_frame_of_another_history_is_corruption() {
    let mut stored = stored(4);
    let link = Link::to(&stored[1].1);
    let other = Link(link.0 ^ 1);
    stored[2].1 = FrameBuilder::new().finish(2, 3, other, None).to_vec();
    assert_eq!(replay(&stored), Err(Corruption::ChainBroken { sequence: 3, found: other, expected: link }));
}

#[test]
fn a_replaced_writer_is_noticed() {
    let mut stored = stored(4);
    let link = Link::to(&stored[3].1);
    stored.push((5, FrameBuilder::new().finish(1, 5, link, None).to_vec()));
    assert_eq!(replay(&stored), Err(Corruption::EpochWentBack { sequence: 5, found: 1, expected_min: 2 }));
}

#[test]
fn an_intact_frame_of_a_later_version_is_never_dropped() {
    let mut stored = stored(2);
    let covered = stored[1].1.len() - 8;
    stored[1].1[4] = 2;
    let sum = crate::journal::codec::checksum(&stored[1].1[..covered]);
    stored[1].1[covered..].copy_from_slice(&sum.to_le_bytes());
    let error = FrameError::UnknownVersion { found: 2 };
    assert_eq!(replay(&stored), Err(Corruption::NotUnderstood { sequence: 2, error }));
}

#[test]
fn the_head_remembers_the_last_cursor() {
    let cursor = |block| Some(Cursor { next_block: BlockNumber(block), parent: B256::ZERO });
    let (mut builder, mut replay, mut link) =
        (FrameBuilder::new(), Replay::after(Head::GENESIS), Link::GENESIS);
    for (sequence, cursor) in (1..).zip([cursor(10), None, cursor(12), None]) {
        let event = Event::Settled { settled: Amount::new(1) };
        builder.push(&Record { channel: ChannelId(B256::ZERO), sequence, event }).unwrap();
        let frame = builder.finish(1, sequence, link, cursor);
        link = Link::to(frame);
        replay.feed(sequence, frame).unwrap();
    }
    assert_eq!(replay.finish().head.cursor, cursor(12));
}

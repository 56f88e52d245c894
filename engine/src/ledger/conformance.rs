//! What every ledger has to do, run against each of them.
//!
//! A ledger's test module names a [`Disk`] and calls [`conformance!`]; each sentence below is then a test
//! of that ledger.

mod author;

use farebox_core::channel::{ChainPosition, Event};
use farebox_core::journal::{Cursor, FrameBuilder, Head, Link};
use farebox_core::units::{Amount, B256, BlockNumber, UnixSeconds};

use self::author::{Author, opened, released, state};
use super::{Ledger, LedgerError, LedgerRead, Note, recover};

pub(super) use self::author::{accepted, identity, image, reserved};
#[cfg(feature = "rocksdb")]
pub(super) use self::author::{write_channel, write_running};

/// Something that keeps a ledger between two writers.
pub(super) trait Disk {
    type Writer: Ledger;
    type View: LedgerRead;

    fn new() -> Self;
    /// A writer, as a starting server would open it.
    fn open(&self) -> Result<Self::Writer, LedgerError>;
    /// A look from outside.
    fn view(&self) -> Self::View;
    /// Changes or removes a stored frame behind the ledger's back, while no writer is open.
    fn damage_frame(&self, sequence: u64, damage: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>);
}

/// Makes a test of every sentence.
macro_rules! conformance {
    ($disk:ty: $($sentence:ident),* $(,)?) => {
        $(#[test]
        fn $sentence() {
            $crate::ledger::conformance::$sentence::<$disk>();
        })*
    };
    ($disk:ty) => {
        $crate::ledger::conformance::conformance!($disk:
            an_empty_ledger_says_so,
            what_was_appended_is_read_back,
            frames_are_a_sequence,
            images_and_mark_come_back,
            replay_over_newer_images_changes_nothing,
            replay_goes_on_where_the_mark_is,
            a_second_writer_never_shares_with_the_first,
            every_opening_raises_the_epoch,
            a_torn_last_frame_is_cut_and_replaced,
            a_missing_last_frame_leaves_the_rest,
            a_damaged_frame_inside_is_refused_by_number,
            a_missing_frame_inside_is_refused_by_number,
            a_frame_of_another_history_is_refused,
            an_event_without_its_channel_is_refused,
            a_gap_in_a_channels_events_is_refused,
            the_newest_cursor_wins,
            forgotten_frames_are_gone_and_the_books_are_not,
            a_tombstone_survives,
            tombstones_take_the_place_of_images,
            notes_are_durable_and_apart,
            pages_walk_through_all_channels,
            channels_with_running_requests_are_named,
            a_view_reads_beside_a_writer,
            reading_is_whole_while_images_are_stored,
        );
    };
}
pub(super) use conformance;

/// The accepted amount of each channel that the ledger knows.
fn accepted_amounts(ledger: &impl LedgerRead) -> Vec<u128> {
    let books = recover(ledger).unwrap();
    let page = books.page(ledger, None, 100).unwrap();
    page.iter().map(|stored| stored.state.accepted.get()).collect()
}

fn expect_corrupt_frame(ledger: &impl LedgerRead, expected: u64) {
    match recover(ledger) {
        Err(LedgerError::CorruptFrame { sequence, .. }) => assert_eq!(sequence, expected),
        other => panic!("expected damage at frame {expected}, found {other:?}"),
    }
}

pub(super) fn an_empty_ledger_says_so<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let standing = ledger.standing().unwrap();
    assert_eq!((standing.epoch, standing.last_frame, standing.mark), (1, 0, Head::GENESIS));
    let books = recover(&ledger).unwrap();
    assert!(books.changed.is_empty() && books.torn_tail.is_none());
    assert_eq!(books.head, Head::GENESIS);
    assert_eq!(ledger.load(identity(1).channel_id()).unwrap(), None);
    assert_eq!(ledger.channels(None, 10).unwrap(), []);
    assert_eq!(ledger.frames_after(0, 10).unwrap(), []);
    assert_eq!(ledger.frames_after(u64::MAX, 10).unwrap(), []);
}

pub(super) fn what_was_appended_is_read_back<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    author.channel(1, 3);
    author.channel(2, 0);
    let head = author.head;
    drop(ledger);
    let ledger = disk.open().unwrap();
    let books = recover(&ledger).unwrap();
    assert_eq!(books.head, head);
    assert_eq!(books.changed.len(), 2);
    let first = &books.changed[&identity(1).channel_id()];
    assert_eq!(first.state, state(1, &[accepted(10), accepted(20), accepted(30)]));
    assert_eq!(*first.identity, identity(1));
    let frames = ledger.frames_after(2, 2).unwrap();
    assert_eq!(frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [3, 4]);
}

pub(super) fn frames_are_a_sequence<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    author.channel(1, 0);
    let bytes = author.frame(None, &[]);
    for found in [0, 1, 3] {
        match ledger.append(&bytes, found) {
            Err(LedgerError::OutOfOrder { found: told, expected: 2 }) => assert_eq!(told, found),
            other => panic!("expected a refusal of frame {found}, found {other:?}"),
        }
    }
    ledger.append(&bytes, 2).unwrap();
    assert_eq!(ledger.standing().unwrap().last_frame, 2);
}

pub(super) fn images_and_mark_come_back<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    author.channel(1, 2);
    author.channel(2, 0);
    let images = [image(1, &[accepted(10), accepted(20)]), image(2, &[])];
    ledger.store_images(&images).unwrap();
    let cursor = Some(Cursor { next_block: BlockNumber(77), parent: B256::repeat_byte(3) });
    let mark = Head { cursor, ..author.head };
    ledger.set_mark(&mark).unwrap();
    drop(ledger);
    let ledger = disk.open().unwrap();
    assert_eq!(ledger.standing().unwrap().mark, mark);
    for image in images {
        assert_eq!(ledger.load(image.channel).unwrap(), Some(image));
    }
    let books = recover(&ledger).unwrap();
    assert!(books.changed.is_empty());
    assert_eq!(books.head, mark);
}

pub(super) fn replay_over_newer_images_changes_nothing<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    author.channel(1, 3);
    // A checkpoint that was stopped before its mark, and images newer than some of the frames.
    for events in [vec![accepted(10)], vec![accepted(10), accepted(20), accepted(30)]] {
        ledger.store_images(&[image(1, &events)]).unwrap();
        assert_eq!(accepted_amounts(&ledger), [30]);
    }
    drop(ledger);
    for _ in 0..2 {
        assert_eq!(accepted_amounts(&disk.open().unwrap()), [30]);
    }
}

pub(super) fn replay_goes_on_where_the_mark_is<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 1);
    ledger.store_images(&[image(1, &[accepted(10)])]).unwrap();
    ledger.set_mark(&author.head).unwrap();
    author.write(None, &[(channel, 3, accepted(25))]);
    assert_eq!(recover(&ledger).unwrap().changed.len(), 1);
    drop(ledger);
    let ledger = disk.open().unwrap();
    assert_eq!(accepted_amounts(&ledger), [25]);
    assert_eq!(ledger.load(channel).unwrap().unwrap().state.accepted, Amount::new(10));
}

pub(super) fn a_second_writer_never_shares_with_the_first<D: Disk>() {
    let disk = D::new();
    let first = disk.open().unwrap();
    let mut author = Author::on(&first);
    author.channel(1, 0);
    let late = author.frame(None, &[(identity(1).channel_id(), 2, accepted(10))]);
    match disk.open() {
        Err(LedgerError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        Err(other) => panic!("expected a lock, found {other}"),
        Ok(second) => {
            let fenced = |result| match result {
                Err(LedgerError::Fenced { ours: 1, current: 2 }) => {}
                other => panic!("expected a fence, found {other:?}"),
            };
            fenced(first.append(&late, 2));
            fenced(first.store_images(&[image(1, &[])]));
            fenced(first.set_mark(&Head::GENESIS));
            fenced(first.forget_frames(1));
            fenced(first.cut_tail(0));
            Author::on(&second).write(None, &[(identity(1).channel_id(), 2, accepted(40))]);
            assert_eq!(accepted_amounts(&second), [40]);
        }
    }
}

pub(super) fn every_opening_raises_the_epoch<D: Disk>() {
    let disk = D::new();
    for expected in 1..=8 {
        let ledger = disk.open().unwrap();
        assert_eq!(ledger.epoch(), expected);
        assert_eq!(ledger.standing().unwrap().epoch, expected);
        let channel = identity(1).channel_id();
        let event = if expected == 1 { opened(1) } else { accepted(u128::from(expected) * 10) };
        Author::on(&ledger).write(None, &[(channel, expected, event)]);
    }
    assert_eq!(accepted_amounts(&disk.open().unwrap()), [80]);
}

pub(super) fn a_torn_last_frame_is_cut_and_replaced<D: Disk>() {
    type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;
    let damages: [Damage; 4] = [
        |bytes| Some(bytes[..bytes.len() - 1].to_vec()),
        |bytes| Some(bytes[..10].to_vec()),
        |_| Some(Vec::new()),
        |mut bytes| {
            bytes[90] ^= 1;
            Some(bytes)
        },
    ];
    for damage in damages {
        let disk = D::new();
        let ledger = disk.open().unwrap();
        let channel = Author::on(&ledger).channel(1, 2);
        drop(ledger);
        disk.damage_frame(3, damage);
        let ledger = disk.open().unwrap();
        let books = recover(&ledger).unwrap();
        assert_eq!(books.head.sequence, 2);
        assert_eq!(books.torn_tail.map(|torn| torn.sequence), Some(3));
        ledger.cut_tail(2).unwrap();
        assert_eq!(recover(&ledger).unwrap().torn_tail, None);
        Author::on(&ledger).write(None, &[(channel, 3, accepted(15))]);
        drop(ledger);
        assert_eq!(accepted_amounts(&disk.open().unwrap()), [15]);
    }
}

pub(super) fn a_missing_last_frame_leaves_the_rest<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    Author::on(&ledger).channel(1, 2);
    drop(ledger);
    disk.damage_frame(3, |_| None);
    assert_eq!(accepted_amounts(&disk.open().unwrap()), [10]);
}

pub(super) fn a_damaged_frame_inside_is_refused_by_number<D: Disk>() {
    for damaged in 1..=3 {
        let disk = D::new();
        let ledger = disk.open().unwrap();
        Author::on(&ledger).channel(1, 3);
        drop(ledger);
        disk.damage_frame(damaged, |mut bytes| {
            bytes[85] ^= 0x10;
            Some(bytes)
        });
        expect_corrupt_frame(&disk.open().unwrap(), damaged);
        expect_corrupt_frame(&disk.view(), damaged);
    }
}

pub(super) fn a_missing_frame_inside_is_refused_by_number<D: Disk>() {
    for missing in 1..=3 {
        let disk = D::new();
        let ledger = disk.open().unwrap();
        Author::on(&ledger).channel(1, 3);
        drop(ledger);
        disk.damage_frame(missing, |_| None);
        expect_corrupt_frame(&disk.open().unwrap(), missing);
    }
}

pub(super) fn a_frame_of_another_history_is_refused<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 1);
    let other = FrameBuilder::new().finish(1, 3, Link(12_345), None).to_vec();
    author.write(None, &[(channel, 3, accepted(20))]);
    author.write(None, &[(channel, 4, accepted(30))]);
    drop(ledger);
    disk.damage_frame(3, |_| Some(other));
    expect_corrupt_frame(&disk.open().unwrap(), 3);
}

pub(super) fn an_event_without_its_channel_is_refused<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let channel = identity(1).channel_id();
    Author::on(&ledger).write(None, &[(channel, 5, accepted(10))]);
    match recover(&ledger) {
        Err(LedgerError::CorruptChannel { channel: told, .. }) => assert_eq!(told, channel),
        other => panic!("expected a damaged channel, found {other:?}"),
    }
}

pub(super) fn a_gap_in_a_channels_events_is_refused<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 1);
    author.write(None, &[(channel, 4, accepted(30))]);
    match recover(&ledger) {
        Err(LedgerError::CorruptChannel { channel: told, .. }) => assert_eq!(told, channel),
        other => panic!("expected a damaged channel, found {other:?}"),
    }
}

pub(super) fn the_newest_cursor_wins<D: Disk>() {
    let cursor = |block| Some(Cursor { next_block: BlockNumber(block), parent: B256::repeat_byte(8) });
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    author.write(cursor(5), &[]);
    author.write(None, &[]);
    assert_eq!(recover(&ledger).unwrap().head.cursor, cursor(5));
    ledger.set_mark(&author.head).unwrap();
    assert_eq!(recover(&ledger).unwrap().head.cursor, cursor(5));
    author.write(cursor(9), &[]);
    drop(ledger);
    assert_eq!(recover(&disk.open().unwrap()).unwrap().head.cursor, cursor(9));
}

pub(super) fn forgotten_frames_are_gone_and_the_books_are_not<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 4);
    let covered = author.head;
    author.write(None, &[(channel, 6, accepted(60))]);
    ledger.store_images(&[image(1, &[10, 20, 30, 40].map(accepted))]).unwrap();
    ledger.set_mark(&covered).unwrap();
    ledger.forget_frames(3).unwrap();
    assert_eq!(ledger.frames_after(0, 10).unwrap()[0].sequence, 4);
    // Never beyond the mark, whatever is asked.
    ledger.forget_frames(u64::MAX).unwrap();
    let kept = ledger.frames_after(0, 10).unwrap();
    assert_eq!(kept.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [6]);
    drop(ledger);
    let ledger = disk.open().unwrap();
    assert_eq!(accepted_amounts(&ledger), [60]);
    Author::on(&ledger).write(None, &[(channel, 7, accepted(70))]);
    assert_eq!(accepted_amounts(&ledger), [70]);
}

pub(super) fn tombstones_take_the_place_of_images<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 1);
    let closed = Event::Closed {
        captured: Amount::ZERO,
        refunded: Amount::new(1_000),
        at: UnixSeconds(1_900_000_000),
        position: ChainPosition { block: 9, log_index: 1 },
    };
    let retired = Event::Retired { at: UnixSeconds(2_000_000_000) };
    author.write(None, &[(channel, 3, closed.clone()), (channel, 4, retired.clone())]);
    let images = [image(1, &[accepted(10), closed, retired]), image(2, &[]), image(3, &[accepted(5)])];
    ledger.store_images(&images).unwrap();
    let expected = images[0].state.clone();
    assert_eq!(ledger.tombstone(channel).unwrap(), None);
    ledger.bury(std::slice::from_ref(&expected)).unwrap();
    let check = |ledger: &D::Writer| {
        assert_eq!(ledger.tombstone(channel).unwrap().as_ref(), Some(&expected));
        assert_eq!(ledger.tombstone(images[1].channel).unwrap(), None);
        assert_eq!(ledger.tombstones(None, 9).unwrap(), std::slice::from_ref(&expected));
        assert_eq!(ledger.tombstones(Some(channel), 9).unwrap(), []);
        assert_eq!(ledger.tombstones(None, 0).unwrap(), []);
        assert_eq!(ledger.load(channel).unwrap(), None);
        assert_eq!(ledger.channels(None, 9).unwrap().len(), 2);
        // The journal still tells how it came about, and that revives nothing: the mark was not moved.
        let books = recover(ledger).unwrap();
        assert!(!books.changed.contains_key(&channel));
    };
    check(&ledger);
    drop(ledger);
    let ledger = disk.open().unwrap();
    check(&ledger);
    // An event behind the tombstone cannot be.
    let beyond = Event::Settled { settled: Amount::new(1) };
    Author::on(&ledger).write(None, &[(channel, 5, beyond)]);
    assert!(matches!(recover(&ledger), Err(LedgerError::CorruptChannel { .. })));
}

pub(super) fn a_tombstone_survives<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 1);
    let closed = Event::Closed {
        captured: Amount::ZERO,
        refunded: Amount::new(1_000),
        at: UnixSeconds(1_900_000_000),
        position: ChainPosition { block: 9, log_index: 1 },
    };
    author.write(None, &[(channel, 3, closed.clone())]);
    let expected = state(1, &[accepted(10), closed]);
    drop(ledger);
    let ledger = disk.open().unwrap();
    let books = recover(&ledger).unwrap();
    assert_eq!(books.changed[&channel].state, expected);
    ledger.store_images(&books.changed.into_values().collect::<Vec<_>>()).unwrap();
    ledger.set_mark(&books.head).unwrap();
    ledger.forget_frames(u64::MAX).unwrap();
    drop(ledger);
    assert_eq!(disk.open().unwrap().load(channel).unwrap().unwrap().state, expected);
}

pub(super) fn pages_walk_through_all_channels<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let mut ids: Vec<_> = (0..40).map(|number| author.channel(number, 0)).collect();
    ids.sort_unstable();
    // Some are in the images, some only in the journal behind the mark, some in both.
    let images: Vec<_> = (0..40).step_by(3).map(|number| image(number, &[])).collect();
    ledger.store_images(&images).unwrap();
    let books = recover(&ledger).unwrap();
    for size in [1, 7, 40, 41] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = books.page(&ledger, after, size).unwrap();
            assert!(page.len() <= size);
            after = page.last().map(|stored| stored.channel);
            found.extend(page.iter().map(|stored| stored.channel));
            if page.len() < size {
                break;
            }
        }
        assert_eq!(found, ids, "pages of {size}");
    }
    let mut stored: Vec<_> = images.iter().map(|stored| stored.channel).collect();
    stored.sort_unstable();
    let first = ledger.channels(None, 5).unwrap();
    let second = ledger.channels(Some(first[4].channel), 100).unwrap();
    let walked: Vec<_> = first.iter().chain(&second).map(|stored| stored.channel).collect();
    assert_eq!(walked, stored);
}

pub(super) fn channels_with_running_requests_are_named<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let ids = |numbers: &[u16]| {
        let mut ids: Vec<_> = numbers.iter().map(|number| identity(*number).channel_id()).collect();
        ids.sort();
        ids
    };
    let mut author = Author::on(&ledger);
    let (running, over) = ([accepted(100), reserved(1, 40)], [accepted(100), reserved(1, 40), released(1)]);
    for number in 1..=4 {
        author.write(None, &[(identity(number).channel_id(), 1, opened(number))]);
    }
    assert_eq!(ledger.running(None, 10).unwrap(), []);
    ledger
        .store_images(&[image(1, &running), image(2, &[]), image(3, &running), image(4, &running)])
        .unwrap();
    ledger.store_images(&[image(1, &running), image(3, &over)]).unwrap();
    ledger.set_mark(&author.head).unwrap();
    let expected = ids(&[1, 4]);
    assert_eq!(ledger.running(None, 10).unwrap(), expected);
    assert_eq!(ledger.running(None, 1).unwrap(), expected[..1]);
    assert_eq!(ledger.running(Some(expected[0]), 1).unwrap(), expected[1..]);
    assert_eq!(disk_after(&disk, ledger).running(None, 10).unwrap(), expected);
    let ledger = disk.open().unwrap();
    ledger.store_images(&[image(1, &over), image(3, &running)]).unwrap();
    assert_eq!(ledger.running(None, 10).unwrap(), ids(&[3, 4]));
}

/// What a tool sees once the writer is gone.
fn disk_after<D: Disk>(disk: &D, ledger: D::Writer) -> D::View {
    drop(ledger);
    disk.view()
}

pub(super) fn a_view_reads_beside_a_writer<D: Disk>() {
    let disk = D::new();
    let ledger = disk.open().unwrap();
    let mut author = Author::on(&ledger);
    let channel = author.channel(1, 2);
    ledger.store_images(&[image(1, &[accepted(10), accepted(20)])]).unwrap();
    ledger.set_mark(&author.head).unwrap();
    author.channel(3, 1);
    let view = disk.view();
    let books = recover(&view).unwrap();
    assert_eq!(books.head, author.head);
    assert_eq!(books.page(&view, None, 10).unwrap().len(), 2);
    // The writer goes on, undisturbed.
    author.write(None, &[(channel, 4, accepted(99))]);
    assert_eq!(recover(&disk.view()).unwrap().changed[&channel].state.accepted, Amount::new(99));
    assert_eq!(ledger.standing().unwrap().epoch, 1);
}

pub(super) fn reading_is_whole_while_images_are_stored<D: Disk>() {
    // The moment is short, so it is looked for several times; short pages are read often.
    for _ in 0..12 {
        let disk = D::new();
        let ledger = disk.open().unwrap();
        let images: Vec<_> = (0..200).map(|number| image(number, &[])).collect();
        std::thread::scope(|scope| {
            let storing = scope.spawn(|| {
                for image in &images {
                    ledger.store_images(std::slice::from_ref(image)).unwrap();
                }
            });
            let mut found = 0;
            while !storing.is_finished() {
                let page = ledger.channels(None, images.len()).unwrap();
                assert!(page.len() >= found);
                found = page.len();
                if let Some(next) = images.get(found) {
                    assert!(ledger.load(next.channel).unwrap().is_none_or(|stored| stored == *next));
                }
            }
        });
        assert_eq!(ledger.channels(None, images.len()).unwrap().len(), images.len());
    }
}

/// A note is there when its write returned, whatever marks and frames do, and only under its own prefix.
pub(super) fn notes_are_durable_and_apart<D: Disk>() {
    let disk = D::new();
    let note = |key: &str, bytes: &str| Note { key: key.into(), bytes: bytes.into() };
    {
        let ledger = disk.open().expect("opens");
        assert_eq!(ledger.notes(b"").expect("reads"), []);
        for (key, bytes) in [("b/2", "two"), ("a/1", "one"), ("b/1", "old"), ("b/1", ""), ("c", "gone")] {
            ledger.put_note(key.as_bytes(), Some(bytes.as_bytes())).expect("kept");
        }
        ledger.put_note(b"c", None).expect("removed");
        ledger.put_note(b"never there", None).expect("nothing to remove");
        let mut author = Author::on(&ledger);
        author.channel(1, 3);
        ledger.set_mark(&author.head).expect("the mark moves");
        ledger.forget_frames(u64::MAX).expect("forgets");
    }
    let kept = [note("b/1", ""), note("b/2", "two")];
    assert_eq!(disk.view().notes(b"b/").expect("reads"), kept);
    let ledger = disk.open().expect("opens again");
    assert_eq!(ledger.notes(b"b/").expect("reads"), kept);
    assert_eq!(ledger.notes(b"").expect("reads").len(), 3);
}

//! The disk by hand.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use farebox_core::journal::{FrameBuilder, Link};

fn frame(sequence: u64) -> Vec<u8> {
    FrameBuilder::new().finish(1, sequence, Link::GENESIS, None).to_vec()
}

fn sequences(disk: &Disk) -> Vec<u64> {
    disk.frames_after(0, 100).unwrap().iter().map(|stored| stored.sequence).collect()
}

#[test]
fn a_synced_frame_survives_every_power_cut_and_an_unsynced_one_only_some() {
    let (mut survived, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let disk = Disk::default();
        let writer = disk.open();
        writer.append(&frame(1), 1).unwrap();
        disk.die_in(2);
        writer.append(&frame(2), 2).unwrap_err();
        assert_eq!(disk.died(), Some(Point::DuringAppend));
        assert_eq!(sequences(&disk), [1, 2]);
        assert_eq!(sequences(&disk.at_worst()), [1]);
        disk.crash(Crash::PowerCut, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
        let frames = disk.frames_after(0, 100).unwrap();
        assert_eq!(frames[0].bytes, frame(1));
        match frames.get(1) {
            None => lost += 1,
            Some(stored) if stored.bytes == frame(2) => survived += 1,
            Some(_) => torn += 1,
        }
    }
    assert!(survived > 50 && lost > 50 && torn > 50, "{survived} {lost} {torn}");
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    let disk = Disk::default();
    let writer = disk.open();
    disk.die_in(2);
    writer.append(&frame(1), 1).unwrap_err();
    disk.crash(Crash::Kill, &mut Xoshiro256PlusPlus::seed_from_u64(0));
    assert_eq!(sequences(&disk), [1]);
    assert!(matches!(writer.append(&frame(2), 2), Err(LedgerError::Fenced { .. })));
    disk.open().append(&frame(2), 2).unwrap();
    assert_eq!(sequences(&disk), [1, 2]);
}

#[test]
fn every_place_of_a_write_is_a_place_to_die() {
    let places = |die_in: u64| {
        let disk = Disk::default();
        let writer = disk.open();
        disk.die_in(die_in);
        let mark = Head { sequence: 1, ..Head::GENESIS };
        let done = writer
            .append(&frame(1), 1)
            .and_then(|()| writer.store_images(&[]))
            .and_then(|()| writer.set_mark(&mark))
            .and_then(|()| writer.forget_frames(1))
            .and_then(|()| writer.cut_tail(1));
        assert_eq!(done.is_err(), disk.died().is_some());
        disk.died()
    };
    let died: Vec<_> = (1..).map_while(places).collect();
    use Point::*;
    let all = [
        BeforeAppend,
        DuringAppend,
        AfterAppend,
        BeforeImages,
        AfterImages,
        BeforeMark,
        DuringMark,
        AfterMark,
        DuringForget,
        BeforeCut,
        DuringCut,
    ];
    assert_eq!(died, all);
}

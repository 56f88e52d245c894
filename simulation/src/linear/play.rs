//! One history: lives of an engine, clients, and how each life ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use farebox_engine::clock::ManualClock;
use farebox_engine::{Config, Engine};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::clients::{List, block_on, call, draw, note, open};
use super::{Caller, Line, NOW};
use crate::account::Op;
use crate::bug::Bug;
use crate::cast::{HONEST, Hand, MemberIndex};
use crate::disk::{Crash, Disk};

/// Lives of one engine.
const LIVES: std::ops::RangeInclusive<u32> = 2..=3;
/// Clients of one life.
const CLIENTS: std::ops::RangeInclusive<u32> = 2..=3;
/// Calls of one client in one life.
const CALLS: std::ops::RangeInclusive<u32> = 2..=6;
/// The most clients that a life can have: what tells the callers of two lives apart.
const CLIENTS_MAX: u32 = 16;
/// Starts after which an engine must serve.
const STARTS_MAX: u32 = 20;
/// The longest that a write is held up.
const DELAY_US_MAX: u64 = 60;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The seed.
    pub seed: u64,
    /// A mistake of the disk.
    pub bug: Option<Bug>,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is told to stop, and then the power fails: nothing may be lost.
    Stopped,
    /// It dies at this place of its writing.
    DiesAt(u64),
    /// It is killed while it works, after so many microseconds.
    KilledAfter(u64),
}

/// Plays a history, and gives the list of what was called and answered.
///
/// # Errors
///
/// When the engine refuses a disk that only crashes have touched.
pub fn play(setting: Setting) -> Result<Vec<Line>, String> {
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(setting.seed);
    let disk = Disk::new(setting.bug);
    disk.slow_down(if dice.random() { DELAY_US_MAX } else { 0 });
    let list = List::default();
    let first = dice.random_range(0..HONEST);
    let second = (first + dice.random_range(1..HONEST)) % HONEST;
    let members = if dice.random() { vec![first] } else { vec![first, second] };
    let config = config(&mut dice);
    for life in 0..dice.random_range(LIVES) {
        let end = match dice.random_range(0..6) {
            0 => End::Stopped,
            1 | 2 => End::KilledAfter(dice.random_range(0..600)),
            _ => End::DiesAt(dice.random_range(1..40)),
        };
        live(&disk, &list, &config, &members, life, end, &mut dice)?;
    }
    let engine = start(&disk, &config, &mut dice)?;
    for (place, member) in members.iter().enumerate() {
        call(&engine, &list, CLIENTS_MAX * 1_000 + place as u32, *member, Op::Read, Hand::Signer);
    }
    block_on(engine.shutdown()).map_err(|error| error.to_string())?;
    let lines = list.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(lines)
}

/// Small bounds, so that a short history meets all of them.
fn config(dice: &mut Xoshiro256PlusPlus) -> Config {
    Config {
        shards: dice.random_range(1..=2),
        intake_max: if dice.random_ratio(1, 10) { 1 } else { 64 },
        batch_vouchers_max: dice.random_range(1..=8),
        checkpoint_frames: dice.random_range(1..=4),
        journal_keep_frames: if dice.random() { Some(0) } else { None },
        resident_channels_max: dice.random_range(1..=2),
        start_channels_max: if dice.random() { 0 } else { 100 },
        ..Config::default()
    }
}

/// One life: starts an engine, lets clients call it, and ends it.
fn live(
    disk: &Disk,
    list: &List,
    config: &Config,
    members: &[MemberIndex],
    life: u32,
    end: End,
    dice: &mut Xoshiro256PlusPlus,
) -> Result<(), String> {
    let engine = start(disk, config, dice)?;
    if life == 0 {
        for (place, member) in members.iter().enumerate() {
            call(&engine, list, CLIENTS_MAX * 2_000 + place as u32, *member, open(), Hand::Signer);
        }
    }
    if let End::DiesAt(place) = end {
        disk.die_in(place);
    }
    std::thread::scope(|scope| {
        for client in 0..dice.random_range(CLIENTS) {
            let calls: Vec<_> = (0..dice.random_range(CALLS))
                .map(|_| (members[dice.random_range(0..members.len())], draw(dice)))
                .collect();
            let caller: Caller = life * CLIENTS_MAX + client;
            let engine = engine.clone();
            scope.spawn(move || {
                for (member, (op, hand)) in calls {
                    if !call(&engine, list, caller, member, op, hand) {
                        return;
                    }
                }
            });
        }
        if let End::KilledAfter(micros) = end {
            std::thread::sleep(Duration::from_micros(micros));
            disk.kill();
        }
    });
    // A dead process says so; a living one stops in good order.
    let stopped = block_on(engine.shutdown());
    if let (Err(error), None) = (&stopped, disk.died()) {
        return Err(format!("the engine does not stop, and nothing is wrong: {error}"));
    }
    drop(engine);
    let crash = if end != End::Stopped && dice.random() { Crash::Kill } else { Crash::PowerCut };
    disk.crash(crash, dice);
    note(list, Line::Restarted);
    Ok(())
}

/// Starts an engine on what the disk holds; now and then it dies while it starts.
fn start(disk: &Disk, config: &Config, dice: &mut Xoshiro256PlusPlus) -> Result<Engine, String> {
    for _ in 0..STARTS_MAX {
        disk.spare();
        if dice.random_ratio(1, 8) {
            disk.die_in_next_life(dice.random_range(1..4));
        }
        let clock = Arc::new(ManualClock::new(NOW));
        match Engine::start(config.clone(), disk.open(), clock) {
            Ok(engine) => {
                disk.spare();
                return Ok(engine);
            }
            Err(_) if disk.died().is_some() => {
                disk.crash(if dice.random() { Crash::Kill } else { Crash::PowerCut }, dice);
            }
            Err(error) => return Err(format!("only crashes touched the disk, and yet: {error}")),
        }
    }
    Err(format!("the engine died {STARTS_MAX} times while it started"))
}

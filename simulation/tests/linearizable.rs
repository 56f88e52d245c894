//! Histories of the real engine, across crashes: is there an order that explains every answer?

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox_simulation::bug::Bug;
use farebox_simulation::linear::{Line, Setting, explain, play};
use farebox_simulation::run::{SEED_VARIABLE, number};

/// The variable that says how many histories are played.
const HISTORIES_VARIABLE: &str = "FAREBOX_HISTORIES";
/// Histories of a usual test run; `make test-long` plays more.
const HISTORIES: u64 = 600;
/// How often one seed is played again: who runs first differs each time.
const REPLAYS: u64 = 200;
/// Histories within which a planted mistake must show.
const PLANTED_MAX: u64 = 400;

/// What is wrong with a history, if anything is.
fn check(setting: Setting) -> Result<Vec<Line>, String> {
    let lines = play(setting)?;
    match explain(&lines) {
        Ok(()) => Ok(lines),
        Err(unexplained) => Err(unexplained.to_string()),
    }
}

/// Plays the seeds on two threads; gives how many calls were answered, and how many were lost.
fn check_all(seeds: impl Iterator<Item = u64> + Send) -> (u64, u64) {
    let (answered, began) = (AtomicU64::new(0), AtomicU64::new(0));
    let seeds = Mutex::new(seeds);
    let failed = Mutex::new(None);
    let work = || {
        while failed.lock().unwrap().is_none()
            && let Some(seed) = { seeds.lock().unwrap().next() }
        {
            match check(Setting { seed, bug: None }) {
                Ok(lines) => {
                    let count = |is: fn(&&Line) -> bool| lines.iter().filter(is).count() as u64;
                    answered.fetch_add(count(|line| matches!(line, Line::Ended(..))), Ordering::Relaxed);
                    began.fetch_add(count(|line| matches!(line, Line::Began(..))), Ordering::Relaxed);
                }
                Err(what) => *failed.lock().unwrap() = Some((seed, what)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    if let Some((seed, what)) = failed.into_inner().unwrap() {
        panic!(
            "history {seed}: {what}\n\
             to play it {REPLAYS} times: \
             {SEED_VARIABLE}={seed} cargo test -p farebox-simulation --test linearizable replay"
        );
    }
    let (answered, began) = (answered.into_inner(), began.into_inner());
    (answered, began - answered)
}

#[test]
fn every_history_of_the_engine_has_an_explanation() {
    let histories = number(HISTORIES_VARIABLE).unwrap_or(HISTORIES);
    let (answered, lost) = check_all(0..histories);
    println!("{histories} histories, {answered} calls answered, {lost} lost in crashes");
    assert!(answered > histories * 10, "{answered} calls were answered");
    assert!(lost > histories / 4, "{lost} calls were lost");
}

/// Plays the seed that `FAREBOX_SEED` names, or seed 0, again and again.
#[test]
fn replay() {
    let seed = number(SEED_VARIABLE).unwrap_or(0);
    check_all((0..REPLAYS).map(|_| seed));
}

#[test]
fn a_disk_that_lies_is_found() {
    for bug in [Bug::AnswerBeforeSync, Bug::MarkBeforeImages] {
        let found = (0..PLANTED_MAX).any(|seed| check(Setting { seed, bug: Some(bug) }).is_err());
        assert!(found, "{bug:?} is not found in {PLANTED_MAX} histories");
    }
}

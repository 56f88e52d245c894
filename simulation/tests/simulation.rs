//! Histories by seed: the books, the chain and the disk, from one generator.

use farebox_simulation::run::{SEED_VARIABLE, SEEDS_VARIABLE, number, play, play_all};
use farebox_simulation::world::Options;

/// Seeds of a usual test run; `make test-long` plays more.
const SEEDS: u64 = 2_000;

#[test]
fn no_history_breaks_a_money_rule() {
    let seeds = number(SEEDS_VARIABLE).unwrap_or(SEEDS);
    let events = play_all(0..seeds);
    println!("{seeds} histories, {events} events");
    assert!(events > seeds * 300);
}

/// Replays the seed that `FAREBOX_SEED` names, or seed 0, and shows all of it.
#[test]
fn replay() {
    let seed = number(SEED_VARIABLE).unwrap_or(0);
    match play(Options::of(seed)) {
        Ok(played) => {
            for event in &played.history {
                println!("{event:?}");
            }
        }
        Err(failure) => {
            for event in &failure.history {
                println!("{event:?}");
            }
            panic!("{failure}");
        }
    }
}

#[test]
fn a_seed_is_a_history() {
    for seed in 0..20 {
        let played = [(); 2].map(|()| play(Options::of(seed)).unwrap_or_else(|failure| panic!("{failure}")));
        assert_eq!(played[0], played[1], "seed {seed}");
    }
}

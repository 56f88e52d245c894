//! Many seeds, and what to say when one fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rules::{Broken, Rule};
use crate::world::{Event, Options, World};

/// The variable that names the one seed to replay.
pub const SEED_VARIABLE: &str = "FAREBOX_SEED";
/// The variable that says how many seeds are played.
pub const SEEDS_VARIABLE: &str = "FAREBOX_SEEDS";
/// The last events that a failure shows.
const SHOWN_EVENTS: usize = 40;

/// A history that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was played.
    pub options: Options,
    /// What was broken.
    pub broken: Broken,
    /// Everything that happened before.
    pub history: Vec<Event>,
}

/// A history that broke none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Everything that happened.
    pub history: Vec<Event>,
    /// Places to die that were passed.
    pub points: u64,
}

/// Plays one history.
///
/// # Errors
///
/// The first broken rule. A panic is one.
pub fn play(options: Options) -> Result<Played, Box<Failure>> {
    let mut world = World::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.play()));
    let broken = match outcome {
        Ok(Ok(())) => return Ok(Played { history: world.history().to_vec(), points: world.points() }),
        Ok(Err(broken)) => broken,
        Err(panic) => Broken { rule: Rule::Panic, what: panic_text(&*panic) },
    };
    Err(Box::new(Failure { options, broken, history: world.history().to_vec() }))
}

/// Plays the histories of many seeds on all cores; gives how many events they had.
///
/// # Panics
///
/// With the first failure that is found, and how to see it again.
pub fn play_all(seeds: std::ops::Range<u64>) -> u64 {
    let (next, events) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match play(Options::of(seed)) {
                Ok(played) => drop(events.fetch_add(played.history.len() as u64, Ordering::Relaxed)),
                Err(failure) => {
                    // The others stop at their next seed.
                    next.store(seeds.end, Ordering::Relaxed);
                    *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(failure);
                    return;
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    if let Some(failure) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        panic!("{failure}");
    }
    events.into_inner()
}

/// A number from the environment.
///
/// # Panics
///
/// When the variable holds something else.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, expected a number")))
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { options, broken, history } = self;
        writeln!(f, "seed {} fails after {} events: {broken}", options.seed, history.len())?;
        writeln!(f, "the last events:")?;
        for event in &history[history.len().saturating_sub(SHOWN_EVENTS)..] {
            writeln!(f, "  {event:?}")?;
        }
        write!(f, "to replay: {SEED_VARIABLE}={} cargo test -p farebox-simulation replay", options.seed)
    }
}

/// The message of a panic, when it has one.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

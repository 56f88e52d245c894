//! How much of the journal stays behind a checkpoint: as many frames, and as many days, as the accounting wants.
//!
//! The checkpointer asks after every mark. Frames do not say when they were written, but nearly all of their events do. So
//! the oldest frames are looked at, some at a time: as long as one is too old, all before it are. What says no time is
//! taken to be young. Nothing beyond the mark is ever named, whatever the clock says.

use farebox_core::journal::decode;
use farebox_core::units::UnixSeconds;

use super::Config;
use crate::ledger::{Ledger, LedgerError};

/// How far apart frames are looked at. A clock that went wrong for a moment costs no more frames than that.
const STRIDE_FRAMES: u64 = 1_024;

/// The most frames that are looked at after one mark: a backlog goes in several steps.
const LOOKS_MAX: usize = 64;

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// So many frames.
    frames: Option<u64>,
    /// Frames that are not older, in seconds.
    age_s: Option<u64>,
}

impl Keep {
    pub(super) const fn new(config: &Config) -> Self {
        Self { frames: config.journal_keep_frames, age_s: config.journal_keep_s }
    }

    /// The last frame that may be forgotten, when `mark` is the last one that the images cover.
    pub(super) fn forget_through(
        &self,
        ledger: &dyn Ledger,
        mark: u64,
        now: UnixSeconds,
    ) -> Result<Option<u64>, LedgerError> {
        let through = match (self.frames, self.age_s) {
            (None, None) => return Ok(None),
            (frames, None) => mark.saturating_sub(frames.unwrap_or_default()),
            (frames, Some(age_s)) => {
                let bound = mark.saturating_sub(frames.unwrap_or_default());
                let cutoff = UnixSeconds(now.0.saturating_sub(age_s));
                return older(ledger, bound, cutoff);
            }
        };
        Ok((through > 0).then_some(through))
    }
}

/// The last frame up to `bound` before which, as far as was looked, all are older than `cutoff`.
fn older(ledger: &dyn Ledger, bound: u64, cutoff: UnixSeconds) -> Result<Option<u64>, LedgerError> {
    let Some(first) = ledger.frames_after(0, 1)?.first().map(|frame| frame.sequence) else { return Ok(None) };
    let (mut through, mut stride) = (first - 1, STRIDE_FRAMES);
    for _ in 0..LOOKS_MAX {
        let next = through.saturating_add(stride).min(bound);
        if next <= through {
            break;
        }
        if written_at(ledger, next)?.is_some_and(|at| at < cutoff) {
            through = next;
        } else if stride == 1 {
            break;
        } else {
            stride /= 2;
        }
    }
    Ok((through >= first).then_some(through))
}

/// When a frame was written, if it says so.
fn written_at(ledger: &dyn Ledger, sequence: u64) -> Result<Option<UnixSeconds>, LedgerError> {
    let frames = ledger.frames_after(sequence - 1, 1)?;
    let Some(stored) = frames.first().filter(|stored| stored.sequence == sequence) else { return Ok(None) };
    // A damaged one is for `farebox check`; it is not forgotten before its neighbours are.
    let Ok(frame) = decode(&stored.bytes) else { return Ok(None) };
    Ok(frame.records.iter().filter_map(|record| record.event.at()).max())
}

#[cfg(test)]
mod tests {
    use farebox_core::channel::{Event, RequestKey};
    use farebox_core::journal::{FrameBuilder, Head, Link, Record};
    use farebox_core::units::{Amount, B256, ChannelId};
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{LedgerRead, MemoryLedger};

    /// A journal whose frames were written at these times; `None` is one that does not say.
    fn journal(times: &[Option<u64>]) -> MemoryLedger {
        let ledger = MemoryLedger::new();
        for (time, sequence) in times.iter().zip(1..) {
            let event = match time {
                Some(at) => Event::Released { key: RequestKey([1; 16]), at: UnixSeconds(*at) },
                None => Event::Settled { settled: Amount::new(1) },
            };
            let mut frame = FrameBuilder::new();
            frame.push(&Record { channel: ChannelId(B256::ZERO), sequence, event }).unwrap();
            ledger.append(frame.finish(1, sequence, Link::GENESIS, None), sequence).unwrap();
        }
        ledger
    }

    fn mark(ledger: &MemoryLedger, sequence: u64) {
        ledger.set_mark(&Head { sequence, ..Head::GENESIS }).unwrap();
    }

    /// Forgets until nothing more may be, and says which frame is the first then.
    fn settle(ledger: &MemoryLedger, keep: Keep, mark: u64, now: u64) -> u64 {
        while let Some(through) = keep.forget_through(ledger, mark, UnixSeconds(now)).unwrap() {
            assert!(through <= mark);
            let before = ledger.frames_after(0, 1).unwrap();
            ledger.forget_frames(through).unwrap();
            if ledger.frames_after(0, 1).unwrap() == before {
                break;
            }
        }
        ledger.frames_after(0, 1).unwrap().first().map_or(0, |frame| frame.sequence)
    }

    #[test]
    fn without_a_wish_everything_stays() {
        let ledger = journal(&[Some(0); 9]);
        mark(&ledger, 9);
        let keep = Keep { frames: None, age_s: None };
        assert_eq!(keep.forget_through(&ledger, 9, UnixSeconds(u64::MAX)).unwrap(), None);
    }

    #[test]
    fn both_wishes_are_granted() {
        let times: Vec<_> = (0..9).map(|number| Some(100 * number)).collect();
        let first = |frames, age_s| {
            let ledger = journal(&times);
            mark(&ledger, 8);
            settle(&ledger, Keep { frames, age_s }, 8, 800)
        };
        assert_eq!(first(Some(3), None), 6, "three of the eight that the mark covers");
        assert_eq!(first(None, Some(350)), 6, "frame 6 is of 500");
        assert_eq!(first(Some(5), Some(350)), 4);
        assert_eq!(first(Some(1), Some(350)), 6);
        assert_eq!(first(None, Some(0)), 9, "only what the mark does not cover");
    }

    #[test]
    fn a_long_journal_goes_in_bounded_steps() {
        let count = STRIDE_FRAMES * 3 + 77;
        let times: Vec<_> =
            (1..=count + 50).map(|number| Some(if number <= count { 1_000 } else { 2_000 })).collect();
        let ledger = journal(&times);
        mark(&ledger, count + 50);
        let keep = Keep { frames: None, age_s: Some(500) };
        assert_eq!(settle(&ledger, keep, count + 50, 2_000), count + 1);
    }

    proptest! {
        /// With a clock that only goes forward, exactly the frames that are old enough go, up to one that says no time.
        #[test]
        fn nothing_young_is_forgotten(
            steps in prop::collection::vec(prop::option::weighted(0.8, 0_u64..50), 1..120),
            age_s in 0_u64..1_500,
            frames in prop::option::of(0_u64..40),
            covered in 0_u64..120,
        ) {
            let mut clock = 1_000;
            let times: Vec<_> = steps.iter().map(|step| step.map(|step| { clock += step; clock })).collect();
            let ledger = journal(&times);
            let covered = covered.min(times.len() as u64);
            mark(&ledger, covered);
            let first = settle(&ledger, Keep { frames, age_s: Some(age_s) }, covered, clock);
            prop_assert!(first == 0 && covered == times.len() as u64 || first >= 1);
            let gone = if first == 0 { times.len() } else { first as usize - 1 };
            prop_assert!(gone as u64 <= covered.saturating_sub(frames.unwrap_or(0)));
            let cutoff = clock.saturating_sub(age_s);
            prop_assert!(times[..gone].iter().flatten().all(|at| *at < cutoff));
        }
    }
}

//! Which stored frames are history, which one is a torn tail, and when the books must not be opened.
//!
//! A pure decider: recovery feeds it what the ledger holds, in order, and does what it says.

use super::frame::{Cursor, Frame, FrameError, Link, decode};

/// Where the journal stands: what the next frame follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The epoch of the last frame.
    pub epoch: u64,
    /// The sequence of the last frame; zero before the first.
    pub sequence: u64,
    /// The checksum of the last frame.
    pub link: Link,
    /// How far the watcher had read.
    pub cursor: Option<Cursor>,
}

impl Head {
    /// Before the first frame.
    pub const GENESIS: Self = Self { epoch: 0, sequence: 0, link: Link::GENESIS, cursor: None };
}

/// What to do with a stored frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Apply its records.
    Apply(Frame),
    /// Wait: it is damaged. If nothing follows, it is a torn tail; if anything does, the next
    /// [`Replay::feed`] says that the books are corrupt.
    Damaged(FrameError),
}

/// The last stored frame is damaged: its write was torn, nobody was told of it, and it is to be removed
/// before anything is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it is stored.
    pub sequence: u64,
    /// What is wrong with it.
    pub error: FrameError,
}

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// What the next frame follows.
    pub head: Head,
    /// What is to be removed first.
    pub torn_tail: Option<TornTail>,
}

/// The books are corrupt: acknowledged steps are missing or not understood. Do not open them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// Frames are missing.
    #[error("frame {expected} is missing: the next stored one is {found}")]
    Gap {
        /// The frame that should come.
        expected: u64,
        /// The frame that came.
        found: u64,
    },
    /// A damaged frame is followed by another one, so it was acknowledged.
    #[error("frame {sequence} is damaged ({error}), but frame {followed_by} was stored after it")]
    DamagedInside {
        /// The damaged frame.
        sequence: u64,
        /// What is wrong with it.
        error: FrameError,
        /// The frame after it.
        followed_by: u64,
    },
    /// An intact frame that this version does not understand.
    #[error("frame {sequence} is intact but not understood: {error}")]
    NotUnderstood {
        /// The frame.
        sequence: u64,
        /// What is not understood.
        error: FrameError,
    },
    /// A frame is stored under another one's number.
    #[error("frame {found} is stored as {stored_as}")]
    Misplaced {
        /// Where it is stored.
        stored_as: u64,
        /// What it says it is.
        found: u64,
    },
    /// A frame does not follow the one before it.
    #[error("frame {sequence} follows {found:?}, expected {expected:?}")]
    ChainBroken {
        /// The frame.
        sequence: u64,
        /// What it links to.
        found: Link,
        /// The checksum of the frame before.
        expected: Link,
    },
    /// A frame was written by a writer that had been replaced.
    #[error("frame {sequence} is of epoch {found}, after epoch {expected_min}")]
    EpochWentBack {
        /// The frame.
        sequence: u64,
        /// Its epoch.
        found: u64,
        /// The epoch of the frame before.
        expected_min: u64,
    },
}

/// Decides frame by frame.
#[derive(Clone, Debug)]
pub struct Replay {
    head: Head,
    damaged: Option<TornTail>,
}

impl Replay {
    /// Begins after a checkpoint, or at [`Head::GENESIS`].
    pub const fn after(head: Head) -> Self {
        Self { head, damaged: None }
    }

    /// Takes the next stored value and says what to do with it. `stored_as` is the number that the
    /// ledger keeps it under.
    ///
    /// # Errors
    ///
    /// [`Corruption`]: stop, and do not open the books.
    pub fn feed(&mut self, stored_as: u64, bytes: &[u8]) -> Result<Step, Corruption> {
        if let Some(TornTail { sequence, error }) = self.damaged {
            return Err(Corruption::DamagedInside { sequence, error, followed_by: stored_as });
        }
        let expected = self.head.sequence.saturating_add(1);
        if stored_as != expected {
            return Err(Corruption::Gap { expected, found: stored_as });
        }
        match decode(bytes) {
            Ok(frame) => self.follow(stored_as, frame),
            Err(error) if error.is_damage() => {
                self.damaged = Some(TornTail { sequence: stored_as, error });
                Ok(Step::Damaged(error))
            }
            Err(error) => Err(Corruption::NotUnderstood { sequence: stored_as, error }),
        }
    }

    /// Nothing more is stored.
    pub const fn finish(self) -> End {
        End { head: self.head, torn_tail: self.damaged }
    }

    fn follow(&mut self, stored_as: u64, frame: Frame) -> Result<Step, Corruption> {
        let Frame { epoch, sequence, link, cursor, checksum, .. } = frame;
        if sequence != stored_as {
            return Err(Corruption::Misplaced { stored_as, found: sequence });
        }
        if link != self.head.link {
            return Err(Corruption::ChainBroken { sequence, found: link, expected: self.head.link });
        }
        if epoch < self.head.epoch {
            return Err(Corruption::EpochWentBack { sequence, found: epoch, expected_min: self.head.epoch });
        }
        self.head = Head { epoch, sequence, link: checksum, cursor: cursor.or(self.head.cursor) };
        Ok(Step::Apply(frame))
    }
}

//! Named places where a test stops the process: every point at which something becomes durable, or is about to.
//!
//! The tests in `tests/disaster` kill a server at each of them. Without the feature `failpoints`, which no build for use has,
//! [`reach`] is nothing.

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailPoint {
    /// A frame is encoded, and nothing of it is written.
    FrameEncoded,
    /// The frame is about to be given to the disk.
    FrameWrite,
    /// The frame is durable; the committer does not know it yet.
    FrameSynced,
    /// The committer knows, and has answered nobody.
    BeforeAnswers,
    /// One request of the frame was answered; there may be more.
    BetweenAnswers,
    /// All are answered.
    AfterAnswers,
    /// A checkpoint is about to store images.
    BeforeImages,
    /// A table file of images is on disk, and RocksDB does not know of it.
    ImagesBuilt,
    /// Some images are stored, or terms without their books, or the index still names who needs it no more.
    BetweenImages,
    /// All images that came at once are stored.
    AfterImages,
    /// The images are about to be flushed.
    BeforeFlush,
    /// They are flushed, and the old mark stands.
    AfterFlush,
    /// The mark is durable; the checkpointer does not know it yet.
    MarkSynced,
    /// The checkpointer told the shards that their images are durable.
    AfterMark,
    /// Frames are about to be deleted.
    BeforeForget,
    /// They are deleted.
    AfterForget,
    /// A torn tail is about to be cut off.
    BeforeCut,
    /// It is cut off.
    AfterCut,
    /// A server is about to open its store.
    BeforeOpen,
    /// RocksDB is open; version and epoch are as they were.
    Opened,
    /// The index of an older store is made; its version is still the old one.
    Migrated,
    /// A new version or epoch is in the log, not yet in a table file.
    HeadWritten,
    /// The epoch is raised; the note still names the writer before.
    EpochRaised,
    /// The note is about to take its name.
    NoteWritten,
    /// The store is open.
    AfterOpen,
    /// Requests that a former process left running are about to be ended.
    BeforeOrphans,
    /// They are ended.
    AfterOrphans,
    /// A snapshot is about to be taken.
    BeforeSnapshot,
    /// RocksDB took it; it is not marked as a copy.
    SnapshotTaken,
    /// It is marked.
    SnapshotMarked,
}

/// All of them.
pub const ALL: [FailPoint; 30] = {
    use FailPoint::*;
    [
        FrameEncoded,
        FrameWrite,
        FrameSynced,
        BeforeAnswers,
        BetweenAnswers,
        AfterAnswers,
        BeforeImages,
        ImagesBuilt,
        BetweenImages,
        AfterImages,
        BeforeFlush,
        AfterFlush,
        MarkSynced,
        AfterMark,
        BeforeForget,
        AfterForget,
        BeforeCut,
        AfterCut,
        BeforeOpen,
        Opened,
        Migrated,
        HeadWritten,
        EpochRaised,
        NoteWritten,
        AfterOpen,
        BeforeOrphans,
        AfterOrphans,
        BeforeSnapshot,
        SnapshotTaken,
        SnapshotMarked,
    ]
};

impl FailPoint {
    /// Its name, for crate `fail`.
    pub fn name(self) -> String {
        format!("farebox::{self:?}")
    }
}

/// The process is at this place.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: FailPoint) {
    fail::fail_point!(&point.name());
}

/// The process is at this place.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reach(_: FailPoint) {}

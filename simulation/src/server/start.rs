//! How a server comes back: recovery, the end of orphaned requests, and then service.

use std::collections::{BTreeMap, VecDeque};

use farebox_core::channel::{Command, State, apply};
use farebox_core::journal::{FrameBuilder, Head, encode_event};
use farebox_core::units::UnixSeconds;
use farebox_engine::ledger::{
    Books, CHANNELS_PAGE_MAX, Ledger, LedgerError, LedgerRead, StoredChannel, recover,
};

use super::{POLICY, Server};
use crate::bug::Bug;
use crate::cast::{MemberIndex, index_of};
use crate::disk::Disk;

/// A server that runs, and what it found.
#[derive(Debug)]
pub struct Started {
    /// The server.
    pub server: Server,
    /// Where the journal ended.
    pub found_head: Head,
    /// All channels as they were found, before orphaned requests were ended.
    pub found: BTreeMap<MemberIndex, State>,
    /// All channels as service begins.
    pub books: BTreeMap<MemberIndex, State>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// It died again, after it had found this.
    Died {
        /// Where the journal ended; `None` when it died before it knew.
        found_head: Option<Head>,
        /// What it would have begun with.
        books: BTreeMap<MemberIndex, State>,
        /// What it found.
        found: BTreeMap<MemberIndex, State>,
    },
    /// It says that the books are damaged.
    Refused(LedgerError),
}

impl Server {
    /// Starts on what the disk holds.
    ///
    /// # Errors
    ///
    /// [`StartError`]: it died again, or refuses the disk.
    pub fn start(disk: &Disk, now: UnixSeconds, bug: Option<Bug>) -> Result<Started, StartError> {
        let writer = disk.open();
        if bug == Some(Bug::LoseLastFrame) {
            lose_last_frame(&writer).map_err(StartError::Refused)?;
        }
        let books = recover(&writer).map_err(StartError::Refused)?;
        let stored = read_all(&writer, &books).map_err(StartError::Refused)?;
        let states = |stored: &[StoredChannel]| -> BTreeMap<_, _> {
            stored.iter().map(|stored| (index_of(stored.channel), stored.state.clone())).collect()
        };
        let (found, found_head) = (states(&stored), books.head);
        if books.torn_tail.is_some() && writer.cut_tail(books.head.sequence).is_err() {
            return Err(StartError::Died { found_head: None, books: found.clone(), found });
        }
        let mut server = Server {
            writer,
            residents: BTreeMap::new(),
            out: VecDeque::new(),
            jobs: VecDeque::new(),
            batches: 0,
            head: books.head,
            frame: FrameBuilder::new(),
            cursor: books.head.cursor,
            checkpoint: None,
            generation: 0,
            durable_generation: 0,
            bug,
        };
        let orphaned: Vec<_> = stored.into_iter().filter(|one| !one.state.reservations.is_empty()).collect();
        for changed in books.changed.into_values() {
            server.insert(changed, true);
        }
        let mut released = found.clone();
        if bug == Some(Bug::OrphansKept) {
            return Ok(Started { server, found_head, books: released, found });
        }
        if let Err(error) = server.end_orphans(orphaned, &mut released, now) {
            drop(error);
            return Err(StartError::Died { found_head: Some(found_head), books: released, found });
        }
        Ok(Started { server, found_head, books: released, found })
    }

    /// Ends what ran before, with one frame.
    fn end_orphans(
        &mut self,
        orphaned: Vec<StoredChannel>,
        books: &mut BTreeMap<MemberIndex, State>,
        now: UnixSeconds,
    ) -> Result<(), LedgerError> {
        if orphaned.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        for mut stored in orphaned {
            let released = apply(&stored.state, Command::ReleaseAll, &POLICY, now);
            let released = released.expect("what runs can always be ended");
            for (event, sequence) in released.events.iter().zip(stored.state.sequence + 1..) {
                encode_event(&mut records, stored.channel, sequence, event);
            }
            stored.state = released.next;
            books.insert(index_of(stored.channel), stored.state.clone());
            self.insert(stored, true);
        }
        self.frame.append(&records).expect("some requests of some channels fit a frame");
        self.write_frame()
    }
}

fn read_all(ledger: &impl LedgerRead, books: &Books) -> Result<Vec<StoredChannel>, LedgerError> {
    books.page(ledger, None, CHANNELS_PAGE_MAX)
}

fn lose_last_frame(writer: &impl Ledger) -> Result<(), LedgerError> {
    let standing = writer.standing()?;
    if standing.last_frame > standing.mark.sequence {
        writer.cut_tail(standing.last_frame - 1)
    } else {
        Ok(())
    }
}

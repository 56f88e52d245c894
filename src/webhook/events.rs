//! From the journal to events: which records are told, and where each one is.

use std::path::Path;

use farebox_engine::core::channel::Event as Booked;
use farebox_engine::core::journal::decode;
use farebox_engine::ledger::FRAMES_PAGE_MAX;
use farebox_engine::{LedgerError, LedgerRead, RocksLedger};
use serde_json::Value;

use crate::admin::event_view;

/// Frames that are looked through at once, and events that are held at once.
const FRAMES_MAX: u64 = 8_192;
const EVENTS_MAX: usize = 256;

/// A place in the journal: a record of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) frame: u64,
    pub(super) index: u32,
}

impl Cursor {
    /// The record behind this one.
    pub(super) fn next(self) -> Self {
        Self { index: self.index.saturating_add(1), ..self }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        [&self.frame.to_le_bytes()[..], &self.index.to_le_bytes()[..]].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (frame, index) = bytes.split_at_checked(8)?;
        Some(Self {
            frame: u64::from_le_bytes(frame.try_into().ok()?),
            index: u32::from_le_bytes(index.try_into().ok()?),
        })
    }
}

/// Something that is told.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) cursor: Cursor,
    pub(super) body: String,
}

impl Event {
    /// The same for ever, so that a receiver can tell that it has it already.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.cursor.frame, self.cursor.index)
    }
}

/// What a look found.
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    /// Where the next look begins.
    pub(super) next: Cursor,
    /// True when frames are missing that were not looked at.
    pub(super) gap: bool,
    /// True when the journal has no more now.
    pub(super) is_last: bool,
}

/// The place behind everything that the journal has.
pub(super) fn end(store: &Path) -> Result<Cursor, LedgerError> {
    let last = RocksLedger::open_read_only(store)?.standing()?.last_frame;
    Ok(Cursor { frame: last + 1, index: 0 })
}

/// The events from a place on.
pub(super) fn after(store: &Path, from: Cursor, vouchers: bool) -> Result<Batch, LedgerError> {
    let view = RocksLedger::open_read_only(store)?;
    let mut batch = Batch { events: Vec::new(), next: from, gap: false, is_last: false };
    let mut seen = 0;
    loop {
        let page = view.frames_after(batch.next.frame.saturating_sub(1), FRAMES_PAGE_MAX)?;
        batch.is_last = page.len() < FRAMES_PAGE_MAX;
        for stored in page {
            let Ok(frame) = decode(&stored.bytes) else {
                // A torn last frame: it may become whole, or be replaced.
                batch.is_last = true;
                return Ok(batch);
            };
            let expected = batch.next.frame.max(1);
            batch.gap |= stored.sequence > expected;
            let first = if stored.sequence == from.frame { from.index } else { 0 };
            for (index, record) in (0_u32..).zip(&frame.records).skip(first as usize) {
                if is_told(&record.event, vouchers) {
                    let cursor = Cursor { frame: stored.sequence, index };
                    batch.events.push(told(cursor, record));
                }
            }
            batch.next = Cursor { frame: stored.sequence + 1, index: 0 };
            seen += 1;
            if batch.events.len() >= EVENTS_MAX || seen >= FRAMES_MAX {
                batch.is_last = false;
                return Ok(batch);
            }
        }
        if batch.is_last {
            return Ok(batch);
        }
    }
}

/// What moves money on chain or ends a channel; and, if wanted, every voucher and charge.
const fn is_told(event: &Booked, vouchers: bool) -> bool {
    match event {
        Booked::Opened { .. }
        | Booked::ToppedUp { .. }
        | Booked::CloseRequested { .. }
        | Booked::CloseRequestCancelled { .. }
        | Booked::Settled { .. }
        | Booked::CloseStarted { .. }
        | Booked::CloseAborted
        | Booked::Closed { .. } => true,
        Booked::Accepted { .. } | Booked::Charged { .. } | Booked::Captured { .. } => vouchers,
        Booked::VoucherKept { .. }
        | Booked::Reserved { .. }
        | Booked::Released { .. }
        | Booked::Retired { .. } => false,
    }
}

fn told(cursor: Cursor, record: &farebox_engine::core::journal::Record) -> Event {
    let mut body = event_view(cursor.frame, record);
    let mut event = Event { cursor, body: String::new() };
    body["id"] = event.id().into();
    body["channelId"] = record.channel.to_string().into();
    event.body = Value::to_string(&body);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back() {
        let cursor = Cursor { frame: 7, index: 3 };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        assert_eq!(Cursor::decode(b"short"), None);
        assert_eq!(Cursor::decode(&[0; 13]), None);
    }
}

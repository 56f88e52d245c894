//! A channel's own history, read from the journal beside the running writer.
//!
//! The journal is in the order of time, not of channels, so its last part is looked through for the one that is asked for.
//! That part is bounded, and the answer says where it begins.

use std::collections::VecDeque;
use std::path::Path;

use farebox_engine::core::channel::{ChainPosition, Event};
use farebox_engine::core::journal::{Record, decode};
use farebox_engine::core::units::ChannelId;
use farebox_engine::ledger::FRAMES_PAGE_MAX;
use farebox_engine::{LedgerError, LedgerRead, RocksLedger};
use serde_json::{Value, json};

/// Frames that are looked through, from the end.
const FRAMES_MAX: u64 = 20_000;
/// Events of one answer: the newest.
const EVENTS_MAX: usize = 1_000;

/// What the journal tells of a channel. It blocks while it reads.
pub fn history(store: &Path, channel: ChannelId) -> Result<Value, LedgerError> {
    let view = RocksLedger::open_read_only(store)?;
    let last = view.standing()?.last_frame;
    let mut after = last.saturating_sub(FRAMES_MAX);
    let mut first = None;
    let mut events = VecDeque::new();
    let mut left_out = 0_u64;
    loop {
        let page = view.frames_after(after, FRAMES_PAGE_MAX)?;
        let is_last = page.len() < FRAMES_PAGE_MAX;
        for stored in page {
            first.get_or_insert(stored.sequence);
            after = stored.sequence;
            // A torn last frame was never acknowledged, and damage is the business of `farebox check`.
            let Ok(frame) = decode(&stored.bytes) else { continue };
            for record in frame.records.iter().filter(|record| record.channel == channel) {
                if events.len() == EVENTS_MAX {
                    events.pop_front();
                    left_out += 1;
                }
                events.push_back(event(stored.sequence, record));
            }
        }
        if is_last {
            break;
        }
    }
    Ok(json!({
        "channelId": channel.to_string(),
        "fromFrame": first,
        "toFrame": last,
        "leftOut": left_out,
        "events": events,
    }))
}

/// One event as JSON. Signatures stay where they are: with one, money can be claimed.
pub fn event(frame: u64, record: &Record) -> Value {
    let place = |position: &ChainPosition| json!({ "block": position.block, "log": position.log_index });
    let (name, mut told) = match &record.event {
        Event::Opened { deposit, settled, position, .. } => (
            "opened",
            json!({ "deposit": deposit.to_string(), "settled": settled.to_string(), "position": place(position) }),
        ),
        Event::Accepted { amount, .. } => ("accepted", json!({ "amount": amount.to_string() })),
        Event::VoucherKept { amount, .. } => ("voucher kept", json!({ "amount": amount.to_string() })),
        Event::Charged { amount, units, .. } => {
            ("charged", json!({ "amount": amount.to_string(), "units": units }))
        }
        Event::Reserved { amount, .. } => ("reserved", json!({ "amount": amount.to_string() })),
        Event::Captured { amount, units, .. } => {
            ("captured", json!({ "amount": amount.to_string(), "units": units }))
        }
        Event::Released { .. } => ("released", json!({})),
        Event::ToppedUp { deposit } => ("topped up", json!({ "deposit": deposit.to_string() })),
        Event::CloseRequested { position, .. } => ("close requested", json!({ "position": place(position) })),
        Event::CloseRequestCancelled { position } => {
            ("close request cancelled", json!({ "position": place(position) }))
        }
        Event::Settled { settled } => ("settled", json!({ "settled": settled.to_string() })),
        Event::CloseStarted { capture } => ("close started", json!({ "capture": capture.to_string() })),
        Event::CloseAborted => ("close aborted", json!({})),
        Event::Closed { captured, refunded, position, .. } => (
            "closed",
            json!({
                "captured": captured.to_string(), "refunded": refunded.to_string(), "position": place(position),
            }),
        ),
        Event::Retired { .. } => ("retired", json!({})),
    };
    told["event"] = name.into();
    told["frame"] = frame.into();
    told["sequence"] = record.sequence.into();
    told["at"] = record.event.at().map(|at| at.0).into();
    told
}

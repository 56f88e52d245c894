//! What an operator is woken up for, by name, in words, with the page of the manual that says what to do.

use farebox_engine::Health;
use serde_json::{Value, json};

use super::figures::Figures;

/// Figures that must stay at zero: the series' name, how bad it is, what it means, what to do.
const FIGURES: [(&str, &str, &str, &str); 9] = [
    (
        "farebox_alarms_total",
        "error",
        "The chain paid out more than these books charged",
        "Somebody else settled, or the books are older than the chain: stop, and compare with farebox restore --reconcile.",
    ),
    (
        "farebox_close_requests_late_total",
        "error",
        "A close request was not claimed in the first third of its grace period",
        "Look at the nodes and at the fee balance of the signing account; the log names the channel.",
    ),
    (
        "farebox_close_mismatch_total",
        "error",
        "A close paid other amounts than were claimed",
        "The log names the channel and both amounts; compare with the chain.",
    ),
    (
        "farebox_close_requests_unanswerable_total",
        "error",
        "A close request cannot be answered with the key that is here",
        "Start with the key of the channel's payee or operator before the grace period ends.",
    ),
    (
        "farebox_key_failures",
        "error",
        "The key service does not sign claims",
        "The log says why. Claims wait for it; mend it before the oldest close request's grace period ends.",
    ),
    (
        "farebox_claims_refused_total",
        "warning",
        "The chain refused claims; their channels are set apart",
        "The log says why: a blocked payer, a paused token. They are tried again.",
    ),
    (
        "farebox_watcher_refused_facts_total",
        "error",
        "The books refused what the chain said",
        "Books and chain disagree: farebox check, then compare.",
    ),
    (
        "farebox_watcher_bad_events_total",
        "warning",
        "An escrow's event could not be read",
        "The node may be damaged, or the escrow is another contract.",
    ),
    (
        "farebox_webhook_gaps_total",
        "error",
        "Money events were deleted from the journal before they were sent",
        "Compare the receiver with farebox export; keep the journal for longer ([books] journal_keep_days).",
    ),
];

/// Everything that is wrong now, or went wrong since the start.
pub fn of(figures: &Figures, health: &Health, wrong: &[(&'static str, String)]) -> Value {
    let mut alarms = Vec::new();
    match health {
        Health::Running => {}
        Health::Poisoned { cause } => alarms.push(json!({
            "name": "ledger", "level": "error", "what": format!("The books are poisoned: {cause}"),
            "fix": "Nothing is acknowledged any more. Repair the disk, then restart: nothing acknowledged is lost.",
        })),
        Health::Stopping | Health::Stopped => alarms.push(json!({
            "name": "ledger", "level": "warning", "what": "The server is stopping", "fix": "",
        })),
    }
    alarms.extend(wrong.iter().map(|(name, what)| {
        json!({ "name": name, "level": "error", "what": what, "fix": "See the chain's nodes and the log." })
    }));
    alarms.extend(FIGURES.iter().filter_map(|(name, level, what, fix)| {
        let count = figures.sum(name);
        (count > 0.0)
            .then(|| json!({ "name": name, "level": level, "what": what, "fix": fix, "count": count }))
    }));
    alarms.into()
}

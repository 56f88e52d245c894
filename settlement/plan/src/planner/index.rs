//! Whom to look at next: an order by time and an order by value, instead of a scan.
//!
//! Every change of a channel tells the index when time alone may change its decision, and what waits there. Finding
//! who is due takes steps for those that are due, however many channels there are.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use farebox_core::units::{Amount, ChannelId, UnixSeconds};

use super::account::Account;
use super::decision::{Decision, decide};
use super::policy::{Market, Policy};

/// The channels that may become due, by time and by what waits.
#[derive(Clone, Debug, Default)]
pub struct DueIndex {
    by_time: BTreeSet<(UnixSeconds, ChannelId)>,
    by_value: BTreeSet<(Amount, ChannelId)>,
    entries: BTreeMap<ChannelId, Entry>,
    /// What waits in all channels together.
    waits_total: Amount,
    /// Entries that were looked at to answer questions.
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    look_at: Option<UnixSeconds>,
    waits: Amount,
}

impl DueIndex {
    /// An index of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A channel is new or has changed.
    pub fn note(&mut self, account: &Account, policy: &Policy, market: &Market) {
        let look_at = match decide(account, policy, market, false) {
            Decision::Claim { .. } => Some(market.now),
            Decision::Leave { look_at, .. } => look_at,
        };
        self.put(account.channel, look_at, account.settle_gain());
    }

    /// Says when to look at a channel, and what waits there. Without either it is forgotten.
    pub fn put(&mut self, channel: ChannelId, look_at: Option<UnixSeconds>, waits: Amount) {
        self.forget(channel);
        if look_at.is_none() && waits.is_zero() {
            return;
        }
        self.entries.insert(channel, Entry { look_at, waits });
        if let Some(at) = look_at {
            self.by_time.insert((at, channel));
        }
        if !waits.is_zero() {
            self.by_value.insert((waits, channel));
            self.waits_total = Amount::new(self.waits_total.get().saturating_add(waits.get()));
        }
    }

    /// A channel needs nobody any more.
    pub fn forget(&mut self, channel: ChannelId) {
        let Some(Entry { look_at, waits }) = self.entries.remove(&channel) else { return };
        if let Some(at) = look_at {
            self.by_time.remove(&(at, channel));
        }
        if !waits.is_zero() {
            self.by_value.remove(&(waits, channel));
            self.waits_total = self.waits_total.saturating_sub(waits);
        }
    }

    /// The channels that are due at `now`, the longest due first, at most `max`.
    pub fn due(&mut self, now: UnixSeconds, max: usize) -> Vec<ChannelId> {
        let due: Vec<_> =
            self.by_time.iter().take(max).take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        self.steps += due.len() as u64 + 1;
        due
    }

    /// The channels with most, so many that what waits in the others is not above `waits_max`, at most `max`. Zero
    /// is no bound.
    pub fn exposed(&mut self, waits_max: Amount, max: usize) -> Vec<ChannelId> {
        let mut exposed = Vec::new();
        let mut left = self.waits_total;
        if waits_max.is_zero() {
            return exposed;
        }
        for (waits, channel) in self.by_value.iter().rev().take(max) {
            if left <= waits_max {
                break;
            }
            self.steps += 1;
            exposed.push(*channel);
            left = left.saturating_sub(*waits);
        }
        exposed
    }

    /// When somebody is due next.
    pub fn next(&self) -> Option<UnixSeconds> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// What waits in all channels together.
    pub const fn waits_total(&self) -> Amount {
        self.waits_total
    }

    /// How many channels it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries were looked at to answer questions, ever: the work, for tests and metrics.
    pub const fn steps(&self) -> u64 {
        self.steps
    }
}

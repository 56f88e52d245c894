//! What all channels come to: sums, the oldest unsettled value, who pays most. Kept beside the books and never asked by
//! anybody who decides about money.
//!
//! It holds one row for each channel, so that a change moves the sums by what changed. Rows are bounded; of larger books
//! it says that its figures are of a part.

use std::collections::HashMap;

use farebox_engine::Channel;
use farebox_engine::core::channel::{Phase, Snapshot};
use farebox_engine::core::units::{Address, ChannelId, UnixSeconds};

/// The most channels that have a row: about 50 MB.
pub const ROWS_MAX: usize = 1 << 18;

/// Where a channel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It takes vouchers.
    Open,
    /// Its payer asked on chain to close it.
    CloseAsked,
    /// A close is on its way.
    Closing,
    /// It is over.
    Closed,
}

impl Stage {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::CloseAsked => "close asked",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// What is known of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who pays.
    pub payer: Address,
    /// Where it is in its life.
    pub stage: Stage,
    /// The money.
    pub money: Money,
    /// Since when something that was spent waits for its settlement.
    pub unsettled_since: Option<UnixSeconds>,
    /// When its payer asked on chain to close it.
    pub close_asked_at: Option<UnixSeconds>,
    /// When it was last used.
    pub active_at: UnixSeconds,
}

/// Amounts of one channel, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money {
    /// What the escrow holds, or held.
    pub deposit: u128,
    /// The highest vouchers.
    pub accepted: u128,
    /// What was charged.
    pub spent: u128,
    /// What the payee got on chain.
    pub settled: u128,
    /// What the payers got back.
    pub refunded: u128,
    /// What was spent and could not be claimed.
    pub lost: u128,
    /// What was spent or set aside in channels that are not over, and is not settled.
    pub exposure: u128,
}

impl Money {
    /// Sums stay at the top when they would overflow: deposits are tokens that exist, so they do not.
    fn add(&mut self, other: &Self) {
        self.each(other, u128::saturating_add);
    }

    fn take(&mut self, other: &Self) {
        self.each(other, u128::saturating_sub);
    }

    fn each(&mut self, other: &Self, change: fn(u128, u128) -> u128) {
        self.deposit = change(self.deposit, other.deposit);
        self.accepted = change(self.accepted, other.accepted);
        self.spent = change(self.spent, other.spent);
        self.settled = change(self.settled, other.settled);
        self.refunded = change(self.refunded, other.refunded);
        self.lost = change(self.lost, other.lost);
        self.exposure = change(self.exposure, other.exposure);
    }
}

impl From<&Channel> for Row {
    fn from(channel: &Channel) -> Self {
        let Snapshot { phase, deposit, settled, accepted, spent, reserved, .. } = channel.snapshot;
        let mut money = Money {
            deposit: deposit.get(),
            accepted: accepted.get(),
            spent: spent.get(),
            settled: settled.get(),
            ..Money::default()
        };
        let stage = match phase {
            Phase::Closed(closure) => {
                money.settled = closure.captured.get();
                money.refunded = closure.refunded.get();
                money.lost = closure.lost.get();
                Stage::Closed
            }
            Phase::Closing { .. } => Stage::Closing,
            Phase::Open if channel.snapshot.close_requested_at.is_some() => Stage::CloseAsked,
            Phase::Open => Stage::Open,
        };
        if stage != Stage::Closed {
            money.exposure = spent.get().saturating_add(reserved.get()).saturating_sub(settled.get());
        }
        Self {
            payer: channel.identity.payer(),
            stage,
            money,
            unsettled_since: channel.snapshot.unsettled_since.filter(|_| stage != Stage::Closed),
            close_asked_at: channel.snapshot.close_requested_at.filter(|_| stage != Stage::Closed),
            active_at: channel.snapshot.active_at,
        }
    }
}

/// How many channels are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taking vouchers.
    pub open: u64,
    /// On their way to be closed, by the payer or by us.
    pub closing: u64,
    /// Over.
    pub closed: u64,
}

impl Counts {
    fn of(&mut self, stage: Stage) -> &mut u64 {
        match stage {
            Stage::Open => &mut self.open,
            Stage::CloseAsked | Stage::Closing => &mut self.closing,
            Stage::Closed => &mut self.closed,
        }
    }
}

/// All channels.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    rows: HashMap<ChannelId, Row>,
    money: Money,
    counts: Counts,
    is_partial: bool,
}

impl Tally {
    /// Notes how a channel is now.
    pub fn put(&mut self, channel: &Channel) {
        let row = Row::from(channel);
        if let Some(before) = self.rows.get(&channel.id) {
            self.money.take(&before.money);
            *self.counts.of(before.stage) -= 1;
        } else if self.rows.len() >= ROWS_MAX {
            self.is_partial = true;
            return;
        }
        self.money.add(&row.money);
        *self.counts.of(row.stage) += 1;
        self.rows.insert(channel.id, row);
    }

    /// Forgets a channel that was retired. What it came to stays in the sums.
    pub fn retire(&mut self, channel: ChannelId) {
        self.rows.remove(&channel);
    }

    /// The sums.
    pub const fn money(&self) -> &Money {
        &self.money
    }

    /// How many channels are where.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// True when there are more channels than rows.
    pub const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// How long the oldest unsettled value waits, in seconds.
    pub fn oldest_s(&self, now: UnixSeconds) -> u64 {
        let oldest = self.rows.values().filter_map(|row| row.unsettled_since).min();
        oldest.map_or(0, |since| now.0.saturating_sub(since.0))
    }

    /// The channels that spent most, at most `max`.
    pub fn top_channels(&self, max: usize) -> Vec<(ChannelId, Row)> {
        most(self.rows.iter().map(|(id, row)| (*id, *row)), max, |(id, row)| (row.money.spent, *id))
    }

    /// The payers that spent most, at most `max`: their money, and how many channels they have.
    pub fn top_payers(&self, max: usize) -> Vec<(Address, Money, u64)> {
        let mut payers: HashMap<Address, (Money, u64)> = HashMap::new();
        for row in self.rows.values() {
            let (money, channels) = payers.entry(row.payer).or_default();
            money.add(&row.money);
            *channels += 1;
        }
        let payers = payers.into_iter().map(|(payer, (money, channels))| (payer, money, channels));
        most(payers, max, |(payer, money, _)| (money.spent, *payer))
    }

    /// The channels for which something has to be done on chain: close requests by deadline, then closes, then what waits
    /// for long. At most `max`, and how many there are.
    pub fn queue(&self, max: usize) -> (Vec<(ChannelId, Row)>, usize) {
        let waits =
            self.rows.iter().filter(|(_, row)| row.close_asked_at.is_some() || row.money.exposure > 0);
        let mut waits: Vec<_> = waits.map(|(id, row)| (*id, *row)).collect();
        let count = waits.len();
        let rank = |(id, row): &(ChannelId, Row)| {
            let kind = match (row.close_asked_at, row.stage) {
                (Some(_), _) => 0,
                (None, Stage::Closing) => 1,
                _ => 2,
            };
            (kind, row.close_asked_at.or(row.unsettled_since).map_or(u64::MAX, |at| at.0), *id)
        };
        if count > max {
            waits.select_nth_unstable_by_key(max, rank);
            waits.truncate(max);
        }
        waits.sort_unstable_by_key(rank);
        (waits, count)
    }
}

/// The largest `max`, the largest first.
fn most<T, K: Ord>(all: impl Iterator<Item = T>, max: usize, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    let largest = |one: &T, other: &T| key(other).cmp(&key(one));
    if all.len() > max {
        all.select_nth_unstable_by(max, largest);
        all.truncate(max);
    }
    all.sort_unstable_by(largest);
    all
}

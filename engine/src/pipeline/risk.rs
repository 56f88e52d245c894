//! The operator's limits where they meet the books: asked after a decision, before its events are in force.
//!
//! Each shard has a [`Guard`]; what sums over channels is kept in one table for all shards. A step first takes what it
//! would add to the sums, and only then is done, so no order of steps on any threads exceeds them: what is not free is
//! refused. Once taken, nothing in between can fail. At the start the table is made from the books.
//!
//! Without limits a guard looks at nothing.

use std::collections::HashMap;
use std::sync::Arc;

use farebox_core::channel::{Event, Exposure, Limit, Limits, Party, Rejection, State, UnixMicros};
use farebox_core::units::{Address, Amount};
use metrics::{counter, gauge};
use parking_lot::Mutex;

use super::live_limits::LiveLimits;
use super::residents::Resident;
use crate::clock::Clock;

/// Parts of the table of payers, each with its own lock: shards seldom wait for each other.
const STRIPES: usize = 64;

/// What one shard asks.
#[derive(Debug)]
pub(super) struct Guard {
    limits: Limits,
    unsettled: Option<Arc<Unsettled>>,
    is_on: bool,
    /// Which of the live limits these are.
    version: u64,
    now: UnixMicros,
}

impl Guard {
    pub(super) fn new(limits: Limits, unsettled: Option<Arc<Unsettled>>) -> Self {
        let is_on = !limits.is_off();
        Self { limits, unsettled, is_on, version: 0, now: UnixMicros::default() }
    }

    /// Takes the limits that the service exchanged, if it did.
    pub(super) fn refresh(&mut self, live: &LiveLimits) {
        let version = live.version();
        if version != self.version {
            self.limits = (*live.get()).clone();
            self.is_on = !self.limits.is_off();
            self.version = version;
        }
    }

    /// A batch begins.
    pub(super) fn begin(&mut self, clock: &dyn Clock) {
        if self.is_on {
            self.now = UnixMicros::from_millis(clock.unix_millis());
        }
    }

    /// A batch ended.
    pub(super) fn report(&self) {
        if let Some(unsettled) = &self.unsettled {
            gauge!("farebox_unsettled_base_units").set(unsettled.total() as f64);
        }
    }

    /// When this batch began; zero without limits.
    pub(super) fn now(&self) -> UnixMicros {
        self.now
    }

    /// Refuses a new channel.
    pub(super) fn check_deposit(&self, deposit: Amount) -> Result<(), Rejection> {
        self.limits.check_deposit(deposit)
    }

    /// What [`Guard::pass`] would surely refuse of a voucher whose signature nobody looked at yet.
    pub(super) fn foretell(&self, resident: &Resident, amount: Amount) -> Option<Rejection> {
        if !self.is_on {
            return None;
        }
        let accepted = resident.state.accepted;
        self.limits.foretell(party(resident), accepted, amount, resident.bucket, self.now)
    }

    /// Asks whether the events of a decision may come into force, and takes what they need. They must, then.
    pub(super) fn pass(
        &self,
        resident: &mut Resident,
        may_buy: bool,
        events: &[Event],
    ) -> Result<(), Rejection> {
        if !self.is_on || events.is_empty() {
            return Ok(());
        }
        let state = &resident.state;
        let bucket = if may_buy {
            self.limits.check(state, party(resident), events, resident.bucket, self.now)?
        } else {
            resident.bucket
        };
        if let Some(unsettled) = &self.unsettled {
            let exposure = self.limits.foresee(state, events);
            unsettled.shift(resident.identity.payer(), exposure, may_buy)?;
        }
        resident.bucket = bucket;
        Ok(())
    }
}

fn party(resident: &Resident) -> Party {
    let State { signer, channel_id: channel, .. } = resident.state;
    Party { payer: Some(resident.identity.payer()), signer, channel }
}

/// Steps that a limit refused.
pub(crate) fn report_limited(limit: Limit, count: u64) {
    if count > 0 {
        counter!("farebox_limited_total", "reason" => limit.name()).increment(count);
    }
}

/// The unsettled value of every payer, and of all.
#[derive(Debug)]
pub(super) struct Unsettled {
    payer_max: Amount,
    total_max: Amount,
    /// By the payer's last byte. Locked before `total`, always.
    payers: [Mutex<HashMap<Address, u128>>; STRIPES],
    total: Mutex<u128>,
}

impl Unsettled {
    /// An empty table; `None` when no limit needs one.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        limits.has_sums().then(|| Self {
            payer_max: limits.unsettled_payer_max.unwrap_or(Amount::MAX),
            total_max: limits.unsettled_total_max.unwrap_or(Amount::MAX),
            payers: std::array::from_fn(|_| Mutex::default()),
            total: Mutex::default(),
        })
    }

    /// What all payers owe.
    pub(super) fn total(&self) -> u128 {
        *self.total.lock()
    }

    /// Adds a channel of the books, whatever the limits say: it is owed.
    pub(super) fn add(&self, payer: Address, value: Amount) {
        let added = self.shift(payer, Exposure { before: Amount::ZERO, after: value }, false);
        debug_assert_eq!(added, Ok(()));
    }

    /// Moves a payer's value by what a channel of his moves. More than the limits is refused, if `is_bounded`, and then
    /// nothing is moved; less never is. Sums stay at the top when they would overflow: deposits are tokens that
    /// exist, so they do not.
    fn shift(&self, payer: Address, exposure: Exposure, is_bounded: bool) -> Result<(), Rejection> {
        let Exposure { before, after } = exposure;
        if before == after {
            return Ok(());
        }
        let mut payers = self.payers[usize::from(payer.0[19]) % STRIPES].lock();
        let owed = payers.get(&payer).copied().unwrap_or_default();
        let mut total = self.total.lock();
        if after < before {
            let less = before.saturating_sub(after).get();
            match owed.saturating_sub(less) {
                0 => payers.remove(&payer),
                rest => payers.insert(payer, rest),
            };
            *total = total.saturating_sub(less);
            return Ok(());
        }
        let more = after.saturating_sub(before).get();
        let (payer_next, total_next) = (owed.saturating_add(more), total.saturating_add(more));
        if is_bounded && payer_next > self.payer_max.get() {
            return Err(Rejection::UnsettledPayer);
        }
        if is_bounded && total_next > self.total_max.get() {
            return Err(Rejection::UnsettledTotal);
        }
        payers.insert(payer, payer_next);
        *total = total_next;
        Ok(())
    }

    #[cfg(test)]
    fn of(&self, payer: Address) -> u128 {
        let payers = self.payers[usize::from(payer.0[19]) % STRIPES].lock();
        payers.get(&payer).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn limits(payer: u128, total: u128) -> Limits {
        Limits {
            unsettled_payer_max: Some(Amount::new(payer)),
            unsettled_total_max: Some(Amount::new(total)),
            ..Limits::default()
        }
    }

    fn exposure(before: u128, after: u128) -> Exposure {
        Exposure { before: Amount::new(before), after: Amount::new(after) }
    }

    fn payer(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    #[test]
    fn a_payer_stops_at_his_limit_and_all_at_theirs() {
        let table = Unsettled::new(&limits(10, 15)).unwrap();
        table.shift(payer(1), exposure(0, 10), true).unwrap();
        assert_eq!(table.shift(payer(1), exposure(0, 1), true), Err(Rejection::UnsettledPayer));
        table.shift(payer(2), exposure(0, 5), true).unwrap();
        assert_eq!(table.shift(payer(2), exposure(5, 6), true), Err(Rejection::UnsettledTotal));
        assert_eq!((table.of(payer(1)), table.of(payer(2)), table.total()), (10, 5, 15));
        table.shift(payer(1), exposure(10, 9), true).unwrap();
        table.shift(payer(2), exposure(5, 6), true).unwrap();
        assert_eq!(table.total(), 15);
    }

    #[test]
    fn what_ends_things_is_never_refused_and_a_payer_without_debts_is_forgotten() {
        let table = Unsettled::new(&limits(10, 15)).unwrap();
        table.add(payer(1), Amount::new(40));
        table.shift(payer(1), exposure(40, 50), false).unwrap();
        table.shift(payer(1), exposure(50, 20), true).unwrap();
        assert_eq!(table.shift(payer(1), exposure(20, 21), true), Err(Rejection::UnsettledPayer));
        assert_eq!(table.shift(payer(2), exposure(0, 1), true), Err(Rejection::UnsettledTotal));
        table.shift(payer(1), exposure(20, 0), false).unwrap();
        assert_eq!(table.total(), 0);
        assert!(table.payers.iter().all(|stripe| stripe.lock().is_empty()));
    }

    #[test]
    fn no_table_without_a_limit() {
        assert!(Unsettled::new(&Limits::default()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        /// Threads that move channels at the same time: a watcher never sees more than the limit, and in the end
        /// the table is what the channels are.
        #[test]
        fn no_interleaving_exceeds_the_limits(
            moves in proptest::collection::vec(
                proptest::collection::vec((0..3_usize, 0_u128..40), 200..400), 4..5,
            ),
        ) {
            let table = Unsettled::new(&limits(60, 100)).unwrap();
            let is_over = AtomicBool::new(false);
            let (sums, seen) = thread::scope(|scope| {
                let watcher = scope.spawn(|| {
                    let mut most = (0, 0);
                    while !is_over.load(Ordering::SeqCst) {
                        let payers = (0..3).map(|number| table.of(payer(number))).max();
                        most = (most.0.max(payers.unwrap_or_default()), most.1.max(table.total()));
                    }
                    most
                });
                // Each thread has a channel of every payer.
                let workers: Vec<_> = moves
                    .iter()
                    .map(|moves| {
                        let table = &table;
                        scope.spawn(move || {
                            let mut values = [0; 3];
                            for (which, next) in moves {
                                let shift = exposure(values[*which], *next);
                                let who = payer(u8::try_from(*which).unwrap());
                                if table.shift(who, shift, true).is_ok() {
                                    values[*which] = *next;
                                }
                            }
                            values
                        })
                    })
                    .collect();
                let values: Vec<[u128; 3]> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
                is_over.store(true, Ordering::SeqCst);
                let sums: [u128; 3] = std::array::from_fn(|which| values.iter().map(|value| value[which]).sum());
                (sums, watcher.join().unwrap())
            });
            prop_assert!(seen.0 <= 60 && seen.1 <= 100, "{:?}", seen);
            for (number, sum) in (0..3).zip(sums) {
                prop_assert_eq!(table.of(payer(number)), sum);
            }
            prop_assert_eq!(table.total(), sums.iter().sum::<u128>());
        }
    }
}

//! How often credentials may fail: a bucket for each client address and each channel, in bounded memory.
//!
//! A credential that cannot be right costs us parsing, a hash and perhaps a signature; its sender next to nothing. Who
//! fails too often is turned away by a look at a table. Addresses count for every failure. Channels count only for
//! failures that their own payer made (his signature held), or a stranger could lock a payer out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;

use farebox_core::units::ChannelId;
use parking_lot::Mutex;

/// The most entries of one table. Beyond it the oldest are forgiven.
const ENTRIES_MAX: usize = 1 << 16;
/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60_000;

/// How many failures are forgiven, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRate {
    per_minute: NonZeroU64,
    burst: NonZeroU64,
}

impl FailureRate {
    /// So many failures a minute, so many at once; `None`, no limit, when either is zero.
    pub fn new(per_minute: u64, burst: u64) -> Option<Self> {
        Some(Self { per_minute: NonZeroU64::new(per_minute)?, burst: NonZeroU64::new(burst)? })
    }

    /// What one failure costs, in milliseconds of patience.
    fn cost_ms(&self) -> u64 {
        MINUTE_MS.div_ceil(self.per_minute.get())
    }

    /// The patience of a full bucket.
    fn full_ms(&self) -> u64 {
        self.cost_ms().saturating_mul(self.burst.get())
    }
}

/// The tables of a door.
#[derive(Debug)]
pub(super) struct Failures {
    rate: Option<FailureRate>,
    addresses: Mutex<Table<IpAddr>>,
    channels: Mutex<Table<ChannelId>>,
}

impl Failures {
    pub(super) fn new(rate: Option<FailureRate>) -> Self {
        Self { rate, addresses: Mutex::default(), channels: Mutex::default() }
    }

    /// In how many milliseconds this address is heard again; `None` when it is now.
    pub(super) fn address_waits(&self, address: Option<IpAddr>, now_ms: u64) -> Option<u64> {
        let rate = self.rate?;
        self.addresses.lock().waits(&group(address?), rate, now_ms)
    }

    /// The same for a channel.
    pub(super) fn channel_waits(&self, channel: ChannelId, now_ms: u64) -> Option<u64> {
        let rate = self.rate?;
        self.channels.lock().waits(&channel, rate, now_ms)
    }

    /// A credential from this address failed.
    pub(super) fn address_failed(&self, address: Option<IpAddr>, now_ms: u64) {
        if let (Some(rate), Some(address)) = (self.rate, address) {
            self.addresses.lock().failed(group(address), rate, now_ms);
        }
    }

    /// A voucher of this channel's own signer failed.
    pub(super) fn channel_failed(&self, channel: ChannelId, now_ms: u64) {
        if let Some(rate) = self.rate {
            self.channels.lock().failed(channel, rate, now_ms);
        }
    }
}

/// How many requests may come; the same buckets as for failures.
pub type RequestRate = FailureRate;

/// Counts requests: those of an address whatever they bring, those of a channel when its own voucher was taken.
#[derive(Debug)]
pub(super) struct Requests(Failures);

impl Requests {
    pub(super) fn new(rate: Option<RequestRate>) -> Self {
        Self(Failures::new(rate))
    }

    /// Counts a request of this address; in how many milliseconds it may ask again, if it asked too often.
    pub(super) fn of_address(&self, address: Option<IpAddr>, now_ms: u64) -> Option<u64> {
        let wait = self.0.address_waits(address, now_ms);
        if wait.is_none() {
            self.0.address_failed(address, now_ms);
        }
        wait
    }

    /// In how many milliseconds this channel may pay again.
    pub(super) fn channel_waits(&self, channel: ChannelId, now_ms: u64) -> Option<u64> {
        self.0.channel_waits(channel, now_ms)
    }

    /// A voucher of this channel was taken.
    pub(super) fn of_channel(&self, channel: ChannelId, now_ms: u64) {
        self.0.channel_failed(channel, now_ms);
    }
}

/// Who shares a bucket: an IPv4 address, or the /64 that one IPv6 customer has.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// For each key the moment at which all its failures are forgiven. Two generations: when the younger is full it becomes
/// the older one, and what was older is forgiven. No sweep, no timer.
#[derive(Debug)]
struct Table<K> {
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash> Table<K> {
    fn forgiven_at(&self, key: &K) -> u64 {
        self.young.get(key).or_else(|| self.old.get(key)).copied().unwrap_or(0)
    }

    fn waits(&self, key: &K, rate: FailureRate, now_ms: u64) -> Option<u64> {
        if self.young.is_empty() && self.old.is_empty() {
            return None;
        }
        let debt = self.forgiven_at(key).saturating_sub(now_ms);
        let allowed = rate.full_ms() - rate.cost_ms();
        debt.checked_sub(allowed).filter(|wait| *wait > 0)
    }

    fn failed(&mut self, key: K, rate: FailureRate, now_ms: u64) {
        let debt = self.forgiven_at(&key).saturating_sub(now_ms).saturating_add(rate.cost_ms());
        if self.young.len() >= ENTRIES_MAX / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, now_ms.saturating_add(debt.min(rate.full_ms())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn failures(per_minute: u64, burst: u64) -> Failures {
        Failures::new(FailureRate::new(per_minute, burst))
    }

    #[test]
    fn a_burst_is_forgiven_and_then_one_at_a_time() {
        let failures = failures(60, 3);
        let address: Option<IpAddr> = Some("192.0.2.1".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(failures.address_waits(address, NOW), None);
            failures.address_failed(address, NOW);
        }
        assert_eq!(failures.address_waits(address, NOW), Some(1_000));
        assert_eq!(failures.address_waits(Some("192.0.2.2".parse().unwrap()), NOW), None);
        assert_eq!(failures.address_waits(address, NOW + 999), Some(1));
        assert_eq!(failures.address_waits(address, NOW + 1_000), None);
        failures.address_failed(address, NOW + 1_000);
        assert_eq!(failures.address_waits(address, NOW + 1_000), Some(1_000));
        assert_eq!(failures.address_waits(address, NOW + 4_000), None, "all is forgiven");
    }

    #[test]
    fn a_customer_has_one_bucket() {
        let failures = failures(60, 1);
        let address = |text: &str| Some(text.parse().unwrap());
        failures.address_failed(address("2001:db8::1"), NOW);
        assert!(failures.address_waits(address("2001:db8::2"), NOW).is_some(), "the same /64");
        assert!(failures.address_waits(address("2001:db8:0:1::2"), NOW).is_none());
        failures.address_failed(address("::ffff:192.0.2.1"), NOW);
        assert!(failures.address_waits(address("192.0.2.1"), NOW).is_some(), "the same host");
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_are_kept() {
        let failures = failures(1, 1);
        for index in 0..200_000_u32 {
            failures.address_failed(Some(IpAddr::V4(index.into())), NOW);
        }
        let table = failures.addresses.lock();
        assert!(table.young.len() + table.old.len() <= ENTRIES_MAX);
        drop(table);
        assert!(failures.address_waits(Some(IpAddr::V4(199_999.into())), NOW).is_some());
        assert!(failures.address_waits(Some(IpAddr::V4(0.into())), NOW).is_none());
    }

    #[test]
    fn requests_are_counted_as_they_come() {
        let requests = Requests::new(RequestRate::new(60, 2));
        let address: Option<IpAddr> = Some("192.0.2.1".parse().unwrap());
        assert_eq!(requests.of_address(address, NOW), None);
        assert_eq!(requests.of_address(address, NOW), None);
        assert_eq!(requests.of_address(address, NOW), Some(1_000));
        assert_eq!(requests.of_address(address, NOW + 500), Some(500), "what is turned away does not count");
        assert_eq!(requests.of_address(address, NOW + 1_000), None);
        assert_eq!(requests.of_address(None, NOW), None);
        let channel = ChannelId(farebox_core::units::B256::repeat_byte(1));
        assert_eq!(requests.channel_waits(channel, NOW), None);
        requests.of_channel(channel, NOW);
        requests.of_channel(channel, NOW);
        assert_eq!(requests.channel_waits(channel, NOW), Some(1_000));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let failures = failures(0, 1);
        failures.address_failed(Some(IpAddr::V4(1.into())), NOW);
        assert_eq!(failures.address_waits(Some(IpAddr::V4(1.into())), NOW), None);
        assert!(failures.addresses.lock().young.is_empty());
    }
}

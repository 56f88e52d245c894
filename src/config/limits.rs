//! `[limits]`: every bound that an operator may move, with its range.

use std::time::Duration;

use farebox_engine::http::{FailureRate, RequestRate};
use farebox_engine::pipeline::{BATCH_VOUCHERS_MAX, SHARDS_MAX};

use super::expected::expected;
use super::problem::Problems;
use super::raw;

/// The named bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections.
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub request_head_bytes_max: usize,
    /// How long a request's head may take to arrive.
    pub request_head_timeout: Duration,
    /// Bytes of a request's body.
    pub request_body_bytes_max: u64,
    /// How long a request's body may pause.
    pub request_body_timeout: Duration,
    /// Open connections of one client address; `None` is no limit.
    pub connections_per_address_max: Option<usize>,
    /// How often credentials of one client address, and of one channel, may fail; `None` is no limit.
    pub failures: Option<FailureRate>,
    /// How often one client address may ask, and one channel may pay; `None` is no limit.
    pub requests: Option<RequestRate>,
    /// Threads that verify and keep the books; `None` takes half of the cores.
    pub shards: Option<usize>,
    /// Vouchers that may wait for one shard.
    pub intake_max: usize,
    /// Vouchers that are verified in one batch.
    pub batch_vouchers_max: usize,
    /// Memory for channels, in bytes.
    pub resident_bytes_max: usize,
    /// Memory for tables of signers' keys, in bytes.
    pub signer_tables_bytes_max: usize,
}

/// The limits of the file.
pub(super) fn limits(raw: &raw::Limits, problems: &mut Problems) -> Option<Limits> {
    let mut within = |key: &str, value: u64, least: u64, most: u64| {
        let inside = (least..=most).contains(&value);
        if !inside {
            problems.add(key, value.to_string(), expected(key));
        }
        inside.then_some(value)
    };
    let connections = within("limits.connections_max", raw.connections_max, 1, 1_000_000);
    let head_bytes =
        within("limits.request_head_bytes_max", raw.request_head_bytes_max, 8 * 1024, 1024 * 1024);
    let head_timeout = within("limits.request_head_timeout_s", raw.request_head_timeout_s, 1, 3_600);
    let body_bytes = within("limits.request_body_bytes_max", raw.request_body_bytes_max, 0, 1 << 40);
    let body_timeout = within("limits.request_body_timeout_s", raw.request_body_timeout_s, 1, 3_600);
    let per_address =
        within("limits.connections_per_address_max", raw.connections_per_address_max, 0, 1_000_000);
    let failures = within("limits.failures_per_minute_max", raw.failures_per_minute_max, 0, 60_000);
    let burst = within("limits.failure_burst_max", raw.failure_burst_max, 1, 60_000);
    let requests = within("limits.requests_per_minute_max", raw.requests_per_minute_max, 0, 60_000);
    let requests_burst = within("limits.request_burst_max", raw.request_burst_max, 1, 60_000);
    let shards = within("limits.shards", raw.shards, 0, SHARDS_MAX as u64);
    let intake = within("limits.intake_max", raw.intake_max, 1, 1 << 20);
    let batch = within("limits.batch_vouchers_max", raw.batch_vouchers_max, 1, BATCH_VOUCHERS_MAX);
    let residents = within("limits.resident_bytes_max", raw.resident_bytes_max, 1 << 24, 1 << 40);
    let tables = within("limits.signer_tables_bytes_max", raw.signer_tables_bytes_max, 1 << 20, 1 << 40);
    Some(Limits {
        connections_max: size(connections?)?,
        request_head_bytes_max: size(head_bytes?)?,
        request_head_timeout: Duration::from_secs(head_timeout?),
        request_body_bytes_max: body_bytes?,
        request_body_timeout: Duration::from_secs(body_timeout?),
        connections_per_address_max: per_address.map(|count| size(count).filter(|count| *count > 0))?,
        failures: FailureRate::new(failures?, burst?),
        requests: RequestRate::new(requests?, requests_burst?),
        shards: shards.map(|count| size(count).filter(|count| *count > 0))?,
        intake_max: size(intake?)?,
        batch_vouchers_max: size(batch?)?,
        resident_bytes_max: size(residents?)?,
        signer_tables_bytes_max: size(tables?)?,
    })
}

fn size(value: u64) -> Option<usize> {
    usize::try_from(value).ok()
}

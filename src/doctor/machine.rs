//! The processor, file descriptors and memory.

use std::fs;

use farebox_engine::backend_from_environment;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::config::Config;

/// What the store, the admin port and the nodes need beside connections.
const DESCRIPTORS_APART: u64 = 768;
/// A client's connection and the upstream's.
const DESCRIPTORS_A_CONNECTION: u64 = 2;
/// Memory that the process takes beside what the configuration bounds, in bytes: write buffers, queues, code.
const MEMORY_APART_BYTES: u64 = 512 << 20;

/// Which code verifies vouchers, and whether its tables get large pages.
pub(super) fn backend(findings: &mut Vec<Finding>) {
    const CHECK: &str = "cpu.backend";
    match backend_from_environment() {
        Err(error) => {
            findings.push(Finding::error(CHECK, error.to_string(), "unset FAREBOX_BACKEND"));
        }
        Ok(backend) if backend.name() == "portable" => {
            let found = "vouchers are verified by portable code, some four times slower than avx512";
            let fix = "nothing is wrong; for more vouchers a second take a processor with AVX-512 IFMA (Ice Lake, Zen 4)";
            findings.push(Finding::note(CHECK, found, fix));
        }
        Ok(backend) => {
            findings.push(Finding::ok(CHECK, format!("vouchers are verified by {}", backend.name())))
        }
    }
    let pages = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if pages.contains("[never]") {
        let found = "large pages are off: verification takes a tenth longer";
        let fix = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
        findings.push(Finding::note("memory.pages", found, fix));
    }
}

/// Whether all connections that are allowed can be open at the same time.
pub(super) fn descriptors(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "limits.descriptors";
    let connections = config.limits.connections_max as u64;
    let wanted = connections.saturating_mul(DESCRIPTORS_A_CONNECTION).saturating_add(DESCRIPTORS_APART);
    // The server raises its own limit to what it may.
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    findings.push(if allowed < wanted {
        let found = format!(
            "{allowed} file descriptors are allowed, {connections} connections (limits.connections_max) need {wanted}"
        );
        let fix = format!("LimitNOFILE={wanted} in the systemd unit, ulimit -Hn {wanted} in a shell, or fewer connections");
        Finding::warning(CHECK, found, fix)
    } else {
        Finding::ok(CHECK, format!("{allowed} file descriptors are allowed, {wanted} are needed"))
    });
}

/// Whether the memory that the configuration allows is there.
pub(super) fn memory(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "memory";
    let limits = &config.limits;
    let wanted = (limits.resident_bytes_max as u64)
        .saturating_add(limits.signer_tables_bytes_max as u64)
        .saturating_add(MEMORY_APART_BYTES);
    let Some(total) = memory_bytes() else { return };
    let (wanted_mb, total_mb) = (wanted >> 20, total >> 20);
    findings.push(if wanted > total {
        let found = format!(
            "channels and signers' tables may grow to {wanted_mb} MB, the machine (or its control group) has {total_mb} MB"
        );
        let fix = "lower limits.resident_bytes_max and limits.signer_tables_bytes_max, or give it more memory";
        Finding::warning(CHECK, found, fix)
    } else {
        Finding::ok(CHECK, format!("at most {wanted_mb} MB of {total_mb} MB are used"))
    });
}

/// What this process may use: the machine's memory, or its control group's limit when that is less.
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)?;
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    Some(group.map_or(machine, |group| group.min(machine)))
}

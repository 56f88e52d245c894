//! What a run costs: processor time, memory, bytes written, and how long the disk takes to sync.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Syncs of a probe.
const SYNCS: usize = 64;

/// A moment of rest: less than a twentieth of a core.
const MOMENT: Duration = Duration::from_millis(200);

/// The longest wait for one.
const REST_MAX: Duration = Duration::from_secs(20);

/// Bytes before each sync of a probe: what a small write costs a file system is a page.
const SYNC_BYTES: usize = 4_096;

/// What a process has used up to a moment.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    at: Instant,
    process_cpu_us: f64,
    thread_cpu_us: f64,
    written_bytes: u64,
}

/// What it used between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// By the wall clock.
    pub wall: Duration,
    /// Processor time of the calling thread: the load that is made.
    pub load_cpu_us: f64,
    /// Processor time of all other threads: what is measured.
    pub cpu_us: f64,
    /// Bytes that were given to the disk.
    pub written_bytes: u64,
}

impl Meter {
    /// Reads the clocks.
    pub fn start() -> Self {
        Self {
            at: Instant::now(),
            process_cpu_us: cpu_us(ClockId::ProcessCPUTime),
            thread_cpu_us: cpu_us(ClockId::ThreadCPUTime),
            written_bytes: written_bytes(),
        }
    }

    /// What was used since; to be asked on the thread that started.
    pub fn used(&self) -> Used {
        let now = Self::start();
        let load_cpu_us = now.thread_cpu_us - self.thread_cpu_us;
        Used {
            wall: now.at - self.at,
            load_cpu_us,
            cpu_us: now.process_cpu_us - self.process_cpu_us - load_cpu_us,
            written_bytes: now.written_bytes - self.written_bytes,
        }
    }
}

/// Waits until this process does nothing for a moment, or for [`REST_MAX`].
pub fn rest() {
    let began = Instant::now();
    while began.elapsed() < REST_MAX {
        let before = cpu_us(ClockId::ProcessCPUTime);
        std::thread::sleep(MOMENT);
        if cpu_us(ClockId::ProcessCPUTime) - before < MOMENT.as_secs_f64() * 1e6 / 20.0 {
            return;
        }
    }
}

fn cpu_us(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// Bytes that this process caused to be sent to the disk; zero where the system does not tell.
fn written_bytes() -> u64 {
    proc_number("/proc/self/io", "write_bytes:")
}

/// Memory that this process has in RAM; zero where the system does not tell.
pub fn rss_bytes() -> u64 {
    proc_number("/proc/self/status", "VmRSS:") * 1_024
}

fn proc_number(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long the disk below a folder takes to sync a page that was appended to a file.
pub fn sync_us(folder: &Path) -> io::Result<Histogram> {
    let path = folder.join("sync-probe");
    let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut took = Histogram::default();
    for _ in 0..SYNCS {
        file.write_all(&[7; SYNC_BYTES])?;
        let began = Instant::now();
        file.sync_data()?;
        took.push(began.elapsed());
    }
    fs::remove_file(path)?;
    Ok(took)
}

/// Durations, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Vec<f64>);

impl Histogram {
    /// Adds one.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e6);
    }

    /// The duration that this part of all do not exceed; zero without any.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * part) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// The mean; zero without any.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds those of another one.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_durations() {
        let mut took = Histogram::default();
        assert_eq!(took.quantile(0.5), 0.0);
        (1..=100).rev().for_each(|us| took.push(Duration::from_micros(us)));
        assert_eq!((took.quantile(0.0), took.quantile(0.5), took.quantile(1.0)), (1.0, 51.0, 100.0));
        assert_eq!((took.mean(), Histogram::default().mean()), (50.5, 0.0));
    }

    #[test]
    fn work_of_another_thread_is_counted_apart() {
        let meter = Meter::start();
        let spin = || {
            let began = cpu_us(ClockId::ThreadCPUTime);
            while cpu_us(ClockId::ThreadCPUTime) - began < 20_000.0 {}
        };
        std::thread::spawn(spin).join().unwrap();
        let used = meter.used();
        assert!(used.cpu_us >= 20_000.0, "{used:?}");
        assert!(used.load_cpu_us < used.cpu_us, "{used:?}");
    }
}

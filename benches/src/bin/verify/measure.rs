//! Clocks, samples and medians.
//!
//! Thread CPU time leaves out what other processes took. What they do to caches and clock rates hits everything
//! alike, so each case takes turns with a recovery by libsecp256k1: their ratio is the steadiest figure there is.

use rustix::time::{ClockId, clock_gettime};

use crate::report::{Label, Report, Row};
use crate::vouchers::Recoverable;

/// Recoveries in one sample: some half a millisecond.
const RECOVERIES: usize = 16;

/// Recoveries before a sample: the case before it has emptied the caches of libsecp256k1's tables.
const RECOVERIES_AHEAD: usize = 16;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Everything, for figures to be published.
    Full,
    /// Fewer samples and fewer crowds of signers, for a look.
    Quick,
}

/// One subject of a comparison: its name, and a function that takes one sample, in nanoseconds a thing.
pub type Subject<'a> = (Label, Box<dyn FnMut() -> f64 + 'a>);

/// A run of the program: what it should measure, and what it found.
pub struct Bench {
    /// How much is measured.
    pub effort: Effort,
    /// What was found.
    pub report: Report,
    filter: String,
    /// Some hundreds: a processor learns the branches of a few signatures by heart, which makes them 8 % faster than
    /// any that it has not met.
    recoverable: Vec<Recoverable>,
    next_recoverable: usize,
}

impl Bench {
    /// A run that measures the cases whose label contains `filter`.
    pub fn new(effort: Effort, filter: String, recoverable: Vec<Recoverable>) -> Self {
        Self { effort, report: Report::default(), filter, recoverable, next_recoverable: 0 }
    }

    /// Whether the filter asks for this case.
    pub fn wants(&self, label: &Label) -> bool {
        label.to_string().contains(&self.filter)
    }

    /// Samples of a case; the median counts.
    pub fn samples(&self) -> usize {
        match self.effort {
            Effort::Full => 15,
            Effort::Quick => 5,
        }
    }

    /// Measures a case beside a recovery, if the filter asks for it.
    pub fn measure(&mut self, label: Label, sample: impl FnMut() -> f64) {
        self.compare(self.samples(), vec![(label, Box::new(sample))]);
    }

    /// Measures cases that are compared with each other: they and a recovery take turns.
    pub fn compare(&mut self, samples: usize, mut subjects: Vec<Subject>) {
        subjects.retain(|(label, _)| self.wants(label));
        if subjects.is_empty() {
            return;
        }
        let mut costs = vec![Vec::with_capacity(samples); subjects.len()];
        let mut recoveries = Vec::with_capacity(samples);
        for _ in 0..samples {
            for ((_, sample), costs) in subjects.iter_mut().zip(&mut costs) {
                costs.push(sample());
            }
            recoveries.push(self.recovery_ns());
        }
        let libsecp_recover_ns = median(recoveries);
        for ((label, _), costs) in subjects.into_iter().zip(costs) {
            self.report.push(Row { label, ns_per_voucher: median(costs), libsecp_recover_ns });
        }
    }

    /// One sample of a recovery by libsecp256k1 of a ready digest, nanoseconds each.
    pub fn recovery_ns(&mut self) -> f64 {
        let mut recover = |count| {
            for _ in 0..count {
                self.recoverable[self.next_recoverable].recover();
                self.next_recoverable = (self.next_recoverable + 1) % self.recoverable.len();
            }
        };
        recover(RECOVERIES_AHEAD);
        cpu_ns_each(RECOVERIES, || recover(RECOVERIES))
    }
}

/// What `work`, which does `things` things, costs this thread a thing: nanoseconds of CPU time.
pub fn cpu_ns_each(things: usize, work: impl FnOnce()) -> f64 {
    let start = cpu_ns();
    work();
    (cpu_ns() - start) / things as f64
}

/// The CPU time of this thread, in nanoseconds.
pub fn cpu_ns() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// The median of some samples, at least one.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![7.0]), 7.0);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
    }

    #[test]
    fn work_takes_cpu_time_and_sleep_takes_none() {
        let sleep = cpu_ns_each(1, || std::thread::sleep(std::time::Duration::from_millis(20)));
        assert!(sleep < 20e6, "a sleep took {sleep} ns of CPU time");
        let mut work = 0.0;
        while work == 0.0 {
            work = cpu_ns_each(1, || drop(std::hint::black_box(vec![1_u8; 1 << 20])));
        }
        assert!(work > 0.0);
    }
}

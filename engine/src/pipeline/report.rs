//! Numbers for the operator, through the `metrics` facade.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `farebox_vouchers_total{verdict}` | counter | vouchers by verdict: `accepted`, `replayed`, `underpaid`, `rejected`, `invalid` |
//! | `farebox_steps_total{verdict}` | counter | steps without a voucher, by the same verdicts |
//! | `farebox_verify_seconds` | histogram | verifying the signatures of one shard's batch |
//! | `farebox_verified_vouchers_total` | counter | signatures in these batches |
//! | `farebox_batch_vouchers` | histogram | vouchers in one shard's batch |
//! | `farebox_frames_total` | counter | frames written and synced |
//! | `farebox_frame_records` | histogram | records in one frame |
//! | `farebox_frame_bytes` | histogram | bytes of one frame |
//! | `farebox_commit_seconds` | histogram | one append with its sync |
//! | `farebox_checkpoint_frame` | gauge | the frame that the last checkpoint covers |
//! | `farebox_resident_bytes{shard}` | gauge | about how many bytes the channels in a shard's memory take |
//! | `farebox_resident_channels{shard}` | gauge | channels in a shard's memory, at the last checkpoint |
//! | `farebox_busy_total` | counter | requests turned away because a queue was full |
//! | `farebox_limited_total{reason}` | counter | what the operator's limits refused, by limit |
//! | `farebox_unsettled_base_units` | gauge | unsettled value of all channels; with a limit on it |
//! | `farebox_alarms_total{alarm}` | counter | `settled_above_spent`: somebody else settled, or the books are old |
//!
//! The facade is called once a batch or a frame, never once a voucher.

use std::time::Duration;

use farebox_core::channel::{Answer, Limit, State};
use farebox_core::units::ChannelId;
use metrics::{counter, gauge, histogram};

use super::message::{Answered, Batch};
use super::risk::report_limited;
use super::{Refusal, Verdict};

/// What a batch came to: its vouchers and its other steps, by verdict.
pub(super) fn batch(batch: &Batch) {
    let (mut vouchers, mut steps) = (Tally::default(), Tally::default());
    for answer in &batch.answers {
        match answer {
            Answered::Vouchers(part) => {
                part.answers().iter().flatten().for_each(|verdict| vouchers.count(verdict))
            }
            Answered::Verdict { answer: Ok(verdict), with_voucher: true, .. } => vouchers.count(verdict),
            Answered::Verdict { answer: Ok(verdict), with_voucher: false, .. } => steps.count(verdict),
            Answered::Verdict { answer: Err(_), .. } | Answered::Channel(..) | Answered::Page(..) => {}
        }
    }
    vouchers.add_to("farebox_vouchers_total");
    steps.add_to("farebox_steps_total");
    for limit in Limit::ALL {
        report_limited(limit, vouchers.limited[limit.index()] + steps.limited[limit.index()]);
    }
    histogram!("farebox_batch_vouchers").record(vouchers.sum() as f64);
}

/// The signatures of a batch were verified.
pub(super) fn verified(vouchers: usize, took: Duration) {
    if vouchers > 0 {
        histogram!("farebox_verify_seconds").record(took.as_secs_f64());
        counter!("farebox_verified_vouchers_total").increment(vouchers as u64);
    }
}

/// A frame is durable.
pub(super) fn frame(took: Duration, records: u32, bytes: usize) {
    counter!("farebox_frames_total").increment(1);
    histogram!("farebox_frame_records").record(records);
    histogram!("farebox_frame_bytes").record(bytes as f64);
    histogram!("farebox_commit_seconds").record(took.as_secs_f64());
}

/// A checkpoint is durable.
pub(super) fn checkpoint(covers: u64) {
    gauge!("farebox_checkpoint_frame").set(covers as f64);
}

/// How many channels a shard holds, and in about how many bytes.
pub(super) fn residents(shard: usize, channels: usize, bytes: usize) {
    gauge!("farebox_resident_bytes", "shard" => shard.to_string()).set(bytes as f64);
    gauge!("farebox_resident_channels", "shard" => shard.to_string()).set(channels as f64);
}

/// A request found its queue full.
pub(super) fn busy() {
    counter!("farebox_busy_total").increment(1);
}

/// More was settled than these books ever charged (rule 2): the operator must know.
pub(super) fn settled_above_spent(channel: ChannelId, state: &State) {
    counter!("farebox_alarms_total", "alarm" => "settled_above_spent").increment(1);
    let (settled, spent) = (state.settled, state.spent);
    tracing::error!(%channel, %settled, %spent, "more is settled than was spent: somebody else settled, or the books are old");
}

/// Verdicts of one batch.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    replayed: u64,
    underpaid: u64,
    rejected: u64,
    invalid: u64,
    /// Those of the rejected that a limit refused.
    limited: [u64; Limit::ALL.len()],
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Accepted(reply) => match reply.answer {
                Answer::Done | Answer::Close(_) | Answer::Settle(_) => &mut self.accepted,
                Answer::Replayed(_) => &mut self.replayed,
                Answer::AcceptedOnly(_) => &mut self.underpaid,
            },
            Verdict::Rejected(Refusal::Channel(rejection)) => {
                if let Some(limit) = rejection.limit() {
                    self.limited[limit.index()] += 1;
                }
                &mut self.rejected
            }
            Verdict::Rejected(Refusal::Voucher(_)) => &mut self.invalid,
        };
        *counter += 1;
    }

    fn sum(&self) -> u64 {
        self.accepted + self.replayed + self.underpaid + self.rejected + self.invalid
    }

    fn add_to(&self, name: &'static str) {
        let verdicts = [
            ("accepted", self.accepted),
            ("replayed", self.replayed),
            ("underpaid", self.underpaid),
            ("rejected", self.rejected),
            ("invalid", self.invalid),
        ];
        for (verdict, count) in verdicts {
            if count > 0 {
                counter!(name, "verdict" => verdict).increment(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use farebox_core::channel::{Rejection, SubjectKind};
    use farebox_core::units::Amount;
    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
    };
    use parking_lot::Mutex;
    use tokio::sync::oneshot;

    use super::*;

    /// Keeps what is counted, by name and labels.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
            let name = format!("{} {}", key.name(), labels.join(" "));
            Counter::from_arc(Arc::clone(self.0.lock().entry(name).or_default()))
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn what_a_limit_refused_is_counted_by_its_reason() {
        let amount = Amount::new(1);
        let refused = [
            (Rejection::DepositTooSmall { deposit: amount, minimum: amount }, "deposit_min"),
            (Rejection::DeltaTooSmall { delta: amount, minimum: amount }, "delta_min"),
            (Rejection::RateLimited { retry_after_ms: 1 }, "rate"),
            (Rejection::UnsettledPayer, "unsettled_payer"),
            (Rejection::UnsettledTotal, "unsettled_total"),
            (Rejection::UnsettledTooOld { age_s_max: 1 }, "unsettled_age"),
            (Rejection::Denied { who: SubjectKind::Payer, ends_in_s: None }, "denied"),
            (Rejection::NotAllowed, "not_allowed"),
        ];
        assert_eq!(refused.len(), Limit::ALL.len());
        let answered = |rejection: Rejection, with_voucher| Answered::Verdict {
            reply: oneshot::channel().0,
            answer: Ok(Verdict::Rejected(rejection.into())),
            with_voucher,
        };
        let mut made = Batch::default();
        for (rejection, _) in refused {
            made.answers.extend([answered(rejection, true), answered(rejection, false)]);
        }
        made.answers.push(answered(Rejection::CloseInFlight, true));
        let kept = Kept::default();
        with_local_recorder(&kept, || batch(&made));
        let counted = kept.0.lock();
        for (_, reason) in refused {
            let count = &counted[&format!("farebox_limited_total {reason}")];
            assert_eq!(count.load(Ordering::SeqCst), 2, "{reason}");
        }
        assert_eq!(counted.keys().filter(|name| name.contains("limited")).count(), refused.len());
        assert_eq!(counted["farebox_vouchers_total rejected"].load(Ordering::SeqCst), 9);
    }
}

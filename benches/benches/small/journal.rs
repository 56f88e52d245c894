//! A voucher in the books, and what the journal makes of it.

use std::hint::black_box;

use criterion::{BatchSize, Throughput};
use farebox_core::channel::{Answer, Command, Event, Policy, RequestKey, Spend, decide};
use farebox_core::journal::{FrameBuilder, Link, decode, encode_step};
use farebox_core::units::ChannelId;
use farebox_core::voucher::Verifier;

use crate::Bench;
use crate::fixture::{NOW, PRICE, PROTOCOL, Payer, domain};

/// Paid requests of a frame, each of another channel.
const STEPS: u64 = 64;

/// A channel and what became true of it in one step.
type Step = (ChannelId, Vec<Event>);

pub fn run(bench: &mut Bench) {
    accept(bench);
    let steps: Vec<Step> = (0..STEPS).map(step).collect();
    let (mut builder, mut records) = (FrameBuilder::new(), Vec::new());
    let frame = write(&mut builder, &mut records, &steps).to_vec();
    let read = decode(&frame).expect("a frame is read as it was written");
    assert_eq!(read.records.len() as u64, 2 * STEPS, "a voucher and a charge each");
    let mut group = bench.benchmark_group("journal");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode 64 paid requests", |run| {
        run.iter(|| write(&mut builder, &mut records, black_box(&steps)).len());
    });
    group.bench_function("decode 64 paid requests", |run| run.iter(|| decode(black_box(&frame))));
    group.finish();
}

/// The decision alone: a verified voucher that pays for a request.
fn accept(bench: &mut Bench) {
    let (state, policy) = (Payer::new(0, PROTOCOL).state(), Policy::default());
    let command = paying(0);
    bench.bench_function("channel/accept", |run| {
        run.iter_batched(
            || command.clone(),
            |command| decide(black_box(&state), command, &policy, NOW),
            BatchSize::SmallInput,
        );
    });
}

/// A voucher of payer number `index` that pays for its first request.
fn paying(index: u64) -> Command {
    let payer = Payer::new(index, PROTOCOL);
    let verified = Verifier::new().verify_one(&domain(PROTOCOL), &payer.signed(1), payer.address);
    let key = RequestKey([index as u8; 16]);
    Command::Accept {
        voucher: verified.expect("the payer signed"),
        then: Spend::Charge { key: Some(key), amount: PRICE, units: 1 },
    }
}

fn step(index: u64) -> Step {
    let state = Payer::new(index, PROTOCOL).state();
    let decided = decide(&state, paying(index), &Policy::default(), NOW).expect("the voucher pays");
    assert_eq!((decided.events.len(), decided.answer), (2, Answer::Done), "taken, and charged");
    (state.channel_id, decided.events)
}

/// As the committer does: records of each step, then the frame with its checksum.
fn write<'a>(builder: &'a mut FrameBuilder, records: &mut Vec<u8>, steps: &[Step]) -> &'a [u8] {
    records.clear();
    for (channel, events) in steps {
        // The channel's first event was its opening.
        encode_step(records, *channel, 1 + events.len() as u64, events);
    }
    builder.append(records).expect("a small frame");
    builder.finish(1, 1, Link::GENESIS, None)
}

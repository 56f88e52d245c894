//! What settlement does with ten thousand channels: whom it claims, and in which transactions.

use std::hint::black_box;

use criterion::Throughput;
use farebox_core::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use farebox_settlement_plan::gas::GasPrice;
use farebox_settlement_plan::planner::{Account, CallGas, Limits, Market, Plan, Policy, Standing, plan};

use crate::Bench;
use crate::fixture::{NOW, PROTOCOL};

/// Channels of a plan.
const CHANNELS: u64 = 10_000;
/// One channel in so many has a payer who asked to close it.
const ASKED_EVERY: u64 = 100;

pub fn run(bench: &mut Bench) {
    let (policy, limits) = (Policy::default(), Limits::default());
    let market = Market { now: NOW, gas_price: GasPrice(1_000_000_000), call_gas: CallGas::default() };
    let accounts: Vec<Account> = (0..CHANNELS).map(account).collect();
    let plan = |accounts: &[Account]| -> Plan { plan(accounts, &policy, &limits, &market, &[]) };
    let claims: usize = plan(&accounts).batches.iter().map(|batch| batch.calls.len()).sum();
    assert!(claims as u64 >= CHANNELS / ASKED_EVERY, "who asked is claimed");
    let mut group = bench.benchmark_group("plan");
    group.throughput(Throughput::Elements(CHANNELS));
    group.bench_function("10,000 channels", |run| run.iter(|| plan(black_box(&accounts))));
    group.finish();
}

/// One in a hundred has to be closed; half of them have something that waits, one in sixteen of those for long enough.
fn account(number: u64) -> Account {
    let waits = if number.is_multiple_of(2) { 50_000 + u128::from(number % 1_000) } else { 0 };
    let waits = Amount::new(waits);
    let asked = number.is_multiple_of(ASKED_EVERY);
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Account {
        channel: ChannelId(B256::left_padding_from(&spread)),
        sender: Some(Address::repeat_byte(1)),
        fee_token: Address::repeat_byte(2),
        protocol: PROTOCOL,
        standing: match asked {
            true => Standing::CloseAsked { at: UnixSeconds(NOW.0 - number % 300) },
            false => Standing::Open,
        },
        settled: Amount::ZERO,
        spent: waits,
        settleable: waits,
        units: 100,
        unsettled_since: (!waits.is_zero()).then_some(UnixSeconds(NOW.0 - number * 9 % 92_000)),
        active_at: UnixSeconds(NOW.0 - number % 86_400),
        calldata_bytes: 500,
        hold: None,
    }
}

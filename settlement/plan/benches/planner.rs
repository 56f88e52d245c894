//! How long planning takes, and how much memory: one plan of a million channels, and who is due among ten million.
//!
//! `make bench-settlement` runs it. The figures are printed as JSON; `FAREBOX_BENCH_DIR` names a folder that keeps them.
#![forbid(unsafe_code)]

use std::time::Instant;

use farebox_core::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_settlement_plan::gas::GasPrice;
use farebox_settlement_plan::planner::{
    Account, CallGas, Decision, DueIndex, Limits, Market, Policy, Standing, plan,
};

/// Channels of one plan.
const PLANNED: u64 = 1_000_000;
/// Channels of the index.
const INDEXED: u64 = 10_000_000;
/// One channel in so many has a payer who asked to close it.
const ASKED_EVERY: u64 = 1_000;
/// Runs of the plan; the median counts.
const RUNS: usize = 5;
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn main() {
    let policy = Policy::default();
    let market = Market { now: NOW, gas_price: GasPrice(1_000_000_000), call_gas: CallGas::default() };
    let before_mib = memory_mib();
    let accounts: Vec<Account> = (0..PLANNED).map(account).collect();
    let mut seconds = Vec::new();
    let mut claims = 0;
    for _ in 0..RUNS {
        let begin = Instant::now();
        let planned = plan(&accounts, &policy, &Limits::default(), &market, &[]);
        seconds.push(begin.elapsed().as_secs_f64());
        claims = planned.batches.iter().map(|batch| batch.calls.len()).sum();
        let decided =
            planned.decisions.iter().filter(|(_, decision)| matches!(decision, Decision::Claim { .. }));
        assert_eq!(decided.count(), claims, "every claim has its place");
        assert!(claims as u64 >= PLANNED / ASKED_EVERY, "who asked is claimed");
    }
    seconds.sort_by(f64::total_cmp);
    let plan_mib = peak_mib() - before_mib;
    drop(accounts);

    let mut index = DueIndex::new();
    let begin = Instant::now();
    for number in 0..INDEXED {
        index.note(&account(number), &policy, &market);
    }
    let note_us = begin.elapsed().as_secs_f64() * 1e6 / INDEXED as f64;
    let steps = index.steps();
    let begin = Instant::now();
    let due = index.due(NOW, INDEXED as usize);
    let due_ms = begin.elapsed().as_secs_f64() * 1e3;
    let steps = index.steps() - steps;
    assert!(steps <= due.len() as u64 + 1, "steps for those that are due alone");
    let index_mib = memory_mib() - before_mib;

    let json = format!(
        "{{\n  \"channelsPlanned\": {PLANNED},\n  \"claims\": {claims},\n  \"planSeconds\": {:.3},\n  \
         \"planMebibytes\": {plan_mib},\n  \"channelsIndexed\": {INDEXED},\n  \"due\": {},\n  \"steps\": {steps},\n  \
         \"dueMilliseconds\": {due_ms:.3},\n  \"noteMicroseconds\": {note_us:.3},\n  \"indexMebibytes\": {index_mib}\n}}\n",
        seconds[RUNS / 2],
        due.len(),
    );
    print!("{json}");
    if let Some(folder) = std::env::var_os("FAREBOX_BENCH_DIR") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        std::fs::write(folder.join("planner.json"), json).expect("the folder can be written to");
    }
}

/// One in a thousand has to be closed, half of the others have something that waits, a few of those for long enough.
fn account(number: u64) -> Account {
    let waits = if number.is_multiple_of(2) {
        Amount::new(50_000 + u128::from(number % 1_000))
    } else {
        Amount::ZERO
    };
    let standing = match number % ASKED_EVERY {
        0 => Standing::CloseAsked { at: UnixSeconds(NOW.0 - number % 300) },
        _ => Standing::Open,
    };
    Account {
        channel: ChannelId(B256::left_padding_from(
            &number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(),
        )),
        sender: Some(Address::repeat_byte(1)),
        fee_token: Address::repeat_byte(2),
        protocol: ProtocolVersion::V2,
        standing,
        settled: Amount::ZERO,
        spent: waits,
        settleable: waits,
        units: 100,
        // Something waits for up to a hundred minutes more than a day in one of sixteen.
        unsettled_since: (!waits.is_zero()).then_some(UnixSeconds(NOW.0 - number % 92_000)),
        active_at: UnixSeconds(NOW.0 - number % 86_400),
        calldata_bytes: 500,
        hold: None,
    }
}

/// What the process holds now, in MiB.
fn memory_mib() -> u64 {
    status("VmRSS:")
}

/// The most that it held, in MiB.
fn peak_mib() -> u64 {
    status("VmHWM:")
}

fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() / 1_024
}

//! The planner against a model that was written down independently of it: slow, plain, and about results only.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use farebox_core::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use proptest::prelude::*;

use super::*;
use crate::gas::{Gas, GasPrice};

const NOW: UnixSeconds = UnixSeconds(1_000_000_000);
const SENDER: Address = Address::repeat_byte(1);
const TOKEN: Address = Address::repeat_byte(2);

fn channel(number: u64) -> ChannelId {
    ChannelId(B256::left_padding_from(&number.to_be_bytes()))
}

fn market() -> Market {
    Market { now: NOW, gas_price: GasPrice(1_000_000_000), call_gas: CallGas::default() }
}

fn account(number: u64) -> Account {
    Account {
        channel: channel(number),
        sender: Some(SENDER),
        fee_token: TOKEN,
        protocol: ProtocolVersion::V2,
        standing: Standing::Open,
        settled: Amount::ZERO,
        spent: Amount::ZERO,
        settleable: Amount::ZERO,
        units: 0,
        unsettled_since: None,
        active_at: NOW,
        calldata_bytes: 500,
        hold: None,
    }
}

fn earned(number: u64, amount: u128, since_s: u64) -> Account {
    let amount = Amount::new(amount);
    let since = UnixSeconds(NOW.0 - since_s);
    Account { spent: amount, settleable: amount, unsettled_since: Some(since), ..account(number) }
}

fn asked(number: u64, ago_s: u64) -> Account {
    Account { standing: Standing::CloseAsked { at: UnixSeconds(NOW.0 - ago_s) }, ..account(number) }
}

fn plan_all(accounts: &[Account]) -> Plan {
    plan(accounts, &Policy::default(), &Limits::default(), &market(), &[])
}

fn sizes(plan: &Plan) -> Vec<usize> {
    plan.batches.iter().map(|batch| batch.calls.len()).collect()
}

fn only(account: Account) -> Decision {
    plan_all(&[account]).decisions[0].1
}

#[test]
fn seventy_close_requests_need_three_transactions() {
    let accounts: Vec<_> = (0..70).map(|number| asked(number, number)).collect();
    let plan = plan_all(&accounts);
    assert_eq!(sizes(&plan), [32, 32, 6]);
    assert_eq!(plan.batches[0].calls[0].channel, channel(69), "who asked first goes first");
}

#[test]
fn senders_fee_tokens_and_lanes_do_not_mix() {
    let other = Address::repeat_byte(9);
    let accounts = [
        asked(1, 5),
        Account { sender: Some(other), ..asked(2, 4) },
        Account { fee_token: other, ..asked(3, 3) },
        Account { protocol: ProtocolVersion::V1, ..asked(4, 2) },
        Account { calldata_bytes: 2_049, ..asked(5, 1) },
        Account { calldata_bytes: 2_048, ..asked(6, 0) },
    ];
    let plan = plan_all(&accounts);
    let groups: Vec<_> =
        plan.batches.iter().map(|batch| (batch.sender, batch.fee_token, batch.lane)).collect();
    use Lane::{General, Payment};
    assert_eq!(
        groups,
        [
            (SENDER, TOKEN, Payment),
            (other, TOKEN, Payment),
            (SENDER, other, Payment),
            (SENDER, TOKEN, General)
        ]
    );
    assert_eq!(sizes(&plan), [2, 1, 1, 2]);
}

#[test]
fn every_policy_gives_its_reason() {
    let none = Policy { age_s_max: 0, idle_s_max: 0, ..Policy::default() };
    let why =
        |policy: &Policy, account: &Account, exposed: bool| match decide(account, policy, &market(), exposed)
        {
            Decision::Claim { why, .. } => Some(why),
            Decision::Leave { .. } => None,
        };
    let earned = Account { units: 10, ..earned(1, 5_000, 100) };
    assert_eq!(why(&none, &earned, false), None);
    let waits = Amount::new(5_000);
    let amount = Policy { amount_min: waits, ..none };
    assert_eq!(why(&amount, &earned, false), Some(Why::Amount { waits, min: waits }));
    let age = Policy { age_s_max: 100, ..none };
    assert_eq!(why(&age, &earned, false), Some(Why::Age { since: UnixSeconds(NOW.0 - 100), max_s: 100 }));
    assert_eq!(why(&Policy { age_s_max: 101, ..none }, &earned, false), None);
    let units = Policy { units_max: 10, ..none };
    assert_eq!(why(&units, &earned, false), Some(Why::Units { wait: 10, max: 10 }));
    assert_eq!(why(&none, &earned, true), Some(Why::Exposure { waits }));
    let idle = Account { active_at: UnixSeconds(NOW.0 - 10), ..earned };
    let policy = Policy { idle_s_max: 10, ..none };
    assert_eq!(why(&policy, &idle, false), Some(Why::Idle { since: idle.active_at }));
}

#[test]
fn dust_is_left_alone_until_it_pays_but_never_when_a_payer_waits() {
    // 21,000 gas at 10^9 cost 21 base units; ten times that must come in, and a transaction for one call costs 81.
    let tiny = earned(1, 209, 100_000);
    assert!(matches!(only(tiny), Decision::Leave { why: Left::Dust { .. }, look_at: Some(_) }));
    let alone = earned(1, 210, 100_000);
    let Decision::Leave { why: Left::Dust { gain, fee }, .. } = only(alone) else { panic!("dust alone") };
    assert_eq!((gain, fee), (Amount::new(210), Amount::new(81)));
    let many: Vec<_> = (0..32).map(|number| earned(number, 300, 100_000)).collect();
    assert_eq!(sizes(&plan_all(&many)), [32], "together they pay: {:?}", plan_all(&many).decisions[0]);
    let claimed = only(Account { spent: Amount::new(1), ..asked(1, 0) });
    assert!(matches!(claimed, Decision::Claim { action: Action::Close { .. }, .. }), "{claimed:?}");
}

#[test]
fn a_v1_close_captures_a_kept_voucher_and_an_idle_channel_that_would_lose_stays() {
    let kept = Account {
        protocol: ProtocolVersion::V1,
        settled: Amount::new(10),
        spent: Amount::new(5_000),
        settleable: Amount::new(4_000),
        active_at: UnixSeconds(0),
        ..account(1)
    };
    let policy = Policy { age_s_max: 0, ..Policy::default() };
    let left = decide(&kept, &policy, &market(), false);
    let loss = Amount::new(1_000);
    assert_eq!(left, Decision::Leave { why: Left::WouldLose { loss }, look_at: None });
    let forced = Account { standing: Standing::CloseAsked { at: NOW }, ..kept };
    let Decision::Claim { action, .. } = decide(&forced, &policy, &market(), false) else { panic!("asked") };
    assert_eq!(action, Action::Close { capture: Amount::new(4_000) });
    let v2 = Account { protocol: ProtocolVersion::V2, ..forced };
    assert_eq!(v2.capture(), Amount::new(5_000));
}

#[test]
fn held_and_foreign_channels_are_left_with_their_reason() {
    let left = |account: Account| match only(account) {
        Decision::Leave { why, look_at } => (why, look_at),
        Decision::Claim { .. } => panic!("{account:?} must be left"),
    };
    let later = UnixSeconds(NOW.0 + 9);
    let with = |hold| Account { hold: Some(hold), ..asked(1, 5) };
    assert_eq!(left(with(Hold::InFlight)), (Left::Held(Hold::InFlight), None));
    assert_eq!(left(with(Hold::Until(later))), (Left::Held(Hold::Until(later)), Some(later)));
    assert_eq!(left(with(Hold::Quarantined)), (Left::Held(Hold::Quarantined), None));
    assert_eq!(left(Account { sender: None, ..asked(1, 5) }), (Left::NoKey, None));
    assert_eq!(left(Account { standing: Standing::Over, ..account(1) }), (Left::Over, None));
    assert!(matches!(only(with(Hold::Until(NOW))), Decision::Claim { .. }), "the time has come");
}

#[test]
fn blocks_have_room_for_so_much_and_a_call_that_never_fits_is_named() {
    let accounts: Vec<_> = (0..70).map(|number| asked(number, number)).collect();
    let block = CallGas::default().transaction.0 + 32 * CallGas::default().close.0;
    let limits = Limits { gas_per_block_max: Gas(block), ..Limits::default() };
    let plan_with = |limits: &Limits| plan(&accounts, &Policy::default(), limits, &market(), &[]);
    let rounds: Vec<_> = plan_with(&limits).batches.iter().map(|batch| batch.round).collect();
    assert_eq!(rounds, [0, 1, 2]);
    let small = Limits { gas_per_transaction_max: Gas(block - 1), ..limits };
    assert_eq!(sizes(&plan_with(&small)), [31, 31, 8]);
    let none = Limits { gas_per_transaction_max: Gas(84_999), ..limits };
    let plan = plan_with(&none);
    assert!(plan.batches.is_empty());
    assert!(
        plan.decisions
            .iter()
            .all(|(_, decision)| matches!(decision, Decision::Leave { why: Left::TooMuchGas, .. }))
    );
}

#[test]
fn units_that_wait_are_a_share_of_all_and_never_more() {
    let account = Account { units: 900, settled: Amount::new(2), spent: Amount::new(3), ..account(1) };
    assert_eq!(account.units_unsettled(), 300);
    let wide = Account { spent: Amount::MAX, units: u64::MAX, ..account };
    assert!(wide.units_unsettled() > u64::MAX / 2, "nearly all, without an overflow");
}

/// A million channels of which a thousand are due: finding them takes steps for those alone, and planning all of them
/// at once, as an explanation does, holds what memory allows.
#[test]
fn a_million_channels_cost_steps_for_those_that_are_due() {
    const CHANNELS: u64 = 1_000_000;
    const DUE: u64 = 1_000;
    let policy = Policy { idle_s_max: 100, ..Policy::default() };
    let mut index = DueIndex::new();
    for number in 0..CHANNELS {
        let account = if number % (CHANNELS / DUE) == 0 { asked(number, 7) } else { earned(number, 9, 50) };
        index.note(&account, &policy, &market());
    }
    assert_eq!(index.len() as u64, CHANNELS);
    let before = index.steps();
    let due = index.due(NOW, usize::MAX);
    assert_eq!(due.len() as u64, DUE);
    assert!(index.steps() - before <= DUE + 1, "{} steps", index.steps() - before);
    assert_eq!(index.due(NOW, 10).len(), 10);
    let first = index.next().expect("some are due");
    assert!(first <= NOW);
    // What one plan of all of them takes, in bytes: the question, the decisions, and at most one claim each.
    let each =
        size_of::<Account>() + size_of::<(ChannelId, Decision)>() + size_of::<Planned>() + size_of::<usize>();
    assert!(each as u64 * CHANNELS <= 500 << 20, "{each} bytes a channel");
}

#[test]
fn the_largest_go_until_little_enough_waits() {
    let mut index = DueIndex::new();
    for number in 1..=10 {
        index.put(channel(number), None, Amount::new(u128::from(number)));
    }
    assert_eq!(index.waits_total(), Amount::new(55));
    assert_eq!(index.exposed(Amount::new(40), 100), [channel(10), channel(9)]);
    assert_eq!(index.exposed(Amount::ZERO, 100), []);
    assert_eq!(index.exposed(Amount::new(55), 100), []);
    assert_eq!(index.exposed(Amount::new(1), 3).len(), 3);
    index.forget(channel(10));
    assert_eq!(index.waits_total(), Amount::new(45));
}

fn accounts() -> impl Strategy<Value = Vec<Account>> {
    let standing = prop_oneof![
        4 => Just(Standing::Open),
        3 => (0..900_u64).prop_map(|ago| Standing::CloseAsked { at: UnixSeconds(NOW.0 - ago) }),
        1 => (0..1_000_u128, prop::option::of(0..900_u64)).prop_map(|(capture, ago)| Standing::Closing {
            capture: Amount::new(capture),
            asked_at: ago.map(|ago| UnixSeconds(NOW.0 - ago)),
        }),
        1 => Just(Standing::Over),
    ];
    let hold = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Hold::InFlight)),
        1 => Just(Some(Hold::Quarantined)),
        1 => (0..20_u64).prop_map(|at| Some(Hold::Until(UnixSeconds(NOW.0 - 10 + at)))),
    ];
    let who = (0..3_u8, 1..3_u8, any::<bool>(), prop_oneof![Just(500_u32), Just(2_048), Just(2_049)]);
    let money = (0..5_000_u128, 0..5_000_u128, 0..5_000_u128);
    let times = (0..200_000_u64, 0..200_000_u64, 0..1_000_u64);
    let one = (standing, hold, who, money, times);
    prop::collection::vec(one, 0..120).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(number, (standing, hold, (sender, token, first, calldata_bytes), (a, b, c), times))| {
            let mut amounts = [a, b, c];
            amounts.sort_unstable();
            let [settled, settleable, spent] = amounts.map(Amount::new);
            let settleable = if settleable > settled { settleable } else { Amount::ZERO };
            Account {
                channel: channel(number as u64),
                sender: (sender > 0).then(|| Address::repeat_byte(sender)),
                fee_token: Address::repeat_byte(token),
                protocol: if first { ProtocolVersion::V1 } else { ProtocolVersion::V2 },
                standing,
                settled,
                spent,
                settleable,
                units: times.2,
                unsettled_since: (spent > settled).then(|| UnixSeconds(NOW.0 - times.0)),
                active_at: UnixSeconds(NOW.0 - times.1),
                calldata_bytes,
                hold,
            }
        })
        .collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let one = (0..3_000_u128, 0..200_000_u64, 0..500_u64, 0..200_000_u64, 0..2_000_u32);
    one.prop_map(|(amount, age_s_max, units_max, idle_s_max, profit_percent_min)| Policy {
        amount_min: Amount::new(amount),
        age_s_max,
        units_max,
        exposure_max: Amount::ZERO,
        idle_s_max,
        profit_percent_min,
        dust_look_s: 86_400,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..40_usize, 85_000..1_500_000_u64, 85_000..3_000_000_u64).prop_map(|(calls_max, transaction, block)| {
        Limits {
            calls_max,
            gas_per_transaction_max: Gas(transaction),
            gas_per_block_max: Gas(block),
            payment_calldata_bytes_max: 2_048,
        }
    })
}

/// The model: must this channel be claimed, whatever it brings?
fn is_demanded(account: &Account) -> bool {
    let is_held = match account.hold {
        None => false,
        Some(Hold::Until(at)) => at > NOW,
        Some(Hold::InFlight | Hold::Quarantined) => true,
    };
    let waits = matches!(account.standing, Standing::CloseAsked { .. } | Standing::Closing { .. });
    account.sender.is_some() && !is_held && waits
}

/// The model: may this open channel be settled, when the fee is no question?
fn may_settle(account: &Account, policy: &Policy) -> bool {
    let age = account.unsettled_since.map_or(0, |since| NOW.0 - since.0);
    let gain = account.settleable.get().saturating_sub(account.settled.get());
    let spent = account.spent.get().max(1);
    let units =
        u128::from(account.units) * (account.spent.get().saturating_sub(account.settled.get())) / spent;
    gain > 0
        && ((policy.amount_min.get() > 0 && gain >= policy.amount_min.get())
            || (policy.age_s_max > 0 && age >= policy.age_s_max && account.unsettled_since.is_some())
            || (policy.units_max > 0 && units >= u128::from(policy.units_max)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn plans_keep_every_promise(accounts in accounts(), policy in policies(), limits in limits()) {
        let market = market();
        let plan = plan(&accounts, &policy, &limits, &market, &[]);
        let by_id: BTreeMap<_, _> = accounts.iter().map(|account| (account.channel, account)).collect();
        let mut claimed = BTreeSet::new();
        let mut in_round: BTreeMap<usize, u64> = BTreeMap::new();
        for batch in &plan.batches {
            prop_assert!(!batch.calls.is_empty() && batch.calls.len() <= limits.calls_max);
            prop_assert!(batch.gas <= limits.gas_per_transaction_max);
            *in_round.entry(batch.round).or_default() += batch.gas.0;
            for call in &batch.calls {
                let account = by_id[&call.channel];
                prop_assert!(claimed.insert(call.channel), "claimed twice");
                prop_assert_eq!(account.sender, Some(batch.sender));
                prop_assert_eq!(account.fee_token, batch.fee_token);
                let is_payment = account.protocol == ProtocolVersion::V2 && account.calldata_bytes <= 2_048;
                prop_assert_eq!(batch.lane == Lane::Payment, is_payment);
                match call.action {
                    Action::Settle { amount } => {
                        prop_assert!(amount <= account.spent && amount > account.settled);
                        prop_assert_eq!(account.standing, Standing::Open);
                        prop_assert!(may_settle(account, &policy), "{:?}", account);
                    }
                    Action::Close { capture } => {
                        let most = match account.standing {
                            Standing::Closing { capture, .. } => capture,
                            _ => account.spent.max(account.settled),
                        };
                        prop_assert!(capture <= most);
                    }
                }
            }
        }
        prop_assert!(in_round.values().all(|gas| *gas <= limits.gas_per_block_max.0));
        for account in accounts.iter().filter(|account| is_demanded(account)) {
            prop_assert!(claimed.contains(&account.channel), "missing: {:?}", account);
        }
        prop_assert_eq!(plan.decisions.len(), accounts.len());
        for (channel, decision) in &plan.decisions {
            prop_assert_eq!(matches!(decision, Decision::Claim { .. }), claimed.contains(channel));
        }
    }

    /// As few transactions as can hold the claims, when gas is no bound.
    #[test]
    fn transactions_are_as_few_as_can_be(accounts in accounts(), policy in policies(), calls_max in 1..40_usize) {
        let limits = Limits { calls_max, ..Limits::default() };
        let plan = plan(&accounts, &policy, &limits, &market(), &[]);
        let mut groups: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for batch in &plan.batches {
            let group = groups.entry((batch.sender, batch.fee_token, batch.lane)).or_default();
            group.0 += 1;
            group.1 += batch.calls.len();
        }
        for (transactions, calls) in groups.values() {
            prop_assert!(*transactions <= calls.div_ceil(calls_max), "{transactions} for {calls}");
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer_in_any_order(
        accounts in accounts(), policy in policies(), turn in any::<prop::sample::Index>(),
    ) {
        let one = plan(&accounts, &policy, &Limits::default(), &market(), &[]);
        let mut turned = accounts.clone();
        if !turned.is_empty() {
            let middle = turn.index(turned.len());
            turned.rotate_left(middle);
        }
        let other = plan(&turned, &policy, &Limits::default(), &market(), &[]);
        prop_assert_eq!(one.batches, other.batches);
    }

    /// Whoever the planner would claim now is due in the index now; and nobody becomes due earlier than it said.
    #[test]
    fn the_index_misses_nobody(accounts in accounts(), policy in policies(), later_s in 0..300_000_u64) {
        let mut index = DueIndex::new();
        accounts.iter().for_each(|account| index.note(account, &policy, &market()));
        let then = Market { now: UnixSeconds(NOW.0 + later_s), ..market() };
        let due: BTreeSet<_> = index.due(then.now, usize::MAX).into_iter().collect();
        for account in &accounts {
            if let Decision::Claim { why, .. } = decide(account, &policy, &then, false) {
                // What was dust waits for its next look, a day at most.
                let was_dust = matches!(
                    decide(account, &policy, &market(), false),
                    Decision::Leave { why: Left::Dust { .. }, .. }
                );
                prop_assert!(due.contains(&account.channel) || was_dust, "{:?} {:?}", account, why);
            }
        }
    }
}

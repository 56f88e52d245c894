//! `[settlement]`: when value is claimed on chain, and what that may cost.

use farebox_core::units::{Address, Amount};
use farebox_settlement::plan::{Gas, GasPrice};

use super::expected::expected;
use super::problem::Problems;
use super::{parse, raw};

/// The longest age that makes sense, in seconds: a hundred years.
const AGE_S_MAX: u64 = 100 * 365 * 86_400;
/// A node's pool takes no more calls in one transaction.
const CALLS_MAX: u64 = 32;
/// The gas cap of one Tempo transaction (TIP-1010).
const TRANSACTION_GAS_MAX: u64 = 30_000_000;

/// When value is claimed, and what that may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Settle a channel when this much waits; zero is off.
    pub amount_min: Amount,
    /// Settle a channel when something waits for this long, in seconds; zero is off.
    pub age_s_max: u64,
    /// Settle a channel when this many units wait; zero is off.
    pub units_max: u64,
    /// Settle the largest when more than this waits in all channels; zero is off.
    pub unsettled_max: Amount,
    /// Close a channel that nobody used for this long, in seconds; zero is off.
    pub idle_close_s: u64,
    /// The share of its fee that a claim which nobody demands must bring, in percent.
    pub profit_percent_min: u32,
    /// In which token fees are paid; the channel's own when `None`.
    pub fee_token: Option<Address>,
    /// The most that a unit of gas may cost.
    pub gas_price_max: GasPrice,
    /// What the block's proposer is offered for it when nothing presses.
    pub priority_fee: GasPrice,
    /// Claims in one transaction.
    pub batch_claims_max: usize,
    /// Gas of one transaction.
    pub batch_gas_max: Gas,
    /// Transactions that are under way at the same time.
    pub batches_in_flight_max: usize,
}

/// The settlement of the file.
pub(super) fn settlement(raw: &raw::Settlement, problems: &mut Problems) -> Option<Settlement> {
    let mut amount = |key: &str, value: &str| problems.check(key, value, expected(key), parse::amount);
    let amount_min = amount("settlement.amount_min", &raw.amount_min);
    let unsettled_max = amount("settlement.unsettled_max", &raw.unsettled_max);
    let fee_token = match &raw.fee_token {
        Some(token) => {
            let key = "settlement.fee_token";
            problems.check(key, token, expected(key), parse::address).map(Some)
        }
        None => Some(None),
    };
    let mut within = |key: &str, value: u64, least: u64, most: u64| {
        let inside = (least..=most).contains(&value);
        if !inside {
            problems.add(key, value.to_string(), expected(key));
        }
        inside.then_some(value)
    };
    let age = within("settlement.age_s_max", raw.age_s_max, 0, AGE_S_MAX);
    let idle = within("settlement.idle_close_s", raw.idle_close_s, 0, AGE_S_MAX);
    let profit = within("settlement.profit_percent_min", raw.profit_percent_min, 0, 1_000_000);
    let price = within("settlement.gas_price_max", raw.gas_price_max, 1, u64::MAX);
    let priority = within("settlement.priority_fee", raw.priority_fee, 0, raw.gas_price_max);
    let claims = within("settlement.batch_claims_max", raw.batch_claims_max, 1, CALLS_MAX);
    let gas = within("settlement.batch_gas_max", raw.batch_gas_max, 500_000, TRANSACTION_GAS_MAX);
    let in_flight = within("settlement.batches_in_flight_max", raw.batches_in_flight_max, 1, 256);
    Some(Settlement {
        amount_min: amount_min?,
        age_s_max: age?,
        units_max: raw.units_max,
        unsettled_max: unsettled_max?,
        idle_close_s: idle?,
        profit_percent_min: u32::try_from(profit?).ok()?,
        fee_token: fee_token?,
        gas_price_max: GasPrice(price?.into()),
        priority_fee: GasPrice(priority?.into()),
        batch_claims_max: usize::try_from(claims?).ok()?,
        batch_gas_max: Gas(gas?),
        batches_in_flight_max: usize::try_from(in_flight?).ok()?,
    })
}

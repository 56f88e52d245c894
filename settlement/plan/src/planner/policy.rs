//! What the operator wants, what the chain takes, and what it costs.

use farebox_core::units::{Amount, UnixSeconds};

use crate::gas::{Gas, GasPrice};

/// When an open channel's value is claimed. What is zero is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Settle when this much waits.
    pub amount_min: Amount,
    /// Settle when something waits for this long, in seconds.
    pub age_s_max: u64,
    /// Settle when this many delivered units wait.
    pub units_max: u64,
    /// Settle the largest when more than this waits in all channels together.
    pub exposure_max: Amount,
    /// Close a channel that nobody used for this long, in seconds.
    pub idle_s_max: u64,
    /// A claim that nobody demands must bring this share of its fee, in percent.
    pub profit_percent_min: u32,
    /// How long what does not pay is left alone before it is looked at again, in seconds.
    pub dust_look_s: u64,
}

/// Seconds of a day.
const DAY_S: u64 = 86_400;

impl Default for Policy {
    /// Once a day, when it brings ten times its fee; closed after thirty days without use.
    fn default() -> Self {
        Self {
            amount_min: Amount::ZERO,
            age_s_max: DAY_S,
            units_max: 0,
            exposure_max: Amount::ZERO,
            idle_s_max: 30 * DAY_S,
            profit_percent_min: 1_000,
            dust_look_s: DAY_S,
        }
    }
}

/// What one transaction and one block take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of one transaction.
    pub calls_max: usize,
    /// Gas of one transaction.
    pub gas_per_transaction_max: Gas,
    /// Gas of all our transactions in one block.
    pub gas_per_block_max: Gas,
    /// Calldata of a call that the payment lane takes, in bytes (TIP-1045).
    pub payment_calldata_bytes_max: u32,
}

impl Default for Limits {
    /// A Tempo node's pool takes 32 calls a transaction; TIP-1045 takes 2,048 bytes of calldata a call; general
    /// transactions have 30,000,000 gas a block (TIP-1010), of which a third is ours at most.
    fn default() -> Self {
        Self {
            calls_max: 32,
            gas_per_transaction_max: Gas(10_000_000),
            gas_per_block_max: Gas(10_000_000),
            payment_calldata_bytes_max: 2_048,
        }
    }
}

/// What claims use, so that they can be planned before they are simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallGas {
    /// A transaction without calls: signature, expiring nonce, fee.
    pub transaction: Gas,
    /// A `settle` in it.
    pub settle: Gas,
    /// A `close` in it.
    pub close: Gas,
}

impl Default for CallGas {
    /// From a Tempo T12 node: 32 settles in one transaction used 677,000 gas, 32 closes 797,000, one settle alone
    /// 56,400 and one close up to 84,000.
    fn default() -> Self {
        Self { transaction: Gas(60_000), settle: Gas(21_000), close: Gas(25_000) }
    }
}

/// The chain at the time of planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// The time.
    pub now: UnixSeconds,
    /// What a unit of gas costs.
    pub gas_price: GasPrice,
    /// What calls use.
    pub call_gas: CallGas,
}

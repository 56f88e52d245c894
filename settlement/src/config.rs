//! How settlement is set up: whose money, which escrows, and every wait and bound with its unit.

use farebox_core::units::{Address, ChainId};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::sponsor::{BudgetLimits, Policy};
use farebox_settlement_plan::Backoff;
use farebox_settlement_plan::planner::{CallGas, Limits, Policy as ClaimPolicy};

use crate::signer::LocalKey;

/// An escrow whose channels this server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escrow {
    /// What it speaks.
    pub protocol: ProtocolVersion,
    /// Where it lives.
    pub address: Address,
}

/// How settlement is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain.
    pub chain_id: ChainId,
    /// Who gets the money. The signer's account is this one, or the advertised operator.
    pub payee: Address,
    /// The escrows to follow.
    pub escrows: Vec<Escrow>,
    /// Where to begin to follow the escrows when the books do not say; the newest block when `None`.
    pub start_block: Option<u64>,
    /// Where new blocks are told of over a WebSocket, if anywhere.
    pub heads: Option<HeadsUrl>,
    /// How claims are sent.
    pub close: CloseConfig,
    /// How the escrows' events are followed.
    pub watch: WatchConfig,
    /// What is claimed, and how claims are driven to their end.
    pub work: WorkConfig,
    /// How open channels are held against their escrow.
    pub check: CheckConfig,
    /// How long it is known what was sent.
    pub history: HistoryConfig,
    /// Who pays the fees of clients' transactions; nobody when `None`.
    pub sponsor: Option<SponsorConfig>,
}

/// The address of a WebSocket. It may hold a key, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HeadsUrl(pub String);

impl std::fmt::Debug for HeadsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeadsUrl(..)")
    }
}

/// Who pays the fees of clients' transactions, and within which limits.
#[derive(Clone, Debug)]
pub struct SponsorConfig {
    /// The account that pays. The policy's `sponsor` is its address.
    pub key: LocalKey,
    /// What it pays for.
    pub policy: Policy,
    /// What it spends in an hour.
    pub budget: BudgetLimits,
}

/// How claims are sent.
#[derive(Clone, Copy, Debug)]
pub struct CloseConfig {
    /// In which token fees are paid; the channel's own when `None`.
    pub fee_token: Option<Address>,
    /// How long a transaction is valid. TIP-1009 takes at most 30 seconds beyond the block's time.
    pub validity_seconds: u64,
    /// How far our clock may be from the chain's before the chain's is used instead.
    pub clock_skew_seconds_max: u64,
    /// The most gas that a transaction may use.
    pub gas_limit_max: u64,
    /// The most that a unit of gas may cost, in the chain's smallest unit (10^-18 dollars).
    pub max_fee_per_gas_max: u128,
    /// What is offered to the block's proposer for a unit of gas.
    pub priority_fee_per_gas: u128,
    /// How long a receipt is awaited; longer than the validity, so that silence becomes a fate.
    pub receipt_wait_ms: u64,
}

impl Default for CloseConfig {
    /// 32 closes of v2 channels use 797,000 gas, and 250,000 more when the payee never held the token (measured on a
    /// Tempo T12 node); estimates of batches are generous.
    fn default() -> Self {
        Self {
            fee_token: None,
            validity_seconds: 25,
            clock_skew_seconds_max: 4,
            gas_limit_max: 30_000_000,
            max_fee_per_gas_max: 1_000_000_000_000,
            priority_fee_per_gas: 1_000_000_000,
            receipt_wait_ms: 45_000,
        }
    }
}

/// How the escrows' events are followed.
#[derive(Clone, Copy, Debug)]
pub struct WatchConfig {
    /// The pause between two looks at the chain.
    pub poll_ms: u64,
    /// The same while new blocks are told.
    pub poll_told_ms: u64,
    /// The most blocks of one request. Halved when a node finds it too many.
    pub range_blocks_max: u64,
    /// Blocks that are read again with every look: what a node that was behind may have left out.
    pub overlap_blocks: u64,
    /// How many blocks must follow one before its events are told. Tempo's blocks are final: none.
    pub confirm_blocks: u64,
    /// The newest blocks whose hashes are remembered, to notice when the chain replaces them.
    pub window_blocks: usize,
    /// Channels that are told their facts at the same time.
    pub channels_in_flight_max: usize,
    /// The pauses after failures.
    pub backoff: Backoff,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            poll_ms: 500,
            poll_told_ms: 5_000,
            range_blocks_max: 1_000,
            overlap_blocks: 20,
            confirm_blocks: 0,
            window_blocks: 64,
            channels_in_flight_max: 64,
            backoff: Backoff { first_ms: 250, max_ms: 10_000 },
        }
    }
}

/// How open channels are held against their escrow, beside the events.
#[derive(Clone, Copy, Debug)]
pub struct CheckConfig {
    /// The pause between two pages of the books.
    pub every_ms: u64,
    /// Channels of one page.
    pub page_channels: usize,
    /// How often what differs is looked at again before it counts: the books may be a few blocks behind.
    pub looks_max: u32,
    /// The pause before another look.
    pub look_ms: u64,
}

impl Default for CheckConfig {
    /// 100 channels a second: one question to the node every few seconds, and a day for ten million channels.
    fn default() -> Self {
        Self { every_ms: 10_000, page_channels: 1_024, looks_max: 5, look_ms: 2_000 }
    }
}

/// How long it is known what was sent, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct HistoryConfig {
    /// What was signed longer ago is forgotten; nothing when `None`.
    pub keep_s: Option<u64>,
    /// The most transactions; the oldest go first.
    pub transactions_max: usize,
}

impl Default for HistoryConfig {
    /// A quarter of a million transactions of up to 32 claims each, some hundred MB on disk at most.
    fn default() -> Self {
        Self { keep_s: None, transactions_max: 1 << 18 }
    }
}

/// What is claimed, and how claims are driven to their end.
#[derive(Clone, Copy, Debug)]
pub struct WorkConfig {
    /// When an open channel's value is claimed.
    pub policy: ClaimPolicy,
    /// What a transaction and a block take.
    pub limits: Limits,
    /// What claims use, before they are simulated.
    pub call_gas: CallGas,
    /// Transactions that are under way at the same time.
    pub batches_in_flight_max: usize,
    /// How long claims gather, so that those that come together go together.
    pub gather_ms: u64,
    /// How often channels that the books changed are looked at.
    pub follow_ms: u64,
    /// When all books are looked through again after changes were missed.
    pub rescan_s: u64,
    /// How long a close request is left alone, in seconds: a watchtower waits for the server that it watches.
    pub close_request_rest_s: u64,
    /// How long a channel may be closing before it counts as one that nobody drives: the door needs a
    /// moment to tell the books what came of its own close.
    pub closing_rest_ms: u64,
    /// The pauses after failures.
    pub backoff: Backoff,
    /// How long a stop waits for closes that are under way; what is left is taken up at the next start.
    pub stop_wait_ms: u64,
}

impl Default for WorkConfig {
    fn default() -> Self {
        Self {
            policy: ClaimPolicy::default(),
            limits: Limits::default(),
            call_gas: CallGas::default(),
            batches_in_flight_max: 8,
            gather_ms: 100,
            follow_ms: 5_000,
            rescan_s: 3_600,
            close_request_rest_s: 0,
            closing_rest_ms: 5_000,
            backoff: Backoff { first_ms: 500, max_ms: 60_000 },
            stop_wait_ms: 10_000,
        }
    }
}

impl Config {
    /// The usual waits and bounds.
    pub fn new(chain_id: ChainId, payee: Address, escrows: Vec<Escrow>) -> Self {
        Self {
            chain_id,
            payee,
            escrows,
            start_block: None,
            heads: None,
            close: CloseConfig::default(),
            watch: WatchConfig::default(),
            work: WorkConfig::default(),
            check: CheckConfig::default(),
            history: HistoryConfig::default(),
            sponsor: None,
        }
    }

    /// What an escrow speaks; `None` for an address that is none of ours.
    pub fn protocol_of(&self, escrow: Address) -> Option<ProtocolVersion> {
        self.escrows.iter().find(|known| known.address == escrow).map(|known| known.protocol)
    }
}

//! Settlement as the server runs it: checked against the chain first, then started, watched and stopped.

use std::sync::{Arc, Mutex, PoisonError};

use farebox_engine::Engine;
use farebox_engine::chain::Chain;
use farebox_engine::core::units::{Address, Amount, B256, ChannelId};
use farebox_engine::core::voucher::ProtocolVersion;
use farebox_settlement::plan::Policy;
use farebox_settlement::{
    Client, ClientConfig, ClientError, Escrow, HeadsUrl, LocalKey, PayeeSigner, SettlementHealth,
    SponsorConfig, StartError, WatcherHealth,
};

use crate::admin::Probe;
use crate::config::{Config, RpcUrl, Sponsor};

/// Looks at the chain that may fail in a row before the server says that it is not ready.
const FAILED_LOOKS_MAX: u32 = 3;

/// Why settlement does not start.
#[derive(Debug, thiserror::Error)]
pub enum SettlementError {
    /// The endpoints serve another chain, or none answers and the books do not say where to begin.
    #[error("chain.rpc: {0}")]
    Rpc(ClientError),
    /// An endpoint serves another chain.
    #[error("chain.id: RPC endpoint {endpoint}: found chain {found}, expected {expected}")]
    WrongChain {
        /// Its host.
        endpoint: String,
        /// What it serves.
        found: u64,
        /// What the configuration says.
        expected: u64,
    },
    /// No contract answers at an address.
    #[error("{key}: found no contract at {address} that answers ({cause}), expected {expected}")]
    NoContract {
        /// The configuration key that names it.
        key: &'static str,
        /// The address.
        address: Address,
        /// What was expected there.
        expected: &'static str,
        /// What the node said.
        cause: ClientError,
    },
    /// Anything else.
    #[error("cannot start settlement: {0}")]
    Start(StartError),
}

impl SettlementError {
    /// True when the configuration must change; false when something is away.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::WrongChain { .. } | Self::NoContract { .. })
    }
}

impl From<ClientError> for SettlementError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::WrongChain { endpoint, found, expected } => {
                Self::WrongChain { endpoint, found: found.0, expected: expected.0 }
            }
            other => Self::Rpc(other),
        }
    }
}

impl From<StartError> for SettlementError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Client(error) => error.into(),
            other => Self::Start(other),
        }
    }
}

/// Settlement, running.
pub(super) struct Settlement {
    running: Arc<Running>,
    chain: Arc<dyn Chain>,
}

/// What the admin API asks. Empty once settlement was told to stop.
struct Running(Mutex<Option<farebox_settlement::Settlement>>);

impl Settlement {
    /// Checks the chain and the contracts, and starts.
    pub(super) async fn start(
        config: &Config,
        engine: &Engine,
        signer: PayeeSigner,
        sponsor: Option<LocalKey>,
    ) -> Result<Self, SettlementError> {
        let client = client(config)?;
        match check_chain(config, &client).await {
            Ok(()) => {}
            // Books that know how far the chain was read can serve their channels without it.
            Err(SettlementError::Rpc(error)) if engine.cursor().is_some() => {
                tracing::error!(%error, "the chain cannot be asked whether the contracts are there");
            }
            Err(error) => return Err(error),
        }
        let mut settings = settings(config);
        if let (Some(key), Some(Sponsor { policy, budget, .. })) = (sponsor, &config.sponsor) {
            tracing::info!(sponsor = %key.address(), "the fees of opens and top-ups are paid");
            settings.sponsor = Some(SponsorConfig { key, policy: *policy, budget: *budget });
        }
        let settlement =
            farebox_settlement::Settlement::start(settings, engine.clone(), client, signer).await?;
        let chain = settlement.chain();
        Ok(Self { running: Arc::new(Running(Mutex::new(Some(settlement)))), chain })
    }

    /// The door's port to the chain.
    pub(super) fn chain(&self) -> Arc<dyn Chain> {
        Arc::clone(&self.chain)
    }

    /// What the admin API asks.
    pub(super) fn probe(&self) -> Arc<dyn Probe> {
        self.running.clone()
    }

    /// Gives closes that are under way a moment, and ends.
    pub(super) async fn stop(self) {
        let taken = self.running.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(settlement) = taken {
            settlement.stop().await;
        }
    }
}

impl Probe for Running {
    fn settlement(&self) -> Option<SettlementHealth> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(farebox_settlement::Settlement::health)
    }

    fn settle_now(&self, channel: ChannelId) -> bool {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().inspect(|settlement| settlement.settle_now(channel)).is_some()
    }

    fn probe(&self) -> Vec<(&'static str, String)> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => vec![("settlement", "stopping".into())],
            Some(settlement) => wrong(&settlement.health()),
        }
    }
}

/// What is wrong, in words.
fn wrong(health: &SettlementHealth) -> Vec<(&'static str, String)> {
    let SettlementHealth { watcher, is_running, .. } = health;
    let WatcherHealth { failures, last_error, is_following, .. } = watcher;
    let mut wrong = Vec::new();
    if !is_running {
        wrong.push(("settlement", "a task ended that should run; restart the server".into()));
    }
    if *failures >= FAILED_LOOKS_MAX {
        wrong.push(("chain", format!("{failures} looks at the chain failed in a row: {last_error}")));
    } else if !is_following {
        wrong.push(("chain", "the escrows' events were not read yet".into()));
    }
    wrong
}

/// Asks the configured nodes.
pub fn client(config: &Config) -> Result<Client, SettlementError> {
    let endpoints = config.chain.rpc.iter().map(|url| RpcUrl::reveal(url).to_owned()).collect();
    let client = ClientConfig { quorum: config.chain.rpc_quorum, ..ClientConfig::new(endpoints) };
    Ok(Client::new(config.chain.id, client)?)
}

/// Settlement's part of the configuration.
pub fn settings(config: &Config) -> farebox_settlement::Config {
    let mut escrows = vec![Escrow { protocol: ProtocolVersion::V2, address: config.escrow.v2 }];
    escrows.extend(config.escrow.v1.map(|address| Escrow { protocol: ProtocolVersion::V1, address }));
    let wanted = &config.settlement;
    let mut settings = farebox_settlement::Config::new(config.chain.id, config.payee.address, escrows);
    settings.heads = config.chain.heads.as_ref().map(|url| HeadsUrl(RpcUrl::reveal(url).to_owned()));
    settings.watch.confirm_blocks = config.chain.confirm_blocks;
    settings.close.fee_token = wanted.fee_token;
    settings.close.gas_limit_max = wanted.batch_gas_max.0;
    settings.close.max_fee_per_gas_max = wanted.gas_price_max.0;
    settings.close.priority_fee_per_gas = wanted.priority_fee.0;
    settings.history.keep_s = config.books.journal_keep_s;
    settings.work.batches_in_flight_max = wanted.batches_in_flight_max;
    settings.work.limits.calls_max = wanted.batch_claims_max;
    settings.work.policy = Policy {
        amount_min: wanted.amount_min,
        age_s_max: before(wanted.age_s_max, config.risk.unsettled_age_s_max),
        units_max: wanted.units_max,
        exposure_max: Amount::new(before(
            wanted.unsettled_max.get(),
            config.risk.unsettled_total_max.map(Amount::get),
        )),
        idle_s_max: wanted.idle_close_s,
        profit_percent_min: wanted.profit_percent_min,
        ..Policy::default()
    };
    settings
}

/// What is wanted, but no later than half-way to the limit at which service stops. Zero wants nothing.
fn before<T: Ord + Default + Copy + std::ops::Div<Output = T> + From<u8>>(wanted: T, limit: Option<T>) -> T {
    let Some(limit) = limit else { return wanted };
    let half = (limit / T::from(2)).max(T::from(1));
    if wanted == T::default() { half } else { wanted.min(half) }
}

/// Asks the chain for its id, and the escrows and the token for anything: what is not there cannot answer.
/// (Asking for code would not do: a precompile may have none.)
pub async fn check_chain(config: &Config, client: &Client) -> Result<(), SettlementError> {
    client.check().await?;
    let block = client.head().await?.number;
    let mut escrows =
        vec![("escrow.v2", ProtocolVersion::V2, config.escrow.v2, "the channel reserve (TIP-1034)")];
    if let Some(v1) = config.escrow.v1 {
        escrows.push(("escrow.v1", ProtocolVersion::V1, v1, "the stream channel escrow"));
    }
    for (key, protocol, address, expected) in escrows {
        let answer = client.channel_at(protocol, address, ChannelId(B256::ZERO), block).await;
        contract(key, address, expected, answer)?;
    }
    let token = config.payee.token;
    let answer = client.balance(token, config.payee.address).await;
    contract("payee.token", token, "a TIP-20 token", answer)
}

/// An answer from a contract, or why there is none: nobody could be asked, or nobody is there.
fn contract<T>(
    key: &'static str,
    address: Address,
    expected: &'static str,
    answer: Result<T, ClientError>,
) -> Result<(), SettlementError> {
    match answer {
        Ok(_) => Ok(()),
        Err(cause @ (ClientError::BadAnswer { .. } | ClientError::Reverts { .. })) => {
            Err(SettlementError::NoContract { key, address, expected, cause })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_claimed_before_the_limits_stop_service() {
        assert_eq!(before(86_400_u64, None), 86_400);
        assert_eq!(before(86_400_u64, Some(3_600)), 1_800);
        assert_eq!(before(600_u64, Some(3_600)), 600);
        assert_eq!(before(0_u128, Some(1)), 1, "never nothing");
        assert_eq!(before(0_u128, Some(1_000)), 500);
    }

    #[test]
    fn one_failed_look_is_no_reason_to_turn_traffic_away() {
        let health = |failures, is_following, is_running| SettlementHealth {
            watcher: WatcherHealth { next_block: 1, failures, last_error: "away".into(), is_following },
            is_running,
            // Not asked: a service that does not sign is an alarm of its own, and no reason to refuse vouchers.
            key: Default::default(),
        };
        assert_eq!(wrong(&health(0, true, true)), []);
        assert_eq!(wrong(&health(2, true, true)), []);
        assert_eq!(wrong(&health(3, true, true))[0].1, "3 looks at the chain failed in a row: away");
        assert_eq!(wrong(&health(0, false, true))[0].0, "chain");
        assert_eq!(wrong(&health(0, true, false))[0].0, "settlement");
    }
}

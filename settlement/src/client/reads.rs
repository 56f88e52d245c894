//! Reading state: the head, channels, balances, gas.

use alloy::primitives::{Address, B256, Bytes, U64, U256};
use alloy::rpc::types::{TransactionInput, TransactionRequest};
use alloy::sol_types::SolCall;
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{Clock, SystemClock};
use serde::{Deserialize, Serialize};

use super::endpoint::Failure;
use super::{Client, ClientError};
use farebox_contracts::tip20::ITIP20;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;

/// How old the head of a node may be by our clock before the next node is asked. Tempo makes a block twice
/// a second.
const HEAD_AGE_SECONDS_MAX: u64 = 20;

/// The newest block of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its height.
    pub number: u64,
    /// Its hash; zero when the node does not say.
    pub hash: B256,
    /// The hash of the block below it; zero when the node does not say.
    pub parent: B256,
    /// The chain's clock.
    pub timestamp: UnixSeconds,
    /// What a unit of gas costs at least.
    pub base_fee: u128,
}

/// A block as nodes write it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawBlock {
    number: U64,
    #[serde(default)]
    hash: B256,
    #[serde(default)]
    parent_hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<alloy::primitives::U128>,
}

impl From<RawBlock> for Head {
    fn from(block: RawBlock) -> Self {
        Self {
            number: block.number.to(),
            hash: block.hash,
            parent: block.parent_hash,
            timestamp: UnixSeconds(block.timestamp.to()),
            base_fee: block.base_fee_per_gas.map_or(0, |fee| fee.to()),
        }
    }
}

/// A channel as its escrow holds it at one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOnChain {
    /// v2: never opened, closed, or withdrawn. v1: never opened.
    Absent,
    /// v1 only: it was, and is over.
    Finalized,
    /// It lives.
    Open {
        /// What the escrow holds.
        deposit: Amount,
        /// What the payee got.
        settled: Amount,
        /// The payer's pending close request.
        close_requested_at: Option<UnixSeconds>,
    },
}

impl Client {
    /// The newest block: of the first endpoint whose head is fresh by our clock, or the newest of all when
    /// none is. A node that is stuck answers, too, and would otherwise be followed for ever.
    pub async fn head(&self) -> Result<Head, ClientError> {
        if self.quorum() > 1 {
            return self.agreed_head().await;
        }
        let now = SystemClock.now();
        let mut best: Result<Head, ClientError> = Err(ClientError::NoEndpoint);
        for endpoint in self.endpoints() {
            if best.is_ok() && endpoint.is_cooling() {
                break;
            }
            match endpoint.head().await {
                Ok(head) => {
                    if head.timestamp.saturating_add(HEAD_AGE_SECONDS_MAX) >= now {
                        return Ok(head);
                    }
                    let is_newer = best.as_ref().map_or(true, |best| best.number < head.number);
                    best = if is_newer { Ok(head) } else { best };
                }
                Err(failure) => best = best.map_err(|_| failure.into_error(endpoint.name())),
            }
        }
        best
    }

    /// The timestamp of a block.
    pub async fn timestamp(&self, block: u64) -> Result<UnixSeconds, ClientError> {
        Ok(self.block(block).await?.timestamp)
    }

    /// A block of the chain, by its height.
    pub async fn block(&self, number: u64) -> Result<Head, ClientError> {
        self.agree("a block", |endpoint| async move {
            let found: Option<RawBlock> = endpoint
                .request("eth_getBlockByNumber", (U64::from(number), false))
                .await
                .map_err(|failure| failure.into_error(endpoint.name()))?;
            let behind = || ClientError::Behind { wanted: number, found: endpoint.newest_block() };
            let found = found.map(Head::from).ok_or_else(behind)?;
            if found.number != number {
                let what = "the block that was asked for";
                return Err(ClientError::BadAnswer { endpoint: endpoint.name().to_owned(), what });
            }
            Ok(found)
        })
        .await
    }

    /// The channel as of the newest block that any node ever showed, but at least `not_before`. Nodes that
    /// do not have that block yet are asked again, within a bound: they are not believed.
    ///
    /// Gives the block too.
    pub async fn channel(
        &self,
        protocol: ProtocolVersion,
        escrow: Address,
        channel: ChannelId,
        not_before: u64,
    ) -> Result<(ChannelOnChain, u64), ClientError> {
        let mut tries = 0;
        loop {
            let head = self.head().await;
            let block = self.newest_block().max(not_before);
            let found = match head {
                Ok(_) => self.channel_at(protocol, escrow, channel, block).await,
                Err(error) => Err(error),
            };
            tries += 1;
            match found {
                Ok(found) => return Ok((found, block)),
                Err(error) if tries >= self.config().read_tries_max => return Err(error),
                Err(_) => self.pause().await,
            }
        }
    }

    /// Channels of one escrow, in the given order, as [`Client::channel`] reads one: all as of the same block.
    pub async fn channels(
        &self,
        protocol: ProtocolVersion,
        escrow: Address,
        channels: &[ChannelId],
        not_before: u64,
    ) -> Result<(Vec<ChannelOnChain>, u64), ClientError> {
        let mut tries = 0;
        loop {
            let head = self.head().await;
            let block = self.newest_block().max(not_before);
            let found = match head {
                Ok(_) => self.channels_at(protocol, escrow, channels, block).await,
                Err(error) => Err(error),
            };
            tries += 1;
            match found {
                Ok(found) => return Ok((found, block)),
                Err(error) if tries >= self.config().read_tries_max => return Err(error),
                Err(_) => self.pause().await,
            }
        }
    }

    /// Channels of one escrow as of one block: one question in v2, one a channel in v1, whose escrow knows no other.
    pub async fn channels_at(
        &self,
        protocol: ProtocolVersion,
        escrow: Address,
        channels: &[ChannelId],
        block: u64,
    ) -> Result<Vec<ChannelOnChain>, ClientError> {
        let mut found = Vec::with_capacity(channels.len());
        match protocol {
            ProtocolVersion::V1 => {
                for channel in channels {
                    found.push(self.channel_at(protocol, escrow, *channel, block).await?);
                }
            }
            ProtocolVersion::V2 => {
                let ids = channels.iter().map(|channel| channel.0).collect();
                let call = ITIP20ChannelReserve::getChannelStatesBatchCall { channelIds: ids };
                let states = self.view(escrow, call, block).await?;
                if states.len() != channels.len() {
                    let what = "as many states as there were channels in the question";
                    return Err(ClientError::BadAnswer { endpoint: "the escrow".to_owned(), what });
                }
                found.extend(states.iter().map(reserve_state));
            }
        }
        Ok(found)
    }

    /// The channel as of one block.
    pub async fn channel_at(
        &self,
        protocol: ProtocolVersion,
        escrow: Address,
        channel: ChannelId,
        block: u64,
    ) -> Result<ChannelOnChain, ClientError> {
        match protocol {
            ProtocolVersion::V1 => {
                let call = ITempoStreamChannel::getChannelCall { channelId: channel.0 };
                let found = self.view(escrow, call, block).await?;
                Ok(if found.finalized {
                    ChannelOnChain::Finalized
                } else if found.payer.is_zero() {
                    ChannelOnChain::Absent
                } else {
                    open(found.deposit, found.settled, found.closeRequestedAt)
                })
            }
            ProtocolVersion::V2 => {
                let call = ITIP20ChannelReserve::getChannelStateCall { channelId: channel.0 };
                let found = self.view(escrow, call, block).await?;
                Ok(reserve_state(&found))
            }
        }
    }

    /// What an account holds of a token, in base units.
    pub async fn balance(&self, token: Address, account: Address) -> Result<U256, ClientError> {
        let block = self.head().await?.number;
        self.view(token, ITIP20::balanceOfCall { account }, block).await
    }

    /// The code at an address; empty where no contract is.
    pub async fn code(&self, address: Address) -> Result<Bytes, ClientError> {
        self.call("eth_getCode", (address, "latest")).await
    }

    /// The gas that calls in one transaction would use now. [`ClientError::Reverts`] when one of them would fail.
    pub async fn estimate_gas(&self, from: Address, calls: &[(Address, Bytes)]) -> Result<u64, ClientError> {
        self.rehearse(from, calls, None).await
    }

    /// [`Self::estimate_gas`] of a transaction with an expiring nonce, if it says until when it is valid. Its nonce costs
    /// less gas than the first of an account.
    pub(crate) async fn rehearse(
        &self,
        from: Address,
        calls: &[(Address, Bytes)],
        valid_before: Option<UnixSeconds>,
    ) -> Result<u64, ClientError> {
        let calls =
            calls.iter().map(|(to, input)| SimulatedCall { to: *to, value: U64::ZERO, input }).collect();
        let nonce = valid_before.map(|valid_before| ExpiringNonce {
            nonce_key: U256::MAX,
            nonce: U64::ZERO,
            valid_before: U64::from(valid_before.0),
        });
        let question = Simulated { from, calls, nonce };
        // A revert sets a channel apart, so a quorum has to say it. How much gas is used decides no money.
        let mut reverts = 0;
        let mut last = ClientError::NoEndpoint;
        for endpoint in self.endpoints() {
            let answer: Result<U64, Failure> = endpoint.request("eth_estimateGas", (question.clone(),)).await;
            match answer {
                Ok(gas) => return Ok(gas.to()),
                Err(failure) if failure.is_revert() => {
                    last = failure.into_error(endpoint.name());
                    reverts += 1;
                    if reverts >= self.quorum() {
                        return Err(last);
                    }
                }
                Err(failure) if reverts == 0 => last = failure.into_error(endpoint.name()),
                Err(_) => {}
            }
        }
        match last {
            ClientError::Reverts { .. } => {
                let (question, answers, wanted) = ("a simulation", reverts, self.quorum());
                Err(ClientError::NoQuorum { question, answers, wanted })
            }
            last => Err(last),
        }
    }

    /// What a view function says as of one block, asked of an endpoint that has that block: one that does
    /// not may answer with an older state.
    async fn view<C: SolCall>(&self, to: Address, call: C, block: u64) -> Result<C::Return, ClientError> {
        let input = TransactionInput::new(call.abi_encode().into());
        let request = TransactionRequest::default().to(to).input(input);
        let answer = self.agree("a contract's state", |endpoint| {
            let request = request.clone();
            async move {
                let failed = |failure: Failure| failure.into_error(endpoint.name());
                let head = endpoint.head().await.map_err(failed)?;
                if head.number < block {
                    return Err(ClientError::Behind { wanted: block, found: head.number });
                }
                endpoint.request::<_, Bytes>("eth_call", (request, U64::from(block))).await.map_err(failed)
            }
        });
        let what = "the contract's answer is not of its interface; is its address right?";
        let bad = |_| ClientError::BadAnswer { endpoint: "the contract".to_owned(), what };
        C::abi_decode_returns(&answer.await?).map_err(bad)
    }
}

/// A Tempo transaction, as nodes simulate it.
#[derive(Clone, Debug, Serialize)]
struct Simulated<'a> {
    from: Address,
    calls: Vec<SimulatedCall<'a>>,
    #[serde(flatten)]
    nonce: Option<ExpiringNonce>,
}

/// The nonce of a transaction that is valid once, until a time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExpiringNonce {
    nonce_key: U256,
    nonce: U64,
    valid_before: U64,
}

/// One call of it.
#[derive(Clone, Debug, Serialize)]
struct SimulatedCall<'a> {
    to: Address,
    value: U64,
    input: &'a Bytes,
}

/// Every open channel has a deposit.
fn reserve_state(found: &ITIP20ChannelReserve::ChannelState) -> ChannelOnChain {
    if found.deposit.is_zero() {
        return ChannelOnChain::Absent;
    }
    open(found.deposit.to(), found.settled.to(), found.closeRequestedAt.into())
}

fn open(deposit: u128, settled: u128, close_requested_at: u64) -> ChannelOnChain {
    ChannelOnChain::Open {
        deposit: Amount::new(deposit),
        settled: Amount::new(settled),
        close_requested_at: (close_requested_at != 0).then_some(UnixSeconds(close_requested_at)),
    }
}

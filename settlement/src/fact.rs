//! What the escrows' events say, in the words of the books.
//!
//! The watcher feeds these facts to the engine; the opener and the closer read the same events from
//! receipts. Amounts are totals, never differences, so that a fact may be told twice.

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use farebox_contracts::{v1::ITempoStreamChannel as V1, v2::ITIP20ChannelReserve as V2};
use farebox_core::channel::{ChainPosition, Identity, Terms};
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::{ProtocolVersion, v1, v2};
use farebox_engine::Step;
use farebox_settlement_plan::deadline::CLOSE_GRACE_PERIOD_SECONDS;

/// Something that an escrow said about one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The escrow.
    pub escrow: Address,
    /// The channel.
    pub channel: ChannelId,
    /// Where the chain said so.
    pub position: ChainPosition,
    /// What it said.
    pub kind: FactKind,
}

/// What an escrow said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// The channel was opened with these terms. Only the opener takes a channel into the books.
    Opened {
        /// Its terms, all that the event holds.
        terms: Terms,
        /// What the escrow holds.
        deposit: Amount,
    },
    /// The escrow now holds this much in all.
    ToppedUp {
        /// By how much it grew.
        additional: Amount,
        /// The new total.
        deposit: Amount,
    },
    /// The payer asked to close.
    CloseRequested {
        /// When: the end of the grace period that the escrow announced, less its length.
        at: UnixSeconds,
    },
    /// The payer took the close request back.
    CloseRequestCancelled,
    /// This much was paid out in all.
    Settled {
        /// The new total.
        settled: Amount,
    },
    /// The channel is over.
    Closed {
        /// What the payee got over its life.
        captured: Amount,
        /// What the payer got back at the end.
        refunded: Amount,
    },
}

/// An event of an escrow that cannot be read. The escrow at this address is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} of escrow {escrow} in block {} is malformed", position.block)]
pub struct BadEvent {
    /// The escrow.
    pub escrow: Address,
    /// The hash of the event's signature.
    pub event: B256,
    /// Where it was seen.
    pub position: ChainPosition,
}

/// The events that the books need to hear of. The two protocols give several the same name and hash.
pub fn watched_events() -> Vec<B256> {
    let mut events = vec![
        V1::TopUp::SIGNATURE_HASH,
        V1::CloseRequested::SIGNATURE_HASH,
        V1::CloseRequestCancelled::SIGNATURE_HASH,
        V1::Settled::SIGNATURE_HASH,
        V1::ChannelClosed::SIGNATURE_HASH,
        V2::TopUp::SIGNATURE_HASH,
        V2::CloseRequested::SIGNATURE_HASH,
        V2::CloseRequestCancelled::SIGNATURE_HASH,
        V2::Settled::SIGNATURE_HASH,
        V2::ChannelClosed::SIGNATURE_HASH,
    ];
    events.sort_unstable();
    events.dedup();
    events
}

/// The event that ends a channel.
pub fn closed_event(protocol: ProtocolVersion) -> B256 {
    match protocol {
        ProtocolVersion::V1 => V1::ChannelClosed::SIGNATURE_HASH,
        ProtocolVersion::V2 => V2::ChannelClosed::SIGNATURE_HASH,
    }
}

/// The event that tells of a top-up.
pub fn topped_up_event(protocol: ProtocolVersion) -> B256 {
    match protocol {
        ProtocolVersion::V1 => V1::TopUp::SIGNATURE_HASH,
        ProtocolVersion::V2 => V2::TopUp::SIGNATURE_HASH,
    }
}

/// Where a log is on the chain.
pub fn position(log: &Log) -> ChainPosition {
    let log_index = u32::try_from(log.log_index.unwrap_or(0)).unwrap_or(u32::MAX);
    ChainPosition { block: log.block_number.unwrap_or(0), log_index }
}

impl Fact {
    /// Reads a log of an escrow of the given protocol; `None` for events that say nothing to the books.
    pub fn read(protocol: ProtocolVersion, log: &Log) -> Result<Option<Self>, BadEvent> {
        let Some(event) = log.topic0().copied() else { return Ok(None) };
        let read = match protocol {
            ProtocolVersion::V1 => read_v1(event, log),
            ProtocolVersion::V2 => read_v2(event, log),
        };
        let (escrow, position) = (log.address(), position(log));
        match read {
            Ok(Some((channel, kind))) => {
                Ok(Some(Self { escrow, channel: ChannelId(channel), position, kind }))
            }
            Ok(None) => Ok(None),
            Err(Unreadable) => Err(BadEvent { escrow, event, position }),
        }
    }

    /// The facts of one channel in a transaction's logs. Logs of other contracts and channels, which a
    /// transaction may have too, are left out.
    pub fn of_channel(
        logs: &[Log],
        protocol: ProtocolVersion,
        escrow: Address,
        channel: ChannelId,
    ) -> Vec<Self> {
        let of_escrow = logs.iter().filter(|log| log.address() == escrow && !log.removed);
        let facts = of_escrow.filter_map(|log| Self::read(protocol, log).ok().flatten());
        facts.filter(|fact| fact.channel == channel).collect()
    }

    /// The step that tells the books; `None` for an open, which only the opener may tell.
    pub fn step(&self) -> Option<Step> {
        let position = self.position;
        Some(match self.kind {
            FactKind::Opened { .. } => return None,
            // The event that cancels is one of its own.
            FactKind::ToppedUp { deposit, .. } => Step::ToppedUp { deposit, position, cancels_close: false },
            FactKind::CloseRequested { at } => Step::CloseRequested { at, position },
            FactKind::CloseRequestCancelled => Step::CloseRequestCancelled { position },
            FactKind::Settled { settled } => Step::Settled { settled, position },
            FactKind::Closed { captured, refunded } => Step::Closed { captured, refunded, position },
        })
    }
}

impl FactKind {
    /// True when an open with these terms and this deposit made the event.
    pub fn is_open_of(&self, identity: &Identity, expected_deposit: Amount) -> bool {
        matches!(self, Self::Opened { terms, deposit }
            if *terms == identity.terms && *deposit == expected_deposit)
    }
}

/// The event's hash is one of ours, its content is not.
struct Unreadable;

type Read = Result<Option<(B256, FactKind)>, Unreadable>;

fn decode<E: SolEvent>(log: &Log) -> Result<E, Unreadable> {
    E::decode_log_validate(&log.inner).map(|log| log.data).map_err(|_| Unreadable)
}

fn amount(value: U256) -> Result<Amount, Unreadable> {
    u128::try_from(value).map(Amount::new).map_err(|_| Unreadable)
}

fn requested_at(grace_end: U256) -> Result<UnixSeconds, Unreadable> {
    let grace_end = u64::try_from(grace_end).map_err(|_| Unreadable)?;
    Ok(UnixSeconds(grace_end.saturating_sub(CLOSE_GRACE_PERIOD_SECONDS)))
}

fn read_v1(event: B256, log: &Log) -> Read {
    Ok(Some(match event {
        V1::ChannelOpened::SIGNATURE_HASH => {
            let V1::ChannelOpened { channelId, payer, payee, token, authorizedSigner, salt, deposit } =
                decode(log)?;
            let terms = v1::Terms { payer, payee, token, salt, authorized_signer: authorizedSigner };
            (channelId, FactKind::Opened { terms: Terms::V1(terms), deposit: amount(deposit)? })
        }
        V1::TopUp::SIGNATURE_HASH => {
            let said: V1::TopUp = decode(log)?;
            let (additional, deposit) = (amount(said.additionalDeposit)?, amount(said.newDeposit)?);
            (said.channelId, FactKind::ToppedUp { additional, deposit })
        }
        V1::CloseRequested::SIGNATURE_HASH => {
            let said: V1::CloseRequested = decode(log)?;
            (said.channelId, FactKind::CloseRequested { at: requested_at(said.closeGraceEnd)? })
        }
        V1::CloseRequestCancelled::SIGNATURE_HASH => {
            let said: V1::CloseRequestCancelled = decode(log)?;
            (said.channelId, FactKind::CloseRequestCancelled)
        }
        V1::Settled::SIGNATURE_HASH => {
            let said: V1::Settled = decode(log)?;
            (said.channelId, FactKind::Settled { settled: amount(said.newSettled)? })
        }
        V1::ChannelClosed::SIGNATURE_HASH => {
            let said: V1::ChannelClosed = decode(log)?;
            let (captured, refunded) = (amount(said.settledToPayee)?, amount(said.refundedToPayer)?);
            (said.channelId, FactKind::Closed { captured, refunded })
        }
        _ => return Ok(None),
    }))
}

fn read_v2(event: B256, log: &Log) -> Read {
    Ok(Some(match event {
        V2::ChannelOpened::SIGNATURE_HASH => {
            let said: V2::ChannelOpened = decode(log)?;
            let terms = v2::Descriptor {
                payer: said.payer,
                payee: said.payee,
                operator: said.operator,
                token: said.token,
                salt: said.salt,
                authorized_signer: said.authorizedSigner,
                expiring_nonce_hash: said.expiringNonceHash,
            };
            let deposit = Amount::new(said.deposit.to());
            (said.channelId, FactKind::Opened { terms: Terms::V2(terms), deposit })
        }
        V2::TopUp::SIGNATURE_HASH => {
            let said: V2::TopUp = decode(log)?;
            let additional = Amount::new(said.additionalDeposit.to());
            (said.channelId, FactKind::ToppedUp { additional, deposit: Amount::new(said.newDeposit.to()) })
        }
        V2::CloseRequested::SIGNATURE_HASH => {
            let said: V2::CloseRequested = decode(log)?;
            (said.channelId, FactKind::CloseRequested { at: requested_at(said.closeGraceEnd)? })
        }
        V2::CloseRequestCancelled::SIGNATURE_HASH => {
            let said: V2::CloseRequestCancelled = decode(log)?;
            (said.channelId, FactKind::CloseRequestCancelled)
        }
        V2::Settled::SIGNATURE_HASH => {
            let said: V2::Settled = decode(log)?;
            (said.channelId, FactKind::Settled { settled: Amount::new(said.newSettled.to()) })
        }
        V2::ChannelClosed::SIGNATURE_HASH => {
            let said: V2::ChannelClosed = decode(log)?;
            let captured = Amount::new(said.settledToPayee.to());
            (said.channelId, FactKind::Closed { captured, refunded: Amount::new(said.refundedToPayer.to()) })
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests;

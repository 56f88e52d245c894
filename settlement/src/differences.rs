//! Compares books with the chain, and changes neither.
//!
//! [`reconcile()`](crate::reconcile()) tells restored books what they missed; this only says where books and chain differ, for a
//! report beside a running server.

use std::collections::BTreeMap;

use farebox_core::channel::{Phase, Snapshot};
use farebox_core::units::{Address, Amount, ChainId, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::Channel;

use crate::client::{ChannelOnChain, Client, ClientError};
use crate::config::Config;

/// Channels of one question.
const QUESTION_CHANNELS: usize = 256;

/// Where books and chain differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// What the escrow holds.
    Deposit {
        /// The books'.
        books: Amount,
        /// The chain's.
        chain: Amount,
    },
    /// What was paid out.
    Settled {
        /// The books'.
        books: Amount,
        /// The chain's.
        chain: Amount,
    },
    /// The payer's close request.
    CloseRequest {
        /// The books'.
        books: Option<UnixSeconds>,
        /// The chain's.
        chain: Option<UnixSeconds>,
    },
    /// The books serve it, and the escrow does not know it any more.
    Ended,
    /// The books call it closed, and the escrow still holds a deposit.
    StillOpen {
        /// What it holds.
        deposit: Amount,
    },
    /// It lives on a chain or in an escrow that is not configured.
    Elsewhere {
        /// Its chain.
        chain_id: ChainId,
    },
}

/// The differences of these channels, all as of one block an escrow, which is told too.
///
/// # Errors
///
/// The chain cannot be asked: nothing is known.
pub async fn differences(
    config: &Config,
    client: &Client,
    channels: &[Channel],
) -> Result<(Vec<(ChannelId, Difference)>, u64), ClientError> {
    let mut found = Vec::new();
    let mut newest = client.head().await?.number;
    let mut by_escrow: BTreeMap<Address, Vec<&Channel>> = BTreeMap::new();
    for channel in channels {
        let identity = &channel.identity;
        let is_ours = identity.chain_id == config.chain_id
            && config.protocol_of(identity.escrow) == Some(identity.protocol());
        if is_ours {
            by_escrow.entry(identity.escrow).or_default().push(channel);
        } else {
            found.push((channel.id, Difference::Elsewhere { chain_id: identity.chain_id }));
        }
    }
    for (escrow, channels) in by_escrow {
        let protocol = config.protocol_of(escrow).unwrap_or(ProtocolVersion::V2);
        for some in channels.chunks(QUESTION_CHANNELS) {
            let ids: Vec<ChannelId> = some.iter().map(|channel| channel.id).collect();
            let (states, block) = client.channels(protocol, escrow, &ids, newest).await?;
            newest = newest.max(block);
            for (channel, state) in some.iter().zip(states) {
                let different = compare(&channel.snapshot, state);
                found.extend(different.into_iter().map(|difference| (channel.id, difference)));
            }
        }
    }
    found.sort_by_key(|(channel, _)| *channel);
    Ok((found, newest))
}

fn compare(books: &Snapshot, chain: ChannelOnChain) -> Vec<Difference> {
    let is_over = matches!(books.phase, Phase::Closed(_));
    let ChannelOnChain::Open { deposit, settled, close_requested_at } = chain else {
        return if is_over { Vec::new() } else { vec![Difference::Ended] };
    };
    if is_over {
        return vec![Difference::StillOpen { deposit }];
    }
    let mut found = Vec::new();
    if books.deposit != deposit {
        found.push(Difference::Deposit { books: books.deposit, chain: deposit });
    }
    if books.settled != settled {
        found.push(Difference::Settled { books: books.settled, chain: settled });
    }
    if books.close_requested_at != close_requested_at {
        let (books, chain) = (books.close_requested_at, close_requested_at);
        found.push(Difference::CloseRequest { books, chain });
    }
    found
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = |at: &Option<UnixSeconds>| at.map_or("none".to_owned(), |at| at.0.to_string());
        match self {
            Self::Deposit { books, chain } => write!(f, "deposit: books {books}, chain {chain}"),
            Self::Settled { books, chain } => write!(f, "settled: books {books}, chain {chain}"),
            Self::CloseRequest { books, chain } => {
                write!(f, "close request: books {}, chain {}", time(books), time(chain))
            }
            Self::Ended => f.write_str("the books serve it, the escrow does not know it any more"),
            Self::StillOpen { deposit } => {
                write!(f, "the books call it closed, the escrow still holds {deposit}")
            }
            Self::Elsewhere { chain_id } => {
                write!(f, "it is of chain {chain_id}, in an escrow that is not configured for it")
            }
        }
    }
}

impl Difference {
    /// A stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Deposit { .. } => "deposit",
            Self::Settled { .. } => "settled",
            Self::CloseRequest { .. } => "close_request",
            Self::Ended => "ended",
            Self::StillOpen { .. } => "still_open",
            Self::Elsewhere { .. } => "elsewhere",
        }
    }
}

//! From a channel of the books to what planning needs to know of it: for the worker, and for tools that only look.

use std::collections::{BTreeMap, BTreeSet};

use farebox_core::channel::Identity;
use farebox_core::units::{Address, ChannelId};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{Channel, LedgerError, LedgerRead};
use farebox_settlement_plan::planner::{Account, Hold, Standing};

use crate::config::Config;
use crate::intent::{BadIntent, Intent};
use crate::quarantine::Quarantine;

/// The calldata of a call with a signature of 65 bytes: selector, seven words of terms, two amounts, offset, length
/// and three words of signature.
const CALLDATA_BYTES: u32 = 4 + 32 * (7 + 2 + 2 + 3);
/// In v1 the channel's id stands for the terms.
const CALLDATA_BYTES_V1: u32 = CALLDATA_BYTES - 32 * 7;

/// The account that claims a channel's value, if `signer` may: the escrows let only the payee and the operator.
pub(crate) fn sender_of(signer: Address, identity: &Identity) -> Option<Address> {
    let is_operator = !identity.operator().is_zero() && signer == identity.operator();
    (signer == identity.payee() || is_operator).then_some(signer)
}

/// A channel as planning sees it.
pub(crate) fn account(config: &Config, signer: Address, channel: &Channel) -> Account {
    let Channel { id, identity, snapshot } = channel;
    Account {
        channel: *id,
        sender: sender_of(signer, identity),
        fee_token: config.close.fee_token.unwrap_or_else(|| identity.token()),
        protocol: snapshot.protocol,
        standing: Standing::of(snapshot),
        settled: snapshot.settled,
        spent: snapshot.spent,
        settleable: snapshot.settleable,
        units: snapshot.units,
        unsettled_since: snapshot.unsettled_since,
        active_at: snapshot.active_at,
        calldata_bytes: match snapshot.protocol {
            ProtocolVersion::V1 => CALLDATA_BYTES_V1,
            ProtocolVersion::V2 => CALLDATA_BYTES,
        },
        hold: None,
    }
}

/// What settlement wrote down in a ledger that somebody else writes, or nobody.
#[derive(Clone, Debug, Default)]
pub struct BooksAtRest {
    /// Channels that a transaction claims which may still happen.
    in_flight: BTreeSet<ChannelId>,
    /// Channels that are set apart.
    stuck: BTreeMap<ChannelId, Quarantine>,
}

/// Why that is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BooksAtRestError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An intent cannot be read.
    #[error(transparent)]
    Bad(#[from] BadIntent),
}

impl BooksAtRest {
    /// Reads it.
    pub fn read(ledger: &impl LedgerRead) -> Result<Self, BooksAtRestError> {
        let intents = Intent::read(&ledger.notes(Intent::PREFIX)?)?;
        let calls = intents.iter().flat_map(|intent| &intent.calls);
        let stuck = Quarantine::read(&ledger.notes(Quarantine::PREFIX)?);
        Ok(Self {
            in_flight: calls.map(|call| call.channel).collect(),
            stuck: stuck.into_iter().map(|stuck| (stuck.channel, stuck)).collect(),
        })
    }

    /// A channel as planning sees it, for a server whose claims `signer` signs.
    pub fn account(&self, config: &Config, signer: Address, channel: &Channel) -> Account {
        let is_final = |stuck: &Quarantine| stuck.is_final().then_some(Hold::Quarantined);
        let hold = match self.in_flight.contains(&channel.id) {
            true => Some(Hold::InFlight),
            false => self.stuck.get(&channel.id).and_then(is_final),
        };
        Account { hold, ..account(config, signer, channel) }
    }

    /// The transactions that may still happen, or whose end the books may not know.
    ///
    /// # Errors
    ///
    /// [`BooksAtRestError`].
    pub fn intents(ledger: &impl LedgerRead) -> Result<Vec<Intent>, BooksAtRestError> {
        Ok(Intent::read(&ledger.notes(Intent::PREFIX)?)?)
    }

    /// The channels that are set apart, each with its reason.
    pub fn stuck(&self) -> impl Iterator<Item = &Quarantine> {
        self.stuck.values()
    }
}

//! The channels that a shard holds in memory.
//!
//! Memory is the truth: a channel that changed since its last durable image stays here until the next
//! one is durable (*dirty implies resident*), and so does one with running requests. The others may go
//! when there are too many, and come back from the ledger when they are asked for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use farebox_core::channel::{Identity, Snapshot, State};
use farebox_core::units::{Address, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, ProtocolVersion};

use super::Channel;
use crate::ledger::{LedgerError, LedgerRead, StoredChannel};

/// The most domains that are hashed once and shared; a server has one or two escrows.
const DOMAINS_MAX: usize = 16;

/// A sweep happens when there are this part more channels than there should be.
const SWEEP_FRACTION: usize = 8;

/// Where an escrow's vouchers are valid.
type DomainKey = (ProtocolVersion, ChainId, Address);

/// A channel in memory.
#[derive(Debug)]
pub(super) struct Resident {
    /// Its terms.
    pub(super) identity: Arc<Identity>,
    /// What its vouchers are hashed with.
    pub(super) domain: Arc<AnyDomain>,
    /// Its books, ahead of the disk by at most what is queued for the committer.
    pub(super) state: State,
    /// Changed since its last image was taken.
    dirty: bool,
    /// The checkpoint that its last image was taken for.
    imaged: u64,
    /// Asked for since the last sweep.
    used: bool,
}

/// All channels that a shard holds.
#[derive(Debug)]
pub(super) struct Residents {
    channels: HashMap<ChannelId, Resident>,
    /// The same ids in order, for pages.
    ids: BTreeSet<ChannelId>,
    /// Those that changed since their last image, each once.
    dirty: Vec<ChannelId>,
    domains: Vec<(DomainKey, Arc<AnyDomain>)>,
    /// Those whose image is still to be given for the checkpoint under way.
    imaging: Vec<ChannelId>,
    is_imaging: bool,
    /// The checkpoint under way, or the last one.
    generation: u64,
    /// How many channels there should be at most.
    max: usize,
    /// How many there must be before a sweep is worth it.
    sweep_at: usize,
}

impl Resident {
    /// As an answer shows it.
    pub(super) fn to_channel(&self, id: ChannelId) -> Channel {
        Channel { id, identity: Arc::clone(&self.identity), snapshot: Snapshot::from(&self.state) }
    }
}

impl Residents {
    /// Takes over what recovery found changed.
    pub(super) fn new(max: usize, recovered: impl IntoIterator<Item = StoredChannel>) -> Self {
        let mut residents = Self {
            channels: HashMap::new(),
            ids: BTreeSet::new(),
            dirty: Vec::new(),
            domains: Vec::new(),
            imaging: Vec::new(),
            is_imaging: false,
            generation: 0,
            max,
            sweep_at: max + 1,
        };
        for channel in recovered {
            let id = channel.channel;
            residents.insert(channel);
            residents.mark_dirty(id);
        }
        residents
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// A channel, from memory or else from the ledger.
    pub(super) fn get(
        &mut self,
        id: ChannelId,
        ledger: &dyn LedgerRead,
    ) -> Result<Option<&mut Resident>, LedgerError> {
        if !self.channels.contains_key(&id) {
            match ledger.load(id)? {
                Some(stored) => self.insert(stored),
                None => return Ok(None),
            }
        }
        let mut found = self.channels.get_mut(&id);
        if let Some(resident) = &mut found {
            resident.used = true;
        }
        Ok(found)
    }

    /// Adds a channel that is not here yet.
    pub(super) fn insert(&mut self, stored: StoredChannel) {
        let StoredChannel { channel: id, identity, state } = stored;
        let domain = self.domain(&identity);
        match self.channels.entry(id) {
            Entry::Occupied(_) => unreachable!("a channel is opened or loaded only when it is not here"),
            Entry::Vacant(place) => {
                place.insert(Resident { identity, domain, state, dirty: false, imaged: 0, used: true });
                self.ids.insert(id);
            }
        }
    }

    /// Notes that a channel changed.
    pub(super) fn mark_dirty(&mut self, id: ChannelId) {
        if let Some(resident) = self.channels.get_mut(&id)
            && !resident.dirty
        {
            resident.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Begins to give images for checkpoint `generation`: of every channel that changed until now. One
    /// that changes before its turn is given as it is then.
    pub(super) fn begin_images(&mut self, generation: u64) {
        self.generation = generation;
        self.imaging.append(&mut self.dirty);
        self.is_imaging = true;
    }

    /// Whether images remain to be given.
    pub(super) fn is_imaging(&self) -> bool {
        self.is_imaging
    }

    /// The next `max` images, and whether they are the last of the checkpoint.
    pub(super) fn take_images(&mut self, max: usize) -> Option<(Vec<StoredChannel>, bool)> {
        if !self.is_imaging {
            return None;
        }
        let rest = self.imaging.len().saturating_sub(max);
        let mut images = Vec::with_capacity(self.imaging.len() - rest);
        for id in self.imaging.drain(rest..) {
            let resident = self.channels.get_mut(&id).expect("a changed channel stays in memory");
            resident.dirty = false;
            resident.imaged = self.generation;
            let identity = Arc::clone(&resident.identity);
            images.push(StoredChannel { channel: id, identity, state: resident.state.clone() });
        }
        self.is_imaging = rest > 0;
        Some((images, rest == 0))
    }

    /// Images of all that changed, when the shard ends.
    pub(super) fn take_all_images(&mut self) -> Vec<StoredChannel> {
        self.begin_images(self.generation);
        self.take_images(usize::MAX).map(|(images, _)| images).unwrap_or_default()
    }

    /// Lets go of channels when there are too many: those that nobody asked for since the last sweep, if
    /// their image is durable (their checkpoint is at most `durable`) and nothing runs on them.
    pub(super) fn sweep(&mut self, durable: u64) {
        if self.channels.len() < self.sweep_at {
            return;
        }
        let mut surplus = self.channels.len().saturating_sub(self.max);
        let ids = &mut self.ids;
        self.channels.retain(|id, resident| {
            let may_go = !resident.dirty
                && resident.imaged <= durable
                && resident.state.reservations.is_empty()
                && !resident.used;
            resident.used = false;
            if surplus == 0 || !may_go {
                return true;
            }
            surplus -= 1;
            ids.remove(id);
            false
        });
        // A sweep looks at every channel, so the next one waits until it is worth it.
        self.sweep_at = self.channels.len().max(self.max) + self.max / SWEEP_FRACTION + 1;
    }

    /// The ids behind `after`, in order.
    pub(super) fn ids_after(&self, after: Option<ChannelId>) -> impl Iterator<Item = ChannelId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.ids.range((from, Unbounded)).copied()
    }

    /// A channel, if it is in memory.
    pub(super) fn peek(&self, id: ChannelId) -> Option<&Resident> {
        self.channels.get(&id)
    }

    /// The domain of a channel's escrow, shared by all its channels.
    pub(super) fn domain(&mut self, identity: &Identity) -> Arc<AnyDomain> {
        let key = (identity.protocol(), identity.chain_id, identity.escrow);
        if let Some((_, domain)) = self.domains.iter().find(|(known, _)| *known == key) {
            return Arc::clone(domain);
        }
        let domain = Arc::new(AnyDomain::new(key.0, key.1, key.2));
        if self.domains.len() < DOMAINS_MAX {
            self.domains.push((key, Arc::clone(&domain)));
        }
        domain
    }
}

//! The channels that a shard holds in memory.
//!
//! Memory is the truth: a channel that changed since its last durable image stays here until the next
//! one is durable (*dirty implies resident*), and so does one with running requests. The others may go
//! when there are too many, and come back from the ledger when they are asked for.

mod id_hash;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use farebox_core::channel::{Bucket, Identity, Snapshot, State, UnixMicros};
use farebox_core::units::{Address, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, ProtocolVersion};

use self::id_hash::IdHash;
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
    domain: Arc<AnyDomain>,
    /// Its books, ahead of the disk by at most what is queued for the committer.
    pub(super) state: State,
    /// What is left of its rate.
    pub(super) bucket: Bucket,
    /// Changed since its last image was taken.
    dirty: bool,
    /// The checkpoint that its last image was taken for.
    imaged: u64,
    /// Asked for since the last sweep.
    used: bool,
}

/// Where a resident is; it stays there until the next sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// All channels that a shard holds.
#[derive(Debug)]
pub(super) struct Residents {
    places: HashMap<ChannelId, Place, IdHash>,
    /// By place. A box each, so that growing moves no books.
    channels: Vec<Option<Box<Resident>>>,
    /// Places that a sweep made empty.
    free: Vec<Place>,
    /// The ids in order, for pages.
    ids: BTreeSet<ChannelId>,
    /// Those that changed since their last image, each once.
    dirty: Vec<Place>,
    domains: Vec<(DomainKey, Arc<AnyDomain>)>,
    /// Those whose image is still to be given for the checkpoint under way.
    imaging: Vec<Place>,
    is_imaging: bool,
    /// The checkpoint under way, or the last one.
    generation: u64,
    /// How many channels there should be at most.
    max: usize,
    /// How many there must be before a sweep is worth it.
    sweep_at: usize,
}

impl Resident {
    /// What its vouchers are hashed with, and whose signature they need.
    pub(super) fn signs(&self) -> (&AnyDomain, Address) {
        (&self.domain, self.state.signer)
    }

    /// As an answer shows it.
    pub(super) fn to_channel(&self, id: ChannelId) -> Channel {
        Channel { id, identity: Arc::clone(&self.identity), snapshot: Snapshot::from(&self.state) }
    }
}

impl Residents {
    /// Takes over what recovery found changed.
    pub(super) fn new(max: usize, recovered: impl IntoIterator<Item = StoredChannel>) -> Self {
        let mut residents = Self {
            places: HashMap::default(),
            channels: Vec::new(),
            free: Vec::new(),
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
            let place = residents.insert(channel);
            residents.mark_dirty(place);
        }
        residents
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Finds a channel, in memory or else in the ledger, and notes that it was asked for.
    pub(super) fn find(
        &mut self,
        id: ChannelId,
        ledger: &dyn LedgerRead,
    ) -> Result<Option<Place>, LedgerError> {
        if let Some(place) = self.places.get(&id).copied() {
            self.at_mut(place).used = true;
            return Ok(Some(place));
        }
        Ok(ledger.load(id)?.map(|stored| self.insert(stored)))
    }

    /// The channel at a place that was found since the last sweep.
    pub(super) fn at(&self, place: Place) -> &Resident {
        self.channels[place.0 as usize].as_ref().expect("a place is valid until the next sweep")
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut Resident {
        self.channels[place.0 as usize].as_mut().expect("a place is valid until the next sweep")
    }

    /// Adds a channel that is not here yet.
    pub(super) fn insert(&mut self, stored: StoredChannel) -> Place {
        let StoredChannel { channel: id, identity, state } = stored;
        let domain = self.domain(&identity);
        let resident = Box::new(Resident {
            identity,
            domain,
            state,
            bucket: Bucket::default(),
            dirty: false,
            imaged: 0,
            used: true,
        });
        let place = match self.free.pop() {
            Some(place) => {
                self.channels[place.0 as usize] = Some(resident);
                place
            }
            None => {
                self.channels.push(Some(resident));
                Place(u32::try_from(self.channels.len() - 1).expect("memory holds fewer than 2^32 channels"))
            }
        };
        let before = self.places.insert(id, place);
        assert!(before.is_none(), "a channel is opened or loaded only when it is not here");
        self.ids.insert(id);
        place
    }

    /// Notes that a channel changed.
    pub(super) fn mark_dirty(&mut self, place: Place) {
        let resident = self.at_mut(place);
        if !resident.dirty {
            resident.dirty = true;
            self.dirty.push(place);
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
        for place in self.imaging.drain(rest..) {
            let resident =
                self.channels[place.0 as usize].as_mut().expect("a changed channel stays in memory");
            resident.dirty = false;
            resident.imaged = self.generation;
            let (channel, identity) = (resident.state.channel_id, Arc::clone(&resident.identity));
            images.push(StoredChannel { channel, identity, state: resident.state.clone() });
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
    /// their image is durable (their checkpoint is at most `durable`), nothing runs on them, and their rate is whole again.
    pub(super) fn sweep(&mut self, durable: u64, now: UnixMicros) {
        if self.len() < self.sweep_at {
            return;
        }
        let mut surplus = self.len().saturating_sub(self.max);
        let (ids, channels, free) = (&mut self.ids, &mut self.channels, &mut self.free);
        self.places.retain(|id, place| {
            let home = &mut channels[place.0 as usize];
            let resident = home.as_mut().expect("every known place is filled");
            let may_go = !resident.dirty
                && resident.imaged <= durable
                && resident.state.reservations.is_empty()
                && resident.bucket.is_full(now)
                && !resident.used;
            resident.used = false;
            if surplus == 0 || !may_go {
                return true;
            }
            surplus -= 1;
            ids.remove(id);
            *home = None;
            free.push(*place);
            false
        });
        // A sweep looks at every channel, so the next one waits until it is worth it.
        self.sweep_at = self.len().max(self.max) + self.max / SWEEP_FRACTION + 1;
    }

    /// The ids behind `after`, in order.
    pub(super) fn ids_after(&self, after: Option<ChannelId>) -> impl Iterator<Item = ChannelId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.ids.range((from, Unbounded)).copied()
    }

    /// A channel, if it is in memory.
    pub(super) fn peek(&self, id: ChannelId) -> Option<&Resident> {
        self.places.get(&id).map(|place| self.at(*place))
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

//! The channels that a shard holds in memory.
//!
//! Memory is the truth: a channel that changed since its last durable image stays here until the next
//! one is durable (*dirty implies resident*), and so does one with running requests. The others may go
//! when there are too many, and come back from the ledger when they are asked for.
//!
//! Some thousands are open: ready for the rules. The others are packed into few bytes (see [`packed`]), and opened
//! when somebody asks for them.

mod arena;
mod id_hash;
mod packed;
mod slots;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use farebox_core::channel::{Bucket, Identity, Snapshot, State, UnixMicros};
use farebox_core::units::{Address, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, ProtocolVersion};

use self::arena::Arena;
use self::packed::{Packer, Sample};
use self::slots::{Home, Packed, Slots};
use super::Channel;
use super::checkpointer::Images;
use super::tail::Tail;
use crate::ledger::{EncodedBooks, LedgerError, LedgerRead, StoredChannel};

/// Open channels of a shard. All of them together have some tens of megabytes.
const OPEN_CHANNELS_MAX: usize = 1 << 14;

/// What an open channel is counted as: with a voucher and some outcomes it has less.
const OPEN_BYTES: usize = 2_048;

/// What a processor reads at once.
const CACHE_LINE_BYTES: usize = 64;

/// Channels that are approached together before they are packed.
const APPROACHED_MAX: usize = 64;

/// Channels of the tail that are read between two batches for a checkpoint: some hundred microseconds.
const TAIL_STEP_MAX: usize = 64;

/// The most escrows that are known by number; a server has one or two. Channels of others stay open.
const ESCROWS_MAX: usize = 16;

/// A sweep happens when there are this part more channels than there should be.
const SWEEP_FRACTION: usize = 8;

/// Where an escrow's vouchers are valid.
type DomainKey = (ProtocolVersion, ChainId, Address);

/// What the channels of an escrow have in common.
#[derive(Debug)]
struct Escrow {
    key: DomainKey,
    domain: Arc<AnyDomain>,
    sample: Sample,
}

/// A channel in memory, ready for the rules.
#[derive(Debug)]
pub(super) struct Resident {
    /// Its terms.
    pub(super) identity: Arc<Identity>,
    /// What its vouchers are hashed with.
    domain: Arc<AnyDomain>,
    /// Its escrow's number; `None` when there are too many escrows.
    escrow: Option<u8>,
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

/// How much memory a shard's channels may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Channels.
    pub(super) channels_max: usize,
    /// Bytes.
    pub(super) bytes_max: usize,
}

/// All channels that a shard holds.
#[derive(Debug)]
pub(super) struct Residents {
    slots: Slots,
    /// What is packed.
    arena: Arena,
    /// Changed since their last image, and not read yet.
    tail: Tail,
    /// The open ones, those that were asked for last behind; each once.
    open: VecDeque<Place>,
    /// Those whose first image may not be in the ledger yet, for pages.
    unstored: BTreeSet<ChannelId>,
    /// Those of them whose image was given, and for which checkpoint.
    storing: VecDeque<(u64, ChannelId)>,
    /// Those that changed since their last image, each once.
    dirty: Vec<Place>,
    escrows: Vec<Escrow>,
    packer: Packer,
    /// Buffer of [`Residents::approach`].
    approached: Vec<Place>,
    /// Those whose image is still to be given for the checkpoint under way.
    imaging: Vec<Place>,
    is_imaging: bool,
    /// The checkpoint under way, or the last one.
    generation: u64,
    bounds: Bounds,
    /// How much there must be before a sweep is worth it.
    sweep_at: Bounds,
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
    pub(super) fn new(
        bounds: Bounds,
        recovered: impl IntoIterator<Item = StoredChannel>,
        tail: Tail,
    ) -> Self {
        let mut residents = Self {
            slots: Slots::default(),
            arena: Arena::default(),
            tail,
            open: VecDeque::new(),
            unstored: BTreeSet::new(),
            storing: VecDeque::new(),
            dirty: Vec::new(),
            escrows: Vec::new(),
            packer: Packer::default(),
            approached: Vec::new(),
            imaging: Vec::new(),
            is_imaging: false,
            generation: 0,
            bounds,
            sweep_at: bounds,
        };
        for channel in recovered {
            let place = residents.insert(channel);
            residents.mark_dirty(place);
            residents.pack_surplus();
        }
        residents
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// About how many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.slots.bytes() + self.arena.used_bytes() + self.open.len() * OPEN_BYTES
    }

    /// Reads a little of each channel that will be asked for. With more channels than the processor's caches hold, each
    /// [`Residents::find`] waits for memory several times, one after the other; these reads wait together.
    pub(super) fn approach(&mut self, ids: impl Iterator<Item = ChannelId>) {
        if self.len() <= OPEN_CHANNELS_MAX {
            return;
        }
        self.approached.clear();
        self.approached.extend(ids.filter_map(|id| self.slots.find(id)));
        let touched = self.approached.iter().map(|place| self.touch(*place)).fold(0, u8::wrapping_add);
        std::hint::black_box(touched);
    }

    /// Reads something of every cache line that a channel's first step reads.
    fn touch(&self, place: Place) -> u8 {
        match self.slots.home(place) {
            Home::Open(resident) => resident.state.kept.iter().len() as u8 ^ u8::from(resident.dirty),
            Home::Packed(packed) => {
                let lines = self.arena.get(&packed.piece).iter().step_by(CACHE_LINE_BYTES);
                lines.fold(0, |sum, byte| sum ^ byte)
            }
        }
    }

    /// Finds a channel, in memory or else in the ledger, notes that it was asked for, and opens it.
    pub(super) fn find(
        &mut self,
        id: ChannelId,
        ledger: &dyn LedgerRead,
    ) -> Result<Option<Place>, LedgerError> {
        let Some(place) = self.slots.find(id) else {
            if let Some(stored) = self.tail.take(id, ledger)? {
                return Ok(Some(self.enter_changed(stored)));
            }
            return Ok(ledger.load(id)?.map(|stored| self.enter(stored)));
        };
        match self.slots.home_mut(place) {
            Home::Open(resident) => resident.used = true,
            Home::Packed(packed) => {
                let (imaged, bucket, dirty) = (packed.imaged, packed.bucket, packed.dirty);
                let StoredChannel { identity, state, .. } = self.unpack(place);
                let resident = Resident { dirty, imaged, ..self.resident(identity, state, bucket) };
                if let Home::Packed(packed) = self.slots.fill(place, Home::Open(Box::new(resident))) {
                    self.arena.free(packed.piece);
                }
                self.open.push_back(place);
            }
        }
        Ok(Some(place))
    }

    /// The channel at a place that was found since the last sweep.
    pub(super) fn at(&self, place: Place) -> &Resident {
        match self.slots.home(place) {
            Home::Open(resident) => resident,
            Home::Packed(_) => unreachable!("what was found stays open until the next sweep"),
        }
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut Resident {
        match self.slots.home_mut(place) {
            Home::Open(resident) => resident,
            Home::Packed(_) => unreachable!("what was found stays open until the next sweep"),
        }
    }

    /// Adds a channel that is not here yet, and perhaps not in the ledger.
    pub(super) fn insert(&mut self, stored: StoredChannel) -> Place {
        self.unstored.insert(stored.channel);
        self.enter(stored)
    }

    /// Takes in what changed since its last image. The mark of a checkpoint under way covers that change already, so the image
    /// is for that one.
    fn enter_changed(&mut self, stored: StoredChannel) -> Place {
        let place = self.enter(stored);
        self.at_mut(place).dirty = true;
        if self.is_imaging {
            self.imaging.push(place)
        } else {
            self.dirty.push(place)
        }
        place
    }

    fn enter(&mut self, stored: StoredChannel) -> Place {
        let StoredChannel { channel: id, identity, state } = stored;
        let resident = self.resident(identity, state, Bucket::default());
        let place = self.slots.add(id, Home::Open(Box::new(resident)));
        self.open.push_back(place);
        place
    }

    fn resident(&mut self, identity: Arc<Identity>, state: State, bucket: Bucket) -> Resident {
        let escrow = self.escrow(&identity, &state);
        let domain = match escrow {
            Some(number) => Arc::clone(&self.escrows[usize::from(number)].domain),
            None => Arc::new(new_domain(&identity)),
        };
        Resident { identity, domain, escrow, state, bucket, dirty: false, imaged: 0, used: true }
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
    pub(super) fn take_images(
        &mut self,
        max: usize,
        ledger: &dyn LedgerRead,
    ) -> Result<Option<(Images, bool)>, LedgerError> {
        if !self.is_imaging {
            return Ok(None);
        }
        if self.imaging.is_empty() {
            self.read_tail(ledger)?;
        }
        let images = self.take_known_images(max);
        self.is_imaging = !self.imaging.is_empty() || !self.tail.is_empty();
        Ok(Some((images, !self.is_imaging)))
    }

    /// Reads some channels of the tail: their images belong to the checkpoint under way.
    fn read_tail(&mut self, ledger: &dyn LedgerRead) -> Result<(), LedgerError> {
        for _ in 0..TAIL_STEP_MAX {
            let Some(stored) = self.tail.take_next(ledger)? else { break };
            self.enter_changed(stored);
        }
        self.pack_surplus();
        Ok(())
    }

    fn take_known_images(&mut self, max: usize) -> Images {
        let rest = self.imaging.len().saturating_sub(max);
        let mut images = Images::default();
        for place in self.imaging.split_off(rest) {
            let (dirty, imaged) = match self.slots.home_mut(place) {
                Home::Open(resident) => (&mut resident.dirty, &mut resident.imaged),
                Home::Packed(packed) => (&mut packed.dirty, &mut packed.imaged),
            };
            (*dirty, *imaged) = (false, self.generation);
            let id = self.slots.id(place);
            if self.unstored.contains(&id) {
                self.storing.push_back((self.generation, id));
                images.new.push(self.stored(place));
            } else {
                self.image(place, &mut images.known);
            }
        }
        images
    }

    /// Adds the books at a place.
    fn image(&mut self, place: Place, books: &mut EncodedBooks) {
        match self.slots.home(place) {
            Home::Open(resident) => books.push(&resident.state),
            Home::Packed(packed) => {
                let (id, packer) = (self.slots.id(place), &mut self.packer);
                let sample = &self.escrows[usize::from(packed.escrow)].sample;
                let bytes = self.arena.get(&packed.piece);
                books.push_with(id, !packed.rests, |out| packer.unpack_books(id, bytes, sample, out));
            }
        }
    }

    /// Images of what changed and is in memory, when the shard ends, and whether that is all.
    pub(super) fn take_all_images(&mut self) -> (Images, bool) {
        self.begin_images(self.generation);
        (self.take_known_images(usize::MAX), self.tail.is_empty())
    }

    /// Packs what is too many to be open. Lets go of channels when there are too many: those that nobody asked for
    /// since the last sweep, if their image is durable (their checkpoint is at most `durable`), nothing runs on them,
    /// and their rate is whole again. Found places are not valid any more.
    pub(super) fn sweep(&mut self, durable: u64, now: UnixMicros) {
        while let Some((_, id)) = self.storing.pop_front_if(|(generation, _)| *generation <= durable) {
            self.unstored.remove(&id);
        }
        self.pack_surplus();
        let Bounds { channels_max, bytes_max } = self.sweep_at;
        if self.len() <= channels_max && self.bytes() <= bytes_max {
            return;
        }
        self.let_go(durable, now);
        self.open.retain(|place| self.slots.is_open(*place));
        // A sweep looks at every channel, so the next one waits until it is worth it.
        let Bounds { channels_max, bytes_max } = self.bounds;
        let later = |found: usize, max: usize| found.max(max).saturating_add(max / SWEEP_FRACTION);
        self.sweep_at = Bounds {
            channels_max: later(self.len(), channels_max),
            bytes_max: later(self.bytes(), bytes_max),
        };
    }

    fn let_go(&mut self, durable: u64, now: UnixMicros) {
        let Bounds { channels_max, bytes_max } = self.bounds;
        let mut channels = self.len().saturating_sub(channels_max);
        let mut bytes = self.bytes().saturating_sub(bytes_max);
        let may_go = |home: &mut Home| {
            let (dirty, imaged, bucket, rests, was_used) = match home {
                Home::Open(resident) => {
                    let rests = resident.state.reservations.is_empty();
                    let was_used = std::mem::take(&mut resident.used);
                    (resident.dirty, resident.imaged, resident.bucket, rests, was_used)
                }
                Home::Packed(packed) => (packed.dirty, packed.imaged, packed.bucket, packed.rests, false),
            };
            !dirty && imaged <= durable && rests && bucket.is_full(now) && !was_used
        };
        let keep = |home: &mut Home| {
            // Asked of every channel: it forgets that it was used.
            let may_go = may_go(home);
            if (channels == 0 && bytes == 0) || !may_go {
                return true;
            }
            channels = channels.saturating_sub(1);
            bytes = bytes.saturating_sub(match home {
                Home::Open(_) => OPEN_BYTES,
                Home::Packed(packed) => Arena::bytes_of(&packed.piece),
            });
            false
        };
        let arena = &mut self.arena;
        self.slots.retain(keep, |home| match home {
            Home::Open(_) => {}
            Home::Packed(packed) => arena.free(packed.piece),
        });
    }

    /// Packs those that nobody asked for, while too many are open.
    fn pack_surplus(&mut self) {
        // Twice around: the first time finds what was asked for, the second time nobody can have asked again.
        let open_max = OPEN_CHANNELS_MAX.min(self.bounds.channels_max);
        for turn in 0..2 * self.open.len() {
            if self.open.len() <= open_max {
                return;
            }
            if turn % APPROACHED_MAX == 0 {
                let next = self.open.iter().take(APPROACHED_MAX.min(self.open.len() - open_max));
                std::hint::black_box(next.map(|place| self.touch(*place)).fold(0, u8::wrapping_add));
            }
            let place = self.open.pop_front().expect("more than none are open");
            let resident = self.at_mut(place);
            let stays = std::mem::take(&mut resident.used) || resident.escrow.is_none();
            if stays || !self.pack(place) {
                self.open.push_back(place);
            }
        }
    }

    /// Packs an open channel; false when it is larger than any piece.
    fn pack(&mut self, place: Place) -> bool {
        let id = self.slots.id(place);
        let resident = match self.slots.home_mut(place) {
            Home::Open(resident) => resident,
            Home::Packed(_) => unreachable!("a channel is packed once"),
        };
        let escrow = resident.escrow.expect("only a known escrow's channels are packed");
        let Resident { identity, state, bucket, dirty, imaged, .. } = &mut **resident;
        let rests = state.reservations.is_empty();
        let bytes = self.packer.pack(state, identity, &self.escrows[usize::from(escrow)].sample);
        let Some(piece) = self.arena.keep(bytes) else {
            // The packer took away what it can tell from the terms.
            (state.channel_id, state.signer) = (id, identity.expected_signer());
            return false;
        };
        let packed = Packed { piece, escrow, bucket: *bucket, imaged: *imaged, dirty: *dirty, rests };
        self.slots.fill(place, Home::Packed(packed));
        true
    }

    /// What is packed at a place.
    fn unpack(&mut self, place: Place) -> StoredChannel {
        let channel = self.slots.id(place);
        let Home::Packed(packed) = self.slots.home(place) else {
            unreachable!("only packed ones are unpacked")
        };
        let sample = &self.escrows[usize::from(packed.escrow)].sample;
        let (state, identity) = self.packer.unpack(channel, self.arena.get(&packed.piece), sample);
        StoredChannel { channel, identity, state }
    }

    /// A copy of the channel at a place, open or not.
    fn stored(&mut self, place: Place) -> StoredChannel {
        match self.slots.home(place) {
            Home::Packed(_) => self.unpack(place),
            Home::Open(resident) => {
                let (identity, state) = (Arc::clone(&resident.identity), resident.state.clone());
                StoredChannel { channel: state.channel_id, identity, state }
            }
        }
    }

    /// The ids behind `after`, in order, that the ledger may not have yet.
    pub(super) fn unstored_after(&self, after: Option<ChannelId>, max: usize) -> Vec<ChannelId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.unstored.range((from, Unbounded)).take(max).copied().collect()
    }

    /// What an image of a channel that is not in memory is now.
    pub(super) fn over(&self, image: StoredChannel) -> Result<StoredChannel, LedgerError> {
        self.tail.over(image)
    }

    /// A channel, if it is in memory.
    pub(super) fn peek(&mut self, id: ChannelId) -> Option<Channel> {
        let place = self.slots.find(id)?;
        Some(Channel::from(&self.stored(place)))
    }

    /// The domain of a channel's escrow, shared by all its channels.
    pub(super) fn domain(&self, identity: &Identity) -> Arc<AnyDomain> {
        let known = self.known_escrow(domain_key(identity));
        known
            .map_or_else(|| Arc::new(new_domain(identity)), |number| Arc::clone(&self.escrows[number].domain))
    }

    fn known_escrow(&self, key: DomainKey) -> Option<usize> {
        self.escrows.iter().position(|escrow| escrow.key == key)
    }

    /// The number of a channel's escrow.
    fn escrow(&mut self, identity: &Identity, state: &State) -> Option<u8> {
        let key = domain_key(identity);
        let known = self.known_escrow(key);
        let number = known.unwrap_or(self.escrows.len());
        if number == ESCROWS_MAX {
            return None;
        }
        if known.is_none() {
            let (domain, sample) = (Arc::new(new_domain(identity)), Sample::of(identity, state));
            self.escrows.push(Escrow { key, domain, sample });
        }
        u8::try_from(number).ok()
    }
}

fn domain_key(identity: &Identity) -> DomainKey {
    (identity.protocol(), identity.chain_id, identity.escrow)
}

fn new_domain(identity: &Identity) -> AnyDomain {
    let (protocol, chain_id, escrow) = domain_key(identity);
    AnyDomain::new(protocol, chain_id, escrow)
}

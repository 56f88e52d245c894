//! Where each channel is: a table from ids to places, and what is there.

use std::hash::BuildHasher;

use farebox_core::channel::Bucket;
use farebox_core::units::{B256, ChannelId};
use hashbrown::HashTable;

use super::arena::Piece;
use super::id_hash::IdHash;
use super::{Place, Resident};

/// What is at a place.
#[derive(Debug)]
pub(super) enum Home {
    /// A channel that is ready for the rules. A box, so that growing moves no books.
    Open(Box<Resident>),
    /// One that nobody asked for lately.
    Packed(Packed),
}

/// A channel as few bytes, and what is asked of it without opening it.
#[derive(Debug)]
pub(super) struct Packed {
    /// See [`super::packed`].
    pub(super) piece: Piece,
    /// What is left of its rate.
    pub(super) bucket: Bucket,
    /// The checkpoint that its last image was taken for.
    pub(super) imaged: u64,
    /// The number of its escrow.
    pub(super) escrow: u8,
    /// Changed since its last image was taken.
    pub(super) dirty: bool,
    /// Whether nothing runs on it.
    pub(super) rests: bool,
}

/// A place for a channel.
#[derive(Debug)]
struct Slot {
    id: ChannelId,
    home: Option<Home>,
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// By the id's hash. The ids stand at their places.
    table: HashTable<Place>,
    hash: IdHash,
    slots: Vec<Slot>,
    /// Places that were made empty.
    free: Vec<Place>,
}

/// What a channel takes in the table.
const TABLE_BYTES: usize = 8;

const FILLED: &str = "a place is valid until the next sweep";

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of the table and the places.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * (size_of::<Slot>() + TABLE_BYTES)
    }

    pub(super) fn find(&self, id: ChannelId) -> Option<Place> {
        let hash = self.hash.hash_one(id);
        self.table.find(hash, |place| self.slots[place.0 as usize].id == id).copied()
    }

    pub(super) fn id(&self, place: Place) -> ChannelId {
        self.slots[place.0 as usize].id
    }

    pub(super) fn home(&self, place: Place) -> &Home {
        self.slots[place.0 as usize].home.as_ref().expect(FILLED)
    }

    pub(super) fn home_mut(&mut self, place: Place) -> &mut Home {
        self.slots[place.0 as usize].home.as_mut().expect(FILLED)
    }

    /// Whether there is a channel, open.
    pub(super) fn is_open(&self, place: Place) -> bool {
        matches!(self.slots[place.0 as usize].home, Some(Home::Open(_)))
    }

    /// Replaces what is at a place.
    pub(super) fn fill(&mut self, place: Place, home: Home) -> Home {
        std::mem::replace(self.home_mut(place), home)
    }

    /// Adds a channel that is not here.
    pub(super) fn add(&mut self, id: ChannelId, home: Home) -> Place {
        assert!(self.find(id).is_none(), "a channel is opened or loaded only when it is not here");
        let slot = Slot { id, home: Some(home) };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place.0 as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                Place(u32::try_from(self.slots.len() - 1).expect("memory holds fewer than 2^32 channels"))
            }
        };
        let (hash, slots) = (&self.hash, &self.slots);
        let hash_at = |place: &Place| hash.hash_one(slots[place.0 as usize].id);
        self.table.insert_unique(hash.hash_one(id), place, hash_at);
        place
    }

    /// Keeps the channels for which `keep` says so, and hands the others to `leave`.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Home) -> bool, mut leave: impl FnMut(Home)) {
        let Self { table, slots, free, .. } = self;
        table.retain(|place| {
            let slot = &mut slots[place.0 as usize];
            if keep(slot.home.as_mut().expect("every known place is filled")) {
                return true;
            }
            let left = std::mem::replace(slot, Slot { id: ChannelId(B256::ZERO), home: None });
            left.home.into_iter().for_each(&mut leave);
            free.push(*place);
            false
        });
    }
}

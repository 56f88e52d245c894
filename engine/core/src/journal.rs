//! The journal: one frame a batch of steps, how it becomes bytes and how it is read back.
//!
//! The committer of the pipeline builds frames, a ledger stores them, recovery replays them. Nothing
//! here does IO. Memory is the truth while the server runs; the journal is what makes it durable.
//!
//! # Format
//!
//! A frame is one value in the ledger, stored under its sequence number. All integers are little
//! endian; amounts have 16 bytes, addresses 20, hashes 32.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `FBXJ` |
//! | 4 | 2 | version, [`FRAME_VERSION`] |
//! | 6 | 2 | flags: bit 0 says that there is a cursor, all others are zero |
//! | 8 | 8 | epoch of the writer |
//! | 16 | 8 | sequence of the frame; the first one is 1 |
//! | 24 | 8 | link: the checksum of the frame before, zero in the first one |
//! | 32 | 40 | cursor: next block (8), hash of the block before it (32); zero when there is none |
//! | 72 | 4 | number of records |
//! | 76 | 4 | bytes of the records |
//! | 80 | … | the records |
//! | end | 8 | checksum: XXH3-64 of everything before it |
//!
//! A record is one event of one channel, or two of the same step (see `record.rs`):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind of the event (see `record.rs`) |
//! | 1 | 1 | zero |
//! | 2 | 2 | bytes of the body |
//! | 4 | 8 | sequence of the channel, after the event |
//! | 12 | 32 | channel id |
//! | 44 | … | the body: the event's fields in their order; a signature is its length (2) and its bytes |
//!
//! Checkpoints hold states ([`encode_state`]) and identities ([`encode_identity`]), each with a magic, a
//! version and a checksum of its own.
//!
//! The checksum guards against accidents, not against attackers: who can write the ledger can also write
//! a checksum. XXH3 reads tens of gigabytes a second, so it costs nothing beside the sync; 64 bits miss
//! one accident in 2^64. A frame's checksum covers its link, so the chain covers the whole history.
//!
//! # Durability invariant
//!
//! An answer leaves only after the frame with its events is durable, and a frame is appended only after
//! the frame before it is durable. So whatever stands *before* another stored frame was acknowledged, and
//! only the last stored frame may be one that nobody has heard of.
//!
//! # Recovery
//!
//! [`Replay`] is fed what the ledger holds after the checkpoint, in order. It says: apply the frame; or it
//! is damaged and the last one: a torn tail, to be dropped, because it was never acknowledged; or the
//! books are corrupt and must not be opened: a damaged frame that another one follows, a gap, a broken
//! link, an epoch that goes back, or an intact frame that this version does not understand.
//!
//! # What it assumes of the disk
//!
//! A synced value comes back whole, or damage shows in its checksum. A value whose sync did not return may
//! come back whole, damaged or not at all. Damage of the very last frame by the disk, after its sync,
//! cannot be told from a torn write and costs that frame: a ledger that must survive this needs a replica.

mod codec;
mod frame;
mod identity;
mod record;
mod replay;
mod state;

pub use codec::Malformed;
pub use frame::{
    Cursor, FRAME_PAYLOAD_BYTES_MAX, FRAME_VERSION, Frame, FrameBuilder, FrameError, FrameFull, Link, decode,
};
pub use identity::{decode_identity, encode_identity};
pub use record::{RECORD_BYTES_MIN, Record, decode_records, encode_event, encode_record, encode_step};
pub use replay::{Corruption, End, Head, Replay, Step, TornTail};
pub use state::{StoredError, decode_state, encode_state, readdress_state, reseal};

#[cfg(test)]
mod tests;

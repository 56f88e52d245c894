//! A frame: built by the committer, stored as one value, decoded on recovery.

use alloc::vec::Vec;

use super::codec::{Malformed, Put, Reader, checksum};
use super::record::{RECORD_BYTES_MIN, Record, count_records, decode_record, encode_record};
use crate::units::{B256, BlockNumber};

/// The layout of frames that this version writes and reads.
pub const FRAME_VERSION: u16 = 1;

/// The most bytes of records in one frame. A batch has at most some thousand vouchers of some hundred
/// bytes; the bound keeps a damaged length from meaning anything.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"FBXJ";
const FLAG_CURSOR: u16 = 1;
const HEADER_BYTES: usize = 80;
const CHECKSUM_BYTES: usize = 8;

/// What a frame says of the frame before it: that one's checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link(pub u64);

impl Link {
    /// The link of the very first frame.
    pub const GENESIS: Self = Self(0);

    /// The link to a frame that [`FrameBuilder::finish`] made.
    pub fn to(frame: &[u8]) -> Self {
        let sum = frame.last_chunk().expect("a frame ends with its checksum");
        Self(u64::from_le_bytes(*sum))
    }
}

/// How far the watcher has read the chain; stored in the frame that holds the facts it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The next block to read.
    pub next_block: BlockNumber,
    /// The hash of the block before it, so that a reorganised chain is noticed; zero when unknown.
    pub parent: B256,
}

/// A batch of steps, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which writer wrote it.
    pub epoch: u64,
    /// Its place in the journal.
    pub sequence: u64,
    /// The checksum of the frame before.
    pub link: Link,
    /// How far the watcher had read, when that changed.
    pub cursor: Option<Cursor>,
    /// The events, in order.
    pub records: Vec<Record>,
    /// Its own checksum: the link of the next frame.
    pub checksum: Link,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short to hold a header and a checksum.
    #[error("{found_bytes} bytes are too short for a frame")]
    TooShort {
        /// How many there are.
        found_bytes: usize,
    },
    /// It does not begin like a frame.
    #[error("the magic is {found:02x?}, expected \"FBXJ\"")]
    WrongMagic {
        /// What is there.
        found: [u8; 4],
    },
    /// The bytes were damaged.
    #[error("the checksum is {found:016x}, the bytes have {computed:016x}")]
    WrongChecksum {
        /// What is stored.
        found: u64,
        /// What the bytes hash to.
        computed: u64,
    },
    /// Intact, and written by another version.
    #[error("frame version {found} is not known, expected {FRAME_VERSION}")]
    UnknownVersion {
        /// What is stored.
        found: u16,
    },
    /// Intact, and with flags of another version.
    #[error("the flags are {found:#06x}, and only bit 0 is known")]
    UnknownFlags {
        /// What is stored.
        found: u16,
    },
    /// Intact, and its header contradicts its length.
    #[error("the header promises {promised_bytes} bytes of records, {found_bytes} are there")]
    WrongLength {
        /// What the header says.
        promised_bytes: usize,
        /// What is there.
        found_bytes: usize,
    },
    /// Intact, and its header contradicts the records.
    #[error("the header promises {promised} records, which do not fit {found_bytes} bytes")]
    WrongCount {
        /// What the header says.
        promised: u32,
        /// The bytes of all records.
        found_bytes: usize,
    },
    /// Intact, without a cursor by its flags, and with one by its bytes.
    #[error("the frame has no cursor, but the bytes of one")]
    StrayCursor,
    /// Intact, and a record is not what its layout says.
    #[error("record {index}: {malformed}")]
    BadRecord {
        /// Which record, from zero.
        index: u32,
        /// What is wrong.
        malformed: Malformed,
    },
}

impl FrameError {
    /// True when the bytes are not those that were written, as after a torn write. False when they are
    /// intact and only not understood: such a frame was acknowledged and must never be dropped.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::TooShort { .. } | Self::WrongMagic { .. } | Self::WrongChecksum { .. } => true,
            Self::UnknownVersion { .. }
            | Self::UnknownFlags { .. }
            | Self::WrongLength { .. }
            | Self::WrongCount { .. }
            | Self::StrayCursor
            | Self::BadRecord { .. } => false,
        }
    }
}

/// Reads a frame.
///
/// # Errors
///
/// [`FrameError`]; it never panics, and allocates no more than the bytes justify.
pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    let (mut header, payload, checksum) = open(bytes)?;
    let field = |malformed| FrameError::BadRecord { index: 0, malformed };
    match header.u16().map_err(field)? {
        FRAME_VERSION => {}
        found => return Err(FrameError::UnknownVersion { found }),
    }
    let flags = header.u16().map_err(field)?;
    if flags & !FLAG_CURSOR != 0 {
        return Err(FrameError::UnknownFlags { found: flags });
    }
    let epoch = header.u64().map_err(field)?;
    let sequence = header.u64().map_err(field)?;
    let link = Link(header.u64().map_err(field)?);
    let cursor = Cursor {
        next_block: BlockNumber(header.u64().map_err(field)?),
        parent: header.hash().map_err(field)?,
    };
    let cursor = match flags & FLAG_CURSOR {
        0 if cursor != (Cursor { next_block: BlockNumber(0), parent: B256::ZERO }) => {
            return Err(FrameError::StrayCursor);
        }
        0 => None,
        _ => Some(cursor),
    };
    let count = header.u32().map_err(field)?;
    let promised_bytes = usize::try_from(header.u32().map_err(field)?).unwrap_or(usize::MAX);
    if promised_bytes != payload.len() || promised_bytes > FRAME_PAYLOAD_BYTES_MAX {
        return Err(FrameError::WrongLength { promised_bytes, found_bytes: payload.len() });
    }
    Ok(Frame { epoch, sequence, link, cursor, records: decode_records(count, payload)?, checksum })
}

/// Checks what tells intact bytes from damaged ones; gives the header after the magic, the records and the
/// checksum.
fn open(bytes: &[u8]) -> Result<(Reader<'_>, &[u8], Link), FrameError> {
    let too_short = FrameError::TooShort { found_bytes: bytes.len() };
    let (covered, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(too_short)?;
    let (header, payload) = covered.split_at_checked(HEADER_BYTES).ok_or(too_short)?;
    let (magic, header) = header.split_first_chunk().ok_or(too_short)?;
    if *magic != MAGIC {
        return Err(FrameError::WrongMagic { found: *magic });
    }
    let (found, computed) = (u64::from_le_bytes(*sum), checksum(covered));
    if found != computed {
        return Err(FrameError::WrongChecksum { found, computed });
    }
    Ok((Reader::new(header), payload, Link(found)))
}

fn decode_records(count: u32, payload: &[u8]) -> Result<Vec<Record>, FrameError> {
    let wrong_count = FrameError::WrongCount { promised: count, found_bytes: payload.len() };
    let capacity = usize::try_from(count).map_err(|_| wrong_count)?;
    if capacity > payload.len() / RECORD_BYTES_MIN {
        return Err(wrong_count);
    }
    let mut records = Vec::with_capacity(capacity);
    let mut reader = Reader::new(payload);
    for index in 0..count {
        decode_record(&mut reader, &mut records)
            .map_err(|malformed| FrameError::BadRecord { index, malformed })?;
    }
    reader.end().map_err(|_| wrong_count)?;
    Ok(records)
}

/// Records do not fit the frame any more: finish it and begin another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame holds {held_bytes} bytes of records, {more_bytes} more exceed {FRAME_PAYLOAD_BYTES_MAX}")]
pub struct FrameFull {
    /// What it holds.
    pub held_bytes: usize,
    /// What was to be added.
    pub more_bytes: usize,
}

/// Builds one frame after the other in one buffer.
///
/// After [`FrameBuilder::finish`] the next record begins a new frame.
#[derive(Clone, Debug, Default)]
pub struct FrameBuilder {
    buffer: Vec<u8>,
    records: u32,
    finished: bool,
}

impl FrameBuilder {
    /// A builder with an empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// True when the frame has no records yet. Such a frame is legal: it may carry a cursor alone.
    pub fn is_empty(&self) -> bool {
        self.finished || self.records == 0
    }

    /// How many records the frame has.
    pub fn records(&self) -> u32 {
        if self.finished { 0 } else { self.records }
    }

    /// Adds one record.
    ///
    /// # Errors
    ///
    /// [`FrameFull`]; the frame is as before.
    pub fn push(&mut self, record: &Record) -> Result<(), FrameFull> {
        self.begin();
        let start = self.buffer.len();
        encode_record(&mut self.buffer, record);
        let (held_bytes, more_bytes) = (start - HEADER_BYTES, self.buffer.len() - start);
        if held_bytes + more_bytes > FRAME_PAYLOAD_BYTES_MAX {
            self.buffer.truncate(start);
            return Err(FrameFull { held_bytes, more_bytes });
        }
        self.records += 1;
        Ok(())
    }

    /// Adds records that [`super::encode_record`] wrote, whole and in order.
    ///
    /// # Errors
    ///
    /// [`FrameFull`]; the frame is as before.
    ///
    /// # Panics
    ///
    /// When the bytes are not whole records: a frame with them could never be read back.
    pub fn append(&mut self, encoded: &[u8]) -> Result<(), FrameFull> {
        self.begin();
        let (held_bytes, more_bytes) = (self.buffer.len() - HEADER_BYTES, encoded.len());
        if more_bytes > FRAME_PAYLOAD_BYTES_MAX - held_bytes {
            return Err(FrameFull { held_bytes, more_bytes });
        }
        self.records += count_records(encoded).expect("`encoded` holds whole records of `encode_record`");
        self.buffer.extend_from_slice(encoded);
        Ok(())
    }

    /// Finishes the frame: the bytes to store under `sequence`. [`Link::to`] them is what the next
    /// frame links to.
    pub fn finish(&mut self, epoch: u64, sequence: u64, link: Link, cursor: Option<Cursor>) -> &[u8] {
        self.begin();
        let payload_bytes = u32::try_from(self.buffer.len() - HEADER_BYTES)
            .expect("records are bounded by FRAME_PAYLOAD_BYTES_MAX");
        let payload_end = self.buffer.len();
        put_header(&mut self.buffer, epoch, sequence, link, cursor, self.records, payload_bytes);
        // The header was written behind the records; its place was kept at the front.
        self.buffer.copy_within(payload_end.., 0);
        self.buffer.truncate(payload_end);
        let sum = checksum(&self.buffer);
        self.buffer.u64(sum);
        self.finished = true;
        &self.buffer
    }

    /// Drops what is not finished.
    pub fn reset(&mut self) {
        self.finished = true;
    }

    /// Makes the buffer hold an unfinished frame.
    fn begin(&mut self) {
        if self.finished || self.buffer.is_empty() {
            self.buffer.clear();
            self.buffer.resize(HEADER_BYTES, 0);
            self.records = 0;
            self.finished = false;
        }
    }
}

fn put_header(
    out: &mut Vec<u8>,
    epoch: u64,
    sequence: u64,
    link: Link,
    cursor: Option<Cursor>,
    records: u32,
    payload_bytes: u32,
) {
    out.put(&MAGIC);
    out.u16(FRAME_VERSION);
    out.u16(if cursor.is_some() { FLAG_CURSOR } else { 0 });
    out.u64(epoch);
    out.u64(sequence);
    out.u64(link.0);
    let cursor = cursor.unwrap_or(Cursor { next_block: BlockNumber(0), parent: B256::ZERO });
    out.u64(cursor.next_block.0);
    out.put(cursor.parent.as_slice());
    out.u32(records);
    out.u32(payload_bytes);
}

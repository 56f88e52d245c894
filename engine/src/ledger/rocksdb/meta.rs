//! The few values of column family `meta`; integers are little endian.
//!
//! | key | value |
//! |---|---|
//! | `store_version` | 4 bytes |
//! | `epoch` | 8 bytes: how often the ledger was opened for writing |
//! | `note/`, a key | a note: bytes of a part beside the books |
//! | `running`, a channel id (32) | empty: the channel's image has running requests, or had them |
//! | `tombstone`, a channel id (32) | `encode_state` of the books of a retired channel |
//! | `mark` | epoch (8), frame number (8) and link (8) of the last frame that the images cover; 1 when a cursor follows, else 0 (1); next block (8), parent hash (32) |

use farebox_core::journal::{Cursor, Head, Link};
use farebox_core::units::{B256, BlockNumber};

use crate::ledger::LedgerError;

/// The layout that this program writes. It reads the ones before as well, and rewrites them when it opens them for
/// writing.
pub const STORE_VERSION: u32 = 3;

/// The second layout: it has no tombstones. A program that knows only this one would take a retired channel for unknown.
pub(super) const VERSION_WITHOUT_TOMBSTONES: u32 = 2;

/// The first layout: it does not name channels with running requests.
pub(super) const VERSION_WITHOUT_RUNNING: u32 = 1;

pub(in crate::ledger) const VERSION: &[u8] = b"store_version";
pub(super) const EPOCH: &[u8] = b"epoch";
pub(super) const MARK: &[u8] = b"mark";
/// What the key of every note begins with.
pub(super) const NOTE: &[u8] = b"note/";
/// What the key of every channel with running requests begins with.
pub(super) const RUNNING: &[u8; 7] = b"running";

/// What the key of every tombstone begins with.
pub(super) const TOMBSTONE: &[u8; 9] = b"tombstone";

/// The length of a mark.
const MARK_BYTES: usize = 8 + 8 + 8 + 1 + 8 + 32;

pub(super) fn encode_mark(mark: &Head) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&mark.epoch.to_le_bytes());
    bytes[8..16].copy_from_slice(&mark.sequence.to_le_bytes());
    bytes[16..24].copy_from_slice(&mark.link.0.to_le_bytes());
    if let Some(cursor) = mark.cursor {
        bytes[24] = 1;
        bytes[25..33].copy_from_slice(&cursor.next_block.0.to_le_bytes());
        bytes[33..].copy_from_slice(cursor.parent.as_slice());
    }
    bytes
}

pub(super) fn decode_mark(bytes: &[u8]) -> Result<Head, LedgerError> {
    let whole: &[u8; MARK_BYTES] = bytes.try_into().map_err(|_| wrong_length("mark", bytes, MARK_BYTES))?;
    let number = |at: usize| decode_u64("mark", &whole[at..at + 8]);
    let cursor = match whole[24] {
        0 => None,
        1 => Some(Cursor { next_block: BlockNumber(number(25)?), parent: B256::from_slice(&whole[33..]) }),
        found => {
            let what = format!("the mark's cursor flag is {found}, expected 0 or 1");
            return Err(LedgerError::Corrupt { what: what.into() });
        }
    };
    Ok(Head { epoch: number(0)?, sequence: number(8)?, link: Link(number(16)?), cursor })
}

pub(super) fn decode_u64(name: &str, bytes: &[u8]) -> Result<u64, LedgerError> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| wrong_length(name, bytes, 8))
}

pub(super) fn decode_u32(name: &str, bytes: &[u8]) -> Result<u32, LedgerError> {
    bytes.try_into().map(u32::from_le_bytes).map_err(|_| wrong_length(name, bytes, 4))
}

fn wrong_length(name: &str, bytes: &[u8], expected: usize) -> LedgerError {
    let what = format!("{name} has {} bytes, expected {expected}", bytes.len());
    LedgerError::Corrupt { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back() {
        let cursor = Cursor { next_block: BlockNumber(9), parent: B256::repeat_byte(7) };
        for cursor in [None, Some(cursor)] {
            let mark = Head { epoch: 3, sequence: 5, link: Link(u64::MAX), cursor };
            assert_eq!(decode_mark(&encode_mark(&mark)).unwrap(), mark);
        }
    }

    #[test]
    fn a_damaged_mark_is_told() {
        let mut bytes = encode_mark(&Head::GENESIS);
        assert!(matches!(decode_mark(&bytes[1..]), Err(LedgerError::Corrupt { .. })));
        bytes[24] = 2;
        assert!(matches!(decode_mark(&bytes), Err(LedgerError::Corrupt { .. })));
    }
}

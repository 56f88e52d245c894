//! A channel's books as bytes, for checkpoints.
//!
//! Magic `FBXS`, version (2), the fields of [`State`] in their order, checksum (8). Lists are their length
//! (1) and their elements; an optional time is a tag (1) and, when the tag is 1, the time; a phase is a
//! tag (1: open = 0, closing = 1, closed = 2) and its amounts.

use alloc::vec::Vec;

use super::codec::{Malformed, Put, Reader, checksum};
use crate::channel::{
    ChainPosition, Closure, KeptVoucher, KeptVouchers, Outcome, Outcomes, Phase, Reservation, State,
    Violation,
};
use crate::units::{Address, ChannelId, UnixSeconds};
use crate::voucher::ProtocolVersion;

const MAGIC: [u8; 4] = *b"FBXS";
/// The version that is written.
const VERSION: u16 = 4;
/// The version before; it does not say when a channel ended, and knows no retired ones.
const VERSION_WITHOUT_TOMBSTONES: u16 = 3;
/// It does not say when a paid request ended.
const VERSION_WITHOUT_OUTCOME_TIMES: u16 = 2;
/// The first version; it does not say since when something is unsettled.
const VERSION_WITHOUT_AGE: u16 = 1;

const PROTOCOL_V1: u8 = 1;
const PROTOCOL_V2: u8 = 2;
const PHASE_OPEN: u8 = 0;
const PHASE_CLOSING: u8 = 1;
const PHASE_CLOSED: u8 = 2;

/// Why stored bytes are no state or identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Too short to hold even magic, version and checksum.
    #[error("{found_bytes} bytes are too short")]
    TooShort {
        /// How many there are.
        found_bytes: usize,
    },
    /// Something else is stored here.
    #[error("the magic is {found:02x?}, expected {expected:02x?}")]
    WrongMagic {
        /// What is there.
        found: [u8; 4],
        /// What should be there.
        expected: [u8; 4],
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
    #[error("version {found} is not known, expected {expected}")]
    UnknownVersion {
        /// What is stored.
        found: u16,
        /// What is known.
        expected: u16,
    },
    /// Intact, and not what the layout says.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Intact, and a state that no legal step leads to.
    #[error("the stored books break a promise: {0}")]
    Violation(#[from] Violation),
}

/// Appends a state to `out`.
pub fn encode_state(out: &mut Vec<u8>, state: &State) {
    seal(out, MAGIC, VERSION, |out| encode_body(out, state));
}

/// Makes encoded books those of another channel and signer; for whoever keeps these two apart from the rest.
///
/// # Panics
///
/// When the bytes are too short to be books.
pub fn readdress_state(bytes: &mut [u8], channel: ChannelId, signer: Address) {
    let (covered, sum) = bytes.split_last_chunk_mut().expect("books end with a checksum");
    let body = &mut covered[MAGIC.len() + size_of_val(&VERSION)..];
    let (to_channel, rest) = body.split_at_mut(channel.0.len());
    to_channel.copy_from_slice(channel.0.as_slice());
    rest[..signer.len()].copy_from_slice(signer.as_slice());
    *sum = checksum(covered).to_le_bytes();
}

/// Computes the checksum of encoded books or terms anew; for whoever keeps them without it.
///
/// # Panics
///
/// When the bytes are too few for one.
pub fn reseal(bytes: &mut [u8]) {
    let (covered, sum) = bytes.split_last_chunk_mut().expect("books and terms end with a checksum");
    *sum = checksum(covered).to_le_bytes();
}

/// Reads what [`encode_state`] wrote, and checks every promise of [`State::check`].
///
/// # Errors
///
/// [`StoredError`] for damaged, unknown or impossible books.
pub fn decode_state(bytes: &[u8]) -> Result<State, StoredError> {
    let (mut body, version) = unseal(
        bytes,
        MAGIC,
        &[VERSION_WITHOUT_AGE, VERSION_WITHOUT_OUTCOME_TIMES, VERSION_WITHOUT_TOMBSTONES, VERSION],
    )?;
    let state = decode_body(&mut body, version)?;
    body.end()?;
    state.check()?;
    Ok(state)
}

/// Writes magic, version, body and checksum.
pub(super) fn seal(out: &mut Vec<u8>, magic: [u8; 4], version: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put(&magic);
    out.u16(version);
    body(out);
    let sum = checksum(&out[start..]);
    out.u64(sum);
}

/// Checks magic, checksum and version, in this order; gives the body and the version. The newest known one is the last.
pub(super) fn unseal<'a>(
    bytes: &'a [u8],
    expected: [u8; 4],
    known: &[u16],
) -> Result<(Reader<'a>, u16), StoredError> {
    let too_short = StoredError::TooShort { found_bytes: bytes.len() };
    let (covered, sum) = bytes.split_last_chunk().ok_or(too_short)?;
    let (magic, rest) = covered.split_first_chunk().ok_or(too_short)?;
    if *magic != expected {
        return Err(StoredError::WrongMagic { found: *magic, expected });
    }
    let (found, computed) = (u64::from_le_bytes(*sum), checksum(covered));
    if found != computed {
        return Err(StoredError::WrongChecksum { found, computed });
    }
    let mut body = Reader::new(rest);
    let found = body.u16()?;
    if known.contains(&found) {
        return Ok((body, found));
    }
    let expected = *known.last().expect("every layout has a version");
    Err(StoredError::UnknownVersion { found, expected })
}

pub(super) fn protocol_tag(protocol: ProtocolVersion) -> u8 {
    match protocol {
        ProtocolVersion::V1 => PROTOCOL_V1,
        ProtocolVersion::V2 => PROTOCOL_V2,
    }
}

pub(super) fn protocol_from_tag(tag: u8) -> Result<ProtocolVersion, Malformed> {
    match tag {
        PROTOCOL_V1 => Ok(ProtocolVersion::V1),
        PROTOCOL_V2 => Ok(ProtocolVersion::V2),
        found => Err(Malformed::UnknownTag { field: "the protocol", found }),
    }
}

fn encode_body(out: &mut Vec<u8>, state: &State) {
    out.put(state.channel_id.0.as_slice());
    out.put(state.signer.as_slice());
    out.u8(protocol_tag(state.protocol));
    out.u64(state.sequence);
    encode_phase(out, state.phase);
    for amount in [state.deposit, state.settled, state.accepted, state.spent] {
        out.amount(amount);
    }
    out.u64(state.units);
    put_length(out, state.kept.iter().len());
    for KeptVoucher { amount, signature } in state.kept.iter() {
        out.amount(*amount);
        out.signature(signature);
    }
    put_length(out, state.reservations.len());
    for Reservation { key, amount, captured, units } in &state.reservations {
        out.key(key);
        out.amount(*amount);
        out.amount(*captured);
        out.u64(*units);
    }
    put_length(out, state.outcomes.iter().len());
    for Outcome { key, charged, units, accepted, spent, at } in state.outcomes.iter() {
        out.key(key);
        out.amount(*charged);
        out.u64(*units);
        out.amount(*accepted);
        out.amount(*spent);
        out.seconds(*at);
    }
    put_time(out, state.close_requested_at);
    out.position(state.close_position);
    out.seconds(state.opened_at);
    out.seconds(state.active_at);
    put_time(out, state.unsettled_since);
    put_time(out, state.retired_at);
}

fn decode_body(body: &mut Reader<'_>, version: u16) -> Result<State, Malformed> {
    let mut outcomes;
    let mut state = State {
        channel_id: body.channel_id()?,
        signer: body.address()?,
        protocol: protocol_from_tag(body.u8()?)?,
        sequence: body.u64()?,
        phase: decode_phase(body, version)?,
        deposit: body.amount()?,
        settled: body.amount()?,
        accepted: body.amount()?,
        spent: body.amount()?,
        units: body.u64()?,
        kept: KeptVouchers::restore(list(body, |body| {
            Ok(KeptVoucher { amount: body.amount()?, signature: body.signature()? })
        })?),
        reservations: list(body, |body| {
            Ok(Reservation {
                key: body.key()?,
                amount: body.amount()?,
                captured: body.amount()?,
                units: body.u64()?,
            })
        })?,
        outcomes: {
            outcomes = list(body, |body| decode_outcome(body, version))?;
            Outcomes::default()
        },
        close_requested_at: body.bool("a close request")?.then(|| body.seconds()).transpose()?,
        close_position: body.position()?,
        opened_at: body.seconds()?,
        active_at: body.seconds()?,
        unsettled_since: None,
        retired_at: None,
    };
    state.unsettled_since = if version == VERSION_WITHOUT_AGE {
        // The latest that it can be. An older guess could stop a payer for what was settled long ago.
        let is_unsettled = state.spent > state.settled && !matches!(state.phase, Phase::Closed(_));
        is_unsettled.then_some(state.active_at)
    } else {
        body.bool("unsettled value")?.then(|| body.seconds()).transpose()?
    };
    if version < VERSION_WITHOUT_TOMBSTONES {
        // The latest that it can be: a retry is not charged again too early.
        outcomes.iter_mut().for_each(|outcome| outcome.at = state.active_at);
    }
    state.outcomes = Outcomes::restore(outcomes);
    if version < VERSION {
        if let Phase::Closed(closure) = &mut state.phase {
            closure.at = state.active_at;
        }
    } else {
        state.retired_at = body.bool("a retired channel")?.then(|| body.seconds()).transpose()?;
    }
    Ok(state)
}

fn decode_outcome(body: &mut Reader<'_>, version: u16) -> Result<Outcome, Malformed> {
    Ok(Outcome {
        key: body.key()?,
        charged: body.amount()?,
        units: body.u64()?,
        accepted: body.amount()?,
        spent: body.amount()?,
        at: if version < VERSION_WITHOUT_TOMBSTONES { UnixSeconds::default() } else { body.seconds()? },
    })
}

fn put_time(out: &mut Vec<u8>, time: Option<UnixSeconds>) {
    out.u8(u8::from(time.is_some()));
    if let Some(time) = time {
        out.seconds(time);
    }
}

fn encode_phase(out: &mut Vec<u8>, phase: Phase) {
    match phase {
        Phase::Open => out.u8(PHASE_OPEN),
        Phase::Closing { capture } => {
            out.u8(PHASE_CLOSING);
            out.amount(capture);
        }
        Phase::Closed(Closure { captured, refunded, lost, at, position }) => {
            out.u8(PHASE_CLOSED);
            out.amount(captured);
            out.amount(refunded);
            out.amount(lost);
            out.seconds(at);
            out.position(position);
        }
    }
}

fn decode_phase(body: &mut Reader<'_>, version: u16) -> Result<Phase, Malformed> {
    Ok(match body.u8()? {
        PHASE_OPEN => Phase::Open,
        PHASE_CLOSING => Phase::Closing { capture: body.amount()? },
        PHASE_CLOSED => Phase::Closed(Closure {
            captured: body.amount()?,
            refunded: body.amount()?,
            lost: body.amount()?,
            at: if version < VERSION { UnixSeconds::default() } else { body.seconds()? },
            position: if version < VERSION { ChainPosition::default() } else { body.position()? },
        }),
        found => return Err(Malformed::UnknownTag { field: "the phase", found }),
    })
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.u8(u8::try_from(length).expect("the bounded lists of a state are shorter than 256"));
}

/// Grows with what is really there: a length alone allocates nothing.
fn list<T>(
    body: &mut Reader<'_>,
    mut element: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let length = body.u8()?;
    let mut elements = Vec::new();
    for _ in 0..length {
        elements.push(element(body)?);
    }
    Ok(elements)
}

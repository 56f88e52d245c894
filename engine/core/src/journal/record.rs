//! One event of one channel as bytes; or two, where a voucher was taken and paid in the same step.
//!
//! Kinds are never reused: a kind that goes out of use keeps its number, a changed body gets a new one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::codec::{Malformed, Put, Reader};
use super::identity;
use crate::channel::{ChainPosition, Event};
use crate::units::{ChannelId, UnixSeconds};

/// The header of a record, which is all that the smallest one has.
pub const RECORD_BYTES_MIN: usize = 44;

/// One event of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The channel.
    pub channel: ChannelId,
    /// The channel's sequence number after the event.
    pub sequence: u64,
    /// The event.
    pub event: Event,
}

const OPENED: u8 = 1;
const ACCEPTED: u8 = 2;
const VOUCHER_KEPT: u8 = 3;
const CHARGED: u8 = 4;
const RESERVED: u8 = 5;
const CAPTURED: u8 = 6;
const RELEASED: u8 = 7;
const TOPPED_UP: u8 = 8;
const CLOSE_REQUESTED: u8 = 9;
const CLOSE_REQUEST_CANCELLED: u8 = 10;
const SETTLED: u8 = 11;
const CLOSE_STARTED: u8 = 12;
const CLOSE_ABORTED: u8 = 13;
const CLOSED: u8 = 14;
/// [`ACCEPTED`] and [`CHARGED`] at the same time, which is nearly all that a journal holds: a quarter shorter than two records.
/// The sequence is that of the charge; the body is the voucher's amount, signature and time, then key, price and units.
const PAID: u8 = 15;
/// [`CHARGED`] without the name of a paid request.
const CHARGED_NAMELESS: u8 = 16;
/// [`PAID`] without the name of a paid request.
const PAID_NAMELESS: u8 = 17;
/// The end of a channel, with its time and place; [`CLOSED`] has neither.
const CLOSED_AT: u8 = 18;
const RETIRED: u8 = 19;

/// Appends a record to `out`, ready for [`super::FrameBuilder::append`].
pub fn encode_record(out: &mut Vec<u8>, record: &Record) {
    encode_event(out, record.channel, record.sequence, &record.event);
}

/// [`encode_record`] of parts, for a caller that holds the event elsewhere.
pub fn encode_event(out: &mut Vec<u8>, channel: ChannelId, sequence: u64, event: &Event) {
    encode(out, kind(event), channel, sequence, |out| encode_body(out, event));
}

/// The events of one step of a channel, whose sequence number is `sequence` after the last of them. Tells how many records they
/// became.
pub fn encode_step(out: &mut Vec<u8>, channel: ChannelId, sequence: u64, events: &[Event]) -> u32 {
    if let [accepted @ Event::Accepted { at, .. }, Event::Charged { key, amount, units, at: charged_at }] =
        events
        && at == charged_at
    {
        let kind = if key.is_some() { PAID } else { PAID_NAMELESS };
        encode(out, kind, channel, sequence, |out| {
            encode_body(out, accepted);
            key.iter().for_each(|key| out.key(key));
            out.amount(*amount);
            out.u64(*units);
        });
        return 1;
    }
    let mut records = 0;
    for (event, behind) in events.iter().zip((0..events.len() as u64).rev()) {
        encode_event(out, channel, sequence - behind, event);
        records += 1;
    }
    records
}

fn encode(out: &mut Vec<u8>, kind: u8, channel: ChannelId, sequence: u64, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.u8(kind);
    out.u8(0);
    out.u16(0);
    out.u64(sequence);
    out.put(channel.0.as_slice());
    body(out);
    let body_bytes = out.len() - start - RECORD_BYTES_MIN;
    let body_bytes = u16::try_from(body_bytes).expect("the largest body is a signature of 2049 bytes");
    out[start + 2..start + 4].copy_from_slice(&body_bytes.to_le_bytes());
}

fn kind(event: &Event) -> u8 {
    match event {
        Event::Opened { .. } => OPENED,
        Event::Accepted { .. } => ACCEPTED,
        Event::VoucherKept { .. } => VOUCHER_KEPT,
        Event::Charged { key: Some(_), .. } => CHARGED,
        Event::Charged { key: None, .. } => CHARGED_NAMELESS,
        Event::Reserved { .. } => RESERVED,
        Event::Captured { .. } => CAPTURED,
        Event::Released { .. } => RELEASED,
        Event::ToppedUp { .. } => TOPPED_UP,
        Event::CloseRequested { .. } => CLOSE_REQUESTED,
        Event::CloseRequestCancelled { .. } => CLOSE_REQUEST_CANCELLED,
        Event::Settled { .. } => SETTLED,
        Event::CloseStarted { .. } => CLOSE_STARTED,
        Event::CloseAborted => CLOSE_ABORTED,
        Event::Closed { .. } => CLOSED_AT,
        Event::Retired { .. } => RETIRED,
    }
}

fn encode_body(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Opened { identity, deposit, settled, at, position } => {
            identity::encode_body(out, identity);
            out.amount(*deposit);
            out.amount(*settled);
            out.seconds(*at);
            out.position(*position);
        }
        Event::Accepted { amount, signature, at } | Event::VoucherKept { amount, signature, at } => {
            out.amount(*amount);
            out.signature(signature);
            out.seconds(*at);
        }
        Event::Charged { key, amount, units, at } => {
            key.iter().for_each(|key| out.key(key));
            out.amount(*amount);
            out.u64(*units);
            out.seconds(*at);
        }
        Event::Reserved { key, amount, at } => {
            out.key(key);
            out.amount(*amount);
            out.seconds(*at);
        }
        Event::Captured { key, amount, units, finished, at } => {
            out.key(key);
            out.amount(*amount);
            out.u64(*units);
            out.u8(u8::from(*finished));
            out.seconds(*at);
        }
        Event::Released { key, at } => {
            out.key(key);
            out.seconds(*at);
        }
        Event::ToppedUp { deposit } => out.amount(*deposit),
        Event::CloseRequested { at, position } => {
            out.seconds(*at);
            out.position(*position);
        }
        Event::CloseRequestCancelled { position } => out.position(*position),
        Event::Settled { settled } => out.amount(*settled),
        Event::CloseStarted { capture } => out.amount(*capture),
        Event::CloseAborted => {}
        Event::Closed { captured, refunded, at, position } => {
            out.amount(*captured);
            out.amount(*refunded);
            out.seconds(*at);
            out.position(*position);
        }
        Event::Retired { at } => out.seconds(*at),
    }
}

/// Reads one record from the front, and adds its events.
pub(super) fn decode_record(reader: &mut Reader<'_>, records: &mut Vec<Record>) -> Result<(), Malformed> {
    let header = Header::read(reader)?;
    let mut body = Reader::new(reader.bytes(header.body_bytes)?);
    let (channel, sequence) = (header.channel, header.sequence);
    if let PAID | PAID_NAMELESS = header.kind {
        let [accepted, charged] = decode_paid(&mut body, header.kind == PAID)?;
        body.end()?;
        records.push(Record { channel, sequence: sequence.saturating_sub(1), event: accepted });
        records.push(Record { channel, sequence, event: charged });
        return Ok(());
    }
    let event = decode_body(header.kind, &mut body)?;
    body.end()?;
    if let Event::Opened { identity, .. } = &event {
        let (found, expected) = (identity.channel_id(), channel);
        if found != expected {
            return Err(Malformed::ForeignTerms { found, expected });
        }
    }
    records.push(Record { channel, sequence, event });
    Ok(())
}

fn decode_paid(body: &mut Reader<'_>, is_named: bool) -> Result<[Event; 2], Malformed> {
    let (amount, signature, at) = (body.amount()?, body.signature()?, body.seconds()?);
    let key = is_named.then(|| body.key()).transpose()?;
    let charged = Event::Charged { key, amount: body.amount()?, units: body.u64()?, at };
    Ok([Event::Accepted { amount, signature, at }, charged])
}

/// Reads records that [`encode_record`] wrote one behind the other.
///
/// # Errors
///
/// [`Malformed`] when the bytes are something else.
pub fn decode_records(encoded: &[u8]) -> Result<Vec<Record>, Malformed> {
    let (mut reader, mut records) = (Reader::new(encoded), Vec::new());
    while reader.remaining() > 0 {
        decode_record(&mut reader, &mut records)?;
    }
    Ok(records)
}

/// Counts the records in bytes that [`encode_record`] wrote; looks at headers only.
pub(super) fn count_records(encoded: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(encoded);
    let mut count = 0;
    while reader.remaining() > 0 {
        let header = Header::read(&mut reader)?;
        reader.bytes(header.body_bytes)?;
        count += 1;
    }
    Ok(count)
}

struct Header {
    kind: u8,
    body_bytes: usize,
    sequence: u64,
    channel: ChannelId,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = reader.u8()?;
        match reader.u8()? {
            0 => {}
            found => return Err(Malformed::UnknownTag { field: "the record's second byte", found }),
        }
        let body_bytes = usize::from(reader.u16()?);
        Ok(Self { kind, body_bytes, sequence: reader.u64()?, channel: reader.channel_id()? })
    }
}

fn decode_body(kind: u8, body: &mut Reader<'_>) -> Result<Event, Malformed> {
    Ok(match kind {
        OPENED => Event::Opened {
            identity: Box::new(identity::decode_body(body)?),
            deposit: body.amount()?,
            settled: body.amount()?,
            at: body.seconds()?,
            position: body.position()?,
        },
        ACCEPTED => {
            Event::Accepted { amount: body.amount()?, signature: body.signature()?, at: body.seconds()? }
        }
        VOUCHER_KEPT => {
            Event::VoucherKept { amount: body.amount()?, signature: body.signature()?, at: body.seconds()? }
        }
        CHARGED | CHARGED_NAMELESS => Event::Charged {
            key: (kind == CHARGED).then(|| body.key()).transpose()?,
            amount: body.amount()?,
            units: body.u64()?,
            at: body.seconds()?,
        },
        RESERVED => Event::Reserved { key: body.key()?, amount: body.amount()?, at: body.seconds()? },
        CAPTURED => Event::Captured {
            key: body.key()?,
            amount: body.amount()?,
            units: body.u64()?,
            finished: body.bool("finished")?,
            at: body.seconds()?,
        },
        RELEASED => Event::Released { key: body.key()?, at: body.seconds()? },
        TOPPED_UP => Event::ToppedUp { deposit: body.amount()? },
        CLOSE_REQUESTED => Event::CloseRequested { at: body.seconds()?, position: body.position()? },
        CLOSE_REQUEST_CANCELLED => Event::CloseRequestCancelled { position: body.position()? },
        SETTLED => Event::Settled { settled: body.amount()? },
        CLOSE_STARTED => Event::CloseStarted { capture: body.amount()? },
        CLOSE_ABORTED => Event::CloseAborted,
        CLOSED => Event::Closed {
            captured: body.amount()?,
            refunded: body.amount()?,
            at: UnixSeconds::default(),
            position: ChainPosition::default(),
        },
        CLOSED_AT => Event::Closed {
            captured: body.amount()?,
            refunded: body.amount()?,
            at: body.seconds()?,
            position: body.position()?,
        },
        RETIRED => Event::Retired { at: body.seconds()? },
        found => return Err(Malformed::UnknownTag { field: "the kind of the record", found }),
    })
}

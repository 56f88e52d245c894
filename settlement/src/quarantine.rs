//! Channels whose claims the chain refuses: set apart with a reason, so that the others do not wait for them.
//!
//! A blocked payer or a paused token makes a claim revert, today and probably tomorrow. Such a channel is written
//! down, alarmed, and tried again a bounded number of times with growing pauses: tokens are unpaused, and the grace
//! period of a close request runs. After the last try it waits for a fact from the chain.

use farebox_core::units::{B256, ChannelId, UnixSeconds};
use farebox_engine::ledger::Note;
use farebox_engine::{Engine, EngineError};
use farebox_settlement_plan::Backoff;

use crate::intent::retry_busy;

const VERSION: u8 = 1;
/// The most bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 512;
/// How often a refused claim is tried before it waits for a fact.
pub const TRIES_MAX: u32 = 8;
/// The pauses between these tries: 254 half minutes in all, far beyond the grace period, most of them within it.
pub const PAUSES: Backoff = Backoff { first_ms: 15_000, max_ms: 3_600_000 };

/// Why a channel is set apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The channel.
    pub channel: ChannelId,
    /// Since when.
    pub since: UnixSeconds,
    /// How many claims were refused.
    pub tries: u32,
    /// What the chain said at last.
    pub reason: String,
}

impl Quarantine {
    /// What the keys of quarantined channels begin with.
    pub(crate) const PREFIX: &[u8] = b"stuck/";

    /// True when only a fact from the chain helps.
    pub const fn is_final(&self) -> bool {
        self.tries >= TRIES_MAX
    }

    /// All channels that are set apart. One that cannot be read is left out: its channel is tried again, at once.
    pub async fn all(engine: &Engine) -> Result<Vec<Self>, EngineError> {
        Ok(Self::read(&retry_busy(|| engine.notes(Self::PREFIX)).await?))
    }

    pub(crate) fn read(notes: &[Note]) -> Vec<Self> {
        notes.iter().filter_map(|note| Self::decode(&note.key, &note.bytes)).collect()
    }

    pub(crate) async fn keep(&self, engine: &Engine) -> Result<(), EngineError> {
        let key = key(self.channel);
        retry_busy(|| engine.put_note(&key, self.encode())).await
    }

    pub(crate) async fn lift(channel: ChannelId, engine: &Engine) -> Result<(), EngineError> {
        let key = key(channel);
        retry_busy(|| engine.remove_note(&key)).await
    }

    fn encode(&self) -> Vec<u8> {
        let mut cut = self.reason.len().min(REASON_BYTES_MAX);
        while !self.reason.is_char_boundary(cut) {
            cut -= 1;
        }
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.since.0.to_le_bytes());
        out.extend_from_slice(&self.tries.to_le_bytes());
        out.extend_from_slice(&self.reason.as_bytes()[..cut]);
        out
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let channel = ChannelId(B256::try_from(key.strip_prefix(Self::PREFIX)?).ok()?);
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
        let (since, rest) = rest.split_first_chunk()?;
        let (tries, reason) = rest.split_first_chunk()?;
        Some(Self {
            channel,
            since: UnixSeconds(u64::from_le_bytes(*since)),
            tries: u32::from_le_bytes(*tries),
            reason: std::str::from_utf8(reason).ok()?.to_owned(),
        })
    }
}

fn key(channel: ChannelId) -> Vec<u8> {
    [Quarantine::PREFIX, channel.0.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_back_cut_at_a_character() {
        let channel = ChannelId(B256::repeat_byte(7));
        let stuck = Quarantine { channel, since: UnixSeconds(5), tries: 3, reason: "ü".repeat(300) };
        let back = Quarantine::decode(&key(channel), &stuck.encode()).expect("it reads");
        assert_eq!(back.reason, "ü".repeat(256));
        assert_eq!((back.channel, back.since, back.tries), (channel, UnixSeconds(5), 3));
        assert_eq!(Quarantine::decode(&key(channel), &[VERSION, 1]), None);
        assert_eq!(Quarantine::decode(b"stuck/short", &stuck.encode()), None);
    }
}

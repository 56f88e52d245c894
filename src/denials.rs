//! Who was shut out by hand while the server runs: channels and payers, each until a time or for good.
//!
//! The configuration's `[risk] deny` and these entries are one list to the engine. An entry is written into the store before it is
//! in force, and read at the next start. It stops new vouchers and charges; what was bought before is settled as ever. No rule
//! about money is here: the engine asks the list.

use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farebox_core::channel::{AccessList, Limits, Subject, Until};
use farebox_core::units::{Address, B256, ChannelId, UnixSeconds};
use farebox_engine::ledger::Note;
use farebox_engine::{Engine, EngineError, LimitsFixed};

/// What the keys of entries begin with.
const PREFIX: &[u8] = b"deny/";
const VERSION: u8 = 1;
/// The most entries made by hand: each is looked up with every voucher, and written by a person.
pub const DENIALS_MAX: usize = 10_000;

/// Why an entry was not made or not taken back.
#[derive(Debug, thiserror::Error)]
pub enum DenialError {
    /// The books do not take it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The list is full.
    #[error(
        "found {DENIALS_MAX} entries made by hand, expected fewer: take some back, or write them into [risk] deny"
    )]
    Full,
    /// It is not this list's.
    #[error("[risk] deny of the configuration lists it: take it out there, and reload")]
    Configured,
    /// There is none.
    #[error("found no entry made by hand for it")]
    Unknown,
}

struct Lists {
    configured: Limits,
    by_hand: AccessList,
}

/// The list, for everybody who changes it.
#[derive(Clone)]
pub struct Denials {
    engine: Engine,
    lists: Arc<Mutex<Lists>>,
    /// One change at a time: what is written is what is in force.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Denials {
    /// Reads what was written and puts it into force, beside the limits of the configuration. Entries that are over are forgotten.
    pub async fn begin(engine: &Engine, configured: Limits, now: UnixSeconds) -> Result<Self, EngineError> {
        let mut by_hand = AccessList::new();
        for note in engine.notes(PREFIX).await? {
            match decode(&note) {
                Some((_, Some(until))) if until <= now => engine.remove_note(&note.key).await?,
                Some((subject, until)) => {
                    by_hand.insert(subject, until);
                }
                None => {
                    tracing::error!(key = ?note.key, "an entry of who is shut out cannot be read; it is not in force")
                }
            }
        }
        if !by_hand.is_empty() {
            tracing::info!(entries = by_hand.len(), "who was shut out by hand stays out");
        }
        let lists = Arc::new(Mutex::new(Lists { configured, by_hand }));
        let this = Self { engine: engine.clone(), lists, turn: Arc::default() };
        this.put_into_force(&this.lists());
        Ok(this)
    }

    /// Shuts somebody out, from the next batch on; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`DenialError::Full`]; [`DenialError::Engine`] when it could not be written, and nothing changed.
    pub async fn deny(&self, subject: Subject, until: Until) -> Result<(), DenialError> {
        let _turn = self.turn.lock().await;
        {
            let lists = self.lists();
            if lists.by_hand.len() >= DENIALS_MAX && !lists.by_hand.contains_key(&subject) {
                return Err(DenialError::Full);
            }
        }
        self.engine.put_note(&key(subject), encode(until)).await?;
        let mut lists = self.lists();
        lists.by_hand.insert(subject, until);
        self.put_into_force(&lists);
        Ok(())
    }

    /// Takes an entry back.
    ///
    /// # Errors
    ///
    /// [`DenialError::Unknown`] and [`DenialError::Configured`]; [`DenialError::Engine`] as above.
    pub async fn allow(&self, subject: Subject) -> Result<(), DenialError> {
        let _turn = self.turn.lock().await;
        {
            let lists = self.lists();
            let is_configured = lists.configured.access.deny.contains_key(&subject);
            match (lists.by_hand.contains_key(&subject), is_configured) {
                (true, _) => {}
                (false, true) => return Err(DenialError::Configured),
                (false, false) => return Err(DenialError::Unknown),
            }
        }
        self.engine.remove_note(&key(subject)).await?;
        let mut lists = self.lists();
        lists.by_hand.remove(&subject);
        self.put_into_force(&lists);
        Ok(())
    }

    /// The configuration was read again.
    ///
    /// # Errors
    ///
    /// [`LimitsFixed`] as of the engine; nothing changes then.
    pub fn set_configured(&self, configured: Limits) -> Result<(), LimitsFixed> {
        let mut lists = self.lists();
        self.engine.set_limits(joined(&configured, &lists.by_hand))?;
        lists.configured = configured;
        Ok(())
    }

    /// The entries made by hand that are not over.
    pub fn by_hand(&self, now: UnixSeconds) -> AccessList {
        let holds = |until: &Until| until.is_none_or(|until| now < until);
        let lists = self.lists();
        lists
            .by_hand
            .iter()
            .filter(|(_, until)| holds(until))
            .map(|(subject, until)| (*subject, *until))
            .collect()
    }

    /// Never held across a wait.
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_into_force(&self, lists: &Lists) {
        let limits = joined(&lists.configured, &lists.by_hand);
        self.engine.set_limits(limits).expect("the sums are those that the engine was started with");
    }
}

/// The limits with both lists; of two entries the one that holds for longer.
fn joined(configured: &Limits, by_hand: &AccessList) -> Limits {
    let mut limits = configured.clone();
    for (subject, until) in by_hand {
        match limits.access.deny.entry(*subject) {
            Entry::Vacant(place) => {
                place.insert(*until);
            }
            Entry::Occupied(mut place) => {
                let longer = place.get().zip(*until).map(|(one, other)| one.max(other));
                place.insert(longer);
            }
        }
    }
    limits
}

fn key(subject: Subject) -> Vec<u8> {
    match subject {
        Subject::Payer(payer) => [PREFIX, b"p", payer.as_slice()].concat(),
        Subject::Signer(signer) => [PREFIX, b"s", signer.as_slice()].concat(),
        Subject::Channel(channel) => [PREFIX, b"c", channel.0.as_slice()].concat(),
    }
}

fn encode(until: Until) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // No clock comes to the last second.
    bytes.extend_from_slice(&until.map_or(u64::MAX, |until| until.0).to_le_bytes());
    bytes
}

fn decode(note: &Note) -> Option<(Subject, Until)> {
    let (&[kind], rest) = note.key.strip_prefix(PREFIX)?.split_first_chunk::<1>()?;
    let subject = match kind {
        b'p' => Subject::Payer(Address::try_from(rest).ok()?),
        b's' => Subject::Signer(Address::try_from(rest).ok()?),
        b'c' => Subject::Channel(ChannelId(B256::try_from(rest).ok()?)),
        _ => return None,
    };
    let (&[VERSION], until) = note.bytes.split_first_chunk::<1>()? else { return None };
    let until = u64::from_le_bytes(until.try_into().ok()?);
    Some((subject, (until != u64::MAX).then_some(UnixSeconds(until))))
}

#[cfg(test)]
mod tests {
    use farebox_engine::{Config, MemoryLedger, SystemClock};

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000);

    fn engine() -> Engine {
        Engine::start(Config::default(), MemoryLedger::new(), SystemClock).unwrap()
    }

    fn payer(byte: u8) -> Subject {
        Subject::Payer(Address::repeat_byte(byte))
    }

    fn denied(engine: &Engine) -> Vec<(Subject, Until)> {
        engine.limits().access.deny.clone().into_iter().collect()
    }

    #[tokio::test]
    async fn entries_are_in_force_and_come_back_after_a_restart_until_they_are_over() {
        let engine = engine();
        let channel = Subject::Channel(ChannelId(B256::repeat_byte(7)));
        let denials = Denials::begin(&engine, Limits::default(), NOW).await.unwrap();
        denials.deny(channel, None).await.unwrap();
        denials.deny(payer(1), Some(UnixSeconds(2_000))).await.unwrap();
        assert_eq!(denied(&engine), [(payer(1), Some(UnixSeconds(2_000))), (channel, None)]);
        // A restart: only what was written is known.
        engine.set_limits(Limits::default()).unwrap();
        let again = Denials::begin(&engine, Limits::default(), NOW).await.unwrap();
        assert_eq!(again.by_hand(NOW).len(), 2);
        assert_eq!(denied(&engine).len(), 2);
        let later = Denials::begin(&engine, Limits::default(), UnixSeconds(2_000)).await.unwrap();
        assert_eq!(denied(&engine), [(channel, None)]);
        assert_eq!(engine.notes(PREFIX).await.unwrap().len(), 1, "what is over is forgotten");
        later.allow(channel).await.unwrap();
        assert_eq!(denied(&engine), []);
        assert!(matches!(later.allow(channel).await, Err(DenialError::Unknown)));
        assert!(engine.notes(PREFIX).await.unwrap().is_empty());
        engine.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn the_configuration_and_the_hand_do_not_undo_each_other() {
        let engine = engine();
        let mut configured = Limits::default();
        configured.access.deny.insert(payer(1), Some(UnixSeconds(5_000)));
        let denials = Denials::begin(&engine, configured.clone(), NOW).await.unwrap();
        assert!(matches!(denials.allow(payer(1)).await, Err(DenialError::Configured)));
        denials.deny(payer(1), Some(UnixSeconds(3_000))).await.unwrap();
        denials.deny(payer(2), None).await.unwrap();
        assert_eq!(
            denied(&engine),
            [(payer(1), Some(UnixSeconds(5_000))), (payer(2), None)],
            "the longer one holds"
        );
        configured.access.deny.clear();
        denials.set_configured(configured).unwrap();
        assert_eq!(denied(&engine), [(payer(1), Some(UnixSeconds(3_000))), (payer(2), None)]);
        denials.deny(payer(1), None).await.unwrap();
        assert_eq!(denied(&engine)[0], (payer(1), None));
        engine.shutdown().await.unwrap();
    }

    #[test]
    fn foreign_notes_are_not_read() {
        let note = |key: &[u8], bytes: &[u8]| Note { key: key.to_vec(), bytes: bytes.to_vec() };
        let good = note(&key(payer(3)), &encode(None));
        assert_eq!(decode(&good), Some((payer(3), None)));
        for bad in [
            note(b"deny/p12", &good.bytes),
            note(b"deny/x", &good.bytes),
            note(&good.key, &[2, 0, 0, 0, 0, 0, 0, 0, 0]),
            note(&good.key, &[VERSION]),
        ] {
            assert_eq!(decode(&bad), None, "{bad:?}");
        }
    }
}

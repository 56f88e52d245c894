//! Notes of parts beside the books, such as settlement's intents: durable before the answer, in no frame.
//!
//! The committer writes them between two frames, so that a fenced writer is refused and a failed sync poisons, as for
//! frames. They wait in a list of their own and never in the committer's queue, which shards fill under load.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::message::ReplyTo;
use super::{Engine, EngineError};
use crate::ledger::{Ledger, LedgerError, NOTE_BYTES_MAX, NOTE_KEY_BYTES_MAX, Note};

/// The most wishes that may wait.
const WISHES_MAX: usize = 1_024;

/// What waits for the committer.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Vec<Wish>>);

#[derive(Debug)]
enum Wish {
    Put { key: Vec<u8>, note: Option<Vec<u8>>, reply: ReplyTo<()> },
    Read { prefix: Vec<u8>, reply: ReplyTo<Vec<Note>> },
}

impl Notes {
    /// Does what waits. A failed write may have left anything: the caller poisons, and nobody is answered any more.
    pub(super) fn serve(&self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let wishes = std::mem::take(&mut *self.0.lock());
        for wish in wishes {
            match wish {
                Wish::Put { key, note, reply } => {
                    ledger.put_note(&key, note.as_deref())?;
                    // Who no longer waits misses it.
                    drop(reply.send(Ok(())));
                }
                Wish::Read { prefix, reply } => {
                    drop(reply.send(ledger.notes(&prefix).map_err(EngineError::from)));
                }
            }
        }
        Ok(())
    }

    fn push(&self, wish: Wish) -> Result<(), Full> {
        let mut wishes = self.0.lock();
        if wishes.len() >= WISHES_MAX {
            return Err(Full);
        }
        wishes.push(wish);
        Ok(())
    }
}

/// Too many wishes wait.
struct Full;

impl Engine {
    /// Keeps a note under a key, in the place of the one before. It is durable when this returns.
    ///
    /// # Panics
    ///
    /// When key or note are longer than [`NOTE_KEY_BYTES_MAX`] and [`NOTE_BYTES_MAX`].
    pub async fn put_note(&self, key: &[u8], note: Vec<u8>) -> Result<(), EngineError> {
        assert!(
            key.len() <= NOTE_KEY_BYTES_MAX && note.len() <= NOTE_BYTES_MAX,
            "the caller bounds its notes"
        );
        let key = key.to_vec();
        self.wish(|reply| Wish::Put { key, note: Some(note), reply }).await
    }

    /// Removes the note with a key, if there is one; that is durable when this returns.
    pub async fn remove_note(&self, key: &[u8]) -> Result<(), EngineError> {
        let key = key.to_vec();
        self.wish(|reply| Wish::Put { key, note: None, reply }).await
    }

    /// The notes whose keys begin with `prefix`, by rising key.
    pub async fn notes(&self, prefix: &[u8]) -> Result<Vec<Note>, EngineError> {
        let prefix = prefix.to_vec();
        self.wish(|reply| Wish::Read { prefix, reply }).await
    }

    async fn wish<T>(&self, wish: impl FnOnce(ReplyTo<T>) -> Wish) -> Result<T, EngineError> {
        let inner = self.inner();
        let shared = Arc::clone(&inner.shared);
        shared.check_running()?;
        let (reply, answer) = oneshot::channel();
        if shared.notes.push(wish(reply)).is_err() {
            return Err(inner.threads.busy());
        }
        inner.threads.wake_committer();
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => answer,
                Err(_) => Err(shared.why_ended().await),
            },
            // The list outlives the committer, so nobody would drop the reply.
            error = shared.why_ended() => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{LedgerRead, MemoryLedger, MemoryStore};
    use crate::pipeline::Config;
    use crate::{SystemClock, block_on};

    fn engine(store: &MemoryStore) -> Engine {
        let config = Config { shards: 1, ..Config::default() };
        Engine::start(config, MemoryLedger::open(store), SystemClock).expect("starts")
    }

    #[test]
    fn a_note_outlives_a_crash_from_the_moment_that_it_is_answered() {
        let store = MemoryStore::new();
        block_on(async {
            let engine = engine(&store);
            engine.put_note(b"intent/1", vec![1]).await.expect("kept");
            engine.put_note(b"intent/2", vec![2]).await.expect("kept");
            engine.remove_note(b"intent/1").await.expect("removed");
            let crashed = store.after_crash(false);
            let kept = [Note { key: b"intent/2".to_vec(), bytes: vec![2] }];
            assert_eq!(crashed.notes(b"intent/").expect("reads"), kept);
            assert_eq!(engine.notes(b"intent/").await.expect("reads"), kept);
            assert_eq!(engine.notes(b"other").await.expect("reads"), []);
            engine.shutdown().await.expect("closes");
            let late = engine.put_note(b"late", vec![]).await;
            assert!(matches!(late, Err(EngineError::Stopped)), "{late:?}");
        });
    }

    #[test]
    fn a_note_that_cannot_be_kept_poisons() {
        let store = MemoryStore::new();
        block_on(async {
            let engine = engine(&store);
            // A newer writer takes the store over.
            let _newer = MemoryLedger::open(&store);
            let refused = engine.put_note(b"intent/1", vec![1]).await;
            assert!(matches!(refused, Err(EngineError::Poisoned { .. })), "{refused:?}");
            assert_eq!(store.notes(b"").expect("reads"), []);
        });
    }
}

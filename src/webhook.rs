//! Tells another server about money: channels opened, topped up, settled, closed, as they become durable.
//!
//! The journal is the source, so nothing is told that could be taken back, nothing is forgotten in a crash, and the order is
//! that of the books: what one channel did comes in the order in which it did it. One event is sent at a time, and the next
//! one when it was taken with a 2xx status. Until then it is sent again, with pauses that grow to five minutes. How far we are is
//! a durable note in the store; after a crash the last event may come twice, under the same id.
//!
//! | part | what it does |
//! |---|---|
//! | `events` | from the journal to events |
//! | `post` | one signed request |

mod events;
mod post;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::{Engine, EngineError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

use self::events::{Batch, Cursor, Event};
use self::post::Post;
use crate::config::Webhook as Settings;
use crate::keys::Secret;

/// The note that says how far we are.
const CURSOR: &[u8] = b"webhook/cursor";
/// The first pause after an event was not taken, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The least time between two looks at the journal.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the beginning is looked for before the start fails.
const BEGIN_TRIES_MAX: u32 = 10;
/// Frames without events after which the cursor is written down all the same.
const FRAMES_UNWRITTEN_MAX: u64 = 10_000;

/// What the admin API may ask for: to begin again at a frame.
#[derive(Clone, Default)]
pub struct Replay {
    wanted: Arc<Mutex<Option<u64>>>,
    told: Arc<Notify>,
}

impl Replay {
    /// Sends everything from this frame on again.
    pub fn begin_at(&self, frame: u64) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
        self.told.notify_one();
    }

    fn take(&self) -> Option<u64> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sends events until told to stop.
pub struct Webhook {
    engine: Engine,
    store: PathBuf,
    post: Post,
    vouchers: bool,
    replay: Replay,
    cursor: Cursor,
    /// Frames that were passed since the cursor was written down.
    unwritten: u64,
}

impl Webhook {
    /// Finds where to begin and makes that durable: whatever the books learn after this is told. To be called before anything
    /// can change the books.
    ///
    /// # Errors
    ///
    /// The system's root certificates cannot be read, or the journal or its notes cannot.
    pub async fn begin(
        settings: &Settings,
        key: Secret,
        engine: Engine,
        store: PathBuf,
    ) -> std::io::Result<Self> {
        let mut webhook = Self {
            engine,
            store,
            post: Post::new(settings.url.clone(), key)?,
            vouchers: settings.vouchers,
            replay: Replay::default(),
            cursor: Cursor::default(),
            unwritten: 0,
        };
        webhook.cursor = webhook.first().await?;
        webhook.write_down().await;
        Ok(webhook)
    }

    /// For those who may ask for a replay.
    pub fn replay(&self) -> Replay {
        self.replay.clone()
    }

    /// Sends. Whatever is dropped half-way is sent again by the next process.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.follow() => {}
        }
    }

    async fn follow(mut self) {
        // Before the journal is read: what changes meanwhile is noticed.
        let mut changes = self.engine.subscribe();
        loop {
            self.catch_up().await;
            tokio::time::sleep(LOOK_EVERY).await;
            tokio::select! {
                () = self.replay.told.notified() => {}
                change = changes.recv() => match change {
                    Ok(_) | Err(RecvError::Lagged(_)) => while changes.try_recv().is_ok() {},
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// Where the last process stopped; the end of the journal when there was none.
    async fn first(&self) -> std::io::Result<Cursor> {
        let mut tries_left = BEGIN_TRIES_MAX;
        loop {
            tries_left -= 1;
            match self.engine.notes(CURSOR).await {
                Ok(notes) => {
                    if let Some(cursor) = notes.iter().find_map(|note| Cursor::decode(&note.bytes)) {
                        return Ok(cursor);
                    }
                    if let Some(cursor) = self.read(|store| events::end(&store)).await {
                        return Ok(cursor);
                    }
                }
                Err(EngineError::Busy { .. }) if tries_left > 0 => {}
                Err(error) => return Err(std::io::Error::other(error)),
            }
            if tries_left == 0 {
                return Err(std::io::Error::other("the journal cannot be read beside its writer"));
            }
            tokio::time::sleep(PAUSE_FIRST).await;
        }
    }

    /// Sends what the journal has.
    async fn catch_up(&mut self) {
        loop {
            if let Some(frame) = self.replay.take() {
                tracing::info!(frame, "money events are sent again");
                self.cursor = Cursor { frame, index: 0 };
            }
            let (cursor, vouchers) = (self.cursor, self.vouchers);
            let Some(Batch { events, next, gap, is_last }) =
                self.read(move |store| events::after(&store, cursor, vouchers)).await
            else {
                return;
            };
            if gap {
                metrics::counter!("farebox_webhook_gaps_total").increment(1);
                tracing::error!(
                    frame = cursor.frame,
                    "ALARM: frames with money events were deleted before they were sent"
                );
            }
            for event in events {
                self.deliver(&event).await;
                self.cursor = event.cursor.next();
                self.write_down().await;
            }
            self.unwritten += next.frame.saturating_sub(self.cursor.frame);
            self.cursor = next;
            if self.unwritten >= FRAMES_UNWRITTEN_MAX {
                self.write_down().await;
            }
            metrics::gauge!("farebox_webhook_next_frame").set(next.frame as f64);
            if is_last {
                return;
            }
        }
    }

    /// Sends one event until it is taken, or a replay is wanted.
    async fn deliver(&self, event: &Event) {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.post.send(event, SystemClock.now()).await {
                Ok(()) => {
                    metrics::counter!("farebox_webhook_events_total", "result" => "delivered").increment(1);
                    return;
                }
                Err(error) => {
                    metrics::counter!("farebox_webhook_events_total", "result" => "failed").increment(1);
                    let again_s = pause.as_secs();
                    tracing::warn!(event = event.id(), %error, again_s, "a money event was not taken");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Makes the cursor durable. When that fails, events come twice after a crash, and none is lost.
    async fn write_down(&mut self) {
        self.unwritten = 0;
        if let Err(error) = self.engine.put_note(CURSOR, self.cursor.encode()).await {
            tracing::warn!(%error, "how far money events were sent could not be written down");
        }
    }

    /// Reads the journal beside its writer.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(PathBuf) -> Result<T, farebox_engine::LedgerError> + Send + 'static,
    ) -> Option<T> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || look(store)).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the journal cannot be read for money events; it is tried again");
                None
            }
            Err(_) => None,
        }
    }
}

//! Single flight: identical transactions at the same time are sent once, and all who wait get its result.
//!
//! The work runs in a task of its own: a client that goes away must not leave a broadcast transaction
//! that nobody books.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use farebox_core::units::{B256, ChannelId};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::problem::{self, Refused};

/// What is sent: the channel and the hash of the transaction.
pub(super) type FlightKey = (ChannelId, [u8; 32]);

/// What came of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landed {
    /// Its hash; `None` when there was nothing to send any more.
    pub(super) tx_hash: Option<B256>,
}

type Result_ = Result<Landed, Refused>;

/// The transactions on their way; at most `maximum`.
#[derive(Debug)]
pub(super) struct Flights {
    running: Mutex<HashMap<FlightKey, watch::Receiver<Option<Result_>>>>,
    maximum: usize,
}

impl Flights {
    pub(super) fn new(maximum: usize) -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), maximum })
    }

    /// Joins the flight of `key`, or starts it with `work`.
    pub(super) async fn join<F>(self: &Arc<Self>, key: FlightKey, work: impl FnOnce() -> F) -> Result_
    where
        F: Future<Output = Result_> + Send + 'static,
    {
        let mut landing = {
            let mut running = self.running.lock();
            match running.get(&key) {
                Some(landing) => landing.clone(),
                None if running.len() >= self.maximum => return Err(problem::too_many_transactions()),
                None => {
                    let (send, landing) = watch::channel(None);
                    running.insert(key, landing.clone());
                    let entry = Entry { flights: Arc::clone(self), key };
                    let work = work();
                    tokio::spawn(async move {
                        let result = work.await;
                        // Gone from the list first: who comes later asks the books, which know by now.
                        drop(entry);
                        send.send_replace(Some(result));
                    });
                    landing
                }
            }
        };
        match landing.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or_else(|| Err(problem::lost_task())),
            // The task panicked.
            Err(_) => Err(problem::lost_task()),
        }
    }
}

/// Takes the flight off the list, also when its task panics.
struct Entry {
    flights: Arc<Flights>,
    key: FlightKey,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.flights.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KEY: FlightKey = (ChannelId(B256::repeat_byte(1)), [1; 32]);

    #[tokio::test]
    async fn identical_work_runs_once_and_leaves_nothing_behind() {
        let flights = Flights::new(4);
        let runs = Arc::new(AtomicUsize::new(0));
        let joins = (0..36).map(|_| {
            let (flights, runs) = (Arc::clone(&flights), Arc::clone(&runs));
            tokio::spawn(async move {
                let work = || async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    Ok(Landed { tx_hash: Some(B256::repeat_byte(9)) })
                };
                flights.join(KEY, work).await.unwrap().tx_hash
            })
        });
        for join in futures_util::future::join_all(joins).await {
            assert_eq!(join.unwrap(), Some(B256::repeat_byte(9)));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(flights.running.lock().is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_next_one_may_try() {
        let flights = Flights::new(1);
        let lost = flights.join(KEY, || async { panic!("on purpose") }).await;
        assert!(lost.is_err());
        assert!(flights.join(KEY, || async { Ok(Landed { tx_hash: None }) }).await.is_ok());
    }

    #[tokio::test]
    async fn flights_are_bounded() {
        let flights = Flights::new(1);
        let (hold, held) = tokio::sync::oneshot::channel::<()>();
        let first = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move {
                flights
                    .join(KEY, || async {
                        held.await.ok();
                        Ok(Landed { tx_hash: None })
                    })
                    .await
            }
        });
        while flights.running.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let other = (KEY.0, [2; 32]);
        assert!(flights.join(other, || async { Ok(Landed { tx_hash: None }) }).await.is_err());
        drop(hold);
        assert!(first.await.unwrap().is_ok());
        assert!(flights.join(other, || async { Ok(Landed { tx_hash: None }) }).await.is_ok());
    }
}

//! Starts the threads, watches over them, and ends them.
//!
//! ```text
//! handles --ToShard--> shard 0..n --ToCommitter--> committer --Job--> checkpointer
//! ```
//!
//! Every queue is bounded. `std`'s channel is used because dropping its receiver drops what is queued:
//! whatever ends a thread, every caller whose request it held gets an error and none hangs. A panic
//! poisons the engine before the thread's queue is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use farebox_core::journal::FrameBuilder;
use tokio::sync::watch;

use super::checkpointer::{self, Checkpointer, Images};
use super::committer::{Checkpoint, Committer};
use super::keep::Keep;
use super::message::{Request, ToCommitter, ToShard};
use super::residents::{Bounds, Residents};
use super::risk::Guard;
use super::shard::{Control, Shard};
use super::shared::{Shared, shard_of};
use super::slot::Part;
use super::start::{Recovered, recover_and_release};
use super::{Config, EngineError, report};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::verifier::verifier_from_environment;

/// The ways into the shards. The handles own it; the committer only borrows it to wake who sleeps.
pub(super) struct Intakes {
    shards: Vec<(SyncSender<ToShard>, Arc<Control>)>,
}

/// What the handles hold of the threads.
pub(super) struct Threads {
    intakes: Arc<Intakes>,
    committer: SyncSender<ToCommitter>,
    config: Arc<Config>,
    joined: watch::Receiver<bool>,
}

impl Intakes {
    /// Makes every shard look at its control flags. A full queue needs no message: its shard is awake.
    pub(super) fn wake(&self) {
        for (intake, _) in &self.shards {
            drop(intake.try_send(ToShard::Wake));
        }
    }
}

impl Threads {
    pub(super) fn shard_count(&self) -> usize {
        self.config.shards
    }

    /// The most vouchers that may wait for one shard.
    pub(super) fn intake_max(&self) -> usize {
        self.config.intake_max
    }

    /// Takes places in the shards' queues for so many vouchers each: all of them, or none.
    pub(super) fn reserve(&self, wanted: impl Iterator<Item = usize> + Clone) -> Result<(), EngineError> {
        for (shard, vouchers) in wanted.clone().enumerate() {
            let (_, control) = &self.intakes.shards[shard];
            if vouchers > 0
                && control.waiting.fetch_add(vouchers, Ordering::SeqCst) + vouchers > self.config.intake_max
            {
                for (shard, vouchers) in wanted.enumerate().take(shard + 1) {
                    self.intakes.shards[shard].1.waiting.fetch_sub(vouchers, Ordering::SeqCst);
                }
                return Err(self.busy());
            }
        }
        Ok(())
    }

    /// Puts vouchers into a shard's queue whose places are reserved.
    pub(super) fn send_reserved(&self, shard: usize, part: Part) {
        let (intake, control) = &self.intakes.shards[shard];
        let Err(error) = intake.try_send(ToShard::Request(Request::Vouchers(part))) else { return };
        let (TrySendError::Full(message) | TrySendError::Disconnected(message)) = &error;
        control.waiting.fetch_sub(message.weight(), Ordering::SeqCst);
        // Messages that only wake took the last places: hardly ever. Whoever is disconnected drops the part, and the
        // caller asks why.
        if let TrySendError::Full(ToShard::Request(Request::Vouchers(part))) = error {
            part.refuse(&self.busy());
        }
    }

    /// What a caller is told who finds no room.
    pub(super) fn busy(&self) -> EngineError {
        report::busy();
        EngineError::Busy { retry_after_ms: self.config.busy_retry_after_ms }
    }

    /// Puts a request into a shard's queue, if there is room for its kind.
    pub(super) fn send(&self, shard: usize, new_work: bool, request: Request) -> Result<(), EngineError> {
        let (intake, control) = &self.intakes.shards[shard];
        let reserve = if new_work { 0 } else { self.config.finish_reserve };
        if control.waiting.fetch_add(1, Ordering::SeqCst) >= self.config.intake_max + reserve {
            control.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(self.busy());
        }
        match intake.try_send(ToShard::Request(request)) {
            Ok(()) => Ok(()),
            Err(error) => {
                control.waiting.fetch_sub(1, Ordering::SeqCst);
                match error {
                    TrySendError::Full(_) => Err(self.busy()),
                    // The request and its way back are dropped here, so the caller asks why.
                    TrySendError::Disconnected(_) => Ok(()),
                }
            }
        }
    }

    /// Makes the committer look at the cursor.
    pub(super) fn wake_committer(&self) {
        drop(self.committer.try_send(ToCommitter::Wake));
    }

    /// Tells every shard to finish what is queued and end.
    pub(super) fn stop(&self) {
        for (_, control) in &self.intakes.shards {
            control.stop.store(true, Ordering::SeqCst);
        }
        self.intakes.wake();
        self.wake_committer();
    }

    /// Waits until all threads are gone and the ledger is closed.
    pub(super) async fn join(&self) {
        let mut joined = self.joined.clone();
        // The sender is dropped only by the thread that sets it.
        drop(joined.wait_for(|joined| *joined).await);
    }
}

/// Recovers the books and starts everything.
pub(super) fn start(
    config: Config,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Shared>, Threads), EngineError> {
    let verifier = Arc::new(verifier_from_environment(config.signer_tables_bytes_max)?);
    let recovered = recover_and_release(&*ledger, &*clock, &config)?;
    let Recovered { channels, tail, head, covers, bytes, unsettled } = recovered;
    let (config, unsettled) = (Arc::new(config), unsettled.map(Arc::new));
    let shared = Shared::new(&config, head.cursor, verifier);
    let shards_count = config.shards;

    let (committer_sender, committer_queue) =
        sync_channel(config.commit_batches_max.saturating_mul(shards_count));
    let (jobs_sender, jobs) = sync_channel(checkpointer::JOBS_MAX);
    let mut parts: Vec<_> = (0..shards_count).map(|_| Vec::new()).collect();
    for channel in channels {
        parts[shard_of(channel.channel, shards_count)].push(channel);
    }
    let bounds = Bounds {
        channels_max: config.resident_channels_max.div_ceil(shards_count),
        bytes_max: config.resident_bytes_max.div_ceil(shards_count),
    };

    let mut ways_in = Vec::with_capacity(shards_count);
    let mut shards = Vec::with_capacity(shards_count);
    for (index, (recovered, tail)) in parts.into_iter().zip(tail.split(shards_count)).enumerate() {
        let (sender, intake) = sync_channel(config.intake_max + config.finish_reserve);
        let control = Arc::new(Control::default());
        ways_in.push((sender, Arc::clone(&control)));
        shards.push(Shard {
            index,
            config: Arc::clone(&config),
            intake,
            control,
            committer: committer_sender.clone(),
            ledger: Arc::clone(&ledger),
            clock: Arc::clone(&clock),
            shared: Arc::clone(&shared),
            residents: Residents::new(bounds, recovered, tail),
            guard: Guard::new(config.limits.clone(), unsettled.clone()),
            verifier: Arc::clone(&shared.verifier),
            generation: 0,
        });
    }
    let intakes = Arc::new(Intakes { shards: ways_in });
    let committer = Committer {
        config: Arc::clone(&config),
        queue: committer_queue,
        ledger: Arc::clone(&ledger),
        shared: Arc::clone(&shared),
        controls: shards.iter().map(|shard| Arc::clone(&shard.control)).collect(),
        intakes: Arc::downgrade(&intakes),
        checkpointer: jobs_sender,
        frame: FrameBuilder::new(),
        head,
        checkpoint: Checkpoint { covers, bytes, ..Checkpoint::default() },
        shards_done: 0,
        is_all_imaged: true,
    };
    let checkpointer = Checkpointer {
        jobs,
        ledger,
        shared: Arc::clone(&shared),
        clock,
        keep: Keep::new(&config),
        images: Images::default(),
    };

    let (joined_sender, joined) = watch::channel(false);
    let threads = Threads { intakes, committer: committer_sender, config, joined };
    let watch = Watch { shared: Arc::clone(&shared), committer: threads.committer.clone() };
    spawn_all(watch, shards, committer, checkpointer, joined_sender)?;
    Ok((shared, threads))
}

/// What every thread tells when it panics.
#[derive(Clone)]
struct Watch {
    shared: Arc<Shared>,
    committer: SyncSender<ToCommitter>,
}

impl Watch {
    /// Runs a thread's work. The parts, and with them the queue, are dropped after the cause is noted.
    fn run<P>(&self, name: &str, mut parts: P, work: impl FnOnce(&mut P)) {
        // What a panic leaves half done is dropped unread, right here.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut parts))) {
            self.shared.poison(&format!("thread {name} panicked: {}", panic_text(&*panic)));
        }
        if self.shared.is_poisoned() {
            // The committer waits for every shard's last word, and now one may not come. With a full queue
            // it is awake, and looks anyway.
            drop(self.committer.try_send(ToCommitter::Wake));
        }
    }
}

/// The message of a panic, when it has one.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Starts all threads and one more that waits for their end. When one cannot be started, those that were
/// find their queues closed and end.
fn spawn_all(
    watch: Watch,
    shards: Vec<Shard>,
    committer: Committer,
    checkpointer: Checkpointer,
    joined: watch::Sender<bool>,
) -> Result<(), EngineError> {
    let mut threads = Vec::with_capacity(shards.len() + 2);
    for shard in shards {
        let name = format!("farebox-shard-{}", shard.index);
        threads.push(spawn(&watch, name, shard, Shard::run)?);
    }
    threads.push(spawn(&watch, "farebox-committer".into(), committer, Committer::run)?);
    threads.push(spawn(&watch, "farebox-checkpointer".into(), checkpointer, Checkpointer::run)?);
    // It must not keep the committer's queue open.
    let shared = watch.shared;
    drop(watch.committer);
    let wait = move || {
        for thread in threads {
            // A panic was caught and noted by the thread itself.
            drop(thread.join());
        }
        shared.end();
        joined.send_replace(true);
    };
    let name = "farebox-supervisor";
    std::thread::Builder::new().name(name.into()).spawn(wait).map_err(|error| no_thread(name, &error))?;
    Ok(())
}

fn spawn<P: Send + 'static>(
    watch: &Watch,
    name: String,
    parts: P,
    work: impl FnOnce(&mut P) + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    let (watch, thread) = (watch.clone(), name.clone());
    let run = move || watch.run(&thread, parts, work);
    std::thread::Builder::new().name(name.clone()).spawn(run).map_err(|error| no_thread(&name, &error))
}

fn no_thread(name: &str, error: &std::io::Error) -> EngineError {
    EngineError::Thread { name: name.into(), cause: error.to_string().into() }
}

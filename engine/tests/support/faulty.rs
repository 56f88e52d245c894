//! A ledger whose disk fails, or whose process dies, at a chosen write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use farebox_core::journal::Head;
use farebox_core::units::ChannelId;
use farebox_engine::ledger::{Ledger, LedgerError, LedgerRead, Note, Standing, StoredChannel, StoredFrame};

/// What happens at the chosen write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing reaches the disk.
    BeforeWrite,
    /// Everything reaches the disk, but nobody is told so.
    AfterWrite,
    /// The thread panics.
    Panic,
}

/// Decides when a [`FaultyLedger`] fails, and holds its writes back.
#[derive(Debug, Default)]
pub struct Switch {
    /// Writes until the fault; they are counted from one.
    at_write: AtomicU64,
    fault: Mutex<Option<Fault>>,
    writes: AtomicU64,
    /// After the fault the process is dead: nothing is written any more.
    dead: AtomicBool,
    /// While closed, appends wait.
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicU64,
}

impl Switch {
    /// Fails at write number `at_write`, counted from one.
    pub fn fail_at(at_write: u64, fault: Fault) -> Arc<Self> {
        let switch = Self::default();
        switch.at_write.store(at_write, Ordering::SeqCst);
        *switch.fault.lock().unwrap() = Some(fault);
        Arc::new(switch)
    }

    /// Never fails.
    pub fn healthy() -> Arc<Self> {
        Arc::default()
    }

    /// Makes the next write fail.
    pub fn fail_next(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
        self.at_write.store(self.writes() + 1, Ordering::SeqCst);
    }

    /// How many writes were tried.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Appends wait from now on.
    pub fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    /// Appends go on.
    pub fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    /// How many appends wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        let mut closed = self.closed.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *closed {
            closed = self.opened.wait(closed).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn write<T>(&self, write: impl FnOnce() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let failed = || LedgerError::Io { action: "write", cause: "the test said so".into() };
        if self.dead.load(Ordering::SeqCst) {
            return Err(failed());
        }
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.at_write.load(Ordering::SeqCst) {
            return write();
        }
        self.dead.store(true, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap();
        match fault {
            None => write(),
            Some(Fault::BeforeWrite) => Err(failed()),
            Some(Fault::AfterWrite) => {
                write()?;
                Err(failed())
            }
            Some(Fault::Panic) => panic!("the test said so"),
        }
    }
}

/// A ledger behind a [`Switch`].
#[derive(Debug)]
pub struct FaultyLedger<L> {
    pub inner: L,
    pub switch: Arc<Switch>,
}

impl<L: Ledger> LedgerRead for FaultyLedger<L> {
    fn standing(&self) -> Result<Standing, LedgerError> {
        self.inner.standing()
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        self.inner.load(channel)
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        self.inner.channels(after, max)
    }

    fn running(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<ChannelId>, LedgerError> {
        self.inner.running(after, max)
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        self.inner.frames_after(sequence, max)
    }

    fn notes(&self, prefix: &[u8]) -> Result<Vec<Note>, LedgerError> {
        self.inner.notes(prefix)
    }
}

impl<L: Ledger> Ledger for FaultyLedger<L> {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError> {
        self.switch.pass();
        self.switch.write(|| self.inner.append(frame, sequence))
    }

    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError> {
        self.switch.write(|| self.inner.store_images(channels))
    }

    fn set_mark(&self, mark: &Head) -> Result<(), LedgerError> {
        self.switch.write(|| self.inner.set_mark(mark))
    }

    fn forget_frames(&self, sequence: u64) -> Result<(), LedgerError> {
        self.switch.write(|| self.inner.forget_frames(sequence))
    }

    fn put_note(&self, key: &[u8], note: Option<&[u8]>) -> Result<(), LedgerError> {
        self.inner.put_note(key, note)
    }

    fn cut_tail(&self, sequence: u64) -> Result<(), LedgerError> {
        self.switch.write(|| self.inner.cut_tail(sequence))
    }
}

//! Waiting for an answer on a thread without a runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

thread_local! {
    /// Wakes this thread; made once, so that a wait allocates nothing.
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future of an [`Engine`](super::Engine): for callers that are threads, not tasks. Inside of a runtime it
/// would stop a worker, so await the future there. [`Engine::wait_above`](super::Engine::wait_above) needs tokio's timer and
/// cannot be waited for here.
///
/// ```
/// # use farebox_engine::{Config, Engine, EngineError, MemoryLedger, SystemClock, block_on};
/// let engine = Engine::start(Config::default(), MemoryLedger::new(), SystemClock)?;
/// assert_eq!(block_on(engine.channels())?, []);
/// block_on(engine.shutdown())?;
/// # Ok::<(), EngineError>(())
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                // An unpark that came since the poll makes this return at once.
                Poll::Pending => thread::park(),
            }
        }
    })
}

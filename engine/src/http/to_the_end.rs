//! A future that goes on when nobody waits for it any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs where it is awaited. Dropped before it is done, it becomes a task of its own and ends there: for work whose result
/// must not be lost when a client leaves. A task from the start would do the same and cost every request a spawn.
pub(super) struct ToTheEnd<F: Future + Send + 'static>(Option<Pin<Box<F>>>)
where
    F::Output: Send;

impl<F: Future + Send + 'static> ToTheEnd<F>
where
    F::Output: Send,
{
    pub(super) fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<F: Future + Send + 'static> Future for ToTheEnd<F>
where
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out first: work that panics is not begun again by the drop.
        let mut work = self.0.take().expect("a future is not polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<F: Future + Send + 'static> Drop for ToTheEnd<F>
where
    F::Output: Send,
{
    fn drop(&mut self) {
        // Without a runtime nothing can go on; what the books hold for it then ends with their next start.
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_half_way_is_done_all_the_same() {
        let (begin, begun) = oneshot::channel::<u8>();
        let (end, ended) = oneshot::channel();
        let mut work = ToTheEnd::new(async move { end.send(begun.await.unwrap()).unwrap() });
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut work).poll(&mut context).is_pending());
        drop(work);
        begin.send(7).unwrap();
        assert_eq!(ended.await, Ok(7));
    }
}

//! What was sent to a shard, and the wait for its durable answer.
//!
//! These are types and no `async` functions, because thousands of them wait at the same time: each is some words long, and
//! what a request carried is with the shard and not here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use farebox_core::channel::Spend;
use farebox_core::voucher::AnySignedVoucher;
use tokio::sync::oneshot;

use super::batch::Shares;
use super::engine::Inner;
use super::message::{ReplyTo, Request};
use super::slot::When;
use super::{EngineError, Verdict};

/// Finds out why the engine ended. Rare, so it is boxed.
type WhyEnded = Pin<Box<dyn Future<Output = EngineError> + Send>>;

/// A voucher that was handed in with [`Engine::submit`](super::Engine::submit); resolves when what came of it is durable.
///
/// Dropped before, the voucher is taken and pays all the same, or not: a retry with the same request key finds out.
#[must_use = "what came of the voucher is known when this resolves"]
pub struct Submission(Stage);

enum Stage {
    /// It never reached a shard.
    Refused(Option<Box<Result<Verdict, EngineError>>>),
    UnderWay {
        engine: Arc<Inner>,
        /// A batch of one; `None` when it was answered.
        single: Option<Shares>,
    },
    Ended(WhyEnded),
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Submission(..)")
    }
}

impl Submission {
    /// An answer without a shard.
    pub(super) fn refused(verdict: Result<Verdict, EngineError>) -> Self {
        Self(Stage::Refused(Some(Box::new(verdict))))
    }

    /// Hands a voucher in.
    pub(super) fn begin(engine: &Arc<Inner>, voucher: AnySignedVoucher, then: Spend, when: When) -> Self {
        let mut single = engine.take_single();
        match single.push(engine, voucher, then).and_then(|()| single.send(engine, when)) {
            Ok(()) => Self(Stage::UnderWay { engine: Arc::clone(engine), single: Some(single) }),
            Err(error) => {
                engine.keep_single(single);
                Self::refused(Err(error))
            }
        }
    }
}

impl Future for Submission {
    type Output = Result<Verdict, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Stage::Refused(verdict) => {
                    return Poll::Ready(*verdict.take().expect("a future is not polled after its end"));
                }
                Stage::UnderWay { engine, single: kept } => {
                    let single = kept.as_mut().expect("a future is not polled after its end");
                    match ready!(single.poll(context.waker())) {
                        Ok(()) => {
                            let verdict = single.take_only();
                            engine.keep_single(kept.take().expect("it was here"));
                            return Poll::Ready(verdict);
                        }
                        Err(_) => self.0 = Stage::Ended(why_ended(engine)),
                    }
                }
                Stage::Ended(why) => return why.as_mut().poll(context).map(Err),
            }
        }
    }
}

/// A request without a voucher, and the wait for its durable answer.
pub(super) enum Asking<T> {
    /// It never reached a shard.
    Refused(Option<Box<Result<T, EngineError>>>),
    UnderWay {
        engine: Arc<Inner>,
        answer: oneshot::Receiver<Result<T, EngineError>>,
    },
    Ended(WhyEnded),
}

impl<T> Asking<T> {
    /// An answer without a shard.
    pub(super) fn refused(answer: Result<T, EngineError>) -> Self {
        Self::Refused(Some(Box::new(answer)))
    }

    /// Puts a request into a shard's queue.
    pub(super) fn begin(
        engine: &Arc<Inner>,
        shard: usize,
        is_new_work: bool,
        request: impl FnOnce(ReplyTo<T>) -> Request,
    ) -> Self {
        let (reply, answer) = oneshot::channel();
        let sent = engine.shared.check_running();
        match sent.and_then(|()| engine.threads.send(shard, is_new_work, request(reply))) {
            Ok(()) => Self::UnderWay { engine: Arc::clone(engine), answer },
            Err(error) => Self::refused(Err(error)),
        }
    }
}

impl<T> Future for Asking<T> {
    type Output = Result<T, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Refused(answer) => {
                    return Poll::Ready(*answer.take().expect("a future is not polled after its end"));
                }
                Self::UnderWay { engine, answer } => match ready!(Pin::new(answer).poll(context)) {
                    Ok(answer) => return Poll::Ready(answer),
                    // A reply is dropped only by a thread that ends; why, it told the others before.
                    Err(_) => *self = Self::Ended(why_ended(engine)),
                },
                Self::Ended(why) => return why.as_mut().poll(context).map(Err),
            }
        }
    }
}

fn why_ended(engine: &Arc<Inner>) -> WhyEnded {
    let engine = Arc::clone(engine);
    Box::pin(async move { engine.shared.why_ended().await })
}

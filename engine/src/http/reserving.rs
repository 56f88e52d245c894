//! The wait for a voucher that pays for a request: on its way to the books, or back with the money set aside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use farebox_core::channel::{Answer, Outcome, Rejection, Spend};
use farebox_core::voucher::AnySignedVoucher;

use super::door::Inner;
use super::paid::{Paid, Terms};
use super::problem::{self, Refused};
use crate::Submission;

/// What came of a wish to pay.
pub(super) enum Reserved {
    /// The money is set aside: on disk for what may stream, else before anything is delivered.
    Now(Paid),
    /// The request was paid and delivered before.
    Before(Box<Terms>, Outcome),
}

/// Takes a voucher and sets the price of the first units aside, in one step.
///
/// Dropped before it is done, because its client left, it becomes a task that waits for the books all the same: the
/// guard is made, dropped at once, and gives the money back. A task from the start would do the same and cost every
/// request a spawn.
pub(super) struct Reserving(Option<Work>);

struct Work {
    door: Arc<Inner>,
    /// `None` when it is over.
    terms: Option<Box<Terms>>,
    submission: Submission,
}

impl Reserving {
    pub(super) fn begin(
        door: &Arc<Inner>,
        terms: Box<Terms>,
        voucher: AnySignedVoucher,
    ) -> Result<Self, Refused> {
        let units = terms.offer.route().reserve_units.max(1);
        let amount = terms.price.checked_mul(units);
        let amount = amount.ok_or_else(|| problem::rejection(&Rejection::AmountTooLarge, terms.channel))?;
        let then = Spend::Reserve { key: terms.key, amount };
        // What is delivered in one piece is charged before it leaves, which waits for the disk for both. The head of a
        // stream may leave before anything is charged.
        let submission = match terms.offer.route().meter.may_stream() {
            true => door.engine.submit(terms.channel, voucher, then),
            false => door.engine.submit_ahead(terms.channel, voucher, then),
        };
        Ok(Self(Some(Work { door: Arc::clone(door), terms: Some(terms), submission })))
    }
}

impl Future for Work {
    type Output = Result<Reserved, Refused>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let verdict = ready!(Pin::new(&mut self.submission).poll(context));
        let terms = self.terms.take().expect("a future is not polled after its end");
        let reply = self.door.taken(terms.channel, verdict)?;
        Poll::Ready(Ok(match reply.answer {
            Answer::Replayed(outcome) => Reserved::Before(terms, outcome),
            _ => Reserved::Now(Paid::new(Arc::clone(&self.door), terms, reply.snapshot)),
        }))
    }
}

impl Future for Reserving {
    type Output = Result<Reserved, Refused>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.0.as_mut().expect("a future is not polled after its end");
        let reserved = ready!(Pin::new(work).poll(context));
        self.0 = None;
        Poll::Ready(reserved)
    }
}

impl Drop for Reserving {
    fn drop(&mut self) {
        // Without a runtime nothing can go on; what the books hold for it then ends with their next start.
        if let Some(work) = self.0.take_if(|work| work.terms.is_some())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

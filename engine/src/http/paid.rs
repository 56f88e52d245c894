//! A paid request: the money that is set aside for it, and how that ends.

use std::future::Future;
use std::sync::Arc;

use farebox_core::challenge::Receipt;
use farebox_core::channel::{Rejection, RequestKey, Snapshot};
use farebox_core::units::{Amount, B256, ChannelId};
use farebox_core::voucher::ProtocolVersion;
use http::Response;
use http::header::{ACCEPT_ENCODING, HeaderMap};

use super::answer::{Balance, DoorBody};
use super::door::Inner;
use super::streams::Ticket;
use super::{Meter, Offer, Route, headers, problem};
use crate::{EngineError, Refusal, Reply, Step, Verdict};

/// A request whose price is set aside. What is captured is charged, durably, when the call returns; what
/// is not captured is released when the guard is dropped.
///
/// Units must be captured *before* they are delivered.
pub struct Paid(Box<Fare>);

/// What a request holds while it is served. Boxed, because it travels through many futures.
struct Fare {
    inner: Arc<Inner>,
    terms: Box<Terms>,
    units: u64,
    snapshot: Snapshot,
    /// Whether the books still hold a reservation for us.
    is_open: bool,
    /// From the moment that the money is set aside, so that no end of the channel's service is missed.
    ticket: Option<Ticket>,
}

/// What a paid request is about.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) channel: ChannelId,
    pub(super) challenge_id: String,
    pub(super) key: RequestKey,
    pub(super) price: Amount,
    pub(super) offer: Offer,
    /// What the client speaks.
    pub(super) protocol: ProtocolVersion,
    /// The transaction that opened the channel, if this request did.
    pub(super) tx_hash: Option<B256>,
}

/// Units are charged; they may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// How many units this request was charged in all.
    pub units: u64,
    /// What the books hold now.
    pub snapshot: Snapshot,
}

/// Why units were not charged. They must not be delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PaidStop {
    /// The rules say no; [`Rejection::InsufficientBalance`] says what is missing.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The machine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl std::fmt::Debug for Paid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Terms { channel, price, .. } = &*self.0.terms;
        write!(f, "Paid({channel}, {} units at {price}, ..)", self.0.units)
    }
}

impl Paid {
    pub(super) fn new(inner: Arc<Inner>, terms: Box<Terms>, snapshot: Snapshot) -> Self {
        let may_stream = terms.offer.route().meter.may_stream();
        let ticket = may_stream.then(|| inner.streams.enter(terms.channel));
        Self(Box::new(Fare { inner, terms, units: 0, snapshot, is_open: true, ticket }))
    }

    /// The channel that pays.
    pub fn channel(&self) -> ChannelId {
        self.0.terms.channel
    }

    /// What one unit costs.
    pub fn price(&self) -> Amount {
        self.0.terms.price
    }

    /// The route that is paid for.
    pub fn route(&self) -> &Route {
        self.0.terms.offer.route()
    }

    /// What is counted.
    pub fn meter(&self) -> &Meter {
        &self.route().meter
    }

    /// Whether the answer's body is looked into, so that it must come uncompressed.
    pub fn reads_body(&self) -> bool {
        self.meter().reads_body()
    }

    /// Makes the request ready for the service behind the door: the credential stays here (it is a bearer
    /// token), and what is counted must come uncompressed.
    pub fn prepare(&self, headers: &mut HeaderMap) {
        headers::strip_credentials(headers);
        if self.reads_body() {
            headers.remove(ACCEPT_ENCODING);
        }
    }

    /// How many units were charged.
    pub fn units(&self) -> u64 {
        self.0.units
    }

    /// What the books held after the last step of this request. It is on disk when something was captured, and from the
    /// start when the route's meter counts what streams.
    pub fn snapshot(&self) -> &Snapshot {
        &self.0.snapshot
    }

    /// A receipt for what was charged so far. Like [`Paid::snapshot`], it may be ahead of the disk as long as nothing was.
    pub fn receipt(&self) -> Receipt {
        let balance = Balance::of(self.0.terms.channel, &self.0.snapshot);
        self.0.inner.receipt(&self.0.terms.challenge_id, balance, Some(self.0.units), self.0.terms.tx_hash)
    }

    /// Charges `units`, from what is set aside first and from what is available after that.
    pub async fn capture(&mut self, units: u64) -> Result<Captured, PaidStop> {
        self.charge(units, false).await
    }

    /// Charges the last `units` and ends the request: its outcome is kept for retries.
    pub async fn finish(mut self, units: u64) -> Result<Receipt, PaidStop> {
        self.charge(units, true).await?;
        Ok(self.receipt())
    }

    /// Ends the request without a further charge. If nothing was charged, it may be tried again.
    pub async fn release(mut self) {
        self.end().await;
    }

    /// Charges `units` that are about to be delivered.
    pub(super) async fn charge(&mut self, units: u64, finish: bool) -> Result<Captured, PaidStop> {
        let amount = self.0.terms.price.checked_mul(units).ok_or(Rejection::AmountTooLarge)?;
        let step = Step::Capture { key: self.0.terms.key, amount, units, finish };
        let reply = self.apply(step).await?;
        self.0.snapshot = reply.snapshot;
        self.0.units = self.0.units.saturating_add(units);
        self.0.is_open = !finish;
        Ok(Captured { units: self.0.units, snapshot: reply.snapshot })
    }

    /// Releases what is still set aside, and learns the last balance.
    pub(super) async fn end(&mut self) {
        if !self.0.is_open {
            return;
        }
        match self.apply(Step::Release { key: self.0.terms.key }).await {
            Ok(reply) => {
                self.0.snapshot = reply.snapshot;
                self.0.is_open = false;
            }
            // The books ended the request before us: a close, or a restart of the engine.
            Err(PaidStop::Rejected(_)) => {
                self.0.is_open = false;
                if let Ok(Some(found)) = self.0.inner.engine.read(self.0.terms.channel).await {
                    self.0.snapshot = found.snapshot;
                }
            }
            // Dropping tries once more.
            Err(PaidStop::Engine(_)) => {}
        }
    }

    fn apply(&self, step: Step) -> impl Future<Output = Result<Reply, PaidStop>> + Send + use<> {
        let verdict = self.0.inner.engine.apply(self.0.terms.channel, step);
        async move {
            match verdict.await? {
                Verdict::Accepted(reply) => Ok(reply),
                Verdict::Rejected(Refusal::Channel(rejection)) => Err(rejection.into()),
                // A step without a voucher has no signature that could be refused.
                Verdict::Rejected(Refusal::Voucher(_)) => Err(Rejection::ReservationNotFound.into()),
            }
        }
    }

    /// Reads what the books hold now. When it returns, every step of this request so far is on disk.
    pub async fn refresh(&mut self) -> Result<Snapshot, EngineError> {
        if let Some(found) = self.0.inner.engine.read(self.0.terms.channel).await? {
            self.0.snapshot = found.snapshot;
        }
        Ok(self.0.snapshot)
    }

    /// Waits for a voucher above `accepted`; false when the stream should end.
    pub(super) async fn wait_above(&mut self, accepted: Amount) -> bool {
        let wait = std::time::Duration::from_millis(self.0.inner.config.need_voucher_wait_ms_max);
        let waited = self.0.inner.engine.wait_above(self.0.terms.channel, accepted, wait).await;
        matches!(waited, Ok(crate::Waited::Above(_)))
    }

    /// The least time between two vouchers that this request asks for, so that the channel's rate does not refuse them.
    pub(super) fn voucher_interval(&self) -> std::time::Duration {
        let rate = self.0.inner.engine.limits().rate;
        std::time::Duration::from_millis(rate.map_or(0, |rate| rate.interval_ms()))
    }

    /// The place among the running streams, by which a close, or the end of the channel's service, ends this one.
    pub(super) fn take_ticket(&mut self) -> Ticket {
        self.0.ticket.take().unwrap_or_else(|| self.0.inner.streams.enter(self.0.terms.channel))
    }

    /// The answer that tells a client why nothing more was charged, and nothing delivered.
    pub(super) fn refuse(&self, stop: &PaidStop) -> Response<DoorBody> {
        let problem = match stop {
            PaidStop::Rejected(rejection) => problem::rejection(rejection, self.0.terms.channel),
            PaidStop::Engine(error) => problem::engine(error),
        };
        let Terms { offer, protocol, .. } = &*self.0.terms;
        self.0.inner.refuse_late(&problem, offer, *protocol)
    }

    /// What this request can still be charged: what is set aside for it, and what nobody has a claim on. Other requests
    /// of the channel may take of it at any time.
    pub(super) fn affordable(&self, snapshot: &Snapshot) -> Amount {
        let set_aside = self.0.terms.price.checked_mul(self.route().reserve_units).unwrap_or(Amount::ZERO);
        let set_aside = set_aside.min(snapshot.reserved);
        snapshot.available().checked_add(set_aside).unwrap_or(Amount::MAX)
    }
}

impl Drop for Paid {
    /// Gives back what is set aside. Without a runtime nothing can be sent; then the next start of the
    /// engine does it.
    fn drop(&mut self) {
        if !self.0.is_open {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (inner, channel, key) = (Arc::clone(&self.0.inner), self.0.terms.channel, self.0.terms.key);
        runtime.spawn(async move {
            if let Err(problem) = inner.step(channel, Step::Release { key }).await {
                tracing::debug!(%channel, detail = problem.detail, "a dropped request was not released");
            }
        });
    }
}

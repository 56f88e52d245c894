//! Decides what a request gets: a challenge, a receipt, a problem, or the service.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use farebox_core::challenge::ProblemType;
use farebox_core::units::{Address, ChannelId};
use farebox_core::voucher::{ProtocolVersion, Verifier};
use http::Response;
use metrics::counter;

use super::answer::DoorBody;
use super::charge::{Charged, Charges, TempoCharge};
use super::config::DoorConfig;
use super::evm::EvmCharge;
use super::failures::{Failures, Requests};
use super::flight::Flights;
use super::flow::{Begun, Step};
use super::method::PaymentMethod;
use super::offer::Offer;
use super::problem::{self, Refused};
use super::reader::Reader;
use super::streams::Streams;
use super::{Asked, Paid, Route};
use crate::Engine;
use crate::chain::Chain;
use crate::clock::Clock;

/// What a request gets.
#[derive(Debug)]
pub enum Decision {
    /// This answer; the service is not asked.
    Answer(Response<DoorBody>),
    /// The service: the money is set aside. [`Paid::deliver`] takes the service's answer.
    Paid(Paid),
    /// The service: one payment paid for it. [`Charged::deliver`] takes the service's answer.
    Charged(Box<Charged>),
}

/// Stands before a service and takes its fares. Clones share everything.
#[derive(Clone)]
pub struct Door {
    pub(super) inner: Arc<Inner>,
}

/// What the clones share.
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) config: DoorConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) transactions: Arc<Flights>,
    pub(super) streams: Arc<Streams>,
    pub(super) failures: Failures,
    pub(super) requests: Requests,
    pub(super) charges: Arc<Charges>,
    /// Transfers on chain, if there is a chain.
    pub(super) tempo: Option<Arc<TempoCharge>>,
    /// The one that clients of x402 can use.
    pub(super) exact: Option<Arc<EvmCharge>>,
    /// All ways to pay at once, in the order in which they are offered.
    pub(super) methods: Vec<Arc<dyn PaymentMethod>>,
    pub(super) challenge_serial: AtomicU64,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("realm", &self.inner.config.realm).finish_non_exhaustive()
    }
}

impl Door {
    /// Opens a door to `engine`'s books. `chain` is asked for `open`, `topUp` and `close` only.
    pub fn new(engine: Engine, chain: Arc<dyn Chain>, mut config: DoorConfig, clock: Arc<dyn Clock>) -> Self {
        for escrow in &mut config.escrows {
            // A v1 channel has no operator: advertising one would promise what no channel can have.
            if escrow.protocol == ProtocolVersion::V1 {
                escrow.operator = Address::ZERO;
            }
        }
        let transactions = Flights::new(config.transactions_in_flight_max);
        let challenge_serial = AtomicU64::new(clock.unix_millis());
        let failures = Failures::new(config.failures);
        let requests = Requests::new(config.requests);
        let tempo = TempoCharge::new(&config, &chain);
        let exact = config.evm.clone();
        let mut methods: Vec<Arc<dyn PaymentMethod>> = Vec::new();
        methods.extend(tempo.iter().map(|tempo| Arc::clone(tempo) as _));
        methods.extend(config.methods.iter().cloned());
        methods.extend(exact.iter().map(|exact| Arc::clone(exact) as _));
        let inner = Inner {
            failures,
            requests,
            verifier: engine.verifier(),
            engine,
            chain,
            config,
            clock,
            transactions,
            streams: Arc::default(),
            charges: Arc::default(),
            tempo,
            exact,
            methods,
            challenge_serial,
        };
        let inner = Arc::new(inner);
        super::endings::follow(&inner);
        Self { inner }
    }

    /// Prepares a route, for [`Door::decide_offer`].
    pub fn offer(&self, route: Route) -> Offer {
        Offer::new(&self.inner.config, route)
    }

    /// [`Door::decide_offer`] of a route that is prepared for this one request.
    pub async fn decide(&self, asked: Asked<'_>, route: &Route) -> Decision {
        self.decide_offer(asked, &self.offer(route.clone())).await
    }

    /// Decides what a request gets for which this door made `offer`. A request that is not paid changes nothing.
    pub async fn decide_offer(&self, asked: Asked<'_>, offer: &Offer) -> Decision {
        let mut begun = self.begin(asked, offer);
        self.go_on(&mut begun, asked, offer).await
    }

    /// The part of [`Door::decide_offer`] that waits for nothing.
    pub(super) fn begin(&self, asked: Asked<'_>, offer: &Offer) -> Begun {
        let mut spoken = None;
        let step = self.inner.begin(asked, offer, &mut spoken).unwrap_or_else(Step::Refused);
        Begun { step, spoken }
    }

    /// The rest. What was begun stays where it is: moved into this future it would be kept twice.
    pub(super) async fn go_on(&self, begun: &mut Begun, asked: Asked<'_>, offer: &Offer) -> Decision {
        let decided = match &mut begun.step {
            Step::Paying(reserving) => self.inner.paid(reserving.await),
            // What is rare is boxed: every request carries the room for what is not.
            other => {
                let step = std::mem::replace(other, Step::Refused(problem::payment_required()));
                Box::pin(self.inner.rest(step, asked, offer)).await
            }
        };
        decided.unwrap_or_else(|problem| {
            if counts_as_failure(problem.kind) {
                self.inner.failures.address_failed(asked.address, self.inner.clock.unix_millis());
            }
            Decision::Answer(self.inner.refuse(&problem, offer, &Reader::of(&asked, begun.spoken)))
        })
    }

    /// Counts a request that is free: who asks too often for those does not come through either. The answer then.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<(), Box<Response<DoorBody>>> {
        let admitted = self.inner.admit(address, self.inner.clock.unix_millis());
        admitted.map_err(|problem| Box::new(super::answer::problem_answer(&problem, problem.to_json(None))))
    }

    /// Asks all streams that a channel pays for to end with their receipt, and waits for it. The door does it by
    /// itself when the books say that a channel stopped to serve.
    pub async fn end_streams(&self, channel: ChannelId) -> bool {
        let wait = std::time::Duration::from_millis(self.inner.config.close_wait_ms_max);
        self.inner.streams.stop(channel, wait).await
    }
}

impl Inner {
    /// Counts a request of this address, unless there were too many.
    pub(super) fn admit(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Refused> {
        let Some(wait_ms) = self.requests.of_address(address, now_ms) else { return Ok(()) };
        counter!("farebox_door_limited_total", "limit" => "address_requests").increment(1);
        Err(problem::too_many_requests(wait_ms))
    }
}

/// Whether a problem says that the credential itself was worth nothing. Too little money, a busy server or a close that
/// is on its way are no failures of who asks.
const fn counts_as_failure(kind: ProblemType) -> bool {
    matches!(
        kind,
        ProblemType::MalformedCredential
            | ProblemType::InvalidChallenge
            | ProblemType::ChallengeNotFound
            | ProblemType::VerificationFailed
            | ProblemType::InvalidSignature
            | ProblemType::SignerMismatch
            | ProblemType::AmountExceedsDeposit
            | ProblemType::ChannelNotFound
            | ProblemType::BadRequest
    )
}

//! The door as tower middleware: put it around an axum router or any hyper service.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Asked, BoxError, Charged, Decision, Door, DoorBody, Offer, Paid, Route, deliver};

/// What a request is offered; `None` when it is free.
type Pricing = dyn Fn(&Parts) -> Option<Offer> + Send + Sync;

/// Puts a [`Door`] before a service.
#[derive(Clone)]
pub struct PaymentLayer {
    door: Door,
    pricing: Arc<Pricing>,
}

impl PaymentLayer {
    /// Prices every request by `pricing`; a request without a route is free and passes untouched.
    ///
    /// A browser's `OPTIONS` carries no credentials: leave it free. Where prices are few and known, prepare them with
    /// [`Door::offer`] and take [`PaymentLayer::offering`]: it costs less for each request.
    pub fn new(door: Door, pricing: impl Fn(&Parts) -> Option<Route> + Send + Sync + 'static) -> Self {
        let offering = door.clone();
        Self::offering(door, move |parts| pricing(parts).map(|route| offering.offer(route)))
    }

    /// Prices every request by an offer that `door` prepared.
    pub fn offering(door: Door, pricing: impl Fn(&Parts) -> Option<Offer> + Send + Sync + 'static) -> Self {
        Self { door, pricing: Arc::new(pricing) }
    }

    /// The same route for every request.
    pub fn flat(door: Door, route: Route) -> Self {
        let offer = door.offer(route);
        Self::offering(door, move |_| Some(offer.clone()))
    }
}

impl fmt::Debug for PaymentLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentLayer").field("door", &self.door).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for PaymentLayer {
    type Service = PaymentService<S>;

    fn layer(&self, service: S) -> Self::Service {
        PaymentService { layer: self.clone(), service }
    }
}

/// A service behind a [`Door`].
#[derive(Clone, Debug)]
pub struct PaymentService<S> {
    layer: PaymentLayer,
    service: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for PaymentService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<DoorBody>;
    // A failing service is an answer here (502): the client has money at stake and must hear it.
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Whether the service is ready matters only for requests that are paid or free.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let mut service = self.service.clone();
        let (mut parts, body) = request.into_parts();
        let Some(offer) = (self.layer.pricing)(&parts) else {
            return Box::pin(async move {
                let ready = poll_fn(|context| service.poll_ready(context)).await;
                let answer = match ready {
                    Ok(()) => service.call(Request::from_parts(parts, body)).await,
                    Err(error) => Err(error),
                };
                Ok(deliver::pass(answer))
            });
        };
        // What needs no waiting is done here: what the future keeps of it is little.
        let door = self.layer.door.clone();
        let body_is_empty = body.is_end_stream();
        let mut begun = door.begin(Asked::of(&parts, body_is_empty), &offer);
        Box::pin(async move {
            let asked = Asked::of(&parts, body_is_empty);
            let admitted = match door.go_on(&mut begun, asked, &offer).await {
                Decision::Answer(answer) => return Ok(answer),
                Decision::Paid(paid) => Admitted::Paid(paid),
                Decision::Charged(charged) => Admitted::Charged(charged),
            };
            match &admitted {
                Admitted::Paid(paid) => paid.prepare(&mut parts.headers),
                Admitted::Charged(charged) => charged.prepare(&mut parts.headers),
            }
            let ready = poll_fn(|context| service.poll_ready(context)).await;
            let answer = match ready {
                Ok(()) => service.call(Request::from_parts(parts, body)).await,
                Err(error) => Err(error),
            };
            Ok(match admitted {
                Admitted::Paid(paid) => paid.deliver(answer).await,
                Admitted::Charged(charged) => Box::pin(charged.deliver(answer)).await,
            })
        })
    }
}

/// What lets a request through.
enum Admitted {
    Paid(Paid),
    Charged(Box<Charged>),
}

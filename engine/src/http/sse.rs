//! Streams of server-sent events that are charged as they are delivered.
//!
//! **What counts** is the route's meter: events, their bytes, or tokens. By events, one with data, other than the closing
//! word `[DONE]`, is one unit; comments (heartbeats), `retry` and `id` lines and empty events are free. Events named `payment-need-voucher` or
//! `payment-receipt` are ours to send: the service's own are dropped.
//!
//! **How**: what the service has ready, at most [`CHUNK_EVENTS_MAX`] events, is charged in one durable step
//! and then delivered. When the money is out, what is paid for is delivered, `payment-need-voucher` asks
//! for a voucher that pays for the rest of what is ready (for no more than the deposit holds, if that is
//! one event at least), and the stream waits. It does not read on from the service meanwhile.
//!
//! **How it ends**: every stream ends with `payment-receipt`: when the service is done or broke off, when no
//! voucher came in time, when a close stands before the channel. What a client did not get because it
//! left is not charged, but for the events that were on their way to it.

mod meter;
mod split;

pub use super::till::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX};
pub use meter::meter;
pub use split::{EVENT_BYTES_MAX, EventTooLong, SseEvent, SseSplitter};

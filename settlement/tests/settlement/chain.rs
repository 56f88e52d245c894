//! Settlement on a local chain: opens, top-ups, closes, close requests, crashes.

mod batch;
mod close;
mod open;
mod restart;
mod watch;

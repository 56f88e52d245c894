//! Settlement on a local chain: opens, top-ups, closes, close requests, crashes.

mod batch;
mod chaos;
mod close;
mod open;
mod restart;
mod watch;
mod watchtower;

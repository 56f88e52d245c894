//! The journal against round trips, every flipped bit, every cut, random bytes, and pinned layouts.

mod damage;
mod golden;
mod replay;
mod round_trips;
mod support;

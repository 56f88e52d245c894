//! What the tests stand on: a node double, a payer, and a whole settlement on a local chain.

pub mod node;
pub mod payer;
pub mod world;

//! A client's signed transaction: read, and told in our words.
//!
//! Reading is pure. Whether the transaction is what was promised (payee, token, price) is decided by
//! `opener`; `farebox decode-open` shows the same reading to a human. Nothing here is broadcast.

pub mod envelope;
pub mod error;
pub mod open;
pub mod top_up;
pub mod transfer;

pub use envelope::{ClientTransaction, Sponsorship};
pub use error::TransactionError;
pub use open::DecodedOpen;
pub use top_up::DecodedTopUp;
pub use transfer::DecodedTransfer;

#[cfg(test)]
mod tests;

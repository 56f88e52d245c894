//! The voucher module against second libraries (k256, p256, alloy's EIP-712), random and hostile input.

mod batch;
mod digest;
mod kinds;
mod parse;
mod signers;
mod webauthn;

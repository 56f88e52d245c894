//! Vouchers: what is signed, by whom, in which encoding, and whether that is true.
//!
//! A voucher is a payer's promise "of channel C, the payee may have A in total". This module turns bytes
//! from the wire into [`SignedVoucher`]s, hashes them as EIP-712 says, and verifies them. It is the only
//! maker of [`Verified`]: the books take vouchers in no other form, so an unverified one cannot reach them.
//!
//! The pipeline calls it with batches, `farebox verify` with records ([`record`]). It never asks whether a
//! voucher is *wanted*: amounts against deposits, repeats and closed channels are `crate::channel`'s matter.
//!
//! Two protocols share it, and differ in types ([`V1`], [`V2`]), not in branches:
//!
//! | | [`V1`], the legacy escrow | [`V2`], the TIP-1034 channel reserve |
//! |---|---|---|
//! | amounts | `uint128` | `uint96` |
//! | terms | [`v1::Terms`] | [`v2::Descriptor`] |
//! | signatures | secp256k1 | secp256k1, P-256, WebAuthn (TIP-1020) |
//!
//! | module | what it knows |
//! |---|---|
//! | [`protocol`] | what distinguishes the two |
//! | [`domain`] | EIP-712: separator and digest |
//! | [`v1`], [`v2`] | the terms that hash to a channel id, and the signatures of each protocol |
//! | [`p256`], [`webauthn`] | the two signature types that are not secp256k1 |
//! | [`signature`] | a signature's bytes as the escrow takes them |
//! | [`signed`] | a voucher with a signature, not yet verified |
//! | [`verify`] | the [`Verifier`]: batches in, [`Verified`] vouchers out |
//! | [`any`] | both protocols behind one type |
//! | [`error`] | why a voucher is refused |
//! | [`record`] | a voucher as text, for tools |

use crate::units::{Amount, ChannelId};

pub mod any;
pub mod domain;
pub mod error;
mod hash;
pub mod p256;
pub mod protocol;
pub mod record;
pub mod signature;
pub mod signed;
pub mod v1;
pub mod v2;
pub mod verify;
pub mod webauthn;

pub use any::{AnyDomain, AnySignedVoucher};
pub use domain::Domain;
pub use error::{Curve, VoucherError, WebAuthnFault};
pub use protocol::{Protocol, ProtocolVersion, Terms, V1, V2};
pub use signature::Signature;
pub use signed::SignedVoucher;
pub use verify::{Verification, Verified, Verifier, VoucherDomain};

/// What a payer signs: of this channel, the payee may have this much in total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Voucher {
    /// The channel that pays.
    pub channel_id: ChannelId,
    /// Everything the payee may have had from the channel, this voucher included.
    pub cumulative_amount: Amount,
}

#[cfg(test)]
mod tests;

//! Which call with which arguments settles or closes a channel.
//!
//! The books decide what is claimed ([`Claim`]); this module says it in the words of the escrow, and
//! refuses a claim that the escrow would refuse or that would pay more than was spent.

use alloc::vec::Vec;

use farebox_core::channel::{Claim, Identity, Terms};
use farebox_core::units::{Address, Amount, ChannelId};
use farebox_core::voucher::v2;

/// One call of an escrow that pays the payee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimCall {
    /// The escrow to call.
    pub escrow: Address,
    /// The channel.
    pub channel: ChannelId,
    /// What the payee will have got over the channel's life.
    pub capture: Amount,
    /// The function and its arguments.
    pub arguments: CallArguments,
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallArguments {
    /// v1: `settle(bytes32 channelId, uint128 cumulativeAmount, bytes signature)`.
    SettleV1 {
        /// The voucher's amount, all of which is paid.
        cumulative: Amount,
        /// Its signature.
        signature: Vec<u8>,
    },
    /// v2: `settle(descriptor, uint96 cumulativeAmount, bytes signature)`.
    SettleV2 {
        /// The channel's terms.
        descriptor: v2::Descriptor,
        /// The voucher's amount, all of which is paid.
        cumulative: Amount,
        /// Its signature.
        signature: Vec<u8>,
    },
    /// `close(bytes32 channelId, uint128 cumulativeAmount, bytes signature)`: pays the whole voucher.
    CloseV1 {
        /// The voucher's amount.
        cumulative: Amount,
        /// The voucher's signature; empty when nothing above `settled` is claimed.
        signature: Vec<u8>,
    },
    /// `close(descriptor, uint96 cumulativeAmount, uint96 captureAmount, bytes signature)`.
    CloseV2 {
        /// The channel's terms.
        descriptor: v2::Descriptor,
        /// The voucher's amount.
        cumulative: Amount,
        /// What is captured of it.
        capture: Amount,
        /// The voucher's signature; empty when nothing above `settled` is captured.
        signature: Vec<u8>,
    },
}

impl ClaimCall {
    /// True when it ends the channel.
    pub const fn is_close(&self) -> bool {
        matches!(self.arguments, CallArguments::CloseV1 { .. } | CallArguments::CloseV2 { .. })
    }
}

/// A claim that no escrow would honour. The books never make one; if they do, nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The claim captures more than its voucher covers.
    #[error("the claim captures {capture}, its voucher covers {cumulative}")]
    CaptureAboveVoucher {
        /// What would be captured.
        capture: Amount,
        /// The voucher's amount.
        cumulative: Amount,
    },
    /// A v1 close pays the voucher's whole amount, and the claim asks for less.
    #[error("a v1 close pays the whole voucher of {cumulative}, the claim asks for {capture}")]
    PartialCaptureInV1 {
        /// What would be captured.
        capture: Amount,
        /// The voucher's amount.
        cumulative: Amount,
    },
    /// A `settle` without a voucher, or for less than its voucher.
    #[error(
        "a settle pays a voucher whole and needs its signature; the claim captures {capture} of {cumulative}"
    )]
    SettleNotWhole {
        /// What would be captured.
        capture: Amount,
        /// The voucher's amount.
        cumulative: Amount,
    },
    /// The amount does not fit the 96 bits of a v2 channel.
    #[error("the amount {amount} does not fit the 96 bits of a v2 channel")]
    AmountAboveV2 {
        /// The amount.
        amount: Amount,
    },
}

/// Says a claim in the words of the escrow.
///
/// A claim without a signature captures nothing above what is settled: both escrows look at the signature
/// only when the amount exceeds `settled`, and then empty bytes are sent.
pub fn plan_close(identity: &Identity, claim: &Claim) -> Result<ClaimCall, PlanError> {
    let Claim { cumulative, capture, ref signature } = *claim;
    if capture > cumulative {
        return Err(PlanError::CaptureAboveVoucher { capture, cumulative });
    }
    let signature = signature.as_ref().map(|signature| signature.as_bytes().to_vec()).unwrap_or_default();
    let arguments = match identity.terms {
        Terms::V1(_) if capture != cumulative => {
            return Err(PlanError::PartialCaptureInV1 { capture, cumulative });
        }
        Terms::V1(_) => CallArguments::CloseV1 { cumulative, signature },
        Terms::V2(_) if cumulative > Amount::MAX_V2 => {
            return Err(PlanError::AmountAboveV2 { amount: cumulative });
        }
        Terms::V2(descriptor) => CallArguments::CloseV2 { descriptor, cumulative, capture, signature },
    };
    Ok(ClaimCall { escrow: identity.escrow, channel: identity.channel_id(), capture, arguments })
}

/// Says a settlement in the words of the escrow: it pays a voucher whole, so the claim is one.
pub fn plan_settle(identity: &Identity, claim: &Claim) -> Result<ClaimCall, PlanError> {
    let Claim { cumulative, capture, ref signature } = *claim;
    let Some(signature) = signature.as_ref().filter(|_| capture == cumulative) else {
        return Err(PlanError::SettleNotWhole { capture, cumulative });
    };
    let signature = signature.as_bytes().to_vec();
    let arguments = match identity.terms {
        Terms::V1(_) => CallArguments::SettleV1 { cumulative, signature },
        Terms::V2(_) if cumulative > Amount::MAX_V2 => {
            return Err(PlanError::AmountAboveV2 { amount: cumulative });
        }
        Terms::V2(descriptor) => CallArguments::SettleV2 { descriptor, cumulative, signature },
    };
    Ok(ClaimCall { escrow: identity.escrow, channel: identity.channel_id(), capture, arguments })
}

#[cfg(test)]
mod tests {
    use farebox_core::units::{B256, ChainId};
    use farebox_core::voucher::{Signature, v1};
    use proptest::prelude::*;

    use super::*;

    const PAYER: Address = Address::repeat_byte(1);
    const PAYEE: Address = Address::repeat_byte(2);
    const TOKEN: Address = Address::repeat_byte(3);
    const ESCROW: Address = Address::repeat_byte(4);

    fn v1() -> Identity {
        let terms = v1::Terms {
            payer: PAYER,
            payee: PAYEE,
            token: TOKEN,
            salt: B256::repeat_byte(5),
            authorized_signer: Address::ZERO,
        };
        Identity { chain_id: ChainId(31_337), escrow: ESCROW, terms: Terms::V1(terms) }
    }

    fn v2() -> Identity {
        Identity { terms: Terms::V2(descriptor()), ..v1() }
    }

    fn descriptor() -> v2::Descriptor {
        v2::Descriptor {
            payer: PAYER,
            payee: PAYEE,
            operator: Address::ZERO,
            token: TOKEN,
            salt: B256::repeat_byte(5),
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(6),
        }
    }

    fn claim(cumulative: u128, capture: u128, signed: bool) -> Claim {
        let signature = signed.then(|| Signature::restore(&[27; 65]).expect("65 bytes are a signature"));
        Claim { cumulative: Amount::new(cumulative), capture: Amount::new(capture), signature }
    }

    #[test]
    fn a_v2_close_captures_what_was_spent_and_not_the_voucher() {
        let call = plan_close(&v2(), &claim(500, 300, true)).expect("a legal claim");
        assert_eq!(call.channel, v2().channel_id());
        assert_eq!(call.capture, Amount::new(300));
        let CallArguments::CloseV2 { cumulative, capture, signature, descriptor: said } = call.arguments
        else {
            panic!("a v2 channel has a v2 call");
        };
        assert_eq!((cumulative, capture), (Amount::new(500), Amount::new(300)));
        assert_eq!(signature, [27; 65]);
        assert_eq!(said, descriptor());
    }

    #[test]
    fn nothing_to_claim_needs_no_signature() {
        for identity in [v1(), v2()] {
            let call = plan_close(&identity, &claim(0, 0, false)).expect("a legal claim");
            let (CallArguments::CloseV1 { signature, .. } | CallArguments::CloseV2 { signature, .. }) =
                call.arguments
            else {
                panic!("a close")
            };
            assert!(signature.is_empty());
            assert!(plan_settle(&identity, &claim(0, 0, false)).is_err(), "a settle needs one");
        }
    }

    #[test]
    fn a_settle_pays_a_voucher_whole_or_is_refused() {
        for identity in [v1(), v2()] {
            let call = plan_settle(&identity, &claim(300, 300, true)).expect("a legal claim");
            assert!(!call.is_close());
            assert_eq!((call.capture, call.channel), (Amount::new(300), identity.channel_id()));
            let part = plan_settle(&identity, &claim(500, 300, true));
            let (capture, cumulative) = (Amount::new(300), Amount::new(500));
            assert_eq!(part, Err(PlanError::SettleNotWhole { capture, cumulative }));
        }
        assert!(plan_settle(&v2(), &claim(1 << 96, 1 << 96, true)).is_err());
    }

    #[test]
    fn claims_that_overpay_are_refused() {
        let (capture, cumulative) = (Amount::new(300), Amount::new(500));
        let partial = plan_close(&v1(), &claim(500, 300, true));
        assert_eq!(partial, Err(PlanError::PartialCaptureInV1 { capture, cumulative }));
        let above = plan_close(&v2(), &claim(300, 500, true));
        assert_eq!(above, Err(PlanError::CaptureAboveVoucher { capture: cumulative, cumulative: capture }));
        let wide = plan_close(&v2(), &claim(1 << 96, 0, true));
        assert_eq!(wide, Err(PlanError::AmountAboveV2 { amount: Amount::new(1 << 96) }));
    }

    proptest! {
        #[test]
        fn a_planned_call_never_pays_more_than_the_claim(
            cumulative: u128, capture: u128, signed: bool, second: bool,
        ) {
            let identity = if second { v2() } else { v1() };
            if let Ok(call) = plan_close(&identity, &claim(cumulative, capture, signed)) {
                let paid = match call.arguments {
                    CallArguments::CloseV1 { cumulative, .. } => cumulative,
                    CallArguments::CloseV2 { capture, .. } => capture,
                    other => panic!("no close: {other:?}"),
                };
                prop_assert_eq!(paid.get(), capture);
                prop_assert_eq!(call.capture.get(), capture);
            }
        }
    }
}

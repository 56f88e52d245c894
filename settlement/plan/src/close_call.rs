//! Which call with which arguments closes a channel.
//!
//! The books decide what is claimed ([`Claim`]); this module says it in the words of the escrow, and
//! refuses a claim that the escrow would refuse or that would pay more than was spent.

use alloc::vec::Vec;

use farebox_core::channel::{Claim, Identity, Terms};
use farebox_core::units::{Address, Amount, ChannelId};
use farebox_core::voucher::v2;

/// One call of an escrow's `close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseCall {
    /// The escrow to call.
    pub escrow: Address,
    /// The channel that it closes.
    pub channel: ChannelId,
    /// What the payee will have got over the channel's life.
    pub capture: Amount,
    /// The function and its arguments.
    pub arguments: CloseArguments,
}

/// The arguments of `close`, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseArguments {
    /// `close(bytes32 channelId, uint128 cumulativeAmount, bytes signature)`: pays the whole voucher.
    V1 {
        /// The voucher's amount.
        cumulative: Amount,
        /// The voucher's signature; empty when nothing above `settled` is claimed.
        signature: Vec<u8>,
    },
    /// `close(descriptor, uint96 cumulativeAmount, uint96 captureAmount, bytes signature)`.
    V2 {
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
pub fn plan_close(identity: &Identity, claim: &Claim) -> Result<CloseCall, PlanError> {
    let Claim { cumulative, capture, ref signature } = *claim;
    if capture > cumulative {
        return Err(PlanError::CaptureAboveVoucher { capture, cumulative });
    }
    let signature = signature.as_ref().map(|signature| signature.as_bytes().to_vec()).unwrap_or_default();
    let arguments = match identity.terms {
        Terms::V1(_) if capture != cumulative => {
            return Err(PlanError::PartialCaptureInV1 { capture, cumulative });
        }
        Terms::V1(_) => CloseArguments::V1 { cumulative, signature },
        Terms::V2(_) if cumulative > Amount::MAX_V2 => {
            return Err(PlanError::AmountAboveV2 { amount: cumulative });
        }
        Terms::V2(descriptor) => CloseArguments::V2 { descriptor, cumulative, capture, signature },
    };
    Ok(CloseCall { escrow: identity.escrow, channel: identity.channel_id(), capture, arguments })
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
        let CloseArguments::V2 { cumulative, capture, signature, descriptor: said } = call.arguments else {
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
            let (CloseArguments::V1 { signature, .. } | CloseArguments::V2 { signature, .. }) =
                call.arguments;
            assert!(signature.is_empty());
        }
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
                    CloseArguments::V1 { cumulative, .. } => cumulative,
                    CloseArguments::V2 { capture, .. } => capture,
                };
                prop_assert_eq!(paid.get(), capture);
                prop_assert_eq!(call.capture.get(), capture);
            }
        }
    }
}

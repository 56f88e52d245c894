//! A planned close as calldata.

use alloy::primitives::aliases::U96;
use alloy::primitives::{Bytes, U256};
use alloy::sol_types::SolCall;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;
use farebox_core::units::Amount;
use farebox_settlement_plan::CloseCall;
use farebox_settlement_plan::close_call::CloseArguments;

/// The bytes of the call.
pub(super) fn encode(call: &CloseCall) -> Bytes {
    let bytes = match &call.arguments {
        CloseArguments::V1 { cumulative, signature } => ITempoStreamChannel::closeCall {
            channelId: call.channel.0,
            cumulativeAmount: cumulative.get(),
            signature: signature.clone().into(),
        }
        .abi_encode(),
        CloseArguments::V2 { descriptor, cumulative, capture, signature } => {
            ITIP20ChannelReserve::closeCall {
                descriptor: ITIP20ChannelReserve::ChannelDescriptor {
                    payer: descriptor.payer,
                    payee: descriptor.payee,
                    operator: descriptor.operator,
                    token: descriptor.token,
                    salt: descriptor.salt,
                    authorizedSigner: descriptor.authorized_signer,
                    expiringNonceHash: descriptor.expiring_nonce_hash,
                },
                cumulativeAmount: word96(*cumulative),
                captureAmount: word96(*capture),
                signature: signature.clone().into(),
            }
            .abi_encode()
        }
    };
    bytes.into()
}

/// The plan refuses amounts above 96 bits, so nothing is cut off here.
fn word96(amount: Amount) -> U96 {
    U96::from(U256::from(amount.get()))
}

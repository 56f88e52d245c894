//! A planned claim as calldata.

use alloy::primitives::aliases::U96;
use alloy::primitives::{Bytes, U256};
use alloy::sol_types::SolCall;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;
use farebox_core::units::Amount;
use farebox_core::voucher::v2;
use farebox_settlement_plan::{CallArguments, ClaimCall};

/// The bytes of the call.
pub(crate) fn encode(call: &ClaimCall) -> Bytes {
    let channel = call.channel.0;
    let bytes = match &call.arguments {
        CallArguments::SettleV1 { cumulative, signature } => ITempoStreamChannel::settleCall {
            channelId: channel,
            cumulativeAmount: cumulative.get(),
            signature: signature.clone().into(),
        }
        .abi_encode(),
        CallArguments::SettleV2 { descriptor, cumulative, signature } => ITIP20ChannelReserve::settleCall {
            descriptor: abi(descriptor),
            cumulativeAmount: word96(*cumulative),
            signature: signature.clone().into(),
        }
        .abi_encode(),
        CallArguments::CloseV1 { cumulative, signature } => ITempoStreamChannel::closeCall {
            channelId: channel,
            cumulativeAmount: cumulative.get(),
            signature: signature.clone().into(),
        }
        .abi_encode(),
        CallArguments::CloseV2 { descriptor, cumulative, capture, signature } => {
            ITIP20ChannelReserve::closeCall {
                descriptor: abi(descriptor),
                cumulativeAmount: word96(*cumulative),
                captureAmount: word96(*capture),
                signature: signature.clone().into(),
            }
            .abi_encode()
        }
    };
    bytes.into()
}

fn abi(descriptor: &v2::Descriptor) -> ITIP20ChannelReserve::ChannelDescriptor {
    ITIP20ChannelReserve::ChannelDescriptor {
        payer: descriptor.payer,
        payee: descriptor.payee,
        operator: descriptor.operator,
        token: descriptor.token,
        salt: descriptor.salt,
        authorizedSigner: descriptor.authorized_signer,
        expiringNonceHash: descriptor.expiring_nonce_hash,
    }
}

/// The plan refuses amounts above 96 bits, so nothing is cut off here.
fn word96(amount: Amount) -> U96 {
    U96::from(U256::from(amount.get()))
}

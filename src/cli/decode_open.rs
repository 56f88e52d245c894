//! `farebox decode-open`: what a signed open transaction opens, as JSON. The reading is settlement's own.

use farebox_engine::core::channel::Terms;
use farebox_settlement::transaction::{DecodedOpen, Sponsorship};
use serde_json::{Value, json};

use super::{End, end_with};

/// Prints the reading, or says why there is none.
pub fn run(transaction: &str) -> End {
    match DecodedOpen::parse(transaction) {
        Ok(open) => {
            println!("{:#}", describe(&open));
            End::Done
        }
        Err(error) => end_with(End::Unusable, &error),
    }
}

fn describe(open: &DecodedOpen) -> Value {
    let DecodedOpen { transaction, identity, channel, deposit } = open;
    let mut described = json!({
        "protocol": identity.protocol().to_string(),
        "chainId": identity.chain_id.0,
        "sender": hex(transaction.sender),
        "escrow": hex(identity.escrow),
        "deposit": deposit.to_string(),
        "channelId": channel.to_string(),
        "descriptor": terms(&identity.terms),
        "txHash": transaction.tx_hash.map(hex),
        "validAfter": transaction.valid_after.map(|time| time.0),
        "validBefore": transaction.valid_before.map(|time| time.0),
        "gasLimit": transaction.gas_limit,
        "feeToken": transaction.fee_token.map(hex),
        "feePayer": match transaction.sponsorship {
            Sponsorship::None => Value::Null,
            Sponsorship::Wanted => "wanted".into(),
            Sponsorship::Paid(account) => hex(account).into(),
        },
    });
    if let Terms::V2(descriptor) = &identity.terms {
        described["expiringNonceHash"] = hex(descriptor.expiring_nonce_hash).into();
    }
    described
}

fn terms(terms: &Terms) -> Value {
    match terms {
        Terms::V1(terms) => json!({
            "payer": hex(terms.payer),
            "payee": hex(terms.payee),
            "token": hex(terms.token),
            "salt": hex(terms.salt),
            "authorizedSigner": hex(terms.authorized_signer),
        }),
        Terms::V2(descriptor) => json!({
            "payer": hex(descriptor.payer),
            "payee": hex(descriptor.payee),
            "operator": hex(descriptor.operator),
            "token": hex(descriptor.token),
            "salt": hex(descriptor.salt),
            "authorizedSigner": hex(descriptor.authorized_signer),
            "expiringNonceHash": hex(descriptor.expiring_nonce_hash),
        }),
    }
}

/// Lowercase hex, as it goes on the wire.
fn hex(value: impl std::fmt::LowerHex) -> String {
    format!("{value:#x}")
}

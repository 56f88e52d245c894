//! Tests of the parts that need no chain.

use alloy_consensus::{SignableTransaction, TxEip1559, crypto::secp256k1::sign_message};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, aliases::U96, b256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use farebox_contracts::{
    tip20::PATH_USD,
    v2::{ITIP20ChannelReserve, RESERVE},
};
use serde_json::json;
use tempo_primitives::TempoTxEnvelope;

use crate::{
    accounts,
    reserve::{SlotWrite, preparation, pretence},
    simulate::Simulation,
};

fn open(token: Address) -> ITIP20ChannelReserve::openCall {
    ITIP20ChannelReserve::openCall {
        payee: Address::repeat_byte(1),
        operator: Address::ZERO,
        token,
        deposit: U96::from(5),
        salt: B256::repeat_byte(2),
        authorizedSigner: Address::ZERO,
    }
}

fn top_up(token: Address) -> ITIP20ChannelReserve::topUpCall {
    ITIP20ChannelReserve::topUpCall {
        descriptor: ITIP20ChannelReserve::ChannelDescriptor {
            payer: Address::repeat_byte(3),
            payee: Address::repeat_byte(1),
            operator: Address::ZERO,
            token,
            salt: B256::repeat_byte(2),
            authorizedSigner: Address::ZERO,
            expiringNonceHash: B256::ZERO,
        },
        additionalDeposit: U96::from(5),
    }
}

/// The slot of the context mapping, spelled out: slot 1, keyed by the hash of payer and salt.
fn context_slot(payer: Address, salt: B256) -> B256 {
    keccak256((keccak256((payer, salt).abi_encode()), U256::from(1)).abi_encode())
}

/// The slot of a token's allowance, spelled out: slot 10, keyed by owner, then spender.
fn allowance_slot(owner: Address) -> B256 {
    keccak256((RESERVE, keccak256((owner, U256::from(10)).abi_encode())).abi_encode())
}

#[test]
fn a_plain_transaction_binds_its_signing_payload_too() {
    let payer = accounts::all()[0];
    let transaction = TxEip1559 {
        chain_id: 31_337,
        to: TxKind::Call(RESERVE),
        input: open(PATH_USD).abi_encode().into(),
        ..Default::default()
    };
    let mut payload = transaction.encoded_for_signing();
    payload.extend_from_slice(payer.address.as_slice());
    let signature = sign_message(payer.private_key, transaction.signature_hash()).unwrap();
    let envelope = TempoTxEnvelope::Eip1559(transaction.into_signed(signature));
    assert_eq!(
        preparation(&envelope).unwrap(),
        [
            SlotWrite {
                account: RESERVE,
                slot: context_slot(payer.address, B256::repeat_byte(2)),
                value: keccak256(payload),
            },
            SlotWrite {
                account: PATH_USD,
                slot: allowance_slot(payer.address),
                value: B256::repeat_byte(0xff),
            },
        ]
    );
}

#[test]
fn other_transactions_need_nothing() {
    let payer = accounts::all()[0];
    for to in [TxKind::Create, TxKind::Call(PATH_USD)] {
        let transaction = TxEip1559 { to, input: open(PATH_USD).abi_encode().into(), ..Default::default() };
        let signature = sign_message(payer.private_key, transaction.signature_hash()).unwrap();
        let envelope = TempoTxEnvelope::Eip1559(transaction.into_signed(signature));
        assert_eq!(preparation(&envelope).unwrap(), []);
    }
}

#[test]
fn a_top_up_needs_only_the_allowance() {
    let sender = Address::repeat_byte(3);
    let writes = pretence(sender, Some(RESERVE), &top_up(PATH_USD).abi_encode());
    assert_eq!(
        writes,
        [SlotWrite { account: PATH_USD, slot: allowance_slot(sender), value: B256::repeat_byte(0xff) }]
    );
}

#[test]
fn storage_of_what_is_no_token_is_never_written() {
    let victim = address!("0x00000000000000000000000000000000000abcde");
    let writes = pretence(Address::ZERO, Some(RESERVE), &open(victim).abi_encode());
    assert_eq!(writes.iter().map(|write| write.account).collect::<Vec<_>>(), [RESERVE]);
    assert_eq!(pretence(Address::ZERO, Some(RESERVE), &top_up(victim).abi_encode()), []);
}

#[test]
fn only_tempo_requests_and_calls_of_the_reserve_are_rewritten() {
    let plain = json!([{ "to": PATH_USD, "data": "0x1234" }, "latest"]);
    assert!(Simulation::parse(&plain).unwrap().is_none());
    assert!(Simulation::parse(&json!([])).unwrap().is_none());
    assert!(Simulation::parse(&json!([{ "to": PATH_USD, "calls": [] }])).unwrap().is_none());
    let open = json!([{ "to": RESERVE, "data": Bytes::from(open(PATH_USD).abi_encode()) }]);
    assert!(Simulation::parse(&open).unwrap().is_some());
    // Also when the caller overrides the reserve's account itself.
    let overriding = json!([open[0], "latest", { RESERVE.to_string(): { "balance": "0x1" } }]);
    assert!(Simulation::parse(&overriding).unwrap().is_some());
    let listed = json!([{ "calls": [{ "to": PATH_USD, "data": "0x" }] }]);
    assert!(Simulation::parse(&listed).unwrap().is_some());
}

#[test]
fn malformed_requests_are_refused_with_the_reason() {
    for (request, reason) in [
        (json!([{ "calls": ["0x"] }]), "a call is"),
        (json!([{ "calls": [{ "to": "0x1" }] }]), "to is 0x1"),
        (json!([{ "calls": [{ "to": 5 }] }]), "to is 5, expected a string"),
        (json!([{ "calls": [{ "to": null, "data": "zz" }] }]), "input is zz"),
    ] {
        let error = Simulation::parse(&request).unwrap_err().0;
        assert_eq!(error["code"], -32602);
        assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
    }
}

#[test]
fn the_accounts_are_those_of_their_keys() {
    for account in accounts::all() {
        let hash = b256!("0x1111111111111111111111111111111111111111111111111111111111111111");
        let signature = sign_message(account.private_key, hash).unwrap();
        let signer = alloy_consensus::crypto::secp256k1::recover_signer(&signature, hash).unwrap();
        assert_eq!(signer, account.address);
    }
}

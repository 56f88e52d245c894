//! Recorded transactions of real clients, vectors, and everything that can be wrong with one.

use std::num::NonZeroU64;

use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Amount, ChainId, ChannelId};
use farebox_core::voucher::{ProtocolVersion, v2};
use serde::Deserialize;
use tempo_primitives::transaction::{Call, PrimitiveSignature};
use tempo_primitives::{TempoSignature, TempoTransaction};

use super::*;
use farebox_contracts::tip20::ITIP20;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;

const PAYEE: Address = Address::repeat_byte(0x22);
const TOKEN: Address = Address::repeat_byte(0x20);
const ESCROW: Address = Address::repeat_byte(0xe5);
const DEPOSIT: u128 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    payer: Address,
    payee: Address,
    operator: Address,
    token: Address,
    salt: B256,
    authorized_signer: Address,
    expiring_nonce_hash: B256,
}

impl From<Descriptor> for v2::Descriptor {
    fn from(said: Descriptor) -> Self {
        Self {
            payer: said.payer,
            payee: said.payee,
            operator: said.operator,
            token: said.token,
            salt: said.salt,
            authorized_signer: said.authorized_signer,
            expiring_nonce_hash: said.expiring_nonce_hash,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    chain_id: u64,
    escrow: Address,
    sponsored: bool,
    transaction: String,
    deposit: String,
    descriptor: Descriptor,
    expiring_nonce_hash: B256,
    channel_id: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    name: String,
    action: String,
    transaction: String,
    channel_id: B256,
    source: String,
    descriptor: Option<Descriptor>,
    additional_deposit: Option<String>,
}

fn recorded(action: &str) -> Vec<Recorded> {
    let all: Vec<Recorded> =
        serde_json::from_str(include_str!("../../tests/fixtures/clients.json")).expect("a fixture");
    all.into_iter().filter(|one| one.action == action).collect()
}

#[test]
fn vectors_decode_to_their_sender_hash_descriptor_and_channel() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/fixtures/opens.json")).expect("a fixture");
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let open = DecodedOpen::parse(&vector.transaction).expect("a valid open");
        assert_eq!(open.transaction.sender, vector.descriptor.payer);
        assert_eq!(open.transaction.expiring_nonce_hash, vector.expiring_nonce_hash);
        assert_eq!(open.identity.terms, Terms::V2(vector.descriptor.into()));
        assert_eq!(open.identity.chain_id, ChainId(vector.chain_id));
        assert_eq!(open.identity.escrow, vector.escrow);
        assert_eq!(open.channel, ChannelId(vector.channel_id));
        assert_eq!(open.deposit.to_string(), vector.deposit);
        let wanted = open.transaction.sponsorship == Sponsorship::Wanted;
        assert_eq!(wanted, vector.sponsored);
        assert_eq!(
            open.transaction.tx_hash.is_none(),
            vector.sponsored,
            "the fee payer's signature is missing"
        );
    }
}

#[test]
fn opens_of_a_real_client_decode() {
    let opens = recorded("open");
    assert_eq!(opens.len(), 4);
    for one in opens {
        let open = DecodedOpen::parse(&one.transaction).expect(&one.name);
        let sender = open.transaction.sender;
        assert!(one.source.ends_with(&sender.to_string()), "{}: {sender}", one.name);
        assert_eq!(open.channel, ChannelId(one.channel_id), "{}", one.name);
        let protocol = if one.name.starts_with("v1") { ProtocolVersion::V1 } else { ProtocolVersion::V2 };
        assert_eq!(open.identity.protocol(), protocol, "{}", one.name);
        if let Some(descriptor) = one.descriptor {
            assert_eq!(open.identity.terms, Terms::V2(descriptor.into()), "{}", one.name);
        }
        let wanted = open.transaction.sponsorship == Sponsorship::Wanted;
        assert_eq!(wanted, one.name.contains("feepayer"), "{}", one.name);
    }
}

#[test]
fn top_ups_of_a_real_client_decode() {
    let top_ups = recorded("topUp");
    assert_eq!(top_ups.len(), 2);
    for one in top_ups {
        let top_up = DecodedTopUp::parse(&one.transaction).expect(&one.name);
        let amount: Amount = one.additional_deposit.expect("a top-up says how much").parse().expect("digits");
        let terms = Terms::V2(one.descriptor.expect("v2").into());
        let identity = Identity { chain_id: ChainId(31_337), escrow: v2::CHANNEL_RESERVE, terms };
        assert_eq!(top_up.channel, ChannelId(one.channel_id));
        assert_eq!(top_up.check(top_up.channel, &identity, amount), Ok(()));
        let more = amount.checked_add(Amount::new(1)).expect("small");
        let wrong = TransactionError::WrongAmount { found: amount, expected: more };
        assert_eq!(top_up.check(top_up.channel, &identity, more), Err(wrong));
    }
}

#[test]
fn a_recorded_transaction_keeps_its_bytes_and_hash() {
    for one in recorded("open").into_iter().filter(|one| !one.name.contains("feepayer")) {
        let transaction = ClientTransaction::parse(&one.transaction).expect(&one.name);
        let bytes = hex::decode(&one.transaction).expect("hex");
        assert_eq!(transaction.encoded(), bytes, "{}", one.name);
        assert_eq!(transaction.tx_hash, Some(alloy::primitives::keccak256(&bytes)));
    }
}

fn payer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).expect("a key")
}

fn call<C: SolCall>(to: Address, call: C) -> Call {
    Call { to: TxKind::Call(to), value: U256::ZERO, input: call.abi_encode().into() }
}

fn open_v2() -> Call {
    let open = ITIP20ChannelReserve::openCall {
        payee: PAYEE,
        operator: Address::ZERO,
        token: TOKEN,
        deposit: alloy::primitives::aliases::U96::from(DEPOSIT),
        salt: B256::repeat_byte(5),
        authorizedSigner: Address::ZERO,
    };
    call(ESCROW, open)
}

fn open_v1() -> Call {
    let open = ITempoStreamChannel::openCall {
        payee: PAYEE,
        token: TOKEN,
        deposit: DEPOSIT,
        salt: B256::repeat_byte(5),
        authorizedSigner: Address::ZERO,
    };
    call(ESCROW, open)
}

fn approve(token: Address, spender: Address, amount: u128) -> Call {
    call(token, ITIP20::approveCall { spender, amount: U256::from(amount) })
}

fn transaction(calls: Vec<Call>) -> TempoTransaction {
    TempoTransaction {
        chain_id: 31_337,
        max_priority_fee_per_gas: 1,
        max_fee_per_gas: 1,
        gas_limit: 1_000_000,
        calls,
        nonce_key: U256::MAX,
        valid_before: NonZeroU64::new(2_000),
        valid_after: NonZeroU64::new(1),
        fee_token: Some(TOKEN),
        ..TempoTransaction::default()
    }
}

fn signed(tx: TempoTransaction) -> Vec<u8> {
    let signature = payer().sign_hash_sync(&tx.signature_hash()).expect("a key signs");
    let mut bytes = Vec::new();
    let signature = TempoSignature::Primitive(PrimitiveSignature::Secp256k1(signature));
    tx.into_signed(signature).eip2718_encode(&mut bytes);
    bytes
}

fn refusal(tx: TempoTransaction) -> TransactionError {
    DecodedOpen::decode(&signed(tx)).expect_err("must be refused")
}

#[test]
fn opens_of_both_protocols_decode() {
    let open = DecodedOpen::decode(&signed(transaction(vec![open_v2()]))).expect("v2");
    assert_eq!(open.identity.payer(), payer().address());
    assert_eq!((open.identity.payee(), open.deposit), (PAYEE, Amount::new(DEPOSIT)));
    let calls = vec![approve(TOKEN, ESCROW, DEPOSIT), open_v1()];
    let open = DecodedOpen::decode(&signed(transaction(calls))).expect("v1");
    assert_eq!(open.identity.protocol(), ProtocolVersion::V1);
    assert_eq!(open.channel, open.identity.channel_id());
    let generous = vec![approve(TOKEN, ESCROW, DEPOSIT + 1), open_v1()];
    assert!(DecodedOpen::decode(&signed(transaction(generous))).is_ok());
}

#[test]
fn text_that_is_no_transaction_is_refused() {
    let max_bytes = envelope::TRANSACTION_BYTES_MAX;
    let long = format!("0x{}", "76".repeat(max_bytes + 1));
    let found_bytes = max_bytes + 1;
    for (text, expected) in [
        ("", TransactionError::NotHex),
        ("76ab", TransactionError::NotHex),
        ("0x7", TransactionError::NotHex),
        ("0xzz", TransactionError::NotHex),
        ("0x", TransactionError::Empty),
        ("0x02f870", TransactionError::UnknownType { found: 2 }),
        (&long, TransactionError::TooLong { found_bytes, max_bytes }),
    ] {
        assert_eq!(DecodedOpen::parse(text).expect_err("refused"), expected);
    }
    assert!(matches!(DecodedOpen::parse("0x76"), Err(TransactionError::Malformed { .. })));
    assert!(matches!(DecodedOpen::parse("0x76c0"), Err(TransactionError::Malformed { .. })));
}

#[test]
fn cut_and_padded_bytes_are_refused() {
    let bytes = signed(transaction(vec![open_v2()]));
    for length in 0..bytes.len() {
        assert!(DecodedOpen::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    let padded = [bytes.as_slice(), &[0]].concat();
    assert_eq!(
        DecodedOpen::decode(&padded).expect_err("refused"),
        TransactionError::TrailingBytes { count: 1 }
    );
}

#[test]
fn changed_bytes_never_keep_sender_and_channel() {
    let bytes = signed(transaction(vec![open_v2()]));
    let open = DecodedOpen::decode(&bytes).expect("valid");
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        if let Ok(other) = DecodedOpen::decode(&changed) {
            let same = (other.transaction.sender, other.channel) == (open.transaction.sender, open.channel);
            assert!(!same, "byte {place}");
        }
    }
}

#[test]
fn the_calls_must_be_exactly_those_of_an_open() {
    let expected = "1 (v2: open) or 2 (v1: approve, open)";
    let three = vec![open_v2(), open_v2(), open_v2()];
    assert_eq!(refusal(transaction(three)), TransactionError::CallCount { found: 3, expected });
    assert!(matches!(
        refusal(transaction(vec![open_v1()])),
        TransactionError::WrongFunction { index: 0, expected: "open of the channel reserve (v2)" }
    ));
    assert!(matches!(
        refusal(transaction(vec![open_v2(), open_v1()])),
        TransactionError::WrongFunction { index: 0, expected: "approve of the token" }
    ));
    assert!(matches!(
        refusal(transaction(vec![approve(TOKEN, ESCROW, DEPOSIT), open_v2()])),
        TransactionError::WrongFunction { index: 1, .. }
    ));
}

#[test]
fn value_creation_and_lists_are_refused() {
    let mut paid = open_v2();
    paid.value = U256::from(1);
    let value = TransactionError::ValueNotZero { index: 0, value: U256::from(1) };
    assert_eq!(refusal(transaction(vec![paid])), value);
    let mut create = open_v2();
    create.to = TxKind::Create;
    assert_eq!(refusal(transaction(vec![create])), TransactionError::CreatesContract { index: 0 });
    let mut listed = transaction(vec![open_v2()]);
    listed.access_list.0.push(Default::default());
    assert_eq!(refusal(listed), TransactionError::AccessList { count: 1 });
}

#[test]
fn arguments_must_be_canonical() {
    let mut padded = open_v2();
    padded.input = [padded.input.as_ref(), &[0; 32]].concat().into();
    assert!(matches!(refusal(transaction(vec![padded])), TransactionError::BadArguments { index: 0, .. }));
    let mut dirty = open_v2();
    let mut input = dirty.input.to_vec();
    input[4] = 1;
    dirty.input = Bytes::from(input);
    assert!(matches!(refusal(transaction(vec![dirty])), TransactionError::BadArguments { index: 0, .. }));
}

#[test]
fn an_approval_must_fit_the_open() {
    let open = |approval| refusal(transaction(vec![approval, open_v1()]));
    let other = Address::repeat_byte(0x99);
    assert_eq!(
        open(approve(TOKEN, other, DEPOSIT)),
        TransactionError::ApproveSpender { found: other, expected: ESCROW }
    );
    let found = U256::from(DEPOSIT - 1);
    let expected = Amount::new(DEPOSIT);
    assert_eq!(
        open(approve(TOKEN, ESCROW, DEPOSIT - 1)),
        TransactionError::ApproveAmount { found, expected }
    );
    let field = "approved token";
    assert_eq!(
        open(approve(other, ESCROW, DEPOSIT)),
        TransactionError::WrongAddress { field, found: other, expected: TOKEN }
    );
}

#[test]
fn a_v2_open_needs_an_expiring_nonce_and_a_deposit() {
    let mut plain = transaction(vec![open_v2()]);
    plain.nonce_key = U256::ZERO;
    assert_eq!(refusal(plain), TransactionError::NonceNotExpiring);
    let mut endless = transaction(vec![open_v2()]);
    endless.valid_before = None;
    assert_eq!(refusal(endless), TransactionError::NonceNotExpiring);
    let mut empty = open_v2();
    let mut open = ITIP20ChannelReserve::openCall::abi_decode(&empty.input).expect("our own");
    open.deposit = Default::default();
    empty.input = open.abi_encode().into();
    assert_eq!(refusal(transaction(vec![empty])), TransactionError::ZeroDeposit);
}

/// All three forms of a transaction that waits for a fee payer mean the same transaction.
#[test]
fn the_forms_of_a_sponsored_transaction_agree() {
    let mut tx = transaction(vec![open_v2()]);
    tx.fee_token = None;
    tx.fee_payer_signature = Some(Signature::new(U256::ZERO, U256::ZERO, false));
    let signature = payer().sign_hash_sync(&tx.signature_hash()).expect("a key signs");
    let whole = tx.into_signed(TempoSignature::Primitive(PrimitiveSignature::Secp256k1(signature)));
    let mut marked = Vec::new();
    whole.eip2718_encode(&mut marked);
    let mut drafted = Vec::new();
    whole.encode_for_fee_payer_service(&mut drafted);
    let opens = [&marked, &drafted].map(|bytes| DecodedOpen::decode(bytes).expect("a valid open"));
    for open in &opens {
        assert_eq!(open.transaction.sponsorship, Sponsorship::Wanted);
        assert_eq!(open.transaction.sender, payer().address());
        assert_eq!(open.transaction.tx_hash, None);
    }
    assert_eq!(opens[0].channel, opens[1].channel);
    let plain = DecodedOpen::decode(&signed(transaction(vec![open_v2()]))).expect("valid");
    assert_ne!(opens[0].channel, plain.channel, "a sponsored sender signs something else");
}

#[test]
fn a_fee_payer_envelope_must_name_its_sender() {
    let sponsored = recorded("open").into_iter().find(|one| one.name.contains("feepayer")).expect("recorded");
    let open = DecodedOpen::parse(&sponsored.transaction).expect("valid");
    // 0x94 is the RLP header of an address: this finds the envelope's field and not the call's argument.
    let sender = format!("94{}", hex::encode(open.transaction.sender));
    let other = sponsored.transaction.replace(&sender, &format!("94{}", hex::encode(PAYEE)));
    assert_ne!(other, sponsored.transaction);
    let expected = TransactionError::SenderMismatch { claimed: PAYEE, recovered: open.transaction.sender };
    assert_eq!(DecodedOpen::parse(&other).expect_err("refused"), expected);
}

#[test]
fn a_top_up_must_be_of_the_channel_and_by_its_payer() {
    let terms = v2::Descriptor {
        payer: payer().address(),
        payee: PAYEE,
        operator: Address::ZERO,
        token: TOKEN,
        salt: B256::repeat_byte(5),
        authorized_signer: Address::ZERO,
        expiring_nonce_hash: B256::repeat_byte(6),
    };
    let identity = Identity { chain_id: ChainId(31_337), escrow: ESCROW, terms: Terms::V2(terms) };
    let descriptor = ITIP20ChannelReserve::ChannelDescriptor {
        payer: terms.payer,
        payee: terms.payee,
        operator: terms.operator,
        token: terms.token,
        salt: terms.salt,
        authorizedSigner: terms.authorized_signer,
        expiringNonceHash: terms.expiring_nonce_hash,
    };
    let additional = alloy::primitives::aliases::U96::from(5);
    let top_up = ITIP20ChannelReserve::topUpCall { descriptor, additionalDeposit: additional };
    let decoded = DecodedTopUp::decode(&signed(transaction(vec![call(ESCROW, top_up)]))).expect("valid");
    let channel = identity.channel_id();
    let amount = Amount::new(5);
    assert_eq!(decoded.check(channel, &identity, amount), Ok(()));
    let other = ChannelId(B256::repeat_byte(9));
    let wrong = TransactionError::WrongChannel { found: channel, expected: other };
    assert_eq!(decoded.check(other, &identity, amount), Err(wrong));
    let stranger = v2::Descriptor { payer: PAYEE, ..terms };
    let stranger = Identity { terms: Terms::V2(stranger), ..identity.clone() };
    assert!(matches!(
        decoded.check(channel, &stranger, amount),
        Err(TransactionError::WrongAddress { field: "sender", .. })
    ));
    let elsewhere = Identity { chain_id: ChainId(1), ..identity };
    assert!(matches!(decoded.check(channel, &elsewhere, amount), Err(TransactionError::WrongChain { .. })));
}

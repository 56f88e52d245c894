//! The bindings equal the published ones and the compiled interfaces, item by item.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use alloy_json_abi::JsonAbi;
use alloy_sol_types::{SolCall, SolEvent, SolInterface};
use tempo_contracts::precompiles::{
    ITIP20 as PublishedToken, ITIP20ChannelReserve as PublishedReserve, PATH_USD_ADDRESS,
    TIP20_CHANNEL_RESERVE_ADDRESS,
};

use crate::{
    tip20::{ITIP20, PATH_USD},
    v1::ITempoStreamChannel,
    v2::{ITIP20ChannelReserve, RESERVE},
};

const RESERVE_ABI: &str = include_str!("../artifacts/ITIP20ChannelReserve.abi.json");
const STREAM_CHANNEL_ABI: &str = include_str!("../artifacts/ITempoStreamChannel.abi.json");

/// Everything that a caller or a reader of logs depends on, one line an item.
fn face(abi: &JsonAbi) -> BTreeSet<String> {
    let functions = abi.functions().map(|f| {
        let outputs: Vec<_> = f.outputs.iter().map(|o| o.selector_type().into_owned()).collect();
        format!("function {} {} returns ({})", f.selector(), f.signature(), outputs.join(","))
    });
    let events = abi.events().map(|e| {
        let indexed: Vec<_> = e.inputs.iter().map(|i| i.indexed).collect();
        format!("event {} {} indexed {indexed:?}", e.selector(), e.signature())
    });
    let errors = abi.errors().map(|e| format!("error {} {}", e.selector(), e.signature()));
    functions.chain(events).chain(errors).collect()
}

fn parse(json: &str) -> JsonAbi {
    serde_json::from_str(json).expect("an ABI")
}

fn hex_set<const N: usize>(items: impl IntoIterator<Item = [u8; N]>) -> BTreeSet<[u8; N]> {
    items.into_iter().collect()
}

#[test]
fn the_solidity_reserve_has_the_published_interface() {
    assert_eq!(face(&parse(RESERVE_ABI)), face(&PublishedReserve::abi::contract()));
}

#[test]
fn the_v2_bindings_have_the_published_selectors_and_topics() {
    use ITIP20ChannelReserve as Ours;
    use PublishedReserve as Published;
    assert_eq!(
        hex_set(Ours::ITIP20ChannelReserveCalls::selectors()),
        hex_set(Published::ITIP20ChannelReserveCalls::selectors())
    );
    assert_eq!(
        hex_set(Ours::ITIP20ChannelReserveErrors::selectors()),
        hex_set(Published::ITIP20ChannelReserveErrors::selectors())
    );
    assert_eq!(
        hex_set(Ours::ITIP20ChannelReserveEvents::SELECTORS.iter().copied()),
        hex_set(Published::ITIP20ChannelReserveEvents::SELECTORS.iter().copied())
    );
    assert_eq!(RESERVE, TIP20_CHANNEL_RESERVE_ADDRESS);
}

#[test]
fn v2_calls_and_results_encode_like_the_published_ones() {
    use alloy_primitives::{Address, B256, Bytes, aliases::U96};
    use alloy_sol_types::SolValue;
    let ours = ITIP20ChannelReserve::closeCall {
        descriptor: ITIP20ChannelReserve::ChannelDescriptor {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            operator: Address::repeat_byte(3),
            token: Address::repeat_byte(4),
            salt: B256::repeat_byte(5),
            authorizedSigner: Address::repeat_byte(6),
            expiringNonceHash: B256::repeat_byte(7),
        },
        cumulativeAmount: U96::from(900),
        captureAmount: U96::from(800),
        signature: Bytes::from_static(&[9; 65]),
    };
    let theirs = PublishedReserve::closeCall::abi_decode(&ours.abi_encode()).expect("the same encoding");
    assert_eq!(theirs.descriptor.payee, ours.descriptor.payee);
    assert_eq!(theirs.descriptor.operator, ours.descriptor.operator);
    assert_eq!(theirs.descriptor.authorizedSigner, ours.descriptor.authorizedSigner);
    assert_eq!(theirs.descriptor.expiringNonceHash, ours.descriptor.expiringNonceHash);
    assert_eq!((theirs.cumulativeAmount, theirs.captureAmount), (ours.cumulativeAmount, ours.captureAmount));

    let state =
        PublishedReserve::ChannelState { settled: U96::from(1), deposit: U96::from(2), closeRequestedAt: 3 };
    let read = ITIP20ChannelReserve::getChannelStateCall::abi_decode_returns(&state.abi_encode())
        .expect("the same encoding");
    assert_eq!((read.settled, read.deposit, read.closeRequestedAt), (U96::from(1), U96::from(2), 3));
}

#[test]
fn the_v1_bindings_have_the_compiled_selectors_and_topics() {
    use ITempoStreamChannel as Ours;
    let compiled = parse(STREAM_CHANNEL_ABI);
    assert_eq!(
        hex_set(Ours::ITempoStreamChannelCalls::selectors()),
        hex_set(compiled.functions().map(|f| f.selector().0))
    );
    assert_eq!(
        hex_set(Ours::ITempoStreamChannelErrors::selectors()),
        hex_set(compiled.errors().map(|e| e.selector().0))
    );
    assert_eq!(
        hex_set(Ours::ITempoStreamChannelEvents::SELECTORS.iter().copied()),
        hex_set(compiled.events().map(|e| e.selector().0))
    );
}

/// What v1 clients send and read, written down as they write it: a change of our interface must not pass.
#[test]
fn the_v1_face_is_the_one_that_clients_speak() {
    let face = face(&parse(STREAM_CHANNEL_ABI));
    let has =
        |part: &str| assert!(face.iter().any(|line| line.ends_with(part)), "{part} is missing in {face:#?}");
    has(" open(address,address,uint128,bytes32,address) returns (bytes32)");
    has(" settle(bytes32,uint128,bytes) returns ()");
    has(" topUp(bytes32,uint256) returns ()");
    has(" close(bytes32,uint128,bytes) returns ()");
    has(" requestClose(bytes32) returns ()");
    has(" withdraw(bytes32) returns ()");
    has(" getChannel(bytes32) returns ((bool,uint64,address,address,address,address,uint128,uint128))");
    has(" computeChannelId(address,address,address,bytes32,address) returns (bytes32)");
    has(" ChannelOpened(bytes32,address,address,address,address,bytes32,uint256) \
         indexed [true, true, true, false, false, false, false]");
    has(" Settled(bytes32,address,address,uint256,uint256,uint256) \
         indexed [true, true, true, false, false, false]");
    has(" ChannelClosed(bytes32,address,address,uint256,uint256) indexed [true, true, true, false, false]");
}

#[test]
fn the_token_bindings_are_those_of_tip20() {
    use PublishedToken as Published;
    assert_eq!(ITIP20::symbolCall::SELECTOR, Published::symbolCall::SELECTOR);
    assert_eq!(ITIP20::decimalsCall::SELECTOR, Published::decimalsCall::SELECTOR);
    assert_eq!(ITIP20::balanceOfCall::SELECTOR, Published::balanceOfCall::SELECTOR);
    assert_eq!(ITIP20::transferCall::SELECTOR, Published::transferCall::SELECTOR);
    assert_eq!(ITIP20::approveCall::SELECTOR, Published::approveCall::SELECTOR);
    assert_eq!(ITIP20::allowanceCall::SELECTOR, Published::allowanceCall::SELECTOR);
    assert_eq!(ITIP20::Transfer::SIGNATURE_HASH, Published::Transfer::SIGNATURE_HASH);
    assert_eq!(PATH_USD, PATH_USD_ADDRESS);
}

#[cfg(feature = "bytecode")]
#[test]
fn creation_code_ends_with_the_runtime_code() {
    use crate::bytecode::*;
    assert!(RESERVE_CREATION.ends_with(RESERVE_RUNTIME));
    assert!(STREAM_CHANNEL_CREATION.ends_with(STREAM_CHANNEL_RUNTIME));
}

/// What is deployed: a changed byte changes these, and has to be meant.
#[test]
fn the_code_of_the_contracts_is_pinned() {
    let hash = |hex: &str| {
        let code = alloy_primitives::hex::decode(hex.trim()).expect("hex");
        format!("{:#x}", alloy_primitives::keccak256(code))
    };
    let found = [
        ("TIP20ChannelReserve", hash(include_str!("../artifacts/TIP20ChannelReserve.runtime.hex"))),
        ("TempoStreamChannel", hash(include_str!("../artifacts/TempoStreamChannel.runtime.hex"))),
        ("Batch", hash(include_str!("../artifacts/Batch.creation.hex"))),
        ("ITIP20ChannelReserve's ABI", format!("{:#x}", alloy_primitives::keccak256(RESERVE_ABI))),
        ("ITempoStreamChannel's ABI", format!("{:#x}", alloy_primitives::keccak256(STREAM_CHANNEL_ABI))),
    ];
    let pinned = PINNED_HASHES.map(|(name, hash)| (name, String::from(hash)));
    assert_eq!(found, pinned);
}

/// By name. Written anew only when a contract was changed on purpose.
const PINNED_HASHES: [(&str, &str); 5] = [
    ("TIP20ChannelReserve", "0x07e05a6457dd1ef6da123c9284010d0b3411a424acfc101504b3e6b3214933af"),
    ("TempoStreamChannel", "0x040d3a84e435733a4fa69293bb558a912a57d218029f46c4254213ace0672587"),
    ("Batch", "0xf0093372da79c046ba856cadc2ba1022d884d056ab17dc955e847c547fb64ab5"),
    ("ITIP20ChannelReserve's ABI", "0x7137eade0d69bdeca454b54e79deebc96355437a94d82119e75cc333669c5f06"),
    ("ITempoStreamChannel's ABI", "0xe790836292e2be3171d970784d2854667983e72511ef756cc08f76bba559f2f9"),
];

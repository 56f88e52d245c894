//! Events to facts and steps; what is malformed or foreign is told apart.
#![allow(non_snake_case, reason = "the fields of events are named as in Solidity")]

use alloy::primitives::aliases::U96;
use alloy::primitives::{Bytes, Log as RawLog, LogData};

use super::*;

const ESCROW: Address = Address::repeat_byte(0xe5);
const CHANNEL: B256 = B256::repeat_byte(0xc4);
const PAYER: Address = Address::repeat_byte(1);
const PAYEE: Address = Address::repeat_byte(2);
const POSITION: ChainPosition = ChainPosition { block: 40, log_index: 3 };

fn log(data: LogData) -> Log {
    Log {
        inner: RawLog { address: ESCROW, data },
        block_number: Some(POSITION.block),
        log_index: Some(u64::from(POSITION.log_index)),
        ..Log::default()
    }
}

fn kind(protocol: ProtocolVersion, event: &impl SolEvent) -> FactKind {
    let fact = Fact::read(protocol, &log(event.encode_log_data())).expect("readable").expect("watched");
    assert_eq!((fact.escrow, fact.channel, fact.position), (ESCROW, ChannelId(CHANNEL), POSITION));
    fact.kind
}

/// A close of 900 seconds after 1,000.
const GRACE_END: u64 = 1_900;

#[test]
fn v2_events_are_read_as_totals() {
    let (channelId, payer, payee) = (CHANNEL, PAYER, PAYEE);
    let small = U96::from;
    let v2 = ProtocolVersion::V2;
    let closed =
        V2::ChannelClosed { channelId, payer, payee, settledToPayee: small(7), refundedToPayer: small(3) };
    let expected = FactKind::Closed { captured: Amount::new(7), refunded: Amount::new(3) };
    assert_eq!(kind(v2, &closed), expected);
    let settled = V2::Settled {
        channelId,
        payer,
        payee,
        cumulativeAmount: small(9),
        deltaPaid: small(2),
        newSettled: small(9),
    };
    assert_eq!(kind(v2, &settled), FactKind::Settled { settled: Amount::new(9) });
    let raised = V2::TopUp { channelId, payer, payee, additionalDeposit: small(5), newDeposit: small(15) };
    let expected = FactKind::ToppedUp { additional: Amount::new(5), deposit: Amount::new(15) };
    assert_eq!(kind(v2, &raised), expected);
    let asked = V2::CloseRequested { channelId, payer, payee, closeGraceEnd: U256::from(GRACE_END) };
    assert_eq!(kind(v2, &asked), FactKind::CloseRequested { at: UnixSeconds(1_000) });
    let cancelled = V2::CloseRequestCancelled { channelId, payer, payee };
    assert_eq!(kind(v2, &cancelled), FactKind::CloseRequestCancelled);
}

#[test]
fn v1_events_are_read_as_totals_of_128_bits() {
    let (channelId, payer, payee) = (CHANNEL, PAYER, PAYEE);
    let v1 = ProtocolVersion::V1;
    let most = U256::from(u128::MAX);
    let settled = |newSettled| V1::Settled {
        channelId,
        payer,
        payee,
        cumulativeAmount: newSettled,
        deltaPaid: U256::ZERO,
        newSettled,
    };
    assert_eq!(kind(v1, &settled(most)), FactKind::Settled { settled: Amount::MAX });
    let wide = log(settled(most + U256::from(1)).encode_log_data());
    assert!(Fact::read(v1, &wide).is_err(), "more than any escrow holds");
    let closed = V1::ChannelClosed {
        channelId,
        payer,
        payee,
        settledToPayee: U256::from(7),
        refundedToPayer: U256::from(3),
    };
    let expected = FactKind::Closed { captured: Amount::new(7), refunded: Amount::new(3) };
    assert_eq!(kind(v1, &closed), expected);
    let opened = V1::ChannelOpened {
        channelId,
        payer,
        payee,
        token: Address::repeat_byte(3),
        authorizedSigner: Address::ZERO,
        salt: B256::repeat_byte(4),
        deposit: U256::from(10),
    };
    let FactKind::Opened { terms: Terms::V1(terms), deposit } = kind(v1, &opened) else {
        panic!("an open is an open");
    };
    assert_eq!((terms.payer, terms.payee, deposit), (PAYER, PAYEE, Amount::new(10)));
}

#[test]
fn a_malformed_event_is_no_silence() {
    let (channelId, payer, payee) = (CHANNEL, PAYER, PAYEE);
    let asked = V2::CloseRequested { channelId, payer, payee, closeGraceEnd: U256::from(GRACE_END) };
    let good = asked.encode_log_data();
    let cut = LogData::new_unchecked(good.topics().to_vec(), Bytes::new());
    let bad = Fact::read(ProtocolVersion::V2, &log(cut)).expect_err("cut");
    let event = V2::CloseRequested::SIGNATURE_HASH;
    assert_eq!(bad, BadEvent { escrow: ESCROW, event, position: POSITION });
    let endless = V2::CloseRequested { closeGraceEnd: U256::MAX, ..asked };
    assert!(Fact::read(ProtocolVersion::V2, &log(endless.encode_log_data())).is_err());
}

#[test]
fn foreign_events_say_nothing() {
    let foreign = LogData::new_unchecked(vec![B256::repeat_byte(9)], Bytes::new());
    let anonymous = LogData::new_unchecked(Vec::new(), Bytes::new());
    for data in [foreign, anonymous] {
        assert_eq!(Fact::read(ProtocolVersion::V2, &log(data)), Ok(None));
    }
}

#[test]
fn only_facts_of_the_channel_and_the_escrow_count() {
    let (channelId, payer, payee) = (CHANNEL, PAYER, PAYEE);
    let cancelled = V2::CloseRequestCancelled { channelId, payer, payee };
    let good = log(cancelled.encode_log_data());
    let mut elsewhere = good.clone();
    elsewhere.inner.address = PAYER;
    let mut dropped = good.clone();
    dropped.removed = true;
    let other = V2::CloseRequestCancelled { channelId: B256::ZERO, payer, payee };
    let logs = [good, elsewhere, dropped, log(other.encode_log_data())];
    let facts = Fact::of_channel(&logs, ProtocolVersion::V2, ESCROW, ChannelId(CHANNEL));
    assert_eq!(facts.len(), 1);
    assert_eq!(facts[0].step(), Some(Step::CloseRequestCancelled { position: POSITION }));
}

/// Both protocols call several events the same, with the same hash or another: every one is watched.
#[test]
fn every_event_of_both_protocols_is_watched() {
    let watched = watched_events();
    for event in [
        V1::TopUp::SIGNATURE_HASH,
        V2::TopUp::SIGNATURE_HASH,
        V1::CloseRequested::SIGNATURE_HASH,
        V2::CloseRequested::SIGNATURE_HASH,
        V1::CloseRequestCancelled::SIGNATURE_HASH,
        V2::CloseRequestCancelled::SIGNATURE_HASH,
        V1::Settled::SIGNATURE_HASH,
        V2::Settled::SIGNATURE_HASH,
        V1::ChannelClosed::SIGNATURE_HASH,
        V2::ChannelClosed::SIGNATURE_HASH,
    ] {
        assert!(watched.contains(&event), "{event}");
    }
    assert!(!watched.contains(&V2::ChannelOpened::SIGNATURE_HASH), "opens come from the opener alone");
}

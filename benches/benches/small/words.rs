//! The words of HTTP 402: a header to its voucher, a challenge, a receipt.

use std::hint::black_box;

use farebox_core::challenge::credential::VoucherFields;
use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{
    Challenge, ChallengeKeys, Credential, Echo, Payload, Realm, Receipt, credential,
};
use farebox_core::units::{Amount, B256};
use farebox_core::voucher::{AnySignedVoucher, Voucher};

use crate::Bench;
use crate::fixture::{PRICE, PROTOCOL, Payer, domain, request, server};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// Every challenge holds so long.
const EXPIRES: UnixMillis = UnixMillis(NOW.0 + 300_000);

pub fn run(bench: &mut Bench) {
    let (keys, realm) = server();
    let encoded = request().encode();
    let issue = || Challenge::issue_encoded(&keys, &realm, &encoded, EXPIRES, Default::default());
    let challenge = issue();
    let header = header(&challenge);
    bench.bench_function("header/to voucher", |run| {
        assert!(read(&header, &keys, &realm).is_some(), "a header of ours is read");
        run.iter(|| read(black_box(&header), &keys, &realm));
    });
    bench.bench_function("challenge/make", |run| run.iter(|| black_box(issue()).to_header()));
    bench.bench_function("challenge/check", |run| {
        let echo = Echo::of(&challenge);
        assert_eq!(echo.authenticate(&keys, &realm, NOW), Ok(()), "it is ours, and in time");
        run.iter(|| black_box(&echo).authenticate(&keys, &realm, NOW));
    });
    bench.bench_function("receipt/encode", |run| {
        let receipt = receipt(&challenge);
        assert_eq!(Receipt::parse_header(&receipt.to_header()).as_ref(), Ok(&receipt));
        run.iter(|| black_box(&receipt).to_header());
    });
}

/// What a payer sends.
fn header(challenge: &Challenge) -> String {
    let payer = Payer::new(0, PROTOCOL);
    let voucher = payer.voucher(1);
    let farebox_core::channel::Terms::V2(descriptor) = payer.identity.terms else {
        unreachable!("the newest protocol has a descriptor")
    };
    let fields = VoucherFields {
        channel: voucher.channel_id,
        cumulative: voucher.cumulative_amount,
        signature: payer.sign(&voucher),
        descriptor: Some(descriptor),
    };
    let source = Some(format!("did:pkh:eip155:42431:{}", payer.address));
    Credential { challenge: Echo::of(challenge), payload: Payload::Voucher(fields), source }.to_header()
}

/// From the bytes of a header to a voucher that answers a challenge of ours, not yet verified.
fn read(header: &str, keys: &ChallengeKeys, realm: &Realm) -> Option<AnySignedVoucher> {
    let token = credential::find([header.as_bytes()]).ok()??;
    let read = Credential::parse(token).ok()?;
    read.challenge.authenticate(keys, realm, NOW).ok()?;
    read.payload.check(PROTOCOL).ok()?;
    let Payload::Voucher(fields) = &read.payload else { return None };
    let voucher = Voucher { channel_id: fields.channel, cumulative_amount: fields.cumulative };
    domain(PROTOCOL).parse(voucher, &fields.signature).ok()
}

fn receipt(challenge: &Challenge) -> Receipt {
    Receipt {
        timestamp: NOW,
        challenge_id: challenge.id.clone(),
        channel: Payer::new(0, PROTOCOL).identity.channel_id(),
        accepted: Amount::new(123_456_789),
        spent: PRICE,
        units: Some(1),
        tx_hash: Some(B256::repeat_byte(9)),
    }
}

//! The door's words beside those of the Rust SDK (`mpp`): what one writes the other reads, with the same meaning.

use farebox_core::challenge::credential::{TopUp, VoucherFields, find};
use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{
    Challenge, ChallengeKey, ChallengeKeys, Credential, Echo, MethodDetails, Payload, Realm, Request,
};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{ProtocolVersion, v2};
use mpp::PaymentCredential;
use mpp::protocol::core::{format_authorization, parse_authorization, parse_www_authenticate};
use mpp::protocol::methods::tempo::SessionCredentialPayload;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// Credentials that are tried.
const CREDENTIALS: u64 = 2_000;

fn challenge(random: &mut StdRng) -> Challenge {
    let keys = ChallengeKeys::new(ChallengeKey::new(&[7; 32]).unwrap());
    let request = Request {
        amount: Amount::new(random.random()),
        currency: Address::new(random.random()),
        recipient: Address::new(random.random()),
        unit_type: random.random::<bool>().then(|| "llm_token".into()),
        suggested_deposit: None,
        details: MethodDetails {
            chain_id: ChainId(42_431),
            escrow: v2::CHANNEL_RESERVE,
            protocol: ProtocolVersion::V2,
            operator: Address::ZERO,
            voucher_delta_min: Amount::ZERO,
            fee_payer: false,
        },
    };
    let mut challenge = Challenge::issue(
        &keys,
        &Realm::new("api.example.com").unwrap(),
        &request,
        UnixMillis(2_000_000_000_000),
    );
    challenge.description = random.random::<bool>().then(|| "words for people, \"quoted\"".into());
    challenge
}

fn fields(random: &mut StdRng) -> VoucherFields {
    let mut signature = vec![0; 65];
    random.fill_bytes(&mut signature);
    VoucherFields {
        channel: ChannelId(B256::new(random.random())),
        cumulative: Amount::new(random.random()),
        signature,
        descriptor: Some(v2::Descriptor {
            payer: Address::new(random.random()),
            payee: Address::new(random.random()),
            operator: Address::new(random.random()),
            token: Address::new(random.random()),
            salt: B256::new(random.random()),
            authorized_signer: Address::new(random.random()),
            expiring_nonce_hash: B256::new(random.random()),
        }),
    }
}

fn payload(random: &mut StdRng) -> Payload {
    let fields = fields(random);
    match random.random_range(0..3) {
        0 => Payload::Voucher(fields),
        1 => Payload::Close(fields),
        _ => Payload::TopUp(TopUp {
            channel: fields.channel,
            transaction: fields.signature,
            additional_deposit: fields.cumulative,
            descriptor: fields.descriptor,
        }),
    }
}

fn ours(header: &str) -> Credential {
    Credential::parse(find([header.as_bytes()]).unwrap().unwrap()).unwrap()
}

/// The same fields in both.
fn check(ours: &Credential, theirs: &PaymentCredential) {
    assert_eq!(ours.challenge.id, theirs.challenge.id);
    assert_eq!(ours.challenge.request(), theirs.challenge.request.raw());
    let (channel, amount, signature) = match theirs.payload_as().unwrap() {
        SessionCredentialPayload::Voucher { channel_id, cumulative_amount, signature, .. }
        | SessionCredentialPayload::Close { channel_id, cumulative_amount, signature, .. } => {
            (channel_id, cumulative_amount, signature)
        }
        SessionCredentialPayload::TopUp { channel_id, additional_deposit, transaction, .. } => {
            (channel_id, additional_deposit, transaction)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(ours.payload.channel().to_string(), channel.to_lowercase());
    assert_eq!(ours.payload.amount().to_string(), amount);
    let bytes = match &ours.payload {
        Payload::Voucher(fields) | Payload::Close(fields) => &fields.signature,
        Payload::TopUp(top_up) => &top_up.transaction,
        Payload::Open(_) => panic!("none was made"),
    };
    assert_eq!(alloy_primitives::hex::encode_prefixed(bytes), signature.to_lowercase());
    assert_eq!(ours.payload.action(), theirs.payload["action"]);
    assert_eq!(ours.source.as_deref(), theirs.source.as_deref());
}

#[test]
fn each_reads_what_the_other_writes() {
    for seed in 0..CREDENTIALS {
        let mut random = StdRng::seed_from_u64(seed);
        let challenge = challenge(&mut random);
        let payload = payload(&mut random);
        let source = random.random::<bool>().then(|| "did:pkh:eip155:42431:0xabc".into());
        let made = Credential { challenge: Echo::of(&challenge), payload, source };
        let header = made.to_header();
        let theirs = parse_authorization(&header).unwrap();
        check(&made, &theirs);
        let written = format_authorization(&theirs).unwrap();
        assert!(ours(&written) == made, "seed {seed}");

        // A challenge of ours, answered by them, is ours again.
        let read = parse_www_authenticate(&challenge.to_header()).unwrap();
        assert_eq!(read.description, challenge.description);
        let answered = PaymentCredential::new(read.to_echo(), theirs.payload.clone());
        let answered = ours(&format_authorization(&answered).unwrap());
        assert!(answered.challenge == made.challenge, "seed {seed}");
    }
}

/// What we take they take too, and as the same, whatever was changed in it.
#[test]
fn what_was_changed_means_the_same_or_nothing_to_us() {
    let mut taken = 0;
    for seed in 0..CREDENTIALS {
        let mut random = StdRng::seed_from_u64(seed);
        let challenge = challenge(&mut random);
        let made =
            Credential { challenge: Echo::of(&challenge), payload: payload(&mut random), source: None };
        let json = mpp::base64url_decode(made.to_header().trim_start_matches("Payment ")).unwrap();
        let mut json = String::from_utf8(json).unwrap();
        let (from, to) = CHANGES[random.random_range(0..CHANGES.len())];
        json = json.replacen(from, to, random.random_range(1..3));
        let header = format!("Payment {}", mpp::base64url_encode(json.as_bytes()));
        let token = find([header.as_bytes()]).unwrap().unwrap();
        if let Ok(read) = Credential::parse(token) {
            check(&read, &parse_authorization(&header).unwrap());
            taken += 1;
        }
    }
    assert!(taken > CREDENTIALS / 4 && taken < CREDENTIALS, "both kinds were tried: {taken}");
}

const CHANGES: [(&str, &str); 12] = [
    ("a", "A"),
    ("0x", "0X"),
    ("\"signature\"", "\"Signature\""),
    ("\"action\":\"voucher\"", "\"action\":\"settle\""),
    ("{", "{\"unknown\":[1,{\"x\":null}],"),
    (",", " ,\n"),
    ("\":\"", "\" : \""),
    ("\"cumulativeAmount\":\"", "\"cumulativeAmount\":\"-"),
    ("\"channelId\":\"0x", "\"channelId\":\"0xzz"),
    ("tempo", "temp\\u006f"),
    ("}", ""),
    ("\"", "'"),
];

//! What a real client and a reference server of the session draft exchanged, read by our parsers.
//!
//! `fixtures/exchanges.txt` holds recorded header values: a kind, the name of the exchange, the value.

use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{
    Challenge, ChallengeKey, ChallengeKeys, Credential, EchoError, MethodDetails, NeedVoucher, Payload,
    Realm, Receipt, Request, credential,
};
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Address, Amount, ChainId};
use farebox_core::voucher::{AnyDomain, ProtocolVersion, Verifier, Voucher};

const EXCHANGES: &str = include_str!("fixtures/exchanges.txt");

fn values(kind: &str) -> Vec<(&'static str, &'static str)> {
    let values: Vec<_> = EXCHANGES
        .lines()
        .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')?.split_once(' '))
        .collect();
    assert!(!values.is_empty(), "no {kind} among the recorded exchanges");
    values
}

fn credentials() -> Vec<(&'static str, Credential)> {
    let read = |(name, header): (&'static str, &'static str)| {
        let token = credential::find([header.as_bytes()]).unwrap().unwrap();
        (name, Credential::parse(token).unwrap())
    };
    values("credential").into_iter().map(read).collect()
}

#[test]
fn real_challenges_are_read_and_written_back() {
    for (name, header) in values("challenge") {
        let challenges = Challenge::parse_header(header).unwrap();
        let [challenge] = challenges.as_slice() else { panic!("{name}: one challenge") };
        assert_eq!(challenge.to_header(), header, "{name}");
        let request = challenge.decode_request().unwrap();
        let protocol = if name.starts_with("v1") { ProtocolVersion::V1 } else { ProtocolVersion::V2 };
        assert_eq!(request.details.protocol, protocol);
        assert_eq!(request.details.chain_id, ChainId(31337));
        assert_eq!(request.amount, Amount::new(10_000));
        assert_eq!(request.unit_type.as_deref(), Some("request"));
        assert_eq!(request.details.fee_payer, name == "v2-feepayer");
        // Ours are canonical too; the only difference is the letter case of addresses.
        let ours = String::from_utf8(decode(&request.encode())).unwrap();
        let theirs = String::from_utf8(decode(&challenge.request)).unwrap();
        assert_eq!(ours.to_lowercase(), theirs.to_lowercase(), "{name}");
    }
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn real_credentials_are_read_and_their_vouchers_hold() {
    let mut actions = Vec::new();
    for (name, credential) in credentials() {
        actions.push((name, credential.payload.action()));
        let protocol = if name.starts_with("v1") { ProtocolVersion::V1 } else { ProtocolVersion::V2 };
        credential.payload.check(protocol).unwrap();
        let escrow = if protocol == ProtocolVersion::V2 {
            farebox_core::voucher::v2::CHANNEL_RESERVE
        } else {
            "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512".parse().unwrap()
        };
        let payer: Address = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc".parse().unwrap();
        if let Some(descriptor) = credential.payload.descriptor() {
            let identity = Identity { chain_id: ChainId(31337), escrow, terms: Terms::V2(*descriptor) };
            assert_eq!(identity.channel_id(), credential.payload.channel(), "{name}");
            assert_eq!(identity.expected_signer(), payer);
        }
        let fields = match &credential.payload {
            Payload::Open(open) => &open.voucher,
            Payload::Voucher(voucher) | Payload::Close(voucher) => voucher,
            Payload::TopUp(top_up) => {
                assert_eq!(top_up.additional_deposit, Amount::new(20_000));
                continue;
            }
        };
        let domain = AnyDomain::new(protocol, ChainId(31337), escrow);
        let voucher = Voucher { channel_id: fields.channel, cumulative_amount: fields.cumulative };
        let signed = domain.parse(voucher, &fields.signature).unwrap();
        Verifier::new().verify_one(&domain, &signed, payer).unwrap();
    }
    for action in ["open", "voucher", "close"] {
        assert!(
            actions.contains(&("v1-basic", action)) && actions.contains(&("v2-basic", action)),
            "{action}"
        );
    }
    assert!(actions.contains(&("v2-topup", "topUp")) && actions.contains(&("v2-feepayer", "open")));
}

#[test]
fn real_credentials_survive_our_own_writing() {
    for (name, credential) in credentials() {
        let header = credential.to_header();
        let token = credential::find([header.as_bytes()]).unwrap().unwrap();
        assert!(Credential::parse(token).unwrap() == credential, "{name}");
    }
}

#[test]
fn a_challenge_of_another_server_is_unknown() {
    let keys = ChallengeKeys::new(ChallengeKey::new(&[9; 32]).unwrap());
    let realm = Realm::new("interop.local").unwrap();
    for (_, credential) in credentials() {
        let answer = credential.challenge.verify(&keys, &realm, UnixMillis(0));
        assert_eq!(answer, Err(EchoError::Unknown));
    }
}

#[test]
fn real_receipts_and_events_are_read() {
    for (name, header) in values("receipt") {
        let receipt = Receipt::parse_header(header).unwrap();
        assert_eq!(receipt.to_header(), header, "{name}: same members in the same order");
    }
    for (_, data) in values("event") {
        let event = NeedVoucher::parse_json(data.as_bytes()).unwrap();
        assert_eq!(event.to_json(), data);
        assert!(event.required > event.accepted);
    }
}

#[test]
fn the_request_of_the_session_draft_is_read() {
    // Draft, appendix "Example": v2, no operator.
    let json = r#"{"amount":"25","unitType":"llm_token","suggestedDeposit":"10000000",
        "currency":"0x20c0000000000000000000000000000000000000",
        "recipient":"0x742d35cc6634c0532925a3b844bc9e7595f8fe00",
        "methodDetails":{"escrowContract":"0x9d136eEa063eDE5418A6BC7bEafF009bBb6CFa70","chainId":4217,
        "sessionProtocol":"v2","unknown":[1]}}"#;
    use base64::Engine as _;
    let request = Request::decode(&base64::engine::general_purpose::URL_SAFE.encode(json)).unwrap();
    assert_eq!(request.amount, Amount::new(25));
    assert_eq!(request.suggested_deposit, Some(Amount::new(10_000_000)));
    assert_eq!(request.details.operator, Address::ZERO);
}

/// Ids that `Challenge.verify` of the npm package mppx 0.11.0 confirms for the same secret and parameters.
#[test]
fn ids_agree_with_another_implementation() {
    const KNOWN: [(ProtocolVersion, &str); 2] = [
        (ProtocolVersion::V2, "spwXKY1NyEtFMjzOkvdMrSeN_F-gySeD7EiySJKFUxo"),
        (ProtocolVersion::V1, "x70ITqWGg_yElA5sEtjiSHDoveAFKaN9TVzMmUJZeXA"),
    ];
    let keys = ChallengeKeys::new(ChallengeKey::new(b"0123456789abcdef0123456789abcdef").unwrap());
    let realm = Realm::new("api.example.com").unwrap();
    for (protocol, id) in KNOWN {
        let request = Request {
            amount: Amount::new(25),
            currency: Address::repeat_byte(0x20),
            recipient: Address::repeat_byte(0xab),
            unit_type: Some("event".into()),
            suggested_deposit: Some(Amount::new(1_000)),
            details: MethodDetails {
                chain_id: ChainId(42431),
                escrow: farebox_core::voucher::v2::CHANNEL_RESERVE,
                protocol,
                operator: Address::ZERO,
                voucher_delta_min: Amount::new(2),
                fee_payer: true,
            },
        };
        let challenge = Challenge::issue(&keys, &realm, &request, UnixMillis(4_000_000_000_123));
        assert_eq!(challenge.id, id);
    }
}

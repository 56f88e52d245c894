//! Malformed credentials, round trips, and what an echo must not get away with.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::credential::{Open, TopUp, VoucherFields, find};
use super::rfc3339::UnixMillis;
use super::*;
use crate::units::{Address, Amount, B256, ChainId, ChannelId};
use crate::voucher::ProtocolVersion;
use crate::voucher::v2::Descriptor;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn keys() -> ChallengeKeys {
    ChallengeKeys::new(ChallengeKey::new(b"a secret of at least 32 bytes, not to be shown").unwrap())
}

fn realm() -> Realm {
    Realm::new("api.example.com").unwrap()
}

fn request() -> Request {
    Request {
        amount: Amount::new(25),
        currency: Address::repeat_byte(0x20),
        recipient: Address::repeat_byte(0xAB),
        unit_type: Some("event".into()),
        suggested_deposit: None,
        details: MethodDetails {
            chain_id: ChainId(42431),
            escrow: crate::voucher::v2::CHANNEL_RESERVE,
            protocol: ProtocolVersion::V2,
            operator: Address::ZERO,
            voucher_delta_min: Amount::ZERO,
            fee_payer: false,
        },
    }
}

fn challenge() -> Challenge {
    Challenge::issue(&keys(), &realm(), &request(), NOW.saturating_add(60_000))
}

/// A well-formed v2 voucher credential as JSON, to be spoiled.
fn credential_json() -> Value {
    let challenge = challenge();
    json!({
        "challenge": {
            "id": challenge.id, "realm": challenge.realm, "method": "tempo", "intent": "session",
            "request": challenge.request, "expires": challenge.expires,
        },
        "payload": {
            "action": "voucher",
            "channelId": format!("0x{}", "Ab".repeat(32)),
            "cumulativeAmount": "250000",
            "signature": format!("0x{}", "0f".repeat(65)),
            "descriptor": {
                "payer": format!("0x{}", "aA".repeat(20)), "payee": format!("0x{}", "bb".repeat(20)),
                "operator": format!("0x{}", "00".repeat(20)), "token": format!("0x{}", "20".repeat(20)),
                "salt": format!("0x{}", "11".repeat(32)),
                "authorizedSigner": format!("0x{}", "00".repeat(20)),
                "expiringNonceHash": format!("0x{}", "22".repeat(32)),
            },
        },
        "future": {"ignored": true},
    })
}

fn parse(value: &Value) -> Result<Credential, CredentialError> {
    Credential::parse(&base64url::encode(value.to_string()))
}

/// The member at `path` of `value`.
fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(value, |value, name| &mut value[name])
}

#[test]
fn a_credential_is_read_in_any_letter_case() {
    let credential = parse(&credential_json()).unwrap();
    assert_eq!(credential.payload.channel().to_string(), format!("0x{}", "ab".repeat(32)));
    credential.payload.check(ProtocolVersion::V2).unwrap();
    let shown = format!("{credential:?}");
    assert!(shown.len() < 110 && !shown.contains("0f0f"), "{shown}");
}

#[test]
fn every_field_that_is_missing_or_of_another_kind_is_named() {
    let fields = [
        "challenge",
        "challenge.id",
        "challenge.realm",
        "challenge.method",
        "challenge.intent",
        "challenge.request",
        "payload",
        "payload.action",
        "payload.channelId",
        "payload.cumulativeAmount",
        "payload.signature",
        "payload.descriptor.payer",
        "payload.descriptor.payee",
        "payload.descriptor.operator",
        "payload.descriptor.token",
        "payload.descriptor.salt",
        "payload.descriptor.authorizedSigner",
        "payload.descriptor.expiringNonceHash",
    ];
    for path in fields {
        for (wrong, kind) in [(json!(null), ""), (json!(12), "a number"), (json!([1, 2]), "an array of 2")] {
            let mut value = credential_json();
            *at(&mut value, path) = wrong;
            let Err(CredentialError::Field(error)) = parse(&value) else { panic!("{path} {kind}") };
            let text = error.to_string();
            assert!(text.starts_with(path), "{text}");
            assert!(text.contains(if kind.is_empty() { "is missing" } else { kind }), "{text}");
            assert!(text.contains("expected"), "{text}");
        }
    }
}

#[test]
fn texts_that_are_no_hex_or_no_amount_are_refused() {
    let hex_fields = ["payload.channelId", "payload.signature", "payload.descriptor.payer"];
    for path in hex_fields {
        for wrong in ["", "0x", "0x0", "0xzz", "00", "0x0x00", "0x 00", "０x00", "0X00"] {
            let mut value = credential_json();
            *at(&mut value, path) = json!(wrong);
            assert!(matches!(parse(&value), Err(CredentialError::Field(_))), "{path} {wrong:?}");
        }
    }
    let too_large = "340282366920938463463374607431768211456";
    for wrong in ["", "-1", "+1", "1.0", "1e3", "0x10", " 1", too_large] {
        let mut value = credential_json();
        *at(&mut value, "payload.cumulativeAmount") = json!(wrong);
        assert!(matches!(parse(&value), Err(CredentialError::Field(_))), "{wrong:?}");
    }
}

#[test]
fn what_v2_adds_is_checked_for_v2_only() {
    let mut value = credential_json();
    *at(&mut value, "payload.cumulativeAmount") = json!("79228162514264337593543950336");
    let credential = parse(&value).unwrap();
    assert!(credential.payload.check(ProtocolVersion::V1).is_ok());
    let error = credential.payload.check(ProtocolVersion::V2).unwrap_err().to_string();
    assert!(error.contains("payload.cumulativeAmount") && error.contains("2^96 - 1"), "{error}");

    let mut value = credential_json();
    at(&mut value, "payload").as_object_mut().unwrap().remove("descriptor");
    let credential = parse(&value).unwrap();
    assert!(credential.payload.check(ProtocolVersion::V1).is_ok());
    assert!(matches!(credential.payload.check(ProtocolVersion::V2), Err(FieldError::Missing { .. })));
}

#[test]
fn what_is_no_credential_at_all() {
    let object = base64url::encode("[]");
    for (token, expected) in [
        ("", CredentialError::NotBase64Url),
        ("!!!!", CredentialError::NotBase64Url),
        ("e30 e30", CredentialError::NotBase64Url),
        ("e3", CredentialError::NotBase64Url),
        (object.as_str(), CredentialError::NotAnObject),
    ] {
        assert_eq!(Credential::parse(token).unwrap_err(), expected, "{token:?}");
    }
    let no_json = Credential::parse(&base64url::encode("{\"a\":")).unwrap_err();
    assert!(matches!(no_json, CredentialError::NotJson { line: 1, .. }));
    let not_utf8 = Credential::parse(&base64url::encode([b'{', b'"', 0xff, b'"', b'}'])).unwrap_err();
    assert!(matches!(not_utf8, CredentialError::NotJson { .. }));
    let deep = Credential::parse(&base64url::encode("[".repeat(20_000))).unwrap_err();
    assert!(matches!(deep, CredentialError::NotJson { .. }));
    let long = "A".repeat(CREDENTIAL_CHARS_MAX + 1);
    assert_eq!(Credential::parse(&long).unwrap_err(), CredentialError::TooLong { found_chars: long.len() });
    let mut value = credential_json();
    *at(&mut value, "payload.action") = json!("withdraw everything that there is");
    let error = parse(&value).unwrap_err();
    assert_eq!(
        error,
        CredentialError::UnknownAction { found: "withdraw everything that ".trim_end()[..24].into() }
    );
}

#[test]
fn at_least_four_kilobytes_are_taken() {
    let mut value = credential_json();
    value["padding"] = json!("x".repeat(8 * 1024));
    parse(&value).unwrap();
}

#[test]
fn the_credential_is_found_among_other_schemes() {
    let found = |values: &[&'static str]| find(values.iter().map(|value| value.as_bytes()));
    assert_eq!(found(&[]), Ok(None));
    assert_eq!(found(&["Bearer abc", "PaymentX abc"]), Ok(None));
    assert_eq!(found(&["payment   abc "]), Ok(Some("abc")));
    assert_eq!(found(&["Bearer abc, Payment def"]), Ok(Some("def")));
    assert_eq!(found(&["Bearer abc", "PAYMENT def"]), Ok(Some("def")));
    assert_eq!(found(&["Payment"]), Ok(Some("")));
    assert_eq!(found(&["Payment a", "Payment b"]), Err(CredentialError::Several { count: 2 }));
    assert_eq!(found(&["Payment a, Payment a"]), Err(CredentialError::Several { count: 2 }));
    assert_eq!(
        find([&[b'P', b'a', b'y', b'm', b'e', b'n', b't', b' ', 0xff][..]]),
        Err(CredentialError::NotText)
    );
}

#[test]
fn an_echo_proves_itself_and_nothing_in_it_may_change() {
    let credential = parse(&credential_json()).unwrap();
    assert_eq!(credential.challenge.verify(&keys(), &realm(), NOW), Ok(request()));

    let mut cheaper = request();
    cheaper.amount = Amount::new(1);
    for (path, changed) in [
        ("challenge.id", json!("AAAA")),
        ("challenge.id", json!("")),
        ("challenge.realm", json!("other.example.com")),
        ("challenge.method", json!("stripe")),
        ("challenge.intent", json!("charge")),
        ("challenge.request", json!(cheaper.encode())),
        ("challenge.request", json!("%")),
        ("challenge.expires", json!("2999-01-01T00:00:00Z")),
        ("challenge.expires", json!(null)),
        ("challenge.digest", json!("sha-256=:AA==:")),
        ("challenge.opaque", json!("e30")),
    ] {
        let mut value = credential_json();
        *at(&mut value, path) = changed.clone();
        let echo = parse(&value).unwrap().challenge;
        assert_eq!(echo.verify(&keys(), &realm(), NOW), Err(EchoError::Unknown), "{path} {changed}");
    }
    let late = NOW.saturating_add(60_000);
    assert!(matches!(credential.challenge.verify(&keys(), &realm(), late), Err(EchoError::Expired { .. })));
    let other = ChallengeKeys::new(ChallengeKey::new(&[1; 32]).unwrap());
    assert_eq!(credential.challenge.verify(&other, &realm(), NOW), Err(EchoError::Unknown));
}

#[test]
fn prices_and_terms_are_compared() {
    let mut other = request();
    other.suggested_deposit = Some(Amount::new(1));
    other.details.voucher_delta_min = Amount::new(1);
    other.details.fee_payer = true;
    assert!(request().same_price(&other), "hints may differ");
    let mut dearer = request();
    dearer.amount = Amount::new(26);
    assert!(request().same_terms(&dearer) && !request().same_price(&dearer));
    let mut elsewhere = request();
    elsewhere.details.operator = Address::repeat_byte(1);
    assert!(!request().same_terms(&elsewhere));
}

#[test]
fn realms_are_plain() {
    for fine in ["a", "api.example.com:8080", "[::1]"] {
        assert_eq!(Realm::new(fine).unwrap().as_str(), fine);
    }
    let long = "a".repeat(256);
    for wrong in ["", "a b", "a\"b", "a\\b", "a|b", "a\nb", "é", long.as_str()] {
        assert!(Realm::new(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn several_challenges_and_schemes_in_one_header() {
    let one = challenge();
    let header =
        format!("Basic realm=\"x, Payment y\", {}, Negotiate abc==, {}", one.to_header(), one.to_header());
    assert_eq!(Challenge::parse_header(&header).unwrap(), vec![one.clone(), one]);
    for wrong in [
        "Payment id=\"a",
        "Payment id=\"a\" realm=\"b\"",
        "Payment id=a",
        "Payment id=\"\", realm=a, method=b, intent=c, request=d",
        "Payment id=a, id=b",
        "=",
        "\"",
    ] {
        assert_eq!(Challenge::parse_header(wrong), None, "{wrong}");
    }
}

#[test]
fn the_request_key_names_the_payment_and_not_its_text() {
    let credential = parse(&credential_json()).unwrap();
    let key = credential.request_key(None);
    let mut value = credential_json();
    *at(&mut value, "payload.signature") = json!(format!("0x{}", "0e".repeat(64)));
    *at(&mut value, "payload.channelId") = json!(format!("0x{}", "aB".repeat(32)));
    assert_eq!(parse(&value).unwrap().request_key(None), key, "another spelling of the same payment");
    *at(&mut value, "payload.cumulativeAmount") = json!("250001");
    assert_ne!(parse(&value).unwrap().request_key(None), key);
    assert_ne!(credential.request_key(Some("a")), key);
    assert_ne!(credential.request_key(Some("a")), credential.request_key(Some("b")));
}

fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    any::<([u8; 20], [u8; 20], [u8; 20], [u8; 20], [u8; 32], [u8; 20], [u8; 32])>().prop_map(|parts| {
        Descriptor {
            payer: parts.0.into(),
            payee: parts.1.into(),
            operator: parts.2.into(),
            token: parts.3.into(),
            salt: parts.4.into(),
            authorized_signer: parts.5.into(),
            expiring_nonce_hash: parts.6.into(),
        }
    })
}

fn any_voucher() -> impl Strategy<Value = VoucherFields> {
    let signature = prop::collection::vec(any::<u8>(), 1..140);
    (any::<[u8; 32]>(), any::<u128>(), signature, prop::option::of(any_descriptor())).prop_map(
        |(channel, cumulative, signature, descriptor)| VoucherFields {
            channel: ChannelId(channel.into()),
            cumulative: Amount::new(cumulative),
            signature,
            descriptor,
        },
    )
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let transaction = || prop::collection::vec(any::<u8>(), 1..200);
    prop_oneof![
        any_voucher().prop_map(Payload::Voucher),
        any_voucher().prop_map(Payload::Close),
        (any_voucher(), transaction(), prop::option::of(any::<[u8; 20]>())).prop_map(
            |(voucher, transaction, signer)| Payload::Open(Open {
                voucher,
                transaction,
                authorized_signer: signer.map(Address::from),
            })
        ),
        (any_voucher(), transaction()).prop_map(|(voucher, transaction)| Payload::TopUp(TopUp {
            channel: voucher.channel,
            transaction,
            additional_deposit: voucher.cumulative,
            descriptor: voucher.descriptor,
        })),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let amounts =
        (0..=Amount::MAX_V2.get(), prop::option::of(0..=Amount::MAX_V2.get()), 0..=Amount::MAX_V2.get());
    let addresses = any::<[[u8; 20]; 4]>();
    (amounts, addresses, prop::option::of("\\PC{0,20}"), any::<u64>(), any::<(bool, bool)>()).prop_map(
        |(
            (amount, deposit, delta),
            [currency, recipient, escrow, operator],
            unit,
            chain,
            (v2, fee_payer),
        )| Request {
            amount: Amount::new(amount),
            currency: currency.into(),
            recipient: recipient.into(),
            unit_type: unit,
            suggested_deposit: deposit.map(Amount::new),
            details: MethodDetails {
                chain_id: ChainId(chain),
                escrow: escrow.into(),
                protocol: if v2 { ProtocolVersion::V2 } else { ProtocolVersion::V1 },
                operator: operator.into(),
                voucher_delta_min: Amount::new(delta),
                fee_payer,
            },
        },
    )
}

proptest! {
    #[test]
    fn credentials_survive(payload in any_payload(), source in prop::option::of("\\PC{0,40}")) {
        let credential = Credential { challenge: Echo::of(&challenge()), payload, source };
        let header = credential.to_header();
        let token = find([header.as_bytes()]).unwrap().unwrap();
        let read = Credential::parse(token).unwrap();
        prop_assert!(read == credential);
        prop_assert!(read.challenge.verify(&keys(), &realm(), NOW).is_ok());
    }

    #[test]
    fn challenges_survive(request in any_request(), millis in 0..=rfc3339::UNIX_MILLIS_MAX.0, words in prop::option::of("[ -~]{0,30}")) {
        let mut challenge = Challenge::issue(&keys(), &realm(), &request, UnixMillis(millis));
        challenge.description = words;
        prop_assert_eq!(Challenge::parse_header(&challenge.to_header()), Some(vec![challenge.clone()]));
        prop_assert_eq!(challenge.decode_request(), Ok(request));
    }

    #[test]
    fn receipts_and_events_survive(parts in any::<(u128, u128, [u8; 32], Option<u64>)>(), millis in 0..=rfc3339::UNIX_MILLIS_MAX.0, id in "\\PC{0,50}") {
        let receipt = Receipt {
            timestamp: UnixMillis(millis),
            challenge_id: id,
            channel: ChannelId(parts.2.into()),
            accepted: Amount::new(parts.0),
            spent: Amount::new(parts.1),
            units: parts.3,
            tx_hash: parts.3.map(|_| B256::new(parts.2)),
        };
        prop_assert_eq!(Receipt::parse_header(&receipt.to_header()), Ok(receipt.clone()));
        let event = receipt.to_event();
        let data = event.strip_prefix("event: payment-receipt\ndata: ").unwrap().trim_end();
        prop_assert_eq!(Receipt::parse_json(data.as_bytes()), Ok(receipt));
        let need = NeedVoucher { channel: ChannelId(parts.2.into()), required: Amount::new(parts.0), accepted: Amount::new(parts.1), deposit: Amount::ZERO };
        prop_assert_eq!(NeedVoucher::parse_json(need.to_json().as_bytes()), Ok(need));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        let _ = find([bytes.as_slice()]);
        let _ = Credential::parse(&text);
        let _ = Credential::parse(&base64url::encode(&bytes));
        let _ = Challenge::parse_header(&text);
        let _ = Request::decode(&base64url::encode(&bytes));
        let _ = Receipt::parse_header(&text);
    }

    #[test]
    fn no_json_panics(json in any_json()) {
        let mut value = credential_json();
        value["payload"] = json.clone();
        let _ = parse(&value);
        value["challenge"] = json;
        let _ = parse(&value);
    }

    #[test]
    fn no_header_panics(parts in prop::collection::vec(prop_oneof![Just("Payment"), Just(" "), Just(","), Just("id"), Just("="), Just("\""), Just("\\"), Just("é"), Just("x")], 0..30)) {
        let header: String = parts.concat();
        let _ = Challenge::parse_header(&header);
        let _ = find([header.as_bytes()]);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(Value::from("open")),
        Just(Value::from("transaction")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names =
            prop_oneof![Just("action"), Just("channelId"), Just("descriptor"), Just("type"), Just("id")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..6).prop_map(|members| {
                let members: Vec<(String, Value)> =
                    members.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
                Value::Object(members.into_iter().collect())
            }),
        ]
    })
}

/// Both readers of a voucher's credential, on the same JSON.
fn agree(json: &[u8]) -> Result<(), TestCaseError> {
    if let Some(read) = core::str::from_utf8(json).ok().and_then(super::scan::voucher) {
        let whole = Credential::parse_json(json);
        prop_assert!(whole.as_ref() == Ok(&read), "{:?} and {:?}", whole, read);
    }
    Ok(())
}

/// The JSON of a voucher's credential, as clients write it.
fn voucher_json(payload: Payload, source: Option<String>) -> Vec<u8> {
    let header = Credential { challenge: Echo::of(&challenge()), payload, source }.to_header();
    base64url::decode(&header[SCHEME.len() + 1..]).unwrap()
}

proptest! {
    #[test]
    fn vouchers_are_read_in_one_pass(voucher in any_voucher(), source in prop::option::of("[ -!#-\\[\\]-~]{0,40}")) {
        let json = voucher_json(Payload::Voucher(voucher.clone()), source.clone());
        let read = super::scan::voucher(core::str::from_utf8(&json).unwrap()).expect("a plain voucher");
        prop_assert!(read.payload == Payload::Voucher(voucher) && read.source == source);
        agree(&json)?;
    }

    #[test]
    fn what_is_changed_is_read_alike_or_by_one_alone(
        voucher in any_voucher(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6),
    ) {
        let mut json = voucher_json(Payload::Voucher(voucher), None);
        for (place, kind, byte) in edits {
            let at = place.index(json.len());
            match kind {
                0 => json[at] = byte,
                1 => { json.remove(at); }
                2 => json.insert(at, b"\"\\{}:, \t\n0x9"[usize::from(byte) % 12]),
                // A part again: repeated members, among others.
                _ => {
                    let part = json[at..json.len().min(at + usize::from(byte))].to_vec();
                    json.splice(at..at, part);
                }
            }
        }
        agree(&json)?;
    }
}

#[test]
fn what_is_not_plain_is_left_to_the_whole_reader() {
    let json = credential_json();
    let voucher = Credential::parse_json(json.to_string().as_bytes()).unwrap().payload;
    let json = String::from_utf8(voucher_json(voucher, None)).unwrap();
    assert!(super::scan::voucher(&json).is_some());
    // The time has colons too, but none between quotes.
    let spaced = json.replace("\":", "\" : ").replace(",\"", "\n,\t\"");
    assert!(super::scan::voucher(&spaced).is_some());
    let described = json.replacen("\"id\":", "\"description\":\"words\",\"id\":", 1);
    assert!(super::scan::voucher(&described).is_some(), "clients repeat the description");
    for (from, to) in [
        ("\"voucher\"", "\"close\""),
        ("\"voucher\"", "\"vou\\u0063her\""),
        ("\"payload\":{", "\"payload\":{\"extra\":1,"),
        ("\"payload\":{", "\"payload\":{\"action\":\"voucher\","),
        ("\"payload\":{", "\"source\":null,\"payload\":{"),
        ("0x", "0X"),
        ("{", "{}"),
        ("}}", "}},"),
        ("}}", "}} x"),
    ] {
        let changed = json.replacen(from, to, 1);
        assert!(super::scan::voucher(&changed).is_none(), "{from} {to}");
    }
}

//! `farebox verify`, run as a program: against the vectors, and against another library's signatures.

mod program;

use alloy_primitives::{Address, B256, U256, hex};
use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use k256::ecdsa::SigningKey;
use program::{command, end_of, farebox, farebox_with_input};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engine/core/tests/vectors/vouchers.json");

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(VECTORS).unwrap()).unwrap();
    file["vouchers"].as_array().unwrap().clone()
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn agrees(stdout: &str, vouchers: &[Value]) {
    let answers = lines(stdout);
    assert_eq!(answers.len(), vouchers.len());
    for (answer, voucher) in answers.iter().zip(vouchers) {
        // `null`: valid over HTTP, and not in this form on chain.
        let valid = voucher["valid"].as_bool().unwrap_or(true);
        assert_eq!(answer["valid"], valid, "{answer} {voucher}");
        assert_eq!(answer["reason"].is_string(), !valid, "{answer}");
    }
}

#[test]
fn every_vector_agrees_in_every_shape_of_input() {
    let vouchers = vectors();
    let by_file = farebox(&["verify", VECTORS]);
    agrees(&by_file.stdout, &vouchers);
    assert_eq!(by_file.code, 1, "some vectors are invalid");
    let array = farebox_with_input(&["verify"], Value::from(vouchers.clone()).to_string().as_bytes());
    assert_eq!((array.code, &array.stdout), (1, &by_file.stdout));
    let ndjson: String = vouchers.iter().map(|voucher| format!("{voucher}\n")).collect();
    let ndjson = farebox_with_input(&["verify"], ndjson.as_bytes());
    assert_eq!((ndjson.code, &ndjson.stdout), (1, &by_file.stdout));

    let valid: Vec<Value> = vouchers.into_iter().filter(|voucher| voucher["valid"] == true).collect();
    let all_valid = farebox_with_input(&["verify"], Value::from(valid.clone()).to_string().as_bytes());
    agrees(&all_valid.stdout, &valid);
    assert_eq!(all_valid.code, 0);
}

#[test]
fn the_environment_chooses_the_backend_and_a_wrong_one_is_refused() {
    let with = |backend: &str| {
        let mut verify = command(&["verify", VECTORS]);
        verify.env("FAREBOX_BACKEND", backend);
        end_of(verify, b"")
    };
    agrees(&with("portable").stdout, &vectors());
    agrees(&with("").stdout, &vectors());
    let avx512 = with("avx512");
    if farebox_crypto::backend::Backend::detect().name() == "avx512" {
        agrees(&avx512.stdout, &vectors());
    } else {
        assert_eq!(avx512.code, 3);
        assert!(
            avx512.stderr.contains("FAREBOX_BACKEND is \"avx512\": this machine cannot"),
            "{}",
            avx512.stderr
        );
    }
    let wrong = with("AVX-512");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (3, ""));
    assert!(
        wrong.stderr.contains(
            "FAREBOX_BACKEND is \"AVX-512\": there is no such backend, expected portable or avx512"
        ),
        "{}",
        wrong.stderr
    );
}

#[test]
fn what_cannot_be_used_ends_with_2_and_says_why() {
    for input in ["", "not json", "[1]", "{\"vouchers\":{}}", "[", "\u{0}"] {
        let run = farebox_with_input(&["verify"], input.as_bytes());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{input:?}: {run:?}");
        assert!(run.stderr.starts_with("farebox: the input "), "{run:?}");
    }
    let run = farebox(&["verify", "/nonexistent/vouchers.json"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("/nonexistent/vouchers.json: cannot be read"), "{run:?}");
}

mod v1 {
    super::sol! {
        struct Voucher { bytes32 channelId; uint128 cumulativeAmount; }
    }
}

mod v2 {
    super::sol! {
        struct Voucher { bytes32 channelId; uint96 cumulativeAmount; }
    }
}

/// The digest of a voucher by alloy's EIP-712, which shares no code with ours.
fn digest(protocol: &str, chain_id: u64, escrow: Address, channel: B256, amount: u128) -> B256 {
    let domain = |name: &'static str| {
        Eip712Domain::new(Some(name.into()), Some("1".into()), Some(U256::from(chain_id)), Some(escrow), None)
    };
    match protocol {
        "v1" => v1::Voucher { channelId: channel, cumulativeAmount: amount }
            .eip712_signing_hash(&domain("Tempo Stream Channel")),
        _ => v2::Voucher { channelId: channel, cumulativeAmount: amount.try_into().unwrap() }
            .eip712_signing_hash(&domain("TIP20 Channel Reserve")),
    }
}

/// One random voucher, and whether it is valid.
fn random_voucher(random: &mut StdRng, keys: &[SigningKey]) -> (Value, bool) {
    let protocol = if random.random() { "v1" } else { "v2" };
    let chain_id: u64 = random.random_range(1..1 << 40);
    let escrow = Address::from(random.random::<[u8; 20]>());
    let channel = B256::from(random.random::<[u8; 32]>());
    let amount: u128 = random.random::<u128>() >> random.random_range(32..128);
    let key = &keys[random.random_range(0..keys.len())];
    let point = key.verifying_key().to_sec1_point(false);
    let mut signer = Address::from_raw_public_key(&point.as_bytes()[1..]);
    let digest = digest(protocol, chain_id, escrow, channel, amount);
    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice());
    let mut signature = signature.to_bytes().to_vec();
    let odd = recovery.is_y_odd();
    if random.random_bool(0.25) {
        // EIP-2098: the parity in the highest bit of s.
        signature[32] |= u8::from(odd) << 7;
    } else {
        signature.push(27 + u8::from(odd));
    }
    let mut said = amount;
    let mut valid = true;
    match random.random_range(0..10) {
        0 => {
            said ^= 1;
            valid = false;
        }
        1 => {
            let byte = random.random_range(0..20);
            signer.0[byte] ^= 1 << random.random_range(0..8);
            valid = false;
        }
        2 => {
            let bit = random.random_range(0..64 * 8);
            signature[bit / 8] ^= 1 << (bit % 8);
            valid = false;
        }
        _ => {}
    }
    let record = json!({
        "protocol": protocol,
        "chainId": chain_id,
        "escrow": escrow.to_string(),
        "channelId": channel.to_string(),
        "cumulativeAmount": said.to_string(),
        "signature": hex::encode_prefixed(signature),
        "expectedSigner": signer.to_string(),
    });
    (record, valid)
}

#[test]
fn ten_thousand_random_vouchers_of_another_library_agree() {
    let mut random = StdRng::seed_from_u64(402);
    let keys: Vec<SigningKey> = (0..16)
        .map(|_| {
            let mut secret = [0; 32];
            random.fill_bytes(&mut secret);
            SigningKey::from_slice(&secret).unwrap()
        })
        .collect();
    let (records, valid): (Vec<Value>, Vec<bool>) =
        (0..10_000).map(|_| random_voucher(&mut random, &keys)).unzip();
    assert!(valid.iter().filter(|valid| **valid).count() > 6_000);
    let input: String = records.iter().map(|record| format!("{record}\n")).collect();
    let run = farebox_with_input(&["verify"], input.as_bytes());
    assert_eq!(run.code, 1, "{}", run.stderr);
    let answers = lines(&run.stdout);
    assert_eq!(answers.len(), records.len());
    for ((answer, valid), record) in answers.iter().zip(&valid).zip(&records) {
        assert_eq!(answer["valid"], *valid, "{answer} {record}");
    }
}

//! Records with every field broken in turn. That valid ones pass is shown with the vectors.

use alloc::string::ToString;

use serde_json::{Value, json};

use super::*;

/// A record that a second library signed (see `tests/vectors`).
fn good() -> Value {
    json!({
        "protocol": "v1",
        "chainId": 4217,
        "escrow": "0x51bd6194a25ac6ebe692e622350e1d85440cf132",
        "channelId": "0xac1c0b6b5bb516a104d5d8669ebc1d8a7ecf6b72763f4ea542c5101b4f2d2260",
        "cumulativeAmount": "0",
        "signature": "0x5082661a0bb138ff3dbab9632a2dea82e42d143bf1b3520a1c35ce2c725e2d69\
                      3ddff65fbe229ff20f096f1092cb63297fe9cf9e54818105394ef8454f3690dd1c",
        "expectedSigner": "0x02d60b5259ee279855d5b036a1273a147cac4e3c",
        "note": {"unknown": ["fields", "are", "ignored"]},
    })
}

fn verdict(record: &Value) -> Result<(), Reason> {
    let record: VoucherRecord = serde_json::from_value(record.clone()).unwrap();
    record.verify(&Verifier::new())
}

fn with(field: &str, value: Value) -> Value {
    let mut record = good();
    record[field] = value;
    record
}

#[test]
fn harmless_differences_do_not_matter() {
    assert_eq!(verdict(&good()), Ok(()));
    assert_eq!(verdict(&with("chainId", json!("4217"))), Ok(()));
    for field in ["escrow", "channelId", "signature", "expectedSigner"] {
        let upper = good()[field].as_str().unwrap()[2..].to_uppercase();
        assert_eq!(verdict(&with(field, json!("0x".to_string() + &upper))), Ok(()), "{field}");
    }
}

#[test]
fn a_malformed_field_is_named_with_what_it_holds() {
    let long = "0x".to_string() + &"ab".repeat(500);
    let cases = [
        ("protocol", json!("v3"), "malformed_protocol"),
        ("protocol", json!("V1"), "malformed_protocol"),
        ("protocol", json!(1), "malformed_protocol"),
        ("chainId", json!("+1"), "malformed_chain_id"),
        ("chainId", json!(""), "malformed_chain_id"),
        ("chainId", json!("0x1079"), "malformed_chain_id"),
        ("chainId", json!("18446744073709551616"), "malformed_chain_id"),
        ("chainId", json!(-1), "malformed_chain_id"),
        ("chainId", json!(1.5), "malformed_chain_id"),
        ("chainId", json!(null), "malformed_chain_id"),
        ("escrow", json!("51bd6194a25ac6ebe692e622350e1d85440cf132"), "malformed_escrow"),
        ("escrow", json!("0x51bd"), "malformed_escrow"),
        ("escrow", json!(["0x51bd"]), "malformed_escrow"),
        ("channelId", json!("0x"), "malformed_channel_id"),
        (
            "channelId",
            json!("0x0x1c0b6b5bb516a104d5d8669ebc1d8a7ecf6b72763f4ea542c5101b4f2d2260"),
            "malformed_channel_id",
        ),
        ("channelId", json!({"id": 5}), "malformed_channel_id"),
        ("channelId", json!(long), "malformed_channel_id"),
        ("cumulativeAmount", json!(5), "malformed_cumulative_amount"),
        ("cumulativeAmount", json!("-5"), "malformed_cumulative_amount"),
        ("cumulativeAmount", json!("1e3"), "malformed_cumulative_amount"),
        ("cumulativeAmount", json!("340282366920938463463374607431768211456"), "malformed_cumulative_amount"),
        ("signature", json!("0x123"), "malformed_signature"),
        ("signature", json!("0xzz"), "malformed_signature"),
        ("signature", json!("5082"), "malformed_signature"),
        ("signature", json!(true), "malformed_signature"),
        ("expectedSigner", json!("0x02d60b5259ee279855d5b036a1273a147cac4e3"), "malformed_expected_signer"),
        ("expectedSigner", json!("me"), "malformed_expected_signer"),
    ];
    for (field, value, code) in cases {
        let reason = verdict(&with(field, value.clone())).unwrap_err();
        assert_eq!(reason.code(), code, "{field} = {value}");
        let text = reason.to_string();
        assert!(text.starts_with(field) && text.contains("expected"), "{text}");
        assert!(text.len() < 300, "{text}");
    }
}

#[test]
fn a_missing_field_is_malformed_too() {
    for (field, code) in [
        ("protocol", "malformed_protocol"),
        ("chainId", "malformed_chain_id"),
        ("escrow", "malformed_escrow"),
        ("channelId", "malformed_channel_id"),
        ("cumulativeAmount", "malformed_cumulative_amount"),
        ("signature", "malformed_signature"),
        ("expectedSigner", "malformed_expected_signer"),
    ] {
        let mut record = good();
        record.as_object_mut().unwrap().remove(field);
        let reason = verdict(&record).unwrap_err();
        assert_eq!(reason.code(), code);
        assert!(reason.to_string().contains("found nothing"), "{reason}");
    }
}

#[test]
fn a_reason_of_the_voucher_keeps_its_code() {
    for (signature, code) in
        [("0x", "wrong_length"), (&*("0x".to_string() + &"11".repeat(4000)), "wrong_length")]
    {
        assert_eq!(verdict(&with("signature", json!(signature))).unwrap_err().code(), code);
    }
    let other = with("expectedSigner", json!("0x0000000000000000000000000000000000000001"));
    let reason = verdict(&other).unwrap_err();
    assert_eq!(reason.code(), "wrong_signer");
    assert_eq!(
        reason.to_string(),
        "the signature is not one over this voucher by its signer, \
         expected one by 0x0000000000000000000000000000000000000001"
    );
    let record: VoucherRecord = serde_json::from_value(other).unwrap();
    let signer: Address = good()["expectedSigner"].as_str().unwrap().parse().unwrap();
    assert_eq!(record.recover_signer(), Ok(signer));
}

#[test]
fn a_signature_that_nobody_made_is_named_to_who_asks_for_the_signer() {
    // 5 is no x coordinate of the curve.
    let nobody = alloc::format!("0x{:064x}{:064x}1b", 5, 1);
    let record: VoucherRecord = serde_json::from_value(with("signature", json!(nobody))).unwrap();
    assert_eq!(record.verify(&Verifier::new()).unwrap_err().code(), "wrong_signer");
    assert_eq!(record.recover_signer(), Err(Reason::Voucher(VoucherError::Unrecoverable)));
}

#[test]
fn broken_records_do_not_shift_the_answers_of_others() {
    let record = |value: Value| serde_json::from_value::<VoucherRecord>(value).unwrap();
    let records = [
        record(good()),
        record(with("escrow", json!("?"))),
        record(with("chainId", json!(1))),
        record(with("signature", json!("0x00"))),
        record(json!({})),
        record(good()),
    ];
    let codes: Vec<_> = verify_records(&Verifier::new(), &records)
        .iter()
        .map(|answer| answer.as_ref().map_or_else(Reason::code, |()| "valid"))
        .collect();
    let expected =
        ["valid", "malformed_escrow", "wrong_signer", "wrong_length", "malformed_protocol", "valid"];
    assert_eq!(codes, expected);
    assert_eq!(verify_records(&Verifier::new(), &[]), []);
}

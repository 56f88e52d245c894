//! `farebox decode-open`, run as a program, against transactions that other libraries signed.

mod program;

use program::farebox;
use serde_json::Value;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engine/core/tests/vectors/vouchers.json");

#[test]
fn every_open_of_the_vectors_is_read() {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(VECTORS).unwrap()).unwrap();
    let opens = file["opens"].as_array().unwrap();
    assert!(!opens.is_empty());
    for open in opens {
        let run = farebox(&["decode-open", open["transaction"].as_str().unwrap()]);
        assert_eq!(run.code, 0, "{run:?}");
        let read: Value = serde_json::from_str(&run.stdout).unwrap();
        for key in ["expiringNonceHash", "channelId", "descriptor", "escrow", "chainId", "deposit"] {
            assert_eq!(read[key], open[key], "{key}");
        }
        assert_eq!(read["sender"], open["descriptor"]["payer"]);
        assert_eq!(read["protocol"], "v2");
        assert_eq!(read["feePayer"].is_null(), open["sponsored"] == false, "{read}");
    }
}

#[test]
fn what_opens_no_channel_is_refused_with_the_reason() {
    for (transaction, says) in [
        ("76f9", "not hex with the prefix 0x"),
        ("0x", "the transaction is empty"),
        ("0x02f8", "expected 0x76"),
        ("0x76f8", "cannot be decoded"),
        ("0xzz", "not hex"),
    ] {
        let run = farebox(&["decode-open", transaction]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(run.stderr.contains(says), "{transaction}: {run:?}");
    }
}

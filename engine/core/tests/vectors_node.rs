//! Damaged signatures of every kind, with the verdict of a Tempo node's own code: ours must be the same,
//! or a voucher that was accepted could not be settled.

use farebox_core::units::{Address, B256, ChainId, ChannelId};
use farebox_core::voucher::{Domain, SignedVoucher, V2, Verifier, Voucher, VoucherError};
use serde::Deserialize;

const VECTORS: &str = include_str!("vectors/node.json");

#[derive(Deserialize)]
struct Vectors {
    vouchers: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    channel_id: String,
    cumulative_amount: String,
    signature: String,
    expected_signer: String,
    valid: bool,
}

impl Case {
    fn verify(&self) -> Result<(), VoucherError> {
        let channel_id = ChannelId(self.channel_id.parse::<B256>().unwrap());
        let voucher = Voucher { channel_id, cumulative_amount: self.cumulative_amount.parse().unwrap() };
        let signature = alloy_primitives::hex::decode(&self.signature).unwrap();
        let signed = SignedVoucher::<V2>::parse(voucher, &signature)?;
        let signer: Address = self.expected_signer.parse().unwrap();
        let verified = Verifier::new().verify_one(&Domain::tempo(ChainId(4217)), &signed, signer)?;
        assert_eq!(verified.signature().as_bytes(), signature, "a node gets the bytes that it would accept");
        Ok(())
    }
}

#[test]
fn every_verdict_is_that_of_a_node() {
    let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
    let mut met = [0; 2];
    for case in &vectors.vouchers {
        let verdict = case.verify();
        assert_eq!(verdict.is_ok(), case.valid, "{verdict:?}: {}", case.signature);
        met[usize::from(case.valid)] += 1;
    }
    assert!(met.iter().all(|count| *count > 150), "both verdicts must be met often: {met:?}");
}

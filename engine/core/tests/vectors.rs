//! Vouchers and channels that other libraries made (viem and ox): digests, ids and verdicts must agree.

use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::record::{Reason, VoucherRecord, verify_records};
use farebox_core::voucher::{
    AnyDomain, AnySignedVoucher, ProtocolVersion, Verifier, Voucher, VoucherError, v1, v2,
};
use serde::Deserialize;
use serde_json::Value;

const VECTORS: &str = include_str!("vectors/vouchers.json");

/// Chosen so that an emptied file cannot pass.
const VOUCHERS: usize = 832;
const CHANNELS: usize = 12;
const OPENS: usize = 2;

#[derive(Deserialize)]
struct Vectors {
    vouchers: Vec<Value>,
    channels: Vec<ChannelCase>,
    opens: Vec<ChannelCase>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoucherCase {
    protocol: String,
    chain_id: u64,
    escrow: String,
    channel_id: String,
    cumulative_amount: String,
    signature: String,
    expected_signer: String,
    /// Absent when the amount has no digest.
    digest: Option<String>,
    /// `null`: TIP-1020 refuses these bytes, the session draft takes them and expands them to 65.
    valid: Option<bool>,
    why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelCase {
    /// Opens are all of v2.
    protocol: Option<String>,
    chain_id: u64,
    escrow: String,
    descriptor: DescriptorCase,
    channel_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorCase {
    payer: String,
    payee: String,
    operator: Option<String>,
    token: String,
    salt: String,
    authorized_signer: String,
    expiring_nonce_hash: Option<String>,
}

impl VoucherCase {
    fn domain(&self) -> AnyDomain {
        AnyDomain::new(self.protocol.parse().unwrap(), ChainId(self.chain_id), address(&self.escrow))
    }

    fn voucher(&self) -> Voucher {
        Voucher {
            channel_id: ChannelId(word(&self.channel_id)),
            cumulative_amount: self.cumulative_amount.parse().unwrap(),
        }
    }

    fn parse(&self) -> Result<AnySignedVoucher, VoucherError> {
        let signature = alloy_primitives::hex::decode(&self.signature).unwrap();
        self.domain().parse(self.voucher(), &signature)
    }

    fn verify(&self) -> Result<Vec<u8>, VoucherError> {
        let signed = self.parse()?;
        let verified = Verifier::new().verify_one(&self.domain(), &signed, address(&self.expected_signer))?;
        assert_eq!(*verified.get(), self.voucher());
        Ok(verified.signature().as_bytes().to_vec())
    }

    /// The codes that are right for what the vector says is wrong.
    fn codes(&self) -> &'static [&'static str] {
        match self.why.as_str() {
            "high s" => &["high_s"],
            "r is the group order" => &["r_out_of_range"],
            "r is zero" => &["zero_r"],
            "s is zero" => &["zero_s"],
            "v is 29" => &["bad_v"],
            "63 bytes" => &["wrong_length"],
            "amount does not fit uint96" => &["amount_too_large"],
            "keychain wrapper (0x03) is refused for vouchers" => &["keychain_signature"],
            "p256, signed for a smaller amount" => &["invalid_signature"],
            "webAuthn, signed for a smaller amount" => &["webauthn_challenge_mismatch"],
            "signed by another key"
            | "wrong parity"
            | "signed for another chain"
            | "signed for another escrow" => &["wrong_signer"],
            why => panic!("unknown kind of vector: {why}"),
        }
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn word(text: &str) -> B256 {
    text.parse().unwrap()
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).unwrap()
}

fn cases() -> Vec<VoucherCase> {
    vectors().vouchers.into_iter().map(|case| serde_json::from_value(case).unwrap()).collect()
}

#[test]
fn every_voucher_gets_its_verdict() {
    let cases = cases();
    assert_eq!(cases.len(), VOUCHERS);
    let mut expanded = 0;
    for case in &cases {
        match (case.valid, case.verify()) {
            (Some(true), verdict) => assert!(verdict.is_ok(), "{}: {verdict:?}", case.why),
            (None, verdict) => {
                let chain = verdict.unwrap_or_else(|error| panic!("{}: {error}", case.why));
                assert_eq!(chain.len(), 65);
                let again = case.domain().parse(case.voucher(), &chain).unwrap();
                let signer = address(&case.expected_signer);
                Verifier::new().verify_one(&case.domain(), &again, signer).unwrap();
                expanded += 1;
            }
            (Some(false), verdict) => {
                let error = verdict.expect_err(&case.why);
                assert!(case.codes().contains(&error.code()), "{}: {error}", case.why);
            }
        }
    }
    assert_eq!(expanded, 30);
}

#[test]
fn every_digest_is_the_same() {
    for case in cases() {
        let found = case.domain().digest(&case.voucher());
        match case.digest {
            Some(digest) => assert_eq!(found, Ok(word(&digest)), "{}", case.why),
            None => {
                let max = Amount::MAX_V2;
                let refused = VoucherError::AmountTooLarge { found: case.voucher().cumulative_amount, max };
                assert_eq!(found, Err(refused));
            }
        }
    }
}

#[test]
fn records_get_the_same_verdicts_in_one_batch() {
    let vectors = vectors();
    let records: Vec<VoucherRecord> =
        vectors.vouchers.into_iter().map(|case| serde_json::from_value(case).unwrap()).collect();
    let answers = verify_records(&Verifier::new(), &records);
    assert_eq!(answers.len(), VOUCHERS);
    for (case, (record, answer)) in cases().iter().zip(records.iter().zip(&answers)) {
        assert_eq!(*answer, case.verify().map(drop).map_err(Reason::from), "{}", case.why);
        assert_eq!(*answer, record.verify(&Verifier::new()), "{}", case.why);
    }
}

#[test]
fn every_channel_id_is_the_hash_of_its_terms() {
    let Vectors { channels, opens, .. } = vectors();
    assert_eq!((channels.len(), opens.len()), (CHANNELS, OPENS));
    let mut seen = [0; 2];
    for case in channels.iter().chain(&opens) {
        let (chain, escrow) = (ChainId(case.chain_id), address(&case.escrow));
        let terms = &case.descriptor;
        let found = match case.protocol.as_deref().unwrap_or("v2").parse().unwrap() {
            ProtocolVersion::V1 => {
                seen[0] += 1;
                let terms = v1::Terms {
                    payer: address(&terms.payer),
                    payee: address(&terms.payee),
                    token: address(&terms.token),
                    salt: word(&terms.salt),
                    authorized_signer: address(&terms.authorized_signer),
                };
                terms.channel_id(chain, escrow)
            }
            ProtocolVersion::V2 => {
                seen[1] += 1;
                let descriptor = v2::Descriptor {
                    payer: address(&terms.payer),
                    payee: address(&terms.payee),
                    operator: address(terms.operator.as_deref().unwrap()),
                    token: address(&terms.token),
                    salt: word(&terms.salt),
                    authorized_signer: address(&terms.authorized_signer),
                    expiring_nonce_hash: word(terms.expiring_nonce_hash.as_deref().unwrap()),
                };
                descriptor.channel_id(chain, escrow)
            }
        };
        assert_eq!(found.to_string(), case.channel_id);
    }
    assert!(seen[0] > 0 && seen[1] > OPENS, "both protocols must be met: {seen:?}");
}

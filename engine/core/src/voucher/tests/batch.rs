//! Ten thousand vouchers of every kind, each valid as signed and refused as damaged, in one batch and
//! one by one.

use alloc::vec::Vec;

use rand::RngExt;
use rand::rngs::StdRng;

use super::signers::{P256_ORDER, SECP256K1_ORDER, Signer, negate, seeded};
use crate::units::{Address, Amount, B256, ChainId, ChannelId};
use crate::voucher::{
    AnyDomain, AnySignedVoucher, Domain, ProtocolVersion, SignedVoucher, V2, Verifier, Voucher, VoucherError,
};

/// Every run draws the same vouchers; change it to look elsewhere.
const SEED: u64 = 10_000;
const VOUCHERS: usize = 10_000;

/// A voucher as it comes over the wire, and who should have signed it.
#[derive(Clone)]
struct Sent {
    version: ProtocolVersion,
    chain: ChainId,
    escrow: Address,
    voucher: Voucher,
    signature: Vec<u8>,
    expected_signer: Address,
}

impl Sent {
    fn domain(&self) -> AnyDomain {
        AnyDomain::new(self.version, self.chain, self.escrow)
    }

    fn parse(&self) -> Result<AnySignedVoucher, VoucherError> {
        self.domain().parse(self.voucher, &self.signature)
    }

    fn verify(&self) -> Result<(), VoucherError> {
        let verified = Verifier::new().verify_one(&self.domain(), &self.parse()?, self.expected_signer)?;
        assert_eq!(verified.get(), &self.voucher);
        assert_eq!(verified.signer(), self.expected_signer);
        Ok(())
    }
}

fn random_sent(rng: &mut StdRng, signers: &[Signer]) -> Sent {
    let signer = &signers[rng.random_range(0..signers.len())];
    let typed = matches!(signer, Signer::P256(..) | Signer::WebAuthn(_));
    let version = if typed || rng.random() { ProtocolVersion::V2 } else { ProtocolVersion::V1 };
    let amount: u128 = rng.random::<u128>() >> rng.random_range(0..128);
    let mut sent = Sent {
        version,
        chain: ChainId([1, 4217, 42431, rng.random()][rng.random_range(0..4)]),
        escrow: Address::new(rng.random()),
        voucher: Voucher {
            channel_id: ChannelId(B256::new(rng.random())),
            cumulative_amount: match version {
                ProtocolVersion::V1 => Amount::new(amount),
                ProtocolVersion::V2 => Amount::new(amount >> 32),
            },
        },
        signature: Vec::new(),
        expected_signer: signer.address(),
    };
    sent.signature = signer.sign(sent.domain().digest(&sent.voucher).unwrap());
    sent
}

/// Damages a voucher in one of the ways that must not pass, and gives the code that it must get, if
/// only one is right.
fn damage(rng: &mut StdRng, sent: &Sent) -> (Sent, Option<&'static str>) {
    let mut bad = sent.clone();
    let amount = sent.voucher.cumulative_amount;
    let secp256k1 = sent.signature.len() <= 65;
    let other_digest = if secp256k1 {
        None
    } else if sent.signature[0] == 0x01 {
        Some("invalid_signature")
    } else {
        Some("webauthn_challenge_mismatch")
    };
    let code = match rng.random_range(0..9) {
        0 => {
            bad.chain.0 ^= 1 << rng.random_range(0..64);
            other_digest
        }
        1 => {
            bad.escrow.0[rng.random_range(0..20)] ^= 1 << rng.random_range(0..8);
            other_digest
        }
        2 => {
            bad.voucher.channel_id.0.0[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
            other_digest
        }
        3 => {
            bad.voucher.cumulative_amount = Amount::new(amount.get() ^ 1);
            other_digest
        }
        4 => {
            bad.voucher.cumulative_amount = Amount::new(amount.get() | 1 << 96);
            let v2 = sent.version == ProtocolVersion::V2;
            if v2 {
                Some("amount_too_large")
            } else {
                bad.voucher.cumulative_amount = Amount::new(amount.get() ^ 1 << 100);
                None
            }
        }
        5 => {
            bad.expected_signer.0[rng.random_range(0..20)] ^= 1 << rng.random_range(0..8);
            Some("wrong_signer")
        }
        6 if secp256k1 => {
            // The other parity: the same r and s, another key.
            let at = if bad.signature.len() == 65 { 64 } else { 32 };
            bad.signature[at] ^= if at == 64 { 27 ^ 28 } else { 0x80 };
            None
        }
        7 if sent.signature.len() != 64 => {
            // The malleable twin, which a plain ECDSA check accepts.
            let (at, order) = match (secp256k1, sent.signature[0]) {
                (true, _) => (32, SECP256K1_ORDER),
                (false, 0x01) => (33, P256_ORDER),
                (false, _) => (sent.signature.len() - 96, P256_ORDER),
            };
            negate(&mut bad.signature[at..at + 32], &order);
            if secp256k1 {
                bad.signature[64] ^= 27 ^ 28;
            }
            Some("high_s")
        }
        _ => {
            // One flipped bit anywhere, except in a prehash byte: its bits above the first are aliases.
            let end = sent.signature.len() - usize::from(sent.signature.len() == 130);
            bad.signature[rng.random_range(0..end)] ^= 1 << rng.random_range(0..8);
            None
        }
    };
    (bad, code)
}

fn signers(rng: &mut StdRng) -> Vec<Signer> {
    let mut signers = Vec::new();
    for _ in 0..12 {
        signers.push(Signer::rsv(rng));
        signers.push(Signer::compact(rng));
    }
    // P-256 is slow to sign and rare on the wire.
    signers.extend([Signer::p256(rng, false), Signer::p256(rng, true), Signer::webauthn(rng)]);
    signers
}

#[test]
fn ten_thousand_vouchers_pass_as_signed_and_fail_as_damaged() {
    let mut rng = seeded(SEED);
    let signers = signers(&mut rng);
    let mut all = Vec::with_capacity(2 * VOUCHERS);
    for _ in 0..VOUCHERS {
        let sent = random_sent(&mut rng, &signers);
        let (bad, code) = damage(&mut rng, &sent);
        assert_eq!(sent.verify(), Ok(()), "{:?}", sent.parse());
        let refused = bad.verify().expect_err("a damaged voucher must be refused");
        if let Some(code) = code {
            assert_eq!(refused.code(), code, "{refused}");
        }
        all.extend([sent, bad]);
    }

    let batch: Vec<_> = all
        .iter()
        .filter_map(|sent| Some((sent.domain(), sent.parse().ok()?, sent.expected_signer, sent.verify())))
        .collect();
    assert!(batch.len() > VOUCHERS + VOUCHERS / 2, "most damage is seen by verification only");
    let questions: Vec<_> =
        batch.iter().map(|(domain, voucher, signer, _)| (domain, voucher, *signer)).collect();
    let answers = Verifier::new().verify_mixed(&questions);
    assert_eq!(answers.len(), batch.len());
    for (answer, (_, voucher, _, alone)) in answers.iter().zip(&batch) {
        assert_eq!(answer.as_ref().map(drop).map_err(|error| *error), *alone);
        if let Ok(verified) = answer {
            assert_eq!(verified.get(), voucher.voucher());
            assert_eq!(*verified.signature(), voucher.to_chain_bytes());
        }
    }
}

#[test]
fn one_domains_batch_answers_in_order_with_every_kind_in_it() {
    let mut rng = seeded(SEED + 1);
    let domain = Domain::<V2>::tempo(ChainId(4217));
    let signers = signers(&mut rng);
    let signed: Vec<_> = (0..300)
        .map(|i| {
            let voucher =
                Voucher { channel_id: ChannelId(B256::new(rng.random())), cumulative_amount: Amount::new(i) };
            let signer = &signers[rng.random_range(0..signers.len())];
            let bytes = signer.sign(domain.digest(&voucher).unwrap());
            let claimed = if i % 5 == 0 { Address::repeat_byte(1) } else { signer.address() };
            (SignedVoucher::<V2>::parse(voucher, &bytes).unwrap(), claimed)
        })
        .collect();
    let verifier = Verifier::new();
    for size in [0, 1, 2, 64, 300] {
        let batch: Vec<_> = signed[..size].iter().map(|(voucher, signer)| (voucher, *signer)).collect();
        let answers = verifier.verify_batch(&domain, &batch);
        assert_eq!(answers.len(), size);
        for (i, (answer, (voucher, signer))) in answers.iter().zip(&batch).enumerate() {
            assert_eq!(answer.is_ok(), i % 5 != 0);
            assert_eq!(*answer, verifier.verify_one(&domain, voucher, *signer));
        }
    }
}

#[test]
fn a_voucher_of_the_other_protocol_is_refused_and_spoils_nothing() {
    let mut rng = seeded(SEED + 2);
    let signer = Signer::rsv(&mut rng);
    let escrow = Address::repeat_byte(4);
    let first = AnyDomain::new(ProtocolVersion::V1, ChainId(1), escrow);
    let second = AnyDomain::new(ProtocolVersion::V2, ChainId(1), escrow);
    let voucher = Voucher { channel_id: ChannelId(B256::ZERO), cumulative_amount: Amount::new(1) };
    let signed = first.parse(voucher, &signer.sign(first.digest(&voucher).unwrap())).unwrap();
    let mismatch =
        VoucherError::ProtocolMismatch { found: ProtocolVersion::V1, expected: ProtocolVersion::V2 };
    let signer = signer.address();
    assert_eq!(Verifier::new().verify_one(&second, &signed, signer), Err(mismatch));
    let batch = [(&first, &signed, signer), (&second, &signed, signer), (&first, &signed, signer)];
    let answers = Verifier::new().verify_mixed(&batch);
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1], Err(mismatch));
    // The same bytes, read as the other protocol, were signed over another digest.
    let replayed = second.parse(voucher, signed.to_chain_bytes().as_bytes()).unwrap();
    assert!(Verifier::new().verify_one(&second, &replayed, signer).is_err());
}

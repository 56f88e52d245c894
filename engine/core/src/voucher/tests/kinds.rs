//! Which signatures are refused, and by what name.

use alloc::vec;
use alloc::vec::Vec;

use super::signers::{P256_ORDER, SECP256K1_ORDER, Signer, negate, seeded};
use crate::units::{Amount, B256, ChainId, ChannelId};
use crate::voucher::{Curve, Domain, Signature, SignedVoucher, V1, V2, Verifier, Voucher, VoucherError};

const VOUCHER: Voucher =
    Voucher { channel_id: ChannelId(B256::repeat_byte(7)), cumulative_amount: Amount::new(250_000) };

fn domain() -> Domain<V2> {
    Domain::tempo(ChainId(4217))
}

fn digest() -> B256 {
    domain().digest(&VOUCHER).unwrap()
}

fn refused_v1(bytes: &[u8]) -> VoucherError {
    SignedVoucher::<V1>::parse(VOUCHER, bytes).unwrap_err()
}

fn refused_v2(bytes: &[u8]) -> VoucherError {
    SignedVoucher::<V2>::parse(VOUCHER, bytes).unwrap_err()
}

/// What verification says of a signature that parses.
fn verdict(bytes: &[u8], signer: &Signer) -> Result<(), VoucherError> {
    let voucher = SignedVoucher::<V2>::parse(VOUCHER, bytes)?;
    Verifier::new().verify_one(&domain(), &voucher, signer.address()).map(drop)
}

#[test]
fn wrappers_are_refused_by_name_in_both_protocols() {
    let inner = Signer::rsv(&mut seeded(1)).sign(digest());
    let wrapped = |prefix: u8| [&[prefix], &[0xaa; 20][..], &inner].concat();
    for prefix in [0x03, 0x04] {
        let expected = VoucherError::KeychainSignature { found: prefix };
        assert_eq!(refused_v1(&wrapped(prefix)), expected);
        assert_eq!(refused_v2(&wrapped(prefix)), expected);
    }
    assert_eq!(refused_v1(&wrapped(0x05)), VoucherError::MultisigSignature);
    assert_eq!(refused_v2(&wrapped(0x05)), VoucherError::MultisigSignature);
}

#[test]
fn magic_suffixes_are_refused_behind_every_kind() {
    let mut rng = seeded(2);
    let signers = [
        Signer::rsv(&mut rng),
        Signer::compact(&mut rng),
        Signer::p256(&mut rng, true),
        Signer::webauthn(&mut rng),
    ];
    for signer in &signers {
        let mut bytes = signer.sign(digest());
        assert_eq!(verdict(&bytes, signer), Ok(()));
        bytes.extend_from_slice(&[0x77; 32]);
        assert_eq!(refused_v2(&bytes), VoucherError::MagicSuffix);
        assert_eq!(refused_v1(&bytes), VoucherError::MagicSuffix);
    }
}

#[test]
fn every_length_that_is_no_signature_is_named() {
    for length in 0..=2200 {
        let bytes = vec![0xc1; length];
        let code = |error: VoucherError| error.code();
        match length {
            // Two lengths are secp256k1 and fail on their numbers.
            64 | 65 => {}
            0..=128 => assert_eq!(code(refused_v2(&bytes)), "wrong_length", "{length}"),
            _ => assert_eq!(code(refused_v2(&bytes)), "unknown_signature_type", "{length}"),
        }
        if !matches!(length, 64 | 65) {
            let VoucherError::WrongLength { found_bytes, .. } = refused_v1(&bytes) else {
                panic!("{length}")
            };
            assert_eq!(found_bytes, length);
        }
    }
    for length in [2, 129, 131, 2049] {
        let bytes = [&[0x01], &vec![0x11; length - 1][..]].concat();
        assert_eq!(refused_v2(&bytes).code(), "wrong_length", "P-256 of {length}");
    }
    for length in [2, 128, 2050, 3000] {
        let bytes = [&[0x02], &vec![0x11; length - 1][..]].concat();
        assert_eq!(refused_v2(&bytes).code(), "wrong_length", "WebAuthn of {length}");
    }
}

#[test]
fn v1_takes_no_typed_signature() {
    let mut rng = seeded(3);
    for signer in [Signer::p256(&mut rng, false), Signer::webauthn(&mut rng)] {
        assert_eq!(refused_v1(&signer.sign(digest())).code(), "wrong_length");
    }
}

#[test]
fn a_prefix_means_nothing_at_65_bytes() {
    // TIP-1020: exactly 65 bytes are secp256k1. Look for signatures whose r begins like a prefix.
    let signer = Signer::rsv(&mut seeded(4));
    let mut met = [false; 6];
    for amount in 0..20_000 {
        let voucher = Voucher { cumulative_amount: Amount::new(amount), ..VOUCHER };
        let bytes = signer.sign(domain().digest(&voucher).unwrap());
        if let 0x01..=0x05 = bytes[0] {
            met[usize::from(bytes[0])] = true;
            let signed = SignedVoucher::<V2>::parse(voucher, &bytes).unwrap();
            Verifier::new().verify_one(&domain(), &signed, signer.address()).unwrap();
        }
        if met[1..] == [true; 5] {
            return;
        }
    }
    panic!("no such signatures among 20,000: {met:?}");
}

#[test]
fn scalars_out_of_range_are_named_on_both_curves() {
    let mut rng = seeded(5);
    let cases = [
        (Signer::rsv(&mut rng), 0, SECP256K1_ORDER, Curve::Secp256k1),
        (Signer::p256(&mut rng, false), 1, P256_ORDER, Curve::P256),
    ];
    for (signer, at, order, curve) in &cases {
        let bytes = signer.sign(digest());
        let curve = *curve;
        let with = |offset: usize, number: &[u8; 32]| {
            let mut changed = bytes.clone();
            changed[at + offset..at + offset + 32].copy_from_slice(number);
            refused_v2(&changed)
        };
        assert_eq!(with(0, &[0; 32]), VoucherError::ZeroR { curve });
        assert_eq!(with(0, order), VoucherError::ROutOfRange { curve });
        assert_eq!(with(0, &[0xff; 32]), VoucherError::ROutOfRange { curve });
        assert_eq!(with(32, &[0; 32]), VoucherError::ZeroS { curve });
        assert_eq!(with(32, order), VoucherError::HighS { curve });
        let mut twin = bytes.clone();
        negate(&mut twin[at + 32..at + 64], order);
        assert_eq!(refused_v2(&twin), VoucherError::HighS { curve });
    }
}

#[test]
fn raw_parities_are_refused() {
    let signer = Signer::rsv(&mut seeded(6));
    let mut bytes = signer.sign(digest());
    bytes[64] -= 27;
    assert_eq!(refused_v2(&bytes), VoucherError::BadV { found: bytes[64] });
    assert_eq!(refused_v1(&bytes), VoucherError::BadV { found: bytes[64] });
}

#[test]
fn a_p256_key_off_the_curve_is_named() {
    let signer = Signer::p256(&mut seeded(7), false);
    let mut bytes = signer.sign(digest());
    bytes[128] ^= 1;
    assert_eq!(verdict(&bytes, &signer), Err(VoucherError::PublicKeyNotOnCurve));
    bytes[65..129].fill(0);
    assert_eq!(verdict(&bytes, &signer), Err(VoucherError::PublicKeyNotOnCurve));
}

#[test]
fn any_nonzero_prehash_byte_means_prehash_as_on_a_node() {
    let mut rng = seeded(8);
    for prehash in [false, true] {
        let signer = Signer::p256(&mut rng, prehash);
        let mut bytes = signer.sign(digest());
        for byte in [0, 1, 2, 27, 0x77, 0xff] {
            bytes[129] = byte;
            let expected = if (byte != 0) == prehash { Ok(()) } else { Err(VoucherError::InvalidSignature) };
            assert_eq!(verdict(&bytes, &signer), expected, "prehash {prehash}, byte {byte}");
        }
    }
}

#[test]
fn chain_bytes_expand_the_compact_form_and_keep_the_others() {
    let mut rng = seeded(9);
    let compact = Signer::compact(&mut rng);
    let bytes = compact.sign(digest());
    let Signer::Compact(key) = &compact else { unreachable!() };
    let expanded = Signer::Rsv(key.clone()).sign(digest());
    let parsed = SignedVoucher::<V2>::parse(VOUCHER, &bytes).unwrap();
    assert_eq!(parsed.to_chain_bytes().as_bytes(), expanded);

    let kept: Vec<_> = [Signer::rsv(&mut rng), Signer::p256(&mut rng, true), Signer::webauthn(&mut rng)]
        .iter()
        .map(|signer| signer.sign(digest()))
        .collect();
    for bytes in kept {
        let chain = SignedVoucher::<V2>::parse(VOUCHER, &bytes).unwrap().to_chain_bytes();
        assert_eq!(chain.as_bytes(), bytes);
        assert_eq!(Signature::restore(chain.as_bytes()), Ok(chain));
    }
}

#[test]
fn only_shapes_of_the_chain_are_restored() {
    assert_eq!(Signature::restore(&[0; 64]).unwrap_err().code(), "wrong_length");
    assert_eq!(Signature::restore(&[]).unwrap_err().code(), "wrong_length");
    assert_eq!(Signature::restore(&[3; 130]).unwrap_err().code(), "wrong_length");
    assert!(Signature::restore(&[0; 65]).is_ok());
    // A kept signature stays small: the books hold one or more for every channel.
    assert!(size_of::<Signature>() <= 72);
}

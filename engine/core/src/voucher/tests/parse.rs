//! No bytes panic, and what parses says the same when it is read back.

use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::units::{Address, Amount, B256, ChainId, ChannelId};
use crate::voucher::{Domain, Protocol, Signature, SignedVoucher, V1, V2, Verifier, Voucher};

const VOUCHER: Voucher =
    Voucher { channel_id: ChannelId(B256::repeat_byte(1)), cumulative_amount: Amount::new(5) };

/// Arbitrary bytes; half of them dressed as a signature that exists.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        4 => 0..3000_usize,
        1 => 60..70_usize,
        1 => 126..134_usize,
        1 => 2040..2060_usize,
        1 => Just(65_usize),
        1 => Just(130_usize),
    ];
    (length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)), any::<[u8; 4]>()).prop_map(
        |(mut bytes, [dress, prefix, v, s])| {
            if dress & 1 == 1 && !bytes.is_empty() {
                bytes[0] = prefix % 6;
            }
            if dress & 2 == 2 && bytes.len() == 65 {
                bytes[64] = 27 + v % 2;
                bytes[32] = s & 0x7f;
            }
            if dress & 4 == 4 && bytes.len() >= 129 {
                // A low s where P-256 and WebAuthn have it, and valid flags.
                let at = if bytes[0] == 1 { 33 } else { bytes.len() - 96 };
                bytes[at] &= 0x7f;
                bytes[33] = 1;
            }
            bytes
        },
    )
}

/// Parses and verifies; gives the chain's bytes if it parsed.
fn try_all<P: Protocol>(bytes: &[u8], domain: Domain<P>) -> Option<Signature> {
    let parsed = SignedVoucher::<P>::parse(VOUCHER, bytes).ok()?;
    let refused = Verifier::new().verify_one(&domain, &parsed, Address::repeat_byte(9));
    assert!(refused.is_err(), "random bytes cannot be a signature");
    let chain = parsed.to_chain_bytes();
    let again = SignedVoucher::<P>::parse(VOUCHER, chain.as_bytes()).expect("chain bytes parse");
    assert_eq!(again, parsed);
    Some(chain)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        rng_seed: RngSeed::Fixed(0xfa2e),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_panic_and_what_parses_is_stable(bytes in bytes()) {
        let first = try_all::<V1>(&bytes, Domain::new(ChainId(1), Address::ZERO));
        let second = try_all::<V2>(&bytes, Domain::tempo(ChainId(1)));
        if let Some(first) = first {
            prop_assert_eq!(Some(&first), second.as_ref(), "v2 takes all that v1 takes");
        }
        if let Some(second) = second {
            prop_assert_eq!(Signature::restore(second.as_bytes()), Ok(second));
        }
        if let Ok(restored) = Signature::restore(&bytes) {
            prop_assert_eq!(restored.as_bytes(), &bytes[..]);
        }
    }
}

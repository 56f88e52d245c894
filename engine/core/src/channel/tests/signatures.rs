//! The whole way of a voucher with real keys: signed, verified for the terms, taken, claimed.

use k256::ecdsa::SigningKey;

use super::support::*;
use crate::channel::*;
use crate::units::{Address, B256};
use crate::voucher::{AnyDomain, ProtocolVersion, Verifier, Voucher, VoucherError};

fn address_of(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_sec1_point(false);
    Address::from_slice(&farebox_crypto::keccak256(&point.as_bytes()[1..])[12..])
}

fn sign(key: &SigningKey, digest: B256) -> [u8; 65] {
    let (signature, id) = key.sign_prehash_recoverable(digest.as_slice());
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = 27 + u8::from(id.is_y_odd());
    bytes
}

#[test]
fn only_a_signature_of_the_terms_signer_reaches_the_books() {
    let payer_key = SigningKey::from_slice(&[7; 32]).unwrap();
    let stranger_key = SigningKey::from_slice(&[8; 32]).unwrap();
    let verifier = Verifier::new();
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        // No authorized signer: the payer signs.
        let mut terms = identity(protocol);
        match &mut terms.terms {
            Terms::V1(terms) => {
                (terms.payer, terms.authorized_signer) = (address_of(&payer_key), Address::ZERO)
            }
            Terms::V2(terms) => {
                (terms.payer, terms.authorized_signer) = (address_of(&payer_key), Address::ZERO)
            }
        }
        let signer = terms.expected_signer();
        let domain = AnyDomain::new(protocol, terms.chain_id, terms.escrow);
        let state = open(terms, amount(1_000), amount(0), at(1), NOW).unwrap().next;
        let voucher = Voucher { channel_id: state.channel_id, cumulative_amount: amount(100) };
        let digest = domain.digest(&voucher).unwrap();

        let forged = domain.parse(voucher, &sign(&stranger_key, digest)).unwrap();
        let refused = verifier.verify_one(&domain, &forged, signer);
        assert_eq!(refused, Err(VoucherError::WrongSigner { expected: signer }));
        assert_eq!(domain.recover_signer(&forged), Ok(address_of(&stranger_key)));

        let bytes = sign(&payer_key, digest);
        let signed = domain.parse(voucher, &bytes).unwrap();
        let verified = verifier.verify_one(&domain, &signed, signer).unwrap();
        let accept = Command::Accept { voucher: verified, then: charge(1, 100) };
        let taken = apply(&state, accept, &Policy::default(), NOW).unwrap().next;
        let close = Command::BeginClose(CloseReason::Forced);
        let Answer::Close(claim) = apply(&taken, close, &Policy::default(), NOW).unwrap().answer else {
            panic!("a forced close answers a claim");
        };
        assert_eq!((claim.cumulative, claim.capture), (amount(100), amount(100)));
        assert_eq!(claim.signature.unwrap().as_bytes(), bytes);
    }
}

//! What an authenticator may have been shown. Every case is signed correctly over what it shows, so that
//! nothing but the rule under test can refuse it.

use alloc::format;
use alloc::string::String;

use super::signers::{FLAGS_PRESENT_AND_VERIFIED, Signer, challenge, client_data, seeded, webauthn};
use crate::units::{Address, Amount, B256, ChainId, ChannelId};
use crate::voucher::{Domain, SignedVoucher, V2, Verifier, Voucher, VoucherError, WebAuthnFault};

struct Case {
    signer: Signer,
    domain: Domain<V2>,
    voucher: Voucher,
    digest: B256,
}

impl Case {
    fn new() -> Self {
        let domain = Domain::tempo(ChainId(42431));
        let voucher = Voucher {
            channel_id: ChannelId(B256::repeat_byte(0x5a)),
            cumulative_amount: Amount::new(1_000_001),
        };
        let digest = domain.digest(&voucher).unwrap();
        Self { signer: Signer::webauthn(&mut seeded(20)), domain, voucher, digest }
    }

    fn verdict(&self, flags: u8, client_data: &str) -> Result<Address, VoucherError> {
        let Signer::WebAuthn(key) = &self.signer else { unreachable!() };
        let bytes = webauthn(key, flags, client_data.as_bytes());
        let signed = SignedVoucher::<V2>::parse(self.voucher, &bytes)?;
        let verified = Verifier::new().verify_one(&self.domain, &signed, self.signer.address())?;
        assert_eq!(verified.signature().as_bytes(), bytes);
        Ok(verified.signer())
    }

    fn shown(&self, client_data: &str) -> Result<Address, VoucherError> {
        self.verdict(FLAGS_PRESENT_AND_VERIFIED, client_data)
    }
}

#[test]
fn flags_say_that_a_user_was_there_and_nothing_follows() {
    let case = Case::new();
    let client_data = client_data(case.digest);
    for flags in 0..=u8::MAX {
        let user = flags & 0x05 != 0;
        let extra = flags & 0xc0 != 0;
        let expected = match (user, extra) {
            (true, false) => Ok(case.signer.address()),
            (true, true) => Err(VoucherError::MalformedWebAuthn(WebAuthnFault::ExtraData { flags })),
            (false, _) => Err(VoucherError::MalformedWebAuthn(WebAuthnFault::NoUser { flags })),
        };
        assert_eq!(case.verdict(flags, &client_data), expected, "{flags:#04x}");
    }
}

#[test]
fn accepts_every_json_that_a_node_accepts() {
    let case = Case::new();
    let challenge = challenge(case.digest);
    let accepted = [
        client_data(case.digest),
        format!(r#"{{"challenge":"{challenge}","type":"webauthn.get"}}"#),
        format!(" \n{{ \"type\" : \"webauthn.get\" ,\t\"challenge\" : \"{challenge}\" }} "),
        format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","more":{{"a":[1,null,"\u00e9"]}}}}"#),
        // The node's parser takes a list for the two fields in their order.
        format!(r#"["webauthn.get","{challenge}"]"#),
    ];
    for text in accepted {
        assert_eq!(case.shown(&text), Ok(case.signer.address()), "{text}");
    }
}

#[test]
fn refuses_every_json_that_a_node_refuses() {
    let case = Case::new();
    let challenge = challenge(case.digest);
    let fault = |fault| Err(VoucherError::MalformedWebAuthn(fault));
    let unreadable = [
        String::from("{not json at all, but long enough to be looked at}"),
        format!(r#"{{"type":"webauthn.get","challenge":"{challenge}"}} trailing"#),
        format!(r#"{{"type":"webauthn.get","challenge":"{challenge}"#),
        format!(r#"{{"type":"webauthn\u002eget","challenge":"{challenge}"}}"#),
        format!(r#"{{"type":"webauthn.get","type":"webauthn.get","challenge":"{challenge}"}}"#),
        format!(r#"{{"challenge":"{challenge}","origin":"https://wallet.example"}}"#),
        String::from(r#"{"type":"webauthn.get","origin":"https://wallet.example"}"#),
        format!(r#"{{"type":5,"challenge":"{challenge}","filler":"filler"}}"#),
    ];
    for text in unreadable {
        assert_eq!(case.shown(&text), fault(WebAuthnFault::ClientData), "{text}");
    }
    for kind in ["webauthn.create", "WEBAUTHN.GET", " webauthn.get", ""] {
        let text = format!(r#"{{"type":"{kind}","challenge":"{challenge}"}}"#);
        assert_eq!(case.shown(&text), fault(WebAuthnFault::NotAnAssertion), "{text}");
    }
    let short = r#"{"type":"webauthn.get"}"#;
    assert_eq!(case.shown(short), fault(WebAuthnFault::TooShort { found_bytes: 37 + short.len() }));
}

#[test]
fn the_challenge_is_the_digest_and_nothing_like_it() {
    let case = Case::new();
    let exact = challenge(case.digest);
    let hex = format!("{:#x}", case.digest);
    let others = [
        format!("{exact}="),
        format!(" {exact}"),
        exact.to_lowercase(),
        exact[..42].into(),
        hex,
        String::new(),
    ];
    for other in others {
        let text = format!(r#"{{"type":"webauthn.get","challenge":"{other}","origin":"https://a.example"}}"#);
        assert_eq!(case.shown(&text), Err(VoucherError::WebAuthnChallenge), "{text}");
    }
}

#[test]
fn another_authenticator_is_another_signer() {
    let case = Case::new();
    let other = Signer::webauthn(&mut seeded(21));
    let signed = SignedVoucher::<V2>::parse(case.voucher, &other.sign(case.digest)).unwrap();
    let refused = Verifier::new().verify_one(&case.domain, &signed, case.signer.address());
    assert_eq!(refused, Err(VoucherError::WrongSigner { expected: case.signer.address() }));
    assert_eq!(case.domain.recover_signer(&signed), Ok(other.address()));
}

#[test]
fn the_longest_signature_is_2049_bytes() {
    let case = Case::new();
    let base = client_data(case.digest);
    let room = 2048 - 128 - 37 - base.len();
    let padded = |count: usize| format!("{base}{}", " ".repeat(count));
    assert_eq!(case.shown(&padded(room)), Ok(case.signer.address()));
    let too_long = case.shown(&padded(room + 1)).unwrap_err();
    assert_eq!(too_long.code(), "wrong_length");
}

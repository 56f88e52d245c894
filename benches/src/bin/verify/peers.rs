//! What others need for a voucher: libsecp256k1, k256, and the voucher check of the Rust SDK (crate `mpp`).
//!
//! The two libraries get a ready digest and a parsed signature; recovery ends with the key, without the hash that makes
//! it an address. The SDK's check is measured whole, from the fields of the voucher on.

use std::hint::black_box;

use farebox_crypto::Signature;
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, VerifyingKey};
use mpp::protocol::methods::tempo::voucher::verify_voucher;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey};

use crate::measure::{Bench, cpu_ns_each};
use crate::report::Label;
use crate::vouchers::{CHAIN, ESCROW, Paid, Payer, domain, vouchers};

/// Signers of the vouchers that peers check.
const SIGNERS: usize = 64;

/// Vouchers that peers check, one sample after the other, so that no branch is known by heart.
const VOUCHERS: usize = 1_024;

/// Vouchers of a sample.
const SAMPLE_VOUCHERS: usize = 64;

/// Vouchers before a sample: the peer before it has emptied the caches of its tables.
const VOUCHERS_AHEAD: usize = 16;

/// A voucher in the forms that the peers take.
struct Forms {
    paid: Paid,
    digest: [u8; 32],
    rsv: [u8; 65],
    key: PublicKey,
    recoverable: RecoverableSignature,
    k256_key: VerifyingKey,
    k256_signature: k256::ecdsa::Signature,
    k256_id: RecoveryId,
}

impl Forms {
    fn new(paid: Paid, payer: &Payer) -> Self {
        let digest = domain().digest(paid.signed.voucher()).expect("v1 takes every amount").0;
        let rsv = paid.rsv();
        let signature = Signature::from_rsv(&rsv).expect("it was parsed before");
        Self {
            digest,
            rsv,
            key: payer.key,
            recoverable: payer.sign_digest(digest),
            k256_key: VerifyingKey::from_sec1_bytes(&payer.key.serialize()).expect("a key is a point"),
            k256_signature: k256::ecdsa::Signature::from_scalars(*signature.r(), *signature.s())
                .expect("r and s are in range"),
            k256_id: RecoveryId::new(signature.parity(), false),
            paid,
        }
    }

    fn libsecp_recover(&self) -> bool {
        self.recoverable.recover_ecdsa(Message::from_digest(self.digest)).is_ok_and(|key| key == self.key)
    }

    fn libsecp_verify(&self) -> bool {
        let signature = self.recoverable.to_standard();
        secp256k1::ecdsa::verify(&signature, Message::from_digest(self.digest), &self.key).is_ok()
    }

    fn k256_recover(&self) -> bool {
        VerifyingKey::recover_from_prehash(&self.digest, &self.k256_signature, self.k256_id)
            .is_ok_and(|key| key == self.k256_key)
    }

    fn k256_verify(&self) -> bool {
        self.k256_key.verify_prehash(&self.digest, &self.k256_signature).is_ok()
    }

    fn mpp_verify_voucher(&self) -> bool {
        let voucher = self.paid.signed.voucher();
        let amount = voucher.cumulative_amount.get();
        verify_voucher(ESCROW, CHAIN.0, voucher.channel_id.0, amount, &self.rsv, self.paid.signer)
    }
}

/// Checks a voucher as a peer does.
type Check = fn(&Forms) -> bool;

/// Measures all peers, in turns.
pub fn run(bench: &mut Bench) {
    let payers = Payer::crowd("peers", SIGNERS);
    let paid = vouchers(&payers, VOUCHERS);
    let forms: Vec<_> =
        paid.into_iter().zip(payers.iter().cycle()).map(|(paid, payer)| Forms::new(paid, payer)).collect();
    let forms = &forms;
    let peers: [(_, _, Check); 5] = [
        ("recover", "libsecp256k1", Forms::libsecp_recover),
        ("verify_cached_key", "libsecp256k1", Forms::libsecp_verify),
        ("recover", "k256", Forms::k256_recover),
        ("verify_cached_key", "k256", Forms::k256_verify),
        ("verify_voucher", "mpp", Forms::mpp_verify_voucher),
    ];
    let subject = |(case, backend, check): (_, _, fn(&Forms) -> bool)| {
        let label = Label { case, backend, batch: 1, signers: SIGNERS, threads: 1 };
        let check = move |forms: &[Forms]| assert!(black_box(forms).iter().all(check), "a peer refused");
        let mut chunks = forms.chunks_exact(VOUCHERS_AHEAD + SAMPLE_VOUCHERS).cycle();
        let sample = move || {
            let (ahead, sample) = chunks.next().expect("a cycle never ends").split_at(VOUCHERS_AHEAD);
            check(ahead);
            cpu_ns_each(SAMPLE_VOUCHERS, || check(sample))
        };
        (label, Box::new(sample) as Box<dyn FnMut() -> f64>)
    };
    bench.compare(bench.samples(), peers.into_iter().map(subject).collect());
}

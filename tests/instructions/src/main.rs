//! Work whose instructions are counted: `farebox-instructions CASE` prepares a case and does it once in a function whose name
//! begins with `measured`, the only one in which callgrind counts. All of it is the portable backend: the others have
//! instructions that valgrind does not know.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Verifier, Voucher};
use farebox_crypto::backend::Backend;
use secp256k1::{Message, PublicKey, SecretKey};

/// Signers, each with a table after the first rounds.
const SIGNERS: RangeInclusive<u8> = 1..=64;
/// Signers beside them.
const OTHERS: RangeInclusive<u8> = 65..=128;
/// Vouchers of each in a batch.
const VOUCHERS: u128 = 4;
/// Rounds before the measured one: after them no table is made any more.
const ROUNDS: usize = 6;
/// More than all tables take.
const TABLES_BYTES_MAX: usize = 256 << 20;

type Signed = Vec<(AnySignedVoucher, Address)>;

fn main() -> ExitCode {
    let case = std::env::args().nth(1).unwrap_or_default();
    let domain = AnyDomain::new(ProtocolVersion::V2, ChainId(42_431), Address::repeat_byte(0xee));
    let backend = Backend::from_name("portable").expect("there is one on every machine");
    let verifier = Verifier::with(backend, TABLES_BYTES_MAX);
    match case.as_str() {
        "verify_known" => {
            let vouchers = signed(&domain, VOUCHERS);
            (0..ROUNDS)
                .for_each(|_| assert_eq!(measure_nothing(&verifier, &domain, &vouchers), vouchers.len()));
            assert_eq!(measured_batch(&verifier, &domain, &vouchers), vouchers.len());
        }
        "verify_second" => {
            // Others first: what all signers share is made once.
            for amount in [1, 2] {
                measure_nothing(&verifier, &domain, &signed_by(&domain, OTHERS, amount, 1));
            }
            let first = signed(&domain, 1);
            measure_nothing(&verifier, &domain, &first);
            let second = signed_by(&domain, SIGNERS, 2, 1);
            assert_eq!(measured_batch(&verifier, &domain, &second), second.len());
        }
        "verify_alone" => {
            let vouchers = signed(&domain, VOUCHERS);
            (0..ROUNDS)
                .for_each(|_| assert_eq!(measure_nothing(&verifier, &domain, &vouchers), vouchers.len()));
            assert_eq!(measured_alone(&verifier, &domain, &vouchers), vouchers.len());
        }
        "digest" => {
            let vouchers = signed(&domain, VOUCHERS);
            assert_eq!(measured_digests(&domain, &vouchers), vouchers.len());
        }
        other => {
            eprintln!("found {other:?}, expected verify_known, verify_second, verify_alone or digest");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

#[inline(never)]
fn measured_batch(verifier: &Verifier, domain: &AnyDomain, vouchers: &Signed) -> usize {
    count(verifier, domain, black_box(vouchers))
}

#[inline(never)]
fn measured_alone(verifier: &Verifier, domain: &AnyDomain, vouchers: &Signed) -> usize {
    let one = |(voucher, signer): &(AnySignedVoucher, Address)| {
        usize::from(verifier.verify_one(domain, voucher, *signer).is_ok())
    };
    black_box(vouchers).iter().map(one).sum()
}

#[inline(never)]
fn measured_digests(domain: &AnyDomain, vouchers: &Signed) -> usize {
    let one =
        |(voucher, _): &(AnySignedVoucher, Address)| black_box(domain.digest(voucher.voucher())).is_ok();
    black_box(vouchers).iter().filter(|voucher| one(voucher)).count()
}

/// The same work, uncounted.
#[inline(never)]
fn measure_nothing(verifier: &Verifier, domain: &AnyDomain, vouchers: &Signed) -> usize {
    count(verifier, domain, vouchers)
}

#[inline(never)]
fn count(verifier: &Verifier, domain: &AnyDomain, vouchers: &Signed) -> usize {
    let batch: Vec<_> = vouchers.iter().map(|(voucher, signer)| (domain, voucher, *signer)).collect();
    verifier.verify_mixed(&batch).iter().filter(|verdict| verdict.is_ok()).count()
}

fn signed(domain: &AnyDomain, each: u128) -> Signed {
    signed_by(domain, SIGNERS, 1, each)
}

/// Of every signer so many vouchers, from an amount on; signers take turns.
fn signed_by(domain: &AnyDomain, signers: RangeInclusive<u8>, from: u128, each: u128) -> Signed {
    let mut vouchers = Vec::new();
    for amount in from..from + each {
        for signer in signers.clone() {
            let key = SecretKey::from_secret_bytes([signer; 32]).expect("below the order of the group");
            let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
            let address = Address::from_slice(&farebox_crypto::keccak256(&public[1..])[12..]);
            let channel_id = ChannelId(B256::repeat_byte(signer));
            let voucher = Voucher { channel_id, cumulative_amount: Amount::new(amount) };
            let digest = domain.digest(&voucher).expect("a small amount");
            let signature = secp256k1::ecdsa::RecoverableSignature::sign_ecdsa_recoverable(
                Message::from_digest(digest.0),
                &key,
            );
            let (id, compact) = signature.serialize_compact();
            let mut bytes = compact.to_vec();
            bytes.push(27 + u8::from(id != secp256k1::ecdsa::RecoveryId::Zero));
            vouchers.push((domain.parse(voucher, &bytes).expect("a signature"), address));
        }
    }
    vouchers
}

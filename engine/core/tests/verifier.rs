//! One verifier for many threads: whatever they ask at the same time, each voucher gets the answer that it gets alone.

use std::thread;

use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{
    AnyDomain, AnySignedVoucher, ProtocolVersion, Verification, Verifier, Voucher, VoucherError,
};
use farebox_crypto::backend::Backend;
use k256::ecdsa::SigningKey;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

const SEED: u64 = 4;
const THREADS: u64 = 4;
const SIGNERS: u8 = 24;
const VOUCHERS: usize = 1_200;
/// Batches around the lanes and around the chunks that are hashed and summed together.
const BATCHES: [usize; 7] = [1, 7, 8, 63, 65, 130, 400];
/// Memory for a few tables only, so that threads take it from each other.
const FEW_TABLES_BYTES: usize = 300_000;

/// A question, and the answer that it gets alone.
struct Case {
    domain: AnyDomain,
    voucher: AnySignedVoucher,
    signer: Address,
    alone: Verification,
}

fn domains() -> [AnyDomain; 3] {
    [(ProtocolVersion::V1, 1), (ProtocolVersion::V2, 1), (ProtocolVersion::V2, 4217)]
        .map(|(version, chain)| AnyDomain::new(version, ChainId(chain), Address::repeat_byte(7)))
}

fn address(key: &SigningKey) -> Address {
    Address::from_raw_public_key(&key.verifying_key().to_sec1_point(false).as_bytes()[1..])
}

/// A voucher that is valid, or wrong in a way that only verification sees.
fn case(rng: &mut StdRng, keys: &[SigningKey]) -> Case {
    let domains = domains();
    let mut domain = domains[rng.random_range(0..domains.len())];
    let key = &keys[rng.random_range(0..keys.len())];
    let voucher = Voucher {
        channel_id: ChannelId(B256::new(rng.random())),
        cumulative_amount: Amount::new(u128::from(rng.random::<u64>())),
    };
    let (signature, id) = key.sign_prehash_recoverable(domain.digest(&voucher).unwrap().as_slice());
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + u8::from(id.is_y_odd()));
    let mut signer = address(key);
    match rng.random_range(0..8) {
        0 => signer = address(&keys[rng.random_range(0..keys.len())]),
        1 => bytes[64] ^= 27 ^ 28,
        2 => bytes[rng.random_range(1..32)] ^= 1,
        3 => bytes[rng.random_range(33..64)] ^= 1,
        _ => {}
    }
    let voucher = domain.parse(voucher, &bytes).unwrap();
    if rng.random_range(0..16) == 0 {
        domain = domains[rng.random_range(0..domains.len())];
    }
    let alone = Verifier::new().verify_one(&domain, &voucher, signer);
    Case { domain, voucher, signer, alone }
}

fn cases() -> Vec<Case> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let keys: Vec<_> = (1..=SIGNERS).map(|i| SigningKey::from_slice(&[i; 32]).unwrap()).collect();
    (0..VOUCHERS).map(|_| case(&mut rng, &keys)).collect()
}

/// Asks everything in batches, in an order of its own.
fn ask(verifier: &Verifier, cases: &[Case], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut order: Vec<_> = cases.iter().collect();
    for size in BATCHES {
        order.shuffle(&mut rng);
        for batch in order.chunks(size) {
            let questions: Vec<_> =
                batch.iter().map(|case| (&case.domain, &case.voucher, case.signer)).collect();
            let answers = verifier.verify_mixed(&questions);
            assert_eq!(answers.len(), batch.len());
            for (answer, case) in answers.iter().zip(batch) {
                assert_eq!(*answer, case.alone, "{:?}", case.voucher);
            }
        }
    }
}

#[test]
fn threads_that_share_a_verifier_get_the_answers_that_each_voucher_gets_alone() {
    let cases = cases();
    let count = |wanted: fn(&Verification) -> bool| cases.iter().filter(|case| wanted(&case.alone)).count();
    assert!(count(Result::is_ok) > VOUCHERS / 3);
    assert!(count(|answer| matches!(answer, Err(VoucherError::WrongSigner { .. }))) > VOUCHERS / 5);
    assert!(count(|answer| matches!(answer, Err(VoucherError::ProtocolMismatch { .. }))) > 10);
    let portable = Backend::from_name("portable").unwrap();
    for verifier in [
        Verifier::new(),
        Verifier::with(Backend::detect(), FEW_TABLES_BYTES),
        Verifier::with(portable, FEW_TABLES_BYTES),
    ] {
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (verifier, cases) = (&verifier, &cases);
                scope.spawn(move || ask(verifier, cases, seed));
            }
        });
    }
}

#[test]
fn one_domains_batch_answers_as_each_voucher_alone() {
    let cases = cases();
    let verifier = Verifier::new();
    for domain in domains() {
        let own: Vec<_> = cases.iter().filter(|case| case.domain == domain).collect();
        assert!(own.len() > VOUCHERS / 5);
        let batch: Vec<_> = own.iter().map(|case| (&case.voucher, case.signer)).collect();
        for (answer, case) in verifier.verify_batch(&domain, &batch).iter().zip(own) {
            assert_eq!(*answer, case.alone);
        }
    }
}

#[test]
fn a_verifier_is_shared_and_sent() {
    fn shared<T: Send + Sync>() {}
    shared::<Verifier>();
}

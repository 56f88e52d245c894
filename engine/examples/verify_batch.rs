//! Verifies many vouchers on all cores with one shared verifier, and shows that a forged one is refused.
//!
//! `cargo run --release -p farebox-engine --no-default-features --example verify_batch`

use std::error::Error;
use std::thread;
use std::time::Instant;

use farebox_engine::core::units::{Address, Amount, ChainId, ChannelId};
use farebox_engine::core::voucher::{Domain, SignedVoucher, V2, Voucher};
use farebox_engine::verifier::{SIGNER_TABLES_BYTES_MAX, verifier_from_environment};
use k256::ecdsa::SigningKey;

const PAYERS: usize = 64;
const VOUCHERS: usize = 10_000;

/// A payer's voucher, as it would arrive in a request.
fn sign(
    domain: &Domain<V2>,
    key: &SigningKey,
    channel: u8,
    amount: u128,
) -> Result<SignedVoucher<V2>, Box<dyn Error>> {
    let voucher =
        Voucher { channel_id: ChannelId([channel; 32].into()), cumulative_amount: Amount::new(amount) };
    let (signature, parity) = key.sign_prehash_recoverable(domain.digest(&voucher)?.as_slice());
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + parity.to_byte());
    Ok(SignedVoucher::parse(voucher, &bytes)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let domain = Domain::<V2>::tempo(ChainId(42_431));
    let keys = (1..=PAYERS as u8).map(|i| SigningKey::from_slice(&[i; 32])).collect::<Result<Vec<_>, _>>()?;
    // A service knows these addresses from its channels' terms, never from the request.
    let payers: Vec<_> = keys
        .iter()
        .map(|key| {
            let public = key.verifying_key().to_sec1_point(false);
            Address::from_raw_public_key(&public.as_bytes()[1..])
        })
        .collect();
    println!("signing {VOUCHERS} vouchers of {PAYERS} payers");
    let mut vouchers = Vec::with_capacity(VOUCHERS);
    for i in 0..VOUCHERS {
        vouchers.push(sign(&domain, &keys[i % PAYERS], (i % PAYERS) as u8, 25 * (i as u128 + 1))?);
    }

    let verifier = verifier_from_environment(SIGNER_TABLES_BYTES_MAX)?;
    let batch: Vec<_> =
        vouchers.iter().enumerate().map(|(i, voucher)| (voucher, payers[i % PAYERS])).collect();
    // The first round learns the payers' keys, the next ones build their tables and then wide ones; the last is what a
    // service sees from then on.
    for round in ["learning the payers", "building wide tables", "knowing the payers"] {
        let threads = thread::available_parallelism()?.get();
        let start = Instant::now();
        let valid: usize = thread::scope(|scope| {
            let parts = batch.chunks(VOUCHERS.div_ceil(threads));
            let running: Vec<_> = parts
                .map(|part| {
                    let (verifier, domain) = (&verifier, &domain);
                    scope.spawn(move || {
                        verifier.verify_batch(domain, part).iter().filter(|v| v.is_ok()).count()
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().expect("a verifier does not panic")).sum()
        });
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{round}: {valid} of {VOUCHERS} valid, {:.2} µs a voucher on {threads} threads, {:.0} vouchers/s, {} backend",
            seconds * 1e6 / VOUCHERS as f64,
            VOUCHERS as f64 / seconds,
            verifier.backend().name(),
        );
    }

    let forged = sign(&domain, &keys[1], 0, 1_000_000)?;
    match verifier.verify_one(&domain, &forged, payers[0]) {
        Ok(_) => Err("a forged voucher was accepted".into()),
        Err(refused) => {
            println!("forged: {refused}");
            Ok(())
        }
    }
}

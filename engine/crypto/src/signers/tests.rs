//! Signers earn, keep and lose what they have within their shares.

use super::*;
use crate::backend::Lanes;
use crate::ecdsa::Signature;
use crate::field::portable::Portable;
use crate::table::{Build, GENERATOR_POINT};
use alloc::vec;

const TABLE_AT_VOUCHERS: u32 = 3;

fn address(i: u32) -> Address {
    let mut address = [0; 20];
    address[..4].copy_from_slice(&i.to_le_bytes());
    address
}

fn jobs(signer: u32, count: u32) -> Vec<Job> {
    let signature = Signature::new([1; 32], [1; 32], false).unwrap();
    vec![Job { digest: [0; 32], signature, signer: address(signer) }; count as usize]
}

fn table(shape: Shape) -> Arc<Table> {
    Arc::new(Portable.run(Build { keys: &[GENERATOR_POINT], shape }).remove(0))
}

/// Room for so many tables, half as many wide ones or fewer, and some keys.
fn signers(tables: usize) -> Signers {
    Signers::new(2 * tables * FIRST_SHAPE.bytes(), TABLE_AT_VOUCHERS)
}

/// Meets one signer `count` times in one batch.
fn meet(signers: &mut Signers, signer: u32, count: u32) -> Known {
    signers.meet(&jobs(signer, count)).signers.remove(0).known
}

fn learn(signers: &mut Signers, signer: u32) -> Known {
    signers.learn(&address(signer), GENERATOR_POINT, 0, &mut Vec::new())
}

/// What a shape's count must be if every seat is held by exactly one record.
fn check(signers: &Signers) {
    for (seats, shape) in [(&signers.tables, FIRST_SHAPE), (&signers.wide_tables, WIDE_SHAPE)] {
        let holders = signers.records.iter().filter(|r| r.table.as_ref().is_some_and(|t| t.shape() == shape));
        assert_eq!(holders.count(), seats.count());
    }
    assert_eq!(signers.index.len(), signers.records.len());
    assert!(signers.records.len() <= signers.shares.keys);
    assert!(signers.tables.count() <= signers.shares.tables);
    assert!(signers.wide_tables.count() <= signers.shares.wide_tables);
}

#[test]
fn a_signer_earns_a_table_and_then_a_wide_one() {
    let mut signers = signers(16);
    assert!(matches!(meet(&mut signers, 1, 1), Known::Nothing));
    assert!(matches!(learn(&mut signers, 1), Known::Key(0)));
    assert!(matches!(meet(&mut signers, 1, 1), Known::Key(0)));
    assert!(matches!(meet(&mut signers, 1, 1), Known::Earned(0, FIRST_SHAPE)));
    signers.keep(&address(1), &table(FIRST_SHAPE));
    assert!(matches!(meet(&mut signers, 1, 1), Known::Table(_)));
    assert!(matches!(meet(&mut signers, 1, WIDE_TABLE_AT_VOUCHERS), Known::Earned(0, WIDE_SHAPE)));
    let wide = table(WIDE_SHAPE);
    signers.keep(&address(1), &wide);
    assert!(matches!(meet(&mut signers, 1, 1), Known::Table(found) if Arc::ptr_eq(&found, &wide)));
    assert_eq!(signers.bytes(), RECORD_BYTES + WIDE_SHAPE.bytes());
    check(&signers);
}

#[test]
fn a_batch_names_each_signer_once() {
    let mut signers = signers(16);
    learn(&mut signers, 1);
    let mut batch = Vec::new();
    for signer in [1, 2, 1, 3, 2, 1] {
        batch.extend(jobs(signer, 1));
    }
    let met = signers.meet(&batch);
    assert_eq!(met.of_job, [0, 1, 0, 2, 1, 0]);
    let counts: Vec<_> = met.signers.iter().map(|signer| (signer.job, signer.vouchers)).collect();
    assert_eq!(counts, [(0, 3), (1, 2), (3, 1)]);
    assert!(matches!(met.known(2), Known::Earned(0, FIRST_SHAPE)));
    assert!(matches!(met.known(4), Known::Nothing));
    // Places of an earlier batch are not mistaken for those of this one.
    assert_eq!(signers.meet(&batch[1..]).of_job, [0, 1, 2, 0, 1]);
}

#[test]
fn a_key_learned_in_a_batch_counts_its_other_vouchers() {
    let mut signers = signers(16);
    let mut keys = Vec::new();
    let known = signers.learn(&address(1), GENERATOR_POINT, TABLE_AT_VOUCHERS - 1, &mut keys);
    assert!(matches!(known, Known::Earned(0, FIRST_SHAPE)));
    assert_eq!(keys, [GENERATOR_POINT]);
}

#[test]
fn keys_are_bounded_and_the_oldest_go_first() {
    let mut signers = signers(1);
    let keys_max = signers.shares.keys as u32;
    assert!(keys_max > 2 * LOOKED_AT_SIGNERS as u32);
    for i in 0..4 * keys_max {
        learn(&mut signers, i);
        assert!(!matches!(meet(&mut signers, i, 1), Known::Nothing));
        // The first signer is met all the time.
        assert!(!matches!(meet(&mut signers, 0, 1), Known::Nothing), "{i}");
        check(&signers);
    }
    assert!(matches!(meet(&mut signers, 1, 1), Known::Nothing));
    assert_eq!(signers.records.len() as u32, keys_max);
}

#[test]
fn a_batch_earns_few_tables_and_the_next_ones_earn_the_others() {
    let many = 40;
    let mut signers = signers(many as usize);
    for i in 0..many {
        learn(&mut signers, i);
    }
    let batch: Vec<_> = (0..many).flat_map(|i| jobs(i, TABLE_AT_VOUCHERS)).collect();
    let may_earn = batch.len().max(VOUCHERS_A_WIDE_TABLE) / VOUCHERS_A_TABLE;
    let mut without = many as usize;
    while without > 0 {
        let met = signers.meet(&batch);
        let earned: Vec<_> =
            (0..many).filter(|i| matches!(met.signers[*i as usize].known, Known::Earned(..))).collect();
        assert_eq!(earned.len(), may_earn.min(without));
        earned.iter().for_each(|i| signers.keep(&address(*i), &table(FIRST_SHAPE)));
        without -= earned.len();
    }
}

#[test]
fn a_seat_is_promised_to_no_more_than_there_are() {
    let mut signers = signers(4);
    let mut batch = Vec::new();
    for i in 0..10 {
        learn(&mut signers, i);
        batch.extend(jobs(i, TABLE_AT_VOUCHERS));
    }
    let met = signers.meet(&batch);
    let earned = met.signers.iter().filter(|signer| matches!(signer.known, Known::Earned(..))).count();
    assert_eq!(earned, 4);
    for i in 0..4 {
        signers.keep(&address(i), &table(FIRST_SHAPE));
    }
    check(&signers);
    // Signers that are met alike take nothing from each other, one that is met far more does.
    for _ in 0..10 {
        let met = signers.meet(&batch);
        assert!(!met.signers.iter().any(|signer| matches!(signer.known, Known::Earned(..))));
    }
    assert!(matches!(meet(&mut signers, 9, 1000), Known::Earned(0, FIRST_SHAPE)));
    signers.keep(&address(9), &table(FIRST_SHAPE));
    assert!(matches!(meet(&mut signers, 9, 1), Known::Table(_)));
    assert_eq!(signers.tables.count(), 4);
    check(&signers);
}

#[test]
fn a_signer_that_faded_gives_its_table_away() {
    let mut signers = signers(1);
    for i in 0..2 {
        learn(&mut signers, i);
    }
    assert!(matches!(meet(&mut signers, 0, 60_000), Known::Earned(0, FIRST_SHAPE)));
    signers.keep(&address(0), &table(FIRST_SHAPE));
    assert!(!matches!(meet(&mut signers, 1, 60_000), Known::Earned(..)));
    let earned = (0..10).any(|_| matches!(meet(&mut signers, 1, 60_000), Known::Earned(..)));
    assert!(earned, "fame fades");
}

#[test]
fn a_forgotten_signer_gets_no_table() {
    let mut signers = signers(2);
    learn(&mut signers, 1);
    assert!(matches!(meet(&mut signers, 1, 3), Known::Earned(..)));
    signers.keep(&address(2), &table(FIRST_SHAPE));
    assert_eq!(signers.tables.count(), 0);
    check(&signers);
}

#[test]
fn without_memory_nothing_is_kept_and_the_key_still_serves_its_batch() {
    let mut signers = Signers::new(0, TABLE_AT_VOUCHERS);
    assert!(matches!(learn(&mut signers, 1), Known::Key(0)));
    signers.keep(&address(1), &table(FIRST_SHAPE));
    assert!(matches!(meet(&mut signers, 1, 1), Known::Nothing));
    assert_eq!(signers.bytes(), 0);
}

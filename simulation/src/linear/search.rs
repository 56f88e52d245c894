//! The search for an order that explains a channel's history: Wing and Gong's (1993), which tries next whatever began
//! before everything that is left ended, with Lowe's memory (2017) of where it has been.
//!
//! Without that memory a history in which much overlaps takes exponential time: orders that lead to the same account are
//! tried again and again. What matters for the rest is only which operations were placed, and the account that they
//! led to.

use std::collections::HashMap;

use super::{Answer, Caller, Line};
use crate::account::{Account, Op};
use crate::said::Said;

/// The most operations of one channel in one history: a bit for each.
const OPERATIONS_MAX: usize = u128::BITS as usize;
/// The most places of a search. A history has some dozens of operations of which few overlap; a thousandth of this is
/// usual.
const PLACES_MAX: usize = 4_000_000;

/// An operation of a history.
struct Operation<'a> {
    op: &'a Op,
    /// The lines at which it began and ended.
    began: usize,
    ended: usize,
    /// What came back; `None` for a restart, which answers nobody.
    answer: Option<&'a Answer>,
}

/// The operations of one channel's lines. A restart is one as well, over in an instant, so nothing moves across it.
fn operations(lines: &[Line]) -> Vec<Operation<'_>> {
    let mut operations: Vec<Operation<'_>> = Vec::new();
    let mut running: Vec<(Caller, usize)> = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        match line {
            Line::Began(caller, _, op) => {
                running.push((*caller, operations.len()));
                operations.push(Operation { op, began: place, ended: usize::MAX, answer: None });
            }
            Line::Ended(caller, answer) => {
                let index = running.iter().position(|(same, _)| same == caller);
                let (_, operation) = running.swap_remove(index.expect("what ends has begun"));
                operations[operation].ended = place;
                operations[operation].answer = Some(answer);
            }
            Line::Restarted => {
                operations.push(Operation { op: &Op::Restart, began: place, ended: place, answer: None });
            }
        }
    }
    operations
}

/// Whether there is an order of these lines' operations in which `account` gives the answers that were given. A lost call
/// has a place in it, before the crash that lost it, or none.
///
/// # Panics
///
/// When there are more than [`OPERATIONS_MAX`] operations or [`PLACES_MAX`] places.
pub(super) fn is_explained(lines: &[Line], account: Account) -> bool {
    let operations = operations(lines);
    assert!(operations.len() <= OPERATIONS_MAX, "found {} operations", operations.len());
    let all = (0..operations.len()).fold(0, |all, index| all | 1_u128 << index);
    let mut seen: HashMap<u128, Vec<Account>> = HashMap::new();
    let mut places = 0;
    let mut open = vec![(0_u128, account)];
    while let Some((placed, account)) = open.pop() {
        if placed == all {
            return true;
        }
        let known = seen.entry(placed).or_default();
        if known.contains(&account) {
            continue;
        }
        known.push(account.clone());
        places += 1;
        assert!(places <= PLACES_MAX, "the search visits more than {PLACES_MAX} places: {lines:?}");

        let left = || operations.iter().enumerate().filter(|(index, _)| placed >> index & 1 == 0);
        let first_end = left().map(|(_, operation)| operation.ended).min().unwrap_or(usize::MAX);
        // The first that began is tried first: it is looked at last in, first out.
        for (index, operation) in left().rev().filter(|(_, operation)| operation.began <= first_end) {
            let placed = placed | 1_u128 << index;
            if matches!(operation.answer, Some(Answer::Lost)) {
                open.push((placed, account.clone()));
            }
            let mut account = account.clone();
            if fits(&mut account, operation) {
                open.push((placed, account));
            }
        }
    }
    false
}

/// Does an operation on an account, and tells whether its answer is the one that was given.
fn fits(account: &mut Account, operation: &Operation<'_>) -> bool {
    let op = operation.op;
    let Some(Answer::Said(said)) = operation.answer else {
        account.ask(op);
        return true;
    };
    match op {
        _ if *said == Said::Busy => true,
        // Refused, and nothing changes; which of several reasons is given first is nobody's concern.
        Op::Submit { genuine: false, .. } | Op::Close { genuine: false, .. } => {
            matches!(said, Said::Refused(_))
        }
        _ => account.ask(op) == *said,
    }
}

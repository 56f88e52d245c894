//! Who has a table, when there are fewer tables than signers.
//!
//! While seats are free, whoever has earned a table gets one. When all are taken, a table is only worth building for a signer
//! that is met much more often than somebody who has one: *twice as often and some more* ([`BUILD_PAYS_VOUCHERS`]). Then
//! a million signers who are all met alike leave the tables where they are, instead of building one a voucher.

/// Vouchers that a table must serve before it has paid for being built.
const BUILD_PAYS_VOUCHERS: u32 = 16;

/// Signers that are compared before one of them loses its table.
const COMPARED_SIGNERS: usize = 8;

/// The signers that have a table of one shape.
pub(super) struct Seats {
    taken: Vec<u32>,
    max: usize,
    /// Tables that are being built.
    promised: usize,
    /// Where the next comparison begins.
    hand: usize,
}

use alloc::vec::Vec;

impl Seats {
    pub(super) const fn new(max: usize) -> Self {
        Self { taken: Vec::new(), max, promised: 0, hand: 0 }
    }

    /// How many tables there are.
    pub(super) const fn count(&self) -> usize {
        self.taken.len()
    }

    /// Promises a free seat, if there is one.
    pub(super) const fn promise(&mut self) -> bool {
        let free = self.taken.len() + self.promised < self.max;
        self.promised += free as usize;
        free
    }

    /// The table that a seat was promised for is there, and will sit down if it may.
    pub(super) const fn promised_was_kept(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    /// Whether a seat is free for a table that is there.
    pub(super) const fn has_free(&self) -> bool {
        self.taken.len() < self.max
    }

    /// Takes a free seat.
    pub(super) fn sit(&mut self, record: u32) -> u32 {
        self.taken.push(record);
        (self.taken.len() - 1) as u32
    }

    /// Leaves a seat. Tells who sits there now, if anybody: the last one moves up.
    pub(super) fn leave(&mut self, seat: u32) -> Option<u32> {
        self.taken.swap_remove(seat as usize);
        self.taken.get(seat as usize).copied()
    }

    /// A signer that should give its table to one with this count, if there is one among the next few.
    pub(super) fn weaker_than(&mut self, count: u32, counted: impl Fn(u32) -> u32) -> Option<u32> {
        let all = self.taken.len();
        if all == 0 {
            return None;
        }
        let compared = (0..COMPARED_SIGNERS.min(all)).map(|i| self.taken[(self.hand + i) % all]);
        let weakest = compared.min_by_key(|record| counted(*record))?;
        self.hand = (self.hand + COMPARED_SIGNERS) % all;
        let needed = counted(weakest).saturating_mul(2).saturating_add(BUILD_PAYS_VOUCHERS);
        (count >= needed).then_some(weakest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_promised_taken_and_left() {
        let mut seats = Seats::new(2);
        assert!(seats.promise() && seats.promise() && !seats.promise());
        for (seat, record) in [(0, 10), (1, 11)] {
            seats.promised_was_kept();
            assert!(seats.has_free());
            assert_eq!(seats.sit(record), seat);
        }
        assert!(!seats.has_free() && !seats.promise());
        // The last one moves to the seat that was left.
        assert_eq!(seats.leave(0), Some(11));
        assert_eq!(seats.leave(0), None);
        assert_eq!(seats.count(), 0);
    }

    #[test]
    fn only_a_much_stronger_signer_takes_a_seat() {
        let mut seats = Seats::new(3);
        assert_eq!(seats.weaker_than(u32::MAX, |_| 0), None);
        for record in [5, 6, 7] {
            seats.sit(record);
        }
        let counted = |record| 10 * record;
        let needed = 2 * 50 + BUILD_PAYS_VOUCHERS;
        assert_eq!(seats.weaker_than(needed - 1, counted), None);
        assert_eq!(seats.weaker_than(needed, counted), Some(5));
    }
}

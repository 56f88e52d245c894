//! Blocks that a chain takes back: which facts count, which have to be undone, which are told anew.
//!
//! A chain without finality may replace its newest blocks. The [`Tracker`] keeps the blocks that are not yet
//! `depth` below the newest one, each with the facts that it holds. A block that does not follow the newest one
//! makes it roll back to the common ancestor; the facts of the blocks that went away leave as values, newest first,
//! and those of the new branch come in order. A fact is confirmed once its block is `depth` deep, and then it stays.
//!
//! With a depth of zero (Tempo's blocks are final) every block is confirmed at once, and nothing is ever kept.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use farebox_core::units::{B256, BlockNumber};

/// The most blocks below the newest that may still be replaced.
pub const DEPTH_BLOCKS_MAX: usize = 1_024;

/// A block, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<F> {
    /// Its height.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block below it.
    pub parent: B256,
    /// The facts in it, in order.
    pub facts: Vec<F>,
}

/// What a new block changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<F> {
    /// Blocks that are no part of the chain any more, the newest first. Their facts are undone in this order.
    pub undone: Vec<Block<F>>,
    /// Blocks that cannot be replaced any more, the oldest first.
    pub confirmed: Vec<Block<F>>,
}

/// A block that cannot be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Detached {
    /// It follows a block that is not known: the blocks below it are needed first, from the common ancestor on.
    #[error("block {} follows a block that is not known; read from block {} on", number.0, read_from.0)]
    UnknownParent {
        /// Its height.
        number: BlockNumber,
        /// Where to begin to read: the branch leaves the chain below this height at the latest.
        read_from: BlockNumber,
    },
    /// The chain was replaced deeper than what counts as confirmed. Facts that were told are not true any more:
    /// a human has to look.
    #[error("block {} replaces the confirmed block {}", number.0, confirmed.0)]
    ConfirmedReplaced {
        /// Its height.
        number: BlockNumber,
        /// The newest confirmed block.
        confirmed: BlockNumber,
    },
}

/// Follows one chain.
#[derive(Clone, Debug)]
pub struct Tracker<F> {
    depth: usize,
    /// The newest confirmed block; none before the first.
    base: Option<(BlockNumber, B256)>,
    /// The blocks above it, which follow one another.
    open: VecDeque<Block<F>>,
}

impl<F> Tracker<F> {
    /// Confirms blocks that `depth` others follow; more than [`DEPTH_BLOCKS_MAX`] is that.
    pub fn new(depth: usize) -> Self {
        Self { depth: depth.min(DEPTH_BLOCKS_MAX), base: None, open: VecDeque::new() }
    }

    /// Goes on from a confirmed block, as a stored cursor names it.
    pub fn resume(depth: usize, number: BlockNumber, hash: B256) -> Self {
        Self { base: Some((number, hash)), ..Self::new(depth) }
    }

    /// The newest confirmed block.
    pub const fn confirmed(&self) -> Option<(BlockNumber, B256)> {
        self.base
    }

    /// The newest block.
    pub fn newest(&self) -> Option<(BlockNumber, B256)> {
        self.open.back().map(|block| (block.number, block.hash)).or(self.base)
    }

    /// Blocks that count so far and may still be replaced, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Block<F>> {
        self.open.iter()
    }

    /// Takes a block. One that is known already changes nothing. When it is detached, nothing changes either.
    pub fn take(&mut self, block: Block<F>) -> Result<Change<F>, Detached> {
        if self.open.iter().any(|known| known.hash == block.hash)
            || self.base.is_some_and(|(_, hash)| hash == block.hash)
        {
            return Ok(Change { undone: Vec::new(), confirmed: Vec::new() });
        }
        let keep = self.ancestor(&block)?;
        let undone = self.open.drain(keep..).rev().collect();
        self.open.push_back(block);
        let mut confirmed = Vec::new();
        while self.open.len() > self.depth {
            let Some(oldest) = self.open.pop_front() else { break };
            self.base = Some((oldest.number, oldest.hash));
            confirmed.push(oldest);
        }
        Ok(Change { undone, confirmed })
    }

    /// How many open blocks stay below a new one.
    fn ancestor(&self, block: &Block<F>) -> Result<usize, Detached> {
        let number = block.number;
        let follows = |below: BlockNumber| below.0.checked_add(1) == Some(number.0);
        if let Some(place) = self.open.iter().rposition(|known| known.hash == block.parent)
            && follows(self.open[place].number)
        {
            return Ok(place + 1);
        }
        match self.base {
            None => Ok(0),
            Some((base, hash)) if hash == block.parent && follows(base) => Ok(0),
            Some((confirmed, _)) if number <= confirmed || follows(confirmed) => {
                Err(Detached::ConfirmedReplaced { number, confirmed })
            }
            Some((confirmed, _)) => {
                let newest = self.newest().map_or(confirmed, |(newest, _)| newest);
                // A branch at our height left below it; a gap begins behind our newest block.
                let read_from =
                    if number.0 > newest.0.saturating_add(1) { newest.0 + 1 } else { number.0 - 1 };
                let read_from = BlockNumber(read_from.max(confirmed.0 + 1));
                Err(Detached::UnknownParent { number, read_from })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Facts = Block<u64>;

    /// A block whose hash tells its branch and height; its only fact is the hash's number.
    fn block(branch: u64, number: u64, parent: B256) -> Facts {
        let name = branch * 1_000 + number + 1;
        let hash = B256::left_padding_from(&name.to_be_bytes());
        Block { number: BlockNumber(number), hash, parent, facts: Vec::from([name]) }
    }

    fn line(branch: u64, numbers: core::ops::Range<u64>, mut parent: B256) -> Vec<Facts> {
        numbers
            .map(|number| {
                let next = block(branch, number, parent);
                parent = next.hash;
                next
            })
            .collect()
    }

    fn names(blocks: &[Facts]) -> Vec<u64> {
        blocks.iter().flat_map(|block| block.facts.clone()).collect()
    }

    #[test]
    fn a_branch_undoes_the_newest_first_and_goes_on() {
        let mut tracker = Tracker::new(3);
        let main = line(0, 0..3, B256::ZERO);
        for block in &main {
            assert_eq!(tracker.take(block.clone()).expect("follows").confirmed, []);
        }
        let branch = line(1, 1..4, main[0].hash);
        let change = tracker.take(branch[0].clone()).expect("a branch");
        assert_eq!(names(&change.undone), [3, 2]);
        tracker.take(branch[1].clone()).expect("follows");
        let change = tracker.take(branch[2].clone()).expect("follows");
        assert_eq!(names(&change.confirmed), [1]);
        assert_eq!(tracker.confirmed(), Some((BlockNumber(0), main[0].hash)));
    }

    #[test]
    fn what_does_not_follow_is_told_and_changes_nothing() {
        let mut tracker = Tracker::new(1);
        for block in line(0, 0..4, B256::ZERO) {
            tracker.take(block).expect("follows");
        }
        let newest = tracker.newest();
        let gap = block(1, 9, B256::repeat_byte(9));
        let unknown = Detached::UnknownParent { number: BlockNumber(9), read_from: BlockNumber(4) };
        assert_eq!(tracker.take(gap), Err(unknown));
        let deep = block(1, 2, B256::repeat_byte(9));
        let replaced = Detached::ConfirmedReplaced { number: BlockNumber(2), confirmed: BlockNumber(2) };
        assert_eq!(tracker.take(deep), Err(replaced));
        let branch = block(1, 4, B256::repeat_byte(9));
        let below = Detached::UnknownParent { number: BlockNumber(4), read_from: BlockNumber(3) };
        assert_eq!(tracker.take(branch), Err(below));
        assert_eq!(tracker.newest(), newest);
    }

    #[test]
    fn final_blocks_are_confirmed_at_once() {
        let mut tracker = Tracker::resume(0, BlockNumber(7), B256::repeat_byte(1));
        let change = tracker.take(block(0, 8, B256::repeat_byte(1))).expect("follows");
        assert_eq!(change.confirmed.len(), 1);
        assert_eq!(tracker.open().count(), 0);
    }

    proptest! {
        /// A naive chain keeps every block, and finds out anew each time what counts.
        #[test]
        fn a_naive_chain_agrees(
            depth in 0..5_usize,
            steps in prop::collection::vec((0..6_usize, 1..4_u64, any::<bool>()), 1..40),
        ) {
            let mut tracker = Tracker::new(depth);
            let mut chain = line(0, 0..1, B256::ZERO);
            let (mut told, mut confirmed) = (names(&chain), Vec::new());
            confirmed.extend(names(&tracker.take(chain[0].clone()).expect("the first").confirmed));
            for (branch, (back, length, repeats)) in steps.into_iter().enumerate() {
                // No deeper than what may be replaced.
                let open = chain.len() - confirmed.len();
                chain.truncate(chain.len() - back.min(open));
                let top = chain.last().map_or(B256::ZERO, |top| top.hash);
                let from = chain.len() as u64;
                // When everything is open, the branch begins below all blocks, and there is no base to follow.
                if from == 0 { chain = line(branch as u64 + 1, 0..1, B256::ZERO); }
                else { chain.extend(line(branch as u64 + 1, from..from + length, top)); }
                let new = chain[from as usize..].to_vec();
                for block in new {
                    let change = tracker.take(block.clone()).expect("follows what is known");
                    for fact in names(&change.undone) {
                        prop_assert_eq!(told.pop(), Some(fact), "undone in reverse");
                    }
                    told.extend(names(core::slice::from_ref(&block)));
                    confirmed.extend(names(&change.confirmed));
                    if repeats {
                        let again = tracker.take(block).expect("known");
                        prop_assert!(again.undone.is_empty() && again.confirmed.is_empty());
                    }
                }
                prop_assert_eq!(&told, &names(&chain), "what counts is what is on the chain");
                let deep = names(&chain[..chain.len().saturating_sub(depth)]);
                prop_assert!(confirmed.len() >= deep.len());
                prop_assert_eq!(&confirmed[..deep.len()], &deep[..]);
                prop_assert_eq!(&confirmed[..], &told[..confirmed.len()], "what is confirmed stays");
            }
        }
    }
}

//! Whether the chain still holds the blocks whose events were told.
//!
//! The watcher shows every block that it reads up to; the hashes of the newest are remembered ([`Tracker`]). A block
//! that does not follow the last one is followed down to the common ancestor, and the watcher hears from where on
//! everything has to be read again. On a chain with finality that never happens; that is found out here, not assumed.

use farebox_core::units::{B256, BlockNumber};
use farebox_settlement_plan::reorg::{Block, Detached, Tracker};

use crate::client::{ClientError, Head};

/// What a block says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It follows them.
    On,
    /// Blocks above `ancestor` are no part of the chain any more.
    Replaced {
        /// The newest block that still is.
        ancestor: u64,
    },
    /// All blocks that are remembered were replaced, from `oldest` on and perhaps others before.
    Deep {
        /// The oldest that was remembered.
        oldest: u64,
    },
}

/// The newest blocks, by hash.
#[derive(Debug)]
pub(crate) struct Branch {
    tracker: Tracker<()>,
    window_blocks: usize,
    /// Blocks that were read on the way down when a read failed, so that a node that fails often is followed all the same.
    /// At most a window of them; whether they fit is told by their hashes.
    read: Vec<Head>,
}

impl Branch {
    /// Goes on behind a block that was read before; from nothing without one.
    pub(crate) fn new(window_blocks: usize, known: Option<(u64, B256)>) -> Self {
        let tracker = match known {
            Some((number, hash)) => Tracker::resume(window_blocks, BlockNumber(number), hash),
            None => Tracker::new(window_blocks),
        };
        Self { tracker, window_blocks, read: Vec::new() }
    }

    /// The hash of a block that is remembered.
    pub(crate) fn hash_of(&self, number: u64) -> Option<B256> {
        let open = self.tracker.open().map(|block| (block.number, block.hash));
        open.chain(self.tracker.confirmed()).find(|(known, _)| known.0 == number).map(|(_, hash)| hash)
    }

    /// Takes the block up to which is read next; `read` gives others by their height. When that fails, nothing is taken,
    /// and what was read is not read again.
    pub(crate) async fn follow<F>(
        &mut self,
        block: Head,
        mut read: impl FnMut(u64) -> F,
    ) -> Result<Followed, ClientError>
    where
        F: Future<Output = Result<Head, ClientError>>,
    {
        let Some((newest, hash)) = self.tracker.newest() else {
            self.begin_at(block);
            return Ok(Followed::On);
        };
        let oldest = self.oldest();
        // A node that is behind says nothing about what is above.
        if block.number < oldest {
            return Ok(Followed::On);
        }
        if block.number > newest.0.saturating_add(self.window_blocks as u64) {
            // Too many between to look at each.
            let is_there = read(newest.0).await?.hash == hash;
            self.begin_at(block);
            return Ok(if is_there { Followed::On } else { Followed::Deep { oldest } });
        }
        let mut tracker = self.tracker.clone();
        let mut above = vec![block];
        let mut ancestor = u64::MAX;
        while let Some(next) = above.last().copied() {
            match tracker.take(as_block(next)) {
                Ok(change) => {
                    let lowest = change.undone.last().map_or(u64::MAX, |block| block.number.0 - 1);
                    ancestor = ancestor.min(lowest);
                    above.pop();
                }
                Err(Detached::UnknownParent { .. }) => {
                    let known = self.read.iter().find(|head| head.hash == next.parent).copied();
                    let below = match known {
                        Some(head) => head,
                        None => {
                            let head = read(next.number - 1).await?;
                            if self.read.len() >= self.window_blocks {
                                self.read.remove(0);
                            }
                            self.read.push(head);
                            head
                        }
                    };
                    if below.hash != next.parent {
                        let what = "blocks that follow one another";
                        return Err(ClientError::BadAnswer { endpoint: "the nodes".to_owned(), what });
                    }
                    above.push(below);
                }
                Err(Detached::ConfirmedReplaced { .. }) => {
                    self.begin_at(block);
                    return Ok(Followed::Deep { oldest });
                }
            }
        }
        self.tracker = tracker;
        self.read.clear();
        Ok(if ancestor == u64::MAX { Followed::On } else { Followed::Replaced { ancestor } })
    }

    fn begin_at(&mut self, block: Head) {
        *self = Self::new(self.window_blocks, Some((block.number, block.hash)));
    }

    /// The oldest block that is remembered.
    fn oldest(&self) -> u64 {
        let confirmed = self.tracker.confirmed().map(|(number, _)| number.0);
        confirmed.or_else(|| self.tracker.open().next().map(|block| block.number.0)).unwrap_or_default()
    }
}

fn as_block(head: Head) -> Block<()> {
    Block { number: BlockNumber(head.number), hash: head.hash, parent: head.parent, facts: Vec::new() }
}

#[cfg(test)]
mod tests {
    use farebox_core::units::UnixSeconds;

    use super::*;

    const WINDOW: usize = 8;

    /// A chain whose blocks from some heights on belong to other branches.
    struct Chain {
        /// Where branches begin.
        forks: Vec<u64>,
        asked: u64,
    }

    impl Chain {
        fn hash(&self, number: u64) -> B256 {
            let branch = self.forks.iter().filter(|fork| number >= **fork).count() as u64;
            // A block is another one when any below it is.
            B256::left_padding_from(&(branch * 1_000_000 + number + 1).to_be_bytes())
        }

        fn block(&self, number: u64) -> Head {
            let parent = self.hash(number.saturating_sub(1));
            Head { number, hash: self.hash(number), parent, timestamp: UnixSeconds(number), base_fee: 0 }
        }

        async fn show(&mut self, branch: &mut Branch, number: u64) -> Followed {
            let block = self.block(number);
            let followed = branch.follow(block, |number| {
                self.asked += 1;
                std::future::ready(Ok(self.block(number)))
            });
            followed.await.expect("the chain answers")
        }
    }

    #[tokio::test]
    async fn what_follows_is_followed_and_gaps_are_read() {
        let mut chain = Chain { forks: Vec::new(), asked: 0 };
        let mut branch = Branch::new(WINDOW, None);
        for (number, asked) in [(100, 0), (101, 0), (101, 0), (104, 2), (103, 2), (90, 2), (140, 3), (141, 3)]
        {
            assert_eq!(chain.show(&mut branch, number).await, Followed::On, "block {number}");
            assert_eq!(chain.asked, asked, "block {number}");
        }
        assert_eq!((branch.hash_of(140), branch.hash_of(104)), (Some(chain.hash(140)), None));
    }

    #[tokio::test]
    async fn a_branch_is_followed_down_to_the_common_ancestor() {
        let mut chain = Chain { forks: Vec::new(), asked: 0 };
        let mut branch = Branch::new(WINDOW, None);
        for number in 100..=105 {
            chain.show(&mut branch, number).await;
        }
        chain.forks.push(103);
        assert_eq!(chain.show(&mut branch, 106).await, Followed::Replaced { ancestor: 102 });
        assert_eq!(branch.hash_of(104), Some(chain.hash(104)));
        // A shorter branch, as it comes when a chain was set back.
        chain.forks.push(101);
        assert_eq!(chain.show(&mut branch, 102).await, Followed::Replaced { ancestor: 100 });
        assert_eq!(chain.show(&mut branch, 103).await, Followed::On);
    }

    #[tokio::test]
    async fn what_was_replaced_deeper_than_what_is_remembered_is_said() {
        let mut chain = Chain { forks: Vec::new(), asked: 0 };
        let mut branch = Branch::new(WINDOW, None);
        for number in 100..=120 {
            chain.show(&mut branch, number).await;
        }
        let oldest = 120 - WINDOW as u64;
        chain.forks.push(90);
        assert_eq!(chain.show(&mut branch, 121).await, Followed::Deep { oldest });
        assert_eq!(chain.show(&mut branch, 122).await, Followed::On);
        // After a restart only one block is known, and behind a gap it is asked for.
        let mut branch = Branch::new(WINDOW, Some((122, chain.hash(122))));
        chain.forks.push(120);
        assert_eq!(chain.show(&mut branch, 200).await, Followed::Deep { oldest: 122 });
    }

    #[tokio::test]
    async fn a_node_that_fails_now_and_then_is_followed_all_the_same() {
        let chain = Chain { forks: Vec::new(), asked: 0 };
        let mut branch = Branch::new(WINDOW, Some((100, chain.hash(100))));
        let mut asked = Vec::new();
        let mut tries = 0;
        loop {
            tries += 1;
            // The second read of every try fails.
            let mut reads = 0;
            let followed = branch.follow(chain.block(105), |number| {
                reads += 1;
                asked.push(number);
                let failed = ClientError::BadAnswer { endpoint: String::new(), what: "a block" };
                std::future::ready(if reads == 2 { Err(failed) } else { Ok(chain.block(number)) })
            });
            if let Ok(followed) = followed.await {
                assert_eq!(followed, Followed::On);
                break;
            }
            assert!(tries < WINDOW as u64, "{asked:?}");
        }
        assert_eq!((tries, asked), (4, vec![104, 103, 103, 102, 102, 101, 101]));
        assert!(branch.read.is_empty());
        assert_eq!(branch.hash_of(103), Some(chain.hash(103)));
    }

    #[tokio::test]
    async fn blocks_that_do_not_fit_are_not_believed() {
        let chain = Chain { forks: Vec::new(), asked: 0 };
        let mut branch = Branch::new(WINDOW, Some((100, chain.hash(100))));
        let stranger = Head { hash: B256::repeat_byte(7), ..chain.block(101) };
        let followed = branch.follow(chain.block(103), |_| std::future::ready(Ok(stranger))).await;
        assert!(matches!(followed, Err(ClientError::BadAnswer { .. })), "{followed:?}");
        assert_eq!(branch.hash_of(100), Some(chain.hash(100)));
        assert_eq!(branch.hash_of(101), None);
    }
}

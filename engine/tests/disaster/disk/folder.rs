//! One folder: its names as they are, as they are durable, and the changes between.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;

use crate::seed::Dice;

type Names = BTreeMap<OsString, u64>;
/// Names that change together, and what each stands for from then on.
type Change = Vec<(OsString, Option<u64>)>;

#[derive(Debug, Default)]
pub struct Folder {
    live: Names,
    durable: Names,
    unsynced: Vec<Change>,
}

impl Folder {
    pub fn names(&self) -> &Names {
        &self.live
    }

    /// Changes names, all or none of them.
    pub fn set(&mut self, change: impl Into<Change>) {
        let change = change.into();
        apply(&mut self.live, &change);
        self.unsynced.push(change);
    }

    pub fn sync(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.live);
    }

    /// Leaves what a disk could have when the power goes: a journal that ends somewhere, or any of the changes, where one
    /// that builds upon another is not there without it.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        let changes = std::mem::take(&mut self.unsynced);
        if dice.once_in(2) {
            let kept = dice.below(changes.len() as u64 + 1) as usize;
            changes[..kept].iter().for_each(|change| apply(&mut self.durable, change));
        } else {
            let mut lost = HashSet::new();
            for change in changes {
                let builds_on_lost = change.iter().any(|(name, _)| lost.contains(name));
                if builds_on_lost || dice.once_in(2) {
                    lost.extend(change.into_iter().map(|(name, _)| name));
                } else {
                    apply(&mut self.durable, &change);
                }
            }
        }
        self.live.clone_from(&self.durable);
    }
}

fn apply(names: &mut Names, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => drop(names.insert(name.clone(), *node)),
            None => drop(names.remove(name)),
        }
    }
}

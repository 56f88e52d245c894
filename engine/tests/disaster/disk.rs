//! A disk in memory with two images: what programs see, and what is left when the power goes.
//!
//! `fuse` shows it to the kernel, `file` and `folder` hold the two images, [`Disk::lose_power`] makes one of them.
//! It promises what POSIX does and no more: a sync of a file makes its content and its length durable, a sync of a folder
//! its names. What was not synced is lost, kept, torn or reordered, as the dice say.

mod file;
mod folder;
mod fuse;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use fuser::Errno;

use self::file::File;
use self::folder::Folder;
pub use self::fuse::Mounted;
use crate::seed::Dice;

/// The inode of the topmost folder.
const ROOT: u64 = 1;

/// A disk. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    nodes: HashMap<u64, Node>,
    last_node: u64,
    /// Changes until the power goes, and whether that change still happens.
    freeze_in: Option<(u64, bool)>,
    is_frozen: bool,
    /// The most bytes that files may have.
    bytes_max: u64,
}

#[derive(Debug)]
enum Node {
    File(File),
    Folder(Folder),
}

type Answer<T> = Result<T, Errno>;

impl Disk {
    /// An empty one.
    pub fn new(bytes_max: u64) -> Self {
        let nodes = HashMap::from([(ROOT, Node::Folder(Folder::default()))]);
        let state = State { nodes, last_node: ROOT, freeze_in: None, is_frozen: false, bytes_max };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Shows it at this folder, until what is returned is dropped.
    pub fn mount(&self, at: &Path) -> Mounted {
        fuse::mount(self.clone(), at)
    }

    /// The power goes at the change with this number from now on, before it or after it. From then on nothing is answered.
    pub fn freeze_in(&self, changes: u64, after: bool) {
        self.lock().freeze_in = Some((changes, after));
    }

    /// Whether the power is gone.
    pub fn is_frozen(&self) -> bool {
        self.lock().is_frozen
    }

    /// Lets files grow to so many bytes in all.
    pub fn resize(&self, bytes_max: u64) {
        self.lock().bytes_max = bytes_max;
    }

    /// Takes everything away that is not durable, or not by chance. The disk is then as after a start of the machine.
    pub fn lose_power(&self, dice: &mut Dice) {
        let mut state = self.lock();
        // In their order: the same seed does the same.
        let mut numbers: Vec<_> = state.nodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            match state.nodes.get_mut(&number) {
                Some(Node::File(file)) => file.lose_power(dice),
                Some(Node::Folder(folder)) => folder.lose_power(dice),
                None => {}
            }
        }
        let mut reached = HashSet::new();
        state.reach(ROOT, &mut reached);
        state.nodes.retain(|number, _| reached.contains(number));
        (state.freeze_in, state.is_frozen) = (None, false);
    }

    /// Writes everything into a folder of another disk.
    pub fn copy_to(&self, path: &Path) {
        self.lock().copy(ROOT, path);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl State {
    fn reach(&self, number: u64, reached: &mut HashSet<u64>) {
        reached.insert(number);
        if let Some(Node::Folder(folder)) = self.nodes.get(&number) {
            folder.names().values().for_each(|inner| self.reach(*inner, reached));
        }
    }

    fn copy(&self, number: u64, path: &Path) {
        match &self.nodes[&number] {
            Node::File(file) => std::fs::write(path, file.bytes()).expect("the other disk takes it"),
            Node::Folder(folder) => {
                std::fs::create_dir_all(path).expect("the other disk takes it");
                folder.names().iter().for_each(|(name, inner)| self.copy(*inner, &path.join(name)));
            }
        }
    }

    /// Refuses everything once the power is gone.
    fn look(&self) -> Answer<()> {
        if self.is_frozen { Err(Errno::EIO) } else { Ok(()) }
    }

    /// Does a change, unless the power goes before it. When it goes after it, nobody hears of it.
    fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Answer<T>) -> Answer<T> {
        self.look()?;
        let goes = match &mut self.freeze_in {
            Some((0, after)) => Some(*after),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        match goes {
            None => change(self),
            Some(after) => {
                if after {
                    drop(change(self));
                }
                self.is_frozen = true;
                Err(Errno::EIO)
            }
        }
    }

    fn folder(&self, number: u64) -> Answer<&Folder> {
        match self.nodes.get(&number).ok_or(Errno::ENOENT)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, number: u64) -> Answer<&mut Folder> {
        match self.nodes.get_mut(&number).ok_or(Errno::ENOENT)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn file(&self, number: u64) -> Answer<&File> {
        match self.nodes.get(&number).ok_or(Errno::ENOENT)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn file_mut(&mut self, number: u64) -> Answer<&mut File> {
        match self.nodes.get_mut(&number).ok_or(Errno::ENOENT)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn find(&self, parent: u64, name: &OsStr) -> Answer<u64> {
        self.folder(parent)?.names().get(name).copied().ok_or(Errno::ENOENT)
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Answer<u64> {
        if self.folder(parent)?.names().contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.last_node += 1;
        let number = self.last_node;
        self.nodes.insert(number, node);
        self.folder_mut(parent)?.set([(name.into(), Some(number))]);
        Ok(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Answer<()> {
        self.find(parent, name)?;
        self.folder_mut(parent)?.set([(name.into(), None)]);
        Ok(())
    }

    fn remove_folder(&mut self, parent: u64, name: &OsStr) -> Answer<()> {
        let number = self.find(parent, name)?;
        if !self.folder(number)?.names().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.remove(parent, name)
    }

    /// In one folder alone: a store needs no more.
    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer<()> {
        let number = self.find(from.0, from.1)?;
        if from.0 != to.0 {
            return Err(Errno::EXDEV);
        }
        let (old, new): (OsString, OsString) = (from.1.into(), to.1.into());
        self.folder_mut(from.0)?.set([(old, None), (new, Some(number))]);
        Ok(())
    }

    fn link(&mut self, number: u64, parent: u64, name: &OsStr) -> Answer<()> {
        self.file(number)?;
        if self.folder(parent)?.names().contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.folder_mut(parent)?.set([(name.into(), Some(number))]);
        Ok(())
    }

    fn sync(&mut self, number: u64) -> Answer<()> {
        match self.nodes.get_mut(&number).ok_or(Errno::ENOENT)? {
            Node::File(file) => file.sync(),
            Node::Folder(folder) => folder.sync(),
        }
        Ok(())
    }

    fn write(&mut self, number: u64, at: u64, bytes: &[u8]) -> Answer<()> {
        let length = self.file(number)?.bytes().len() as u64;
        let grows = (at + bytes.len() as u64).saturating_sub(length);
        self.check_space(grows)?;
        self.file_mut(number)?.write(at as usize, bytes);
        Ok(())
    }

    fn resize(&mut self, number: u64, length: u64) -> Answer<()> {
        let now = self.file(number)?.bytes().len() as u64;
        self.check_space(length.saturating_sub(now))?;
        self.file_mut(number)?.resize(length as usize);
        Ok(())
    }

    fn check_space(&self, grows: u64) -> Answer<()> {
        if grows == 0 || self.used() + grows <= self.bytes_max { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Bytes in files that have a name.
    fn used(&self) -> u64 {
        let mut reached = HashSet::new();
        self.reach(ROOT, &mut reached);
        let files = reached.iter().filter_map(|number| self.file(*number).ok());
        files.map(|file| file.bytes().len() as u64).sum()
    }
}

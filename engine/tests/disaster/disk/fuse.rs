//! The disk as the kernel asks for it. Nothing is cached there: every write comes here at once.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use rustix::mount::{UnmountFlags, unmount};

use super::file::{File, SECTOR_BYTES};
use super::folder::Folder;
use super::{Answer, Disk, Node, State};

/// The kernel asks again every time.
const TTL: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);
const HANDLE: FileHandle = FileHandle(0);
const BLOCK_BYTES: u32 = 4_096;
const NAME_BYTES_MAX: u32 = 255;
const FILES_MAX: u64 = 1 << 20;
/// Threads that serve the kernel.
const THREADS: usize = 2;

/// How often taking it away is tried: a process that another test starts has its files open for a moment.
const UNMOUNTS_MAX: u32 = 400;
const UNMOUNT_EVERY: Duration = Duration::from_millis(5);

/// A disk that is shown; dropped, it is not shown any more.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    session: Option<BackgroundSession>,
}

/// Shows a disk at a folder.
pub fn mount(disk: Disk, at: &Path) -> Mounted {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("farebox-test".into()), MountOption::NoAtime];
    config.n_threads = Some(THREADS);
    let session = fuser::spawn_mount(disk, at, &config).unwrap_or_else(|error| {
        panic!("cannot mount a file system (it takes root, or Debian's fuse3): {error}")
    });
    Mounted { at: at.into(), session: Some(session) }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let ended = match self.unmount() {
            // Its threads may have been told so by an error; there is nothing left to serve.
            Ok(()) => {
                drop(session.join());
                Ok(())
            }
            // Without the right to, the session asks `fusermount3`.
            Err(_) => session.umount_and_join(),
        };
        if let Err(error) = ended
            && !std::thread::panicking()
        {
            panic!("cannot take {} away: {error}", self.at.display());
        }
    }
}

impl Mounted {
    fn unmount(&self) -> rustix::io::Result<()> {
        for _ in 0..UNMOUNTS_MAX {
            match unmount(&self.at, UnmountFlags::empty()) {
                Err(rustix::io::Errno::BUSY) => std::thread::sleep(UNMOUNT_EVERY),
                ended => return ended,
            }
        }
        Err(rustix::io::Errno::BUSY)
    }
}

impl State {
    fn attributes(&self, number: u64) -> Answer<FileAttr> {
        let node = self.nodes.get(&number).ok_or(Errno::ENOENT)?;
        let (kind, size, perm) = match node {
            Node::File(file) => (FileType::RegularFile, file.bytes().len() as u64, 0o644),
            Node::Folder(_) => (FileType::Directory, 0, 0o755),
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(SECTOR_BYTES as u64),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }
}

fn reply_empty(reply: ReplyEmpty, answer: Answer<()>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn reply_entry(reply: ReplyEntry, answer: Answer<FileAttr>) {
    match answer {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.lock();
        let found = state.look().and_then(|()| state.find(parent.0, name));
        reply_entry(reply, found.and_then(|number| state.attributes(number)));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let state = self.lock();
        match state.look().and_then(|()| state.attributes(node.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.lock();
        let resized = match size {
            Some(size) => state.change(|state| state.resize(node.0, size)),
            None => state.look(),
        };
        match resized.and_then(|()| state.attributes(node.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = self.lock();
        let made = state.change(|state| state.make(parent.0, name, Node::Folder(Folder::default())));
        reply_entry(reply, made.and_then(|number| state.attributes(number)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.lock().change(|state| state.remove(parent.0, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.lock().change(|state| state.remove_folder(parent.0, name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        reply_empty(reply, self.lock().change(|state| state.rename(from, to)));
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.lock();
        let linked = state.change(|state| state.link(node.0, parent.0, name));
        reply_entry(reply, linked.and_then(|()| state.attributes(node.0)));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.lock().look() {
            Ok(()) => reply.opened(HANDLE, FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.lock();
        match state.look().and_then(|()| state.file(node.0)) {
            Ok(file) => {
                let bytes = file.bytes();
                let from = bytes.len().min(offset as usize);
                reply.data(&bytes[from..bytes.len().min(from + size as usize)]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.lock().change(|state| state.write(node.0, offset, bytes)) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply_empty(reply, self.lock().change(|state| state.sync(node.0)));
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply_empty(reply, self.lock().change(|state| state.sync(node.0)));
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.lock();
        let folder = match state.look().and_then(|()| state.folder(node.0)) {
            Ok(folder) => folder,
            Err(error) => return reply.error(error),
        };
        let own = [".", ".."].map(|name| (OsStr::new(name), node.0, FileType::Directory));
        let names = folder.names().iter().map(|(name, number)| {
            let kind =
                if state.folder(*number).is_ok() { FileType::Directory } else { FileType::RegularFile };
            (name.as_os_str(), *number, kind)
        });
        for (place, (name, number, kind)) in own.into_iter().chain(names).enumerate().skip(offset as usize) {
            if reply.add(INodeNo(number), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.lock();
        let block = u64::from(BLOCK_BYTES);
        let (all, used) = (state.bytes_max / block, state.used().div_ceil(block));
        let free = all.saturating_sub(used);
        reply.statfs(all, free, free, FILES_MAX, FILES_MAX, BLOCK_BYTES, NAME_BYTES_MAX, BLOCK_BYTES);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.lock();
        let made = state.change(|state| state.make(parent.0, name, Node::File(File::default())));
        match made.and_then(|number| state.attributes(number)) {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, GENERATION, HANDLE, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }
}

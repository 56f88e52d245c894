//! The store of the books: its version, who holds it, and whose channels are in it. Read as a tool beside a running
//! server reads it; nothing is locked and nothing is written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use farebox_engine::core::channel::Phase;
use farebox_engine::ledger::{CHANNELS_PAGE_MAX, STORE_VERSION, StoredChannel, recover};
use farebox_engine::{LedgerError, RocksLedger, RocksView};

use super::finding::Finding;
use crate::config::{Config, Ledger};

/// RocksDB's lock, in the store's folder.
const LOCK: &str = "LOCK";
/// The note that a writer leaves beside it: its process id and epoch.
const NOTE: &str = "farebox.pid";

/// Who writes to the store now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Its process id, when it is known.
    pub(super) pid: Option<u32>,
}

/// Looks at the store. Gives the running server, if there is one.
pub(super) fn books(config: &Config, findings: &mut Vec<Finding>) -> Option<Server> {
    const CHECK: &str = "books";
    let Ledger::RocksDb(path) = &config.ledger else { return None };
    let server = holder(path);
    if let Some(Server { pid }) = server {
        let who = pid.map_or_else(|| "a process".into(), |pid| format!("process {pid}"));
        let found = format!("{who} holds the books and writes to them");
        let fix = "nothing, if that is your server; a second one on these books is refused";
        findings.push(Finding::note("books.lease", found, fix));
    }
    if RocksLedger::is_unreconciled(path) {
        let found = "the books were restored from a backup, and not compared with the chain yet";
        findings.push(Finding::error(CHECK, found, "farebox restore -c FILE --reconcile"));
    }
    match RocksLedger::open_read_only(path) {
        Ok(view) => look(config, &view, findings),
        Err(LedgerError::NotFound { .. }) if has_books(path) => {
            let found = format!(
                "{} holds files of books, but CURRENT, which leads to them, is missing",
                path.display()
            );
            let fix = "keep the folder as it is, and bring a backup back: farebox restore -c FILE --from DIR";
            findings.push(Finding::error(CHECK, found, fix));
        }
        Err(LedgerError::NotFound { .. }) => {
            let found = format!("{} holds no books yet; the first start makes them", path.display());
            findings.push(Finding::ok(CHECK, found));
        }
        Err(error) => findings.push(unusable(CHECK, &error)),
    }
    server
}

/// Whether there is a table file of a store.
fn has_books(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "sst"))
}

fn look(config: &Config, view: &RocksView, findings: &mut Vec<Finding>) {
    const CHECK: &str = "books";
    let read = recover(view).and_then(|books| {
        let page = books.page(view, None, CHANNELS_PAGE_MAX)?;
        Ok((books.head.sequence, view.store_version()?, page))
    });
    match read {
        Err(error) => findings.push(unusable(CHECK, &error)),
        Ok((frame, version, page)) => {
            let found = format!("the books can be read up to frame {frame}");
            findings.push(Finding::ok(CHECK, found));
            if version < STORE_VERSION {
                let found =
                    format!("the store has version {version}; the next start changes it to {STORE_VERSION}");
                let fix = "make a backup first (farebox backup): older programs cannot read it afterwards";
                findings.push(Finding::warning("books.version", found, fix));
            }
            owners(config, &page, findings);
        }
    }
}

/// Books of another chain or payee under this configuration: somebody mixed up two set-ups.
fn owners(config: &Config, page: &[StoredChannel], findings: &mut Vec<Finding>) {
    const CHECK: &str = "books.owner";
    let open = page.iter().filter(|stored| !matches!(stored.state.phase, Phase::Closed(_)));
    for stored in open {
        let identity = &stored.identity;
        if identity.chain_id != config.chain.id {
            let (found, wanted) = (identity.chain_id, config.chain.id);
            let found =
                format!("the books hold channel {} of chain {found}, chain.id is {wanted}", stored.channel);
            let fix = "correct chain.id, or let ledger.path name the books of this chain";
            findings.push(Finding::error(CHECK, found, fix));
            return;
        }
        if identity.payee() != config.payee.address {
            let (found, wanted) = (identity.payee(), config.payee.address);
            let found = format!(
                "channel {} of the books pays {found:#x}, payee.address is {wanted:#x}: it cannot be claimed",
                stored.channel
            );
            let fix = "take the former payee's address and key until its channels are closed";
            findings.push(Finding::error(CHECK, found, fix));
            return;
        }
    }
}

fn unusable(check: &'static str, error: &LedgerError) -> Finding {
    let fix = match error {
        LedgerError::UnknownVersion { found: Some(found), expected } if found > expected => {
            "a newer Farebox wrote these books: run that version"
        }
        LedgerError::UnknownVersion { .. } => {
            "an older Farebox, or another program, wrote these files: see the changelog for the versions that convert them"
        }
        LedgerError::DiskFull { .. } => "free some space",
        LedgerError::Io { .. } => {
            "let the user that Farebox runs as read and write the folder; if it may, look at the disk (dmesg)"
        }
        _ => {
            "keep the folder as it is; farebox check -c FILE says what is damaged, farebox restore brings a backup back"
        }
    };
    Finding::error(check, error.to_string(), fix)
}

/// Who holds RocksDB's lock, as the system tells: looking must not take it, or a server that starts now would be refused.
fn holder(folder: &Path) -> Option<Server> {
    let inode = fs::metadata(folder.join(LOCK)).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| lock_on(line, inode))?;
    let note = fs::read_to_string(folder.join(NOTE)).ok();
    let noted = note.as_deref().and_then(|note| note.split(' ').next()?.trim().parse().ok());
    Some(Server { pid: noted.or(pid) })
}

/// The process that a line of `/proc/locks` names, if its lock is on this inode:
/// `1: POSIX  ADVISORY  WRITE 1234 fe:00:131 0 EOF`. Process ids of other namespaces are shown as zero.
fn lock_on(line: &str, inode: u64) -> Option<Option<u32>> {
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "WRITE").skip(1);
    let pid = words.next()?.parse().ok().filter(|pid| *pid > 0);
    let found: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
    (found == inode).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_who_holds_a_store() {
        let line = "1: POSIX  ADVISORY  WRITE 1234 fe:00:131 0 EOF";
        assert_eq!(lock_on(line, 131), Some(Some(1234)));
        assert_eq!(lock_on(line, 132), None);
        assert_eq!(lock_on("1: POSIX  ADVISORY  WRITE 0 fe:00:131 0 EOF", 131), Some(None));
        assert_eq!(lock_on("1: FLOCK  ADVISORY  READ 1 fe:00:131 0 EOF", 131), None);

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
        let ledger = RocksLedger::open(folder.path()).unwrap();
        assert_eq!(holder(folder.path()), Some(Server { pid: Some(std::process::id()) }));
        drop(ledger);
        assert_eq!(holder(folder.path()), None);
    }
}

//! The parent: it starts the server, hears what was answered, and knows what the books must say when it is dead.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use farebox_core::units::ChannelId;
use farebox_core::voucher::Verifier;
use farebox_engine::ledger::{CHANNELS_PAGE_MAX, LedgerRead, StoredChannel, check, recover};
use farebox_engine::{LedgerError, RocksLedger};

use crate::account::Account;
use crate::child::{CHANNELS, FOLDER, IN_FLIGHT_MAX, Orders, TEST};
use crate::disk::Disk;

/// A child that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// How often the parent looks whether the disk has power.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// When the parent kills.
#[derive(Clone, Debug)]
pub enum Plan {
    /// After so many answers, and a moment more.
    AfterAnswers(u64, Duration),
    /// So long after the start: it may not even have opened its books.
    AfterTime(Duration),
    /// As soon as the disk has no power.
    WhenFrozen(Disk),
    /// It ends, or dies, by itself.
    Never,
}

/// How a life ended.
#[derive(Debug, Default)]
pub struct Life {
    pub is_ready: bool,
    pub answers: u64,
    /// The fail point at which it died.
    pub at: Option<String>,
    pub has_ended: bool,
    pub down: Option<String>,
    pub refused: Option<String>,
}

/// What the books must say.
pub struct Watch {
    seed: u64,
    verifier: Verifier,
    /// As answered; requests that were left running have ended in it, as the next start does it.
    accounts: BTreeMap<u32, Account>,
    /// As answered, before the next start.
    left: BTreeMap<u32, Account>,
    /// What a reader was shown: accepted and spent.
    shown: BTreeMap<u32, (u128, u128)>,
    channels: BTreeMap<u32, ChannelId>,
}

impl Watch {
    pub fn new(seed: u64) -> Self {
        let accounts = (0..CHANNELS).map(|number| (number, Account::new(number))).collect();
        let (left, shown, channels) = Default::default();
        Self { seed, verifier: Verifier::default(), accounts, left, shown, channels }
    }

    /// Plays one life of the server on the store in `folder`.
    pub fn live(&mut self, folder: &Path, mut orders: Orders, plan: Plan) -> Life {
        orders.seed = self.seed;
        orders.accounts = self.accounts.values().filter(|account| !account.is_over()).cloned().collect();
        let mut child = start(folder, &orders);
        let said = listen(&mut child);
        let mut life = Life::default();
        match plan {
            Plan::AfterAnswers(answers, moment) => {
                while life.answers < answers {
                    match hear(&said, &mut child) {
                        Some(line) => self.note(&line, &mut life),
                        None => break,
                    }
                }
                std::thread::sleep(moment);
                kill(&mut child);
            }
            Plan::AfterTime(time) => {
                std::thread::sleep(time);
                kill(&mut child);
            }
            Plan::WhenFrozen(disk) => loop {
                match said.recv_timeout(LOOK_EVERY) {
                    Ok(line) => self.note(&line, &mut life),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if disk.is_frozen() {
                    kill(&mut child);
                    break;
                }
            },
            Plan::Never => {}
        }
        while let Some(line) = hear(&said, &mut child) {
            self.note(&line, &mut life);
        }
        child.wait().expect("the child is ours");
        life
    }

    /// Hears one line. One that the kill cut has no end mark and is no word of the child.
    pub fn note(&mut self, line: &str, life: &mut Life) {
        let Some(line) = line.strip_suffix(" .") else { return };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = |at: usize| {
            let word = rest.split(' ').nth(at).unwrap_or_default();
            word.parse::<u128>().unwrap_or_else(|_| panic!("the child said {line:?}"))
        };
        match word {
            "ready" => {
                life.is_ready = true;
                // Requests that were left running are over, durably.
                self.left.clear();
            }
            "ack" => {
                life.answers += 1;
                self.answered(number(0) as u32, number(1) as u64);
            }
            "saw" => drop(self.shown.insert(number(0) as u32, (number(1), number(2)))),
            "at" => life.at = Some(rest.into()),
            "ended" => life.has_ended = true,
            "down" => life.down = Some(rest.into()),
            "refused" => life.refused = Some(rest.into()),
            "wrong" => panic!("a wrong answer, seed {}: {rest}", self.seed),
            other => panic!("the child said {other}"),
        }
    }

    fn answered(&mut self, number: u32, step: u64) {
        let account = self.accounts.get_mut(&number).expect("the child serves what it was told to");
        account.apply(account.next(self.seed));
        assert_eq!(account.step, step, "answers of channel {number} come in order");
        if account.is_over() {
            let next = account.successor();
            self.accounts.insert(next.number, next);
        }
    }

    /// Reads the store of a server that is dead: everything that was answered is there, and of what was not, whole steps in
    /// their order. What is there is true from now on.
    pub fn verify(&mut self, folder: &Path) -> Result<(), String> {
        let stored = match RocksLedger::open_read_only(folder) {
            Ok(view) => {
                let summary = check(&view, &self.verifier);
                if !summary.is_sound() {
                    return Err(format!("check finds {:?}", summary.findings));
                }
                all(&view).map_err(|error| error.to_string())?
            }
            // It died before there was a store.
            Err(LedgerError::NotFound { .. }) => BTreeMap::new(),
            Err(error) => return Err(error.to_string()),
        };
        let mut found = 0;
        for account in self.accounts.values_mut() {
            let channel = *self.channels.entry(account.number).or_insert_with(|| account.payer().channel);
            let stored = stored.get(&channel);
            found += usize::from(stored.is_some());
            let now = matching(self.seed, account, self.left.get(&account.number), stored)?;
            if let Some((accepted, spent)) = self.shown.get(&now.number) {
                let is_there = now.accepted() >= *accepted && now.spent() >= *spent;
                if !is_there {
                    return Err(format!("a reader saw {accepted} accepted, {spent} spent of {now:?}"));
                }
            }
            *account = now;
        }
        // A channel that ended without an answer made room for nobody yet.
        let over: Vec<_> = self.accounts.values().filter(|account| account.is_over()).cloned().collect();
        for account in over {
            let next = account.successor();
            self.accounts.entry(next.number).or_insert(next);
        }
        if found != stored.len() {
            return Err(format!("{} channels are stored, {found} of them are known", stored.len()));
        }
        self.left = self.accounts.clone();
        self.accounts.values_mut().for_each(Account::restart);
        Ok(())
    }
}

/// The account that the store shows: as it was answered, or some unanswered steps further.
fn matching(
    seed: u64,
    answered: &Account,
    left: Option<&Account>,
    stored: Option<&StoredChannel>,
) -> Result<Account, String> {
    if let Some(left) = left
        && left.differs_from_stored(stored).is_none()
    {
        return Ok(left.clone());
    }
    let mut account = answered.clone();
    let Some(difference) = account.differs_from_stored(stored) else { return Ok(account) };
    for _ in 0..IN_FLIGHT_MAX {
        if account.is_over() {
            break;
        }
        account.apply(account.next(seed));
        if account.differs_from_stored(stored).is_none() {
            return Ok(account);
        }
    }
    Err(format!("channel {}: {difference}; answered was {answered:?}, stored is {stored:?}", answered.number))
}

/// All channels of a store.
pub fn all(ledger: &impl LedgerRead) -> Result<BTreeMap<ChannelId, StoredChannel>, LedgerError> {
    let books = recover(ledger)?;
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let page = books.page(ledger, after, CHANNELS_PAGE_MAX)?;
        let is_last = page.len() < CHANNELS_PAGE_MAX;
        after = page.last().map(|stored| stored.channel);
        all.extend(page.into_iter().map(|stored| (stored.channel, stored)));
        if is_last {
            return Ok(all);
        }
    }
}

/// Starts the child and gives it its orders.
pub fn start(folder: &Path, orders: &Orders) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", TEST, "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut input = child.stdin.take().expect("it is a pipe");
    input.write_all(orders.to_text().as_bytes()).expect("the child reads its orders");
    child
}

/// The child's lines, as they come.
pub fn listen(child: &mut Child) -> Receiver<String> {
    let lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The next line; `None` after the last one.
pub fn hear(said: &Receiver<String>, child: &mut Child) -> Option<String> {
    match said.recv_timeout(SILENCE_MAX) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            kill(child);
            panic!("the child is silent for {} s", SILENCE_MAX.as_secs());
        }
    }
}

/// SIGKILL: no destructor runs, nothing is flushed.
pub fn kill(child: &mut Child) {
    child.kill().expect("the child is ours");
}

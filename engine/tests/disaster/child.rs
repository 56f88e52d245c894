//! The server that dies: it serves a few channels as fast as it can, and says on its output what was answered.
//!
//! It is this very test binary, asked to run one test. Its orders come on its input, its words are lines that end with
//! ` .`, so that a line which a kill cut is no word:
//!
//! | line | it means |
//! |---|---|
//! | `ready` | the books are open |
//! | `ack` channel, step | the step was answered, as the account of the channel says |
//! | `saw` channel, accepted, spent | a reader was shown this |
//! | `at` fail point | the process kills itself here |
//! | `down` cause | the engine gave up |
//! | `refused` cause | the books cannot be opened |
//! | `wrong` what | an answer that the account does not give |
//! | `ended` | everything was served, and the books are closed |

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox_core::channel::{Answer, Rejection, Spend};
use farebox_core::units::Amount;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::ledger::Snapshots;
use farebox_engine::{
    Config, Engine, EngineError, Refusal, RocksLedger, Step as EngineStep, SystemClock, Verdict, block_on,
};

use crate::account::{Account, Step};
use crate::seed::Dice;
use crate::support::{Payer, charge, key, position, reserve};

/// Where the child finds the store; without it, its test has nothing to do.
pub const FOLDER: &str = "FAREBOX_TEST_DISASTER_FOLDER";
/// The name of the child's test.
pub const TEST: &str = "child::serves_until_it_dies";
/// Channels that are served at the same time.
pub const CHANNELS: u32 = 10;
/// Those whose vouchers come in batches, from a thread without a runtime.
const BATCHED: u32 = 4;
/// Steps of one channel in one batch.
pub const IN_FLIGHT_MAX: usize = 3;
/// A snapshot is taken every so many answers.
const SNAPSHOT_EVERY: u64 = 60;

/// What a life of the child is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    pub seed: u64,
    /// Answers after which it ends by itself.
    pub answers: u64,
    pub checkpoint_frames: u64,
    pub journal_keep_frames: u64,
    /// Whether snapshots are taken.
    pub snapshots: bool,
    /// A fail point, and how often it is passed before the process dies there.
    pub die_at: Option<(String, u64)>,
    pub accounts: Vec<Account>,
}

impl Orders {
    pub fn to_text(&self) -> String {
        let Self { seed, answers, checkpoint_frames, journal_keep_frames, snapshots, die_at, accounts } =
            self;
        let snapshots = u8::from(*snapshots);
        let mut text =
            format!("life {seed} {answers} {checkpoint_frames} {journal_keep_frames} {snapshots}\n");
        if let Some((point, passes)) = die_at {
            text += &format!("die {point} {passes}\n");
        }
        for account in accounts {
            text += &(account.to_line() + "\n");
        }
        text
    }

    fn read(input: impl BufRead) -> Self {
        let mut orders = Self {
            seed: 0,
            answers: 0,
            checkpoint_frames: 1,
            journal_keep_frames: 0,
            snapshots: false,
            die_at: None,
            accounts: Vec::new(),
        };
        for line in input.lines() {
            let line = line.expect("orders");
            let words: Vec<_> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            match words[0] {
                "life" => {
                    (orders.seed, orders.answers) = (number(1), number(2));
                    (orders.checkpoint_frames, orders.journal_keep_frames) = (number(3), number(4));
                    orders.snapshots = number(5) == 1;
                }
                "die" => orders.die_at = Some((words[1].into(), number(2))),
                "account" => orders.accounts.push(Account::from_words(&words[1..])),
                other => panic!("order {other}"),
            }
        }
        orders
    }
}

#[test]
fn serves_until_it_dies() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    // The test harness left a line unfinished.
    println!();
    let orders = Orders::read(std::io::stdin().lock());
    if let Some((point, passes)) = &orders.die_at {
        die_at(point.clone(), *passes);
    }
    let ledger = RocksLedger::open(PathBuf::from(folder)).unwrap_or_else(|error| stop("refused", error));
    let snapshots = ledger.snapshots();
    let config = Config {
        shards: 2,
        checkpoint_frames: orders.checkpoint_frames,
        journal_keep_frames: Some(orders.journal_keep_frames),
        resident_channels_max: 4,
        start_channels_max: 2,
        signer_tables_bytes_max: 1 << 20,
        ..Config::default()
    };
    let engine = match Engine::start(config, ledger, SystemClock) {
        Ok(engine) => engine,
        Err(error @ EngineError::Ledger(_)) => stop("refused", error),
        Err(other) => stop("down", other),
    };
    say("ready");
    let orders = Arc::new(orders);
    let server = Arc::new(Server { engine, orders, answered: AtomicU64::new(0), snapshots });
    server.serve();
    block_on(server.engine.shutdown()).unwrap_or_else(|error| stop("down", error));
    say("ended");
}

/// One line, at once.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let said = output.write_all(format!("{line} .\n").as_bytes()).and_then(|()| output.flush());
    said.expect("the parent listens");
}

/// Last words. Nothing is tidied up.
fn stop(word: &str, what: impl std::fmt::Display) -> ! {
    say(&format!("{word} {}", what.to_string().replace('\n', " ")));
    kill_self()
}

fn kill_self() -> ! {
    let this = rustix::process::getpid();
    rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("a process may kill itself");
    loop {
        std::thread::park();
    }
}

fn die_at(point: String, passes: u64) {
    let left = AtomicU64::new(passes);
    let name = point.clone();
    fail::cfg_callback(point, move || {
        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
            say(&format!("at {name}"));
            kill_self();
        }
    })
    .expect("fail points are on");
}

struct Server {
    engine: Engine,
    orders: Arc<Orders>,
    answered: AtomicU64,
    snapshots: Snapshots,
}

impl Server {
    /// Callers of all kinds at the same time.
    fn serve(self: &Arc<Self>) {
        let accounts = self.orders.accounts.iter().cloned();
        let (batched, single): (Vec<_>, Vec<_>) =
            accounts.partition(|account| account.number % CHANNELS < BATCHED);
        let others = {
            let server = Arc::clone(self);
            std::thread::spawn(move || block_on(server.serve_batched(batched)))
        };
        let copies = self.orders.snapshots.then(|| {
            let server = Arc::clone(self);
            std::thread::spawn(move || server.take_snapshots())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut tasks: Vec<_> = single
                .into_iter()
                .map(|account| tokio::spawn(Arc::clone(self).serve_single(account)))
                .collect();
            tasks.push(tokio::spawn(Arc::clone(self).read_along()));
            for task in tasks {
                task.await.unwrap_or_else(|error| stop("wrong", error));
            }
        });
        for thread in [Some(others), copies].into_iter().flatten() {
            thread.join().unwrap_or_else(|_| stop("wrong", "a thread panicked"));
        }
    }

    fn is_over(&self) -> bool {
        self.answered.load(Ordering::SeqCst) >= self.orders.answers
    }

    fn acknowledge(&self, account: &Account) {
        say(&format!("ack {} {}", account.number, account.step));
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    /// One step after the other.
    async fn serve_single(self: Arc<Self>, mut account: Account) {
        let mut payer = account.payer();
        while !self.is_over() {
            let step = account.next(self.orders.seed);
            let verdict = self.ask(&payer, step, &account).await;
            self.take(&mut account, step, verdict);
            if account.is_over() {
                account = account.successor();
                payer = account.payer();
            }
        }
    }

    /// Vouchers of several channels, and several of each, in one batch; what is no voucher goes by itself.
    async fn serve_batched(self: Arc<Self>, mut accounts: Vec<Account>) {
        let mut payers: Vec<_> = accounts.iter().map(Account::payer).collect();
        let mut batch = self.engine.batch();
        while !self.is_over() {
            let mut steps = Vec::new();
            for (place, account) in accounts.iter().enumerate() {
                let mut ahead = account.clone();
                for _ in 0..IN_FLIGHT_MAX {
                    let step = ahead.next(self.orders.seed);
                    if !step.is_voucher() {
                        break;
                    }
                    let (amount, then) = voucher(step, &ahead);
                    batch.push(payers[place].sign(amount), then).unwrap_or_else(|error| stop("wrong", error));
                    steps.push((place, step));
                    ahead.apply(step);
                }
            }
            if !batch.is_empty() {
                let verdicts = batch.submit().await.unwrap_or_else(|error| stop("down", error));
                for ((place, step), verdict) in steps.iter().zip(verdicts.iter()) {
                    self.take(&mut accounts[*place], *step, verdict.clone());
                }
            }
            for (account, payer) in accounts.iter_mut().zip(&mut payers) {
                let step = account.next(self.orders.seed);
                if !step.is_voucher() {
                    let verdict = self.ask(payer, step, account).await;
                    self.take(account, step, verdict);
                }
                if account.is_over() {
                    *account = account.successor();
                    *payer = account.payer();
                }
            }
        }
    }

    /// Reads what others change, and says what it saw.
    async fn read_along(self: Arc<Self>) {
        let mut dice = Dice::of(self.orders.seed, &[u64::MAX]);
        while !self.is_over() {
            let account = dice.pick(&self.orders.accounts);
            match self.engine.read(account.payer().channel).await {
                Ok(Some(channel)) => {
                    let snapshot = channel.snapshot;
                    say(&format!("saw {} {} {}", account.number, snapshot.accepted, snapshot.spent));
                }
                Ok(None) => {}
                Err(error) => stop("down", error),
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn take_snapshots(&self) {
        let mut next = SNAPSHOT_EVERY / 4;
        while !self.is_over() {
            if self.answered.load(Ordering::SeqCst) >= next {
                self.snapshots.take().unwrap_or_else(|error| stop("down", error));
                next += SNAPSHOT_EVERY;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    async fn ask(&self, payer: &Payer, step: Step, account: &Account) -> Result<Verdict, EngineError> {
        let engine = &self.engine;
        let apply = |step| engine.apply(payer.channel, step);
        let position = position(account.step + 2);
        match step {
            Step::Open => {
                let deposit = crate::support::DEPOSIT;
                engine.open(payer.identity.clone(), deposit, Amount::ZERO, position).await
            }
            Step::Raise { .. }
            | Step::Pay { .. }
            | Step::PayUnnamed { .. }
            | Step::Stream { .. }
            | Step::Repeat(_) => {
                let (amount, then) = voucher(step, account);
                engine.submit(payer.channel, payer.sign(amount), then).await
            }
            Step::Charge { price } | Step::Overcharge { price } => {
                apply(EngineStep::Spend(charge(account.step + 1, price))).await
            }
            Step::Capture { key: name, amount, finish } => {
                apply(EngineStep::Capture { key: key(name), amount: Amount::new(amount), units: 1, finish })
                    .await
            }
            Step::Release { key: name } => apply(EngineStep::Release { key: key(name) }).await,
            Step::TopUp { to } => {
                let deposit = Amount::new(to);
                apply(EngineStep::ToppedUp { deposit, position, cancels_close: false }).await
            }
            Step::Settled { to } => apply(EngineStep::Settled { settled: Amount::new(to), position }).await,
            Step::BeginClose { voucher } => match account.protocol() {
                ProtocolVersion::V1 => apply(EngineStep::BeginCloseForced).await,
                ProtocolVersion::V2 => engine.begin_close(payer.channel, payer.sign(voucher)).await,
            },
            Step::AbortClose => apply(EngineStep::AbortClose).await,
            Step::Closed { captured, refunded } => {
                let [captured, refunded] = [captured, refunded].map(Amount::new);
                apply(EngineStep::Closed { captured, refunded, position }).await
            }
        }
    }

    /// Holds an answer to the account, and says that it came.
    fn take(&self, account: &mut Account, step: Step, verdict: Result<Verdict, EngineError>) {
        let verdict = verdict.unwrap_or_else(|error| stop("down", error));
        let wrong = |account: &Account, what: String| -> ! {
            stop("wrong", format!("{step:?} of {account:?}: {what}"))
        };
        let before = account.clone();
        account.apply(step);
        match (step, verdict) {
            (
                Step::Overcharge { .. },
                Verdict::Rejected(Refusal::Channel(Rejection::InsufficientBalance { .. })),
            ) => {}
            (Step::Overcharge { .. }, other) => wrong(&before, format!("{other:?}")),
            (_, Verdict::Rejected(refusal)) => wrong(&before, refusal.to_string()),
            (_, Verdict::Accepted(reply)) => {
                let is_right = match (step, &reply.answer) {
                    (Step::Repeat(finished), Answer::Replayed(outcome)) => finished.is(outcome),
                    (Step::BeginClose { .. }, Answer::Close(_)) => true,
                    (Step::Repeat(_) | Step::BeginClose { .. }, _) => false,
                    (_, answer) => *answer == Answer::Done,
                };
                if !is_right {
                    wrong(&before, format!("{:?}", reply.answer));
                }
                if let Some(difference) = account.differs(&reply.snapshot) {
                    wrong(&before, difference);
                }
            }
        }
        self.acknowledge(account);
    }
}

/// The voucher of a step, and what it pays for.
fn voucher(step: Step, account: &Account) -> (u128, Spend) {
    let request = account.step + 1;
    match step {
        Step::Raise { to } => (to, Spend::Nothing),
        Step::Pay { to, price } => (to, charge(request, price)),
        Step::PayUnnamed { to, price } => {
            (to, Spend::Charge { key: None, amount: Amount::new(price), units: 1 })
        }
        Step::Stream { to, reserve: amount } => (to, reserve(request, amount)),
        Step::Repeat(finished) => (account.accepted(), charge(finished.key, 1)),
        other => panic!("{other:?} has no voucher"),
    }
}

//! The whole play: payers, server, disk and chain, and one generator that decides everything.
//!
//! A seed is a history. Every step is one thing that can happen at any time: somebody asks something, a batch is
//! decided, a frame is written, a block comes, the watcher looks, an RPC node is silent, a clock jumps, an image
//! is stored, the power fails. After every step the [`rules`](crate::rules) are checked, and every answer is
//! compared with the [`Account`] that was asked the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use farebox_core::channel::State;
use farebox_core::units::UnixSeconds;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::account::{Account, Op};
use crate::bug::Bug;
use crate::cast::{HONEST, Hand, MEMBERS, MemberIndex, member};
use crate::chain::Chain;
use crate::closer::Closer;
use crate::disk::{Crash, Disk, Point};
use crate::rules::{Broken, Check, Rule, Witness, broken};
use crate::said::Said;
use crate::server::{Asker, Request, Server};

mod chain_side;
mod clients;
mod closes;
mod crash;
mod end;
mod service;

/// Steps of one history, before everything is brought to its end.
pub const STEPS: u32 = 300;
/// Channels of one history.
const CHANNELS: std::ops::RangeInclusive<usize> = 2..=5;
/// When every history begins.
const EPOCH_SECONDS: u64 = 1_700_000_000;

/// What is played, and what is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// A planted mistake.
    pub bug: Option<Bug>,
    /// Whether answers and books are compared with the model. Without it the rules are on their own.
    pub model: bool,
    /// The process dies at this place, counted over the whole history, beside all else that happens to it.
    pub die_at: Option<u64>,
}

impl Options {
    /// The usual play of a seed.
    pub const fn of(seed: u64) -> Self {
        Self { seed, bug: None, model: true, die_at: None }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step began.
    Step(u32, Action),
    /// Somebody asked.
    Asked(Request),
    /// The books decided; nobody knows yet.
    Decided(u64, Said),
    /// An answer left.
    Answered(u64),
    /// Frames up to this one are durable.
    Durable(u64),
    /// Something happened on the chain.
    Chain(String),
    /// The process died.
    Died(Crash, Option<Point>),
    /// It was started again.
    Started {
        /// Where the journal ended.
        frame: u64,
    },
    /// Everything is brought to its end.
    Curtain,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client asks something.
    Ask,
    /// The server decides a batch.
    Process,
    /// A frame is written, and answers leave.
    Append,
    /// A payer does something on chain.
    Payer,
    /// A block comes.
    Block,
    /// A block takes a transaction.
    Mine,
    /// The watcher looks at the chain.
    Watch,
    /// A fact is told out of turn or once more.
    Gossip,
    /// The closer looks at a channel.
    Close,
    /// Somebody asks with what to settle.
    Settle,
    /// The server's clock jumps.
    Clock,
    /// A checkpoint goes on.
    Checkpoint,
    /// A channel leaves memory.
    Evict,
    /// The disk is looked at as a power cut would leave it now.
    Audit,
    /// The process dies now.
    Crash,
    /// The process will die at one of the next places.
    Doom,
}

/// What happens how often.
const WEIGHTS: [(Action, u32); 16] = [
    (Action::Ask, 30),
    (Action::Process, 14),
    (Action::Append, 14),
    (Action::Payer, 5),
    (Action::Block, 4),
    (Action::Mine, 3),
    (Action::Watch, 6),
    (Action::Gossip, 2),
    (Action::Close, 5),
    (Action::Settle, 2),
    (Action::Clock, 2),
    (Action::Checkpoint, 8),
    (Action::Evict, 3),
    (Action::Audit, 2),
    (Action::Crash, 1),
    (Action::Doom, 2),
];

/// The books of all channels at one moment: the real ones, and the model's.
#[derive(Clone, Debug, Default)]
struct Shadow {
    states: BTreeMap<MemberIndex, State>,
    accounts: BTreeMap<MemberIndex, Account>,
}

/// A history in the making.
#[derive(Debug)]
pub struct World {
    options: Options,
    dice: Xoshiro256PlusPlus,
    cast: Vec<MemberIndex>,
    step: u32,
    history: Vec<Event>,
    clock: u64,
    chain: Chain,
    disk: Disk,
    server: Option<Server>,
    /// Places to die that were passed by former processes.
    points_before: u64,
    inbox: Vec<Request>,
    requests: u64,
    /// As the process has it in memory, ahead of the disk.
    live: Shadow,
    /// As it was when the last frame became durable.
    durable: Shadow,
    /// Batches that wait for the disk, and the books after each.
    waiting: VecDeque<(u64, Shadow)>,
    /// While the process is dead: what a disk may hold that ends with this frame.
    possible: BTreeMap<u64, Shadow>,
    clients: Vec<clients::Client>,
    watcher: chain_side::Watcher,
    closer: Closer,
    /// Channels for which the closer waits for an answer.
    closer_waits: BTreeSet<MemberIndex>,
    transactions: u64,
    witness: Witness,
}

impl World {
    /// The beginning of a history.
    pub fn new(options: Options) -> Self {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(options.seed);
        let mut cast: Vec<MemberIndex> = Vec::new();
        let count = dice.random_range(CHANNELS);
        while cast.len() < count {
            // One channel in ten has terms that nobody should take.
            let range = if dice.random_ratio(1, 10) { HONEST..MEMBERS } else { 0..HONEST };
            let index = dice.random_range(range);
            if !cast.contains(&index) {
                cast.push(index);
            }
        }
        let accounts = cast.iter().map(|index| (*index, Account::new(member(*index).version()))).collect();
        let shadow = Shadow { states: BTreeMap::new(), accounts };
        Self {
            options,
            dice,
            cast,
            step: 0,
            history: Vec::new(),
            clock: EPOCH_SECONDS,
            chain: Chain::new(EPOCH_SECONDS),
            disk: Disk::new(options.bug),
            server: None,
            points_before: 0,
            inbox: Vec::new(),
            requests: 0,
            live: shadow.clone(),
            durable: shadow.clone(),
            waiting: VecDeque::new(),
            possible: BTreeMap::from([(0, shadow)]),
            clients: vec![clients::Client::default(); MEMBERS],
            watcher: chain_side::Watcher::default(),
            closer: Closer::default(),
            closer_waits: BTreeSet::new(),
            transactions: 0,
            witness: Witness::default(),
        }
    }

    /// Plays the whole history.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn play(&mut self) -> Check {
        for step in 1..=STEPS {
            self.step = step;
            if self.server.is_none() {
                self.start()?;
            }
            let action = self.choose();
            self.history.push(Event::Step(step, action));
            self.act(action)?;
        }
        self.end()
    }

    /// What happened.
    pub fn history(&self) -> &[Event] {
        &self.history
    }

    /// How many places to die were passed.
    pub fn points(&self) -> u64 {
        self.points_before + if self.server.is_some() { self.disk.points() } else { 0 }
    }

    fn choose(&mut self) -> Action {
        let sum: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.dice.random_range(0..sum);
        for (action, weight) in WEIGHTS {
            if left < weight {
                return action;
            }
            left -= weight;
        }
        unreachable!("the number is below the sum")
    }

    fn act(&mut self, action: Action) -> Check {
        match action {
            Action::Ask => self.client_asks(),
            Action::Process => self.process(),
            Action::Append => self.append(),
            Action::Payer => self.payer_acts(),
            Action::Block => self.block(),
            Action::Mine => self.mine(),
            Action::Watch => self.watch(),
            Action::Gossip => self.gossip(),
            Action::Close => self.close_some(),
            Action::Settle => self.settle_some(),
            Action::Clock => self.jump(),
            Action::Checkpoint => self.checkpoint(),
            Action::Evict => self.evict(),
            Action::Audit => self.audit(),
            Action::Crash => self.crash_now(),
            Action::Doom => self.doom(),
        }
    }

    /// Puts a request before the server. Without one, nobody answers.
    fn ask(&mut self, index: MemberIndex, asker: Asker, op: Op, hand: Hand) -> u64 {
        self.requests += 1;
        let request = Request { id: self.requests, member: index, asker, op, hand };
        if self.server.is_some() {
            self.history.push(Event::Asked(request.clone()));
            self.witness.asked(&request);
            self.inbox.push(request);
        }
        self.requests
    }

    /// The server's clock goes its own ways; no rule depends on it.
    fn jump(&mut self) -> Check {
        let back = self.dice.random_range(0..5_000_u64);
        let forth = self.dice.random_range(0..5_000_u64);
        self.clock = (self.clock + forth).saturating_sub(back);
        Ok(())
    }

    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.clock)
    }

    fn one_of(&mut self) -> MemberIndex {
        self.cast[self.dice.random_range(0..self.cast.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.dice.random_ratio(percent, 100)
    }

    fn note(&mut self, what: impl Into<String>) {
        self.history.push(Event::Chain(what.into()));
    }

    /// The comparison with the model, unless the rules are on their own.
    fn model(&self, rule: Rule, found: Result<(), String>) -> Check {
        match found {
            Err(what) if self.options.model => broken(rule, what),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rule {
            Rule::Money(number) => write!(f, "money rule {number} is broken: {}", self.what),
            rule => write!(f, "{rule:?}: {}", self.what),
        }
    }
}

//! Deaths and returns.

use std::collections::BTreeMap;

use farebox_core::channel::{Phase, State};
use farebox_engine::Step;
use rand::RngExt;

use super::{Event, Shadow, World};
use crate::account::Op;
use crate::cast::MemberIndex;
use crate::closer::Closer;
use crate::disk::Crash;
use crate::rules::{Broken, Check, Rule, broken};
use crate::server::{Server, StartError, Started};

/// The most places that a doomed process passes.
const DOOM_MAX: u64 = 12;

impl World {
    /// The process dies between two steps.
    pub(super) fn crash_now(&mut self) -> Check {
        let Some(server) = &self.server else { return Ok(()) };
        self.possible = [(server.head().sequence, self.durable.clone())].into();
        self.died()
    }

    /// The process will die soon, in the middle of something.
    pub(super) fn doom(&mut self) -> Check {
        let places = self.dice.random_range(1..=DOOM_MAX);
        if self.server.is_some() {
            self.disk.die_in(places);
        }
        Ok(())
    }

    /// The process is dead: memory is gone, the disk keeps what it keeps.
    pub(super) fn died(&mut self) -> Check {
        let crash = if self.dice.random() { Crash::Kill } else { Crash::PowerCut };
        self.history.push(Event::Died(crash, self.disk.died()));
        self.points_before += self.disk.points();
        self.server = None;
        self.disk.crash(crash, &mut self.dice);
        self.inbox.clear();
        self.waiting.clear();
        self.closer = Closer::default();
        self.closer_waits.clear();
        self.witness.crashed();
        Ok(())
    }

    /// A new process starts. It may die at once, and then another one starts, until one serves.
    pub(super) fn start(&mut self) -> Check {
        while self.server.is_none() {
            self.start_once()?;
        }
        Ok(())
    }

    fn start_once(&mut self) -> Check {
        let is_doomed = self.chance(10);
        let places = self.dice.random_range(1..=4);
        self.disk.spare();
        if let Some(at) = self.options.die_at
            && at > self.points_before
        {
            self.disk.die_in_next_life(at - self.points_before);
        } else if is_doomed {
            self.disk.die_in_next_life(places);
        }
        match Server::start(&self.disk, self.now(), self.options.bug) {
            Ok(started) => self.started(started),
            Err(StartError::Refused(error)) => {
                broken(Rule::Recovery, format!("only crashes touched the disk, and yet: {error}"))
            }
            Err(StartError::Died { found_head: Some(head), found, books }) => {
                let before = self.found(head.sequence, &found)?;
                let after = Shadow { states: books, accounts: restarted(&before, self.clock).accounts };
                self.possible = [(head.sequence, before), (head.sequence + 1, after)].into();
                self.died()
            }
            Err(StartError::Died { found_head: None, .. }) => self.died(),
        }
    }

    fn started(&mut self, started: Started) -> Check {
        let Started { server, found_head, found, books } = started;
        self.history.push(Event::Started { frame: found_head.sequence });
        let before = self.found(found_head.sequence, &found)?;
        self.check_cursor(&before, found_head.cursor.map_or(0, |cursor| cursor.next_block.0))?;
        let after = Shadow { states: books, accounts: restarted(&before, self.clock).accounts };
        for (index, state) in &after.states {
            self.witness.started(*index, state)?;
            self.model(Rule::Model, after.accounts[index].compare(state))?;
        }
        (self.live, self.durable) = (after.clone(), after);
        self.server = Some(server);
        self.rewind_watcher();
        let (witness, chain) = (&mut self.witness, &self.chain);
        for (index, state) in &self.durable.states {
            witness.durable(*index, state, chain)?;
        }
        Ok(())
    }

    /// What was found must be what the disk may hold: everything that was answered, and of the frame that was
    /// being written all or nothing.
    fn found(&self, frame: u64, found: &BTreeMap<MemberIndex, State>) -> Result<Shadow, Broken> {
        for (index, state) in &self.durable.states {
            self.witness.recovered(*index, state, found.get(index))?;
        }
        let Some(expected) = self.possible.get(&frame) else {
            let possible: Vec<_> = self.possible.keys().collect();
            let what = format!("the journal ends with frame {frame}, possible are {possible:?}");
            return Err(Broken { rule: Rule::Money(1), what });
        };
        if expected.states != *found {
            let what = format!("frame {frame} leaves {:?}, found {found:?}", expected.states);
            return Err(Broken { rule: Rule::Recovery, what });
        }
        for (index, account) in &expected.accounts {
            let agreed = match found.get(index) {
                Some(state) => account.compare(state),
                None if account.known => Err(format!("channel {index} is gone")),
                None => Ok(()),
            };
            self.model(Rule::Model, agreed)?;
        }
        Ok(expected.clone())
    }

    /// The cursor that was found promises that every fact before it is in the books.
    fn check_cursor(&self, books: &Shadow, next_block: u64) -> Check {
        for (place, fact) in self.chain.log.iter().enumerate() {
            let Some(state) = books.states.get(&fact.member) else { continue };
            if fact.position.block >= next_block || fact.position <= self.chain.escrow(fact.member).opened {
                continue;
            }
            let is_over = matches!(state.phase, Phase::Closed(_));
            let is_there = match fact.step {
                // Nothing that came before the end matters any more.
                _ if is_over => true,
                Step::ToppedUp { deposit, .. } => state.deposit >= deposit,
                Step::Settled { settled, .. } => state.settled >= settled,
                Step::Closed { .. } => false,
                Step::CloseRequested { position, .. } | Step::CloseRequestCancelled { position } => {
                    state.close_position >= position || !self.watcher.heard.contains(&place)
                }
                _ => true,
            };
            if !is_there {
                let what = format!("the cursor has passed {fact:?}, the books hold {state:?}");
                return broken(Rule::Money(10), what);
            }
        }
        Ok(())
    }
}

/// The model after a start.
fn restarted(before: &Shadow, now: u64) -> Shadow {
    let mut after = before.clone();
    for account in after.accounts.values_mut() {
        account.now = now;
        account.ask(&Op::Restart);
    }
    after
}

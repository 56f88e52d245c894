//! Batches, frames, answers and checkpoints.

use farebox_engine::ledger::recover;
use farebox_engine::{Reply, Verdict};
use rand::RngExt;

use super::{Event, World};
use crate::account::Op;
use crate::cast::{index_of, member};
use crate::rules::{Check, Rule, broken};
use crate::said::{Balance, Said};
use crate::server::{Asker, Processed};

/// The most requests of one batch.
const BATCH_MAX: usize = 6;
/// The most batches and images of one frame.
const ROUND_MAX: usize = 4;
/// The most batches that wait for the disk; then the server decides nothing more.
const WAITING_MAX: usize = 3;

impl World {
    /// Decides a batch, in memory.
    pub(super) fn process(&mut self) -> Check {
        let now = self.now();
        let count = self.dice.random_range(1..=BATCH_MAX).min(self.inbox.len());
        let Some(server) = &mut self.server else { return Ok(()) };
        if count == 0 || server.waiting() >= WAITING_MAX {
            return Ok(());
        }
        let requests = self.inbox.drain(..count).collect();
        let (number, processed) = match server.process(requests, now) {
            Ok(processed) => processed,
            Err(error) => return broken(Rule::Recovery, format!("an image cannot be read: {error}")),
        };
        for one in &processed {
            self.decided(one)?;
        }
        self.waiting.push_back((number, self.live.clone()));
        Ok(())
    }

    /// Looks at one decision: by the rules, and by the model.
    fn decided(&mut self, processed: &Processed) -> Check {
        let Processed { request, verdict, after, .. } = processed;
        let index = request.member;
        if let Some(state) = after {
            self.live.states.insert(index, state.clone());
        }
        let said = said(&request.op, verdict, after.is_some());
        self.history.push(Event::Decided(request.id, said.clone()));
        self.witness.processed(processed)?;
        let account = self.live.accounts.get_mut(&index).expect("every channel of the cast has an account");
        account.now = self.clock;
        let expected = account.ask(&request.op);
        let agreed = match after {
            _ if !agrees(&request.op, &said, &expected) => {
                Err(format!("{request:?} was answered {said:?}, expected {expected:?}"))
            }
            Some(state) => account.compare(state),
            None if account.known => Err(format!("channel {index} is not in the books")),
            None => Ok(()),
        };
        self.model(Rule::Model, agreed)
    }

    /// Writes a frame, and lets the answers out.
    pub(super) fn append(&mut self) -> Check {
        let max = self.dice.random_range(1..=ROUND_MAX);
        let Some(server) = &mut self.server else { return Ok(()) };
        if server.waiting() == 0 && self.dice.random_ratio(2, 3) {
            return Ok(());
        }
        let frame = server.head().sequence;
        let last = server.next_batches(max).last().copied();
        let after = self.waiting.iter().find(|(number, _)| Some(*number) == last);
        let after = after.map_or_else(|| self.durable.clone(), |(_, shadow)| shadow.clone());
        let released = match server.append(max) {
            Ok(released) => released,
            Err(_) => {
                self.possible = [(frame, self.durable.clone()), (frame + 1, after)].into();
                return self.died();
            }
        };
        let frame = server.head().sequence;
        self.history.push(Event::Durable(frame));
        self.waiting.retain(|(number, _)| !released.batches.contains(number));
        self.durable = after;
        for processed in &released.answers {
            self.answered(processed)?;
        }
        self.move_cursor();
        let (witness, chain) = (&mut self.witness, &self.chain);
        for (index, state) in &self.durable.states {
            witness.durable(*index, state, chain)?;
        }
        Ok(())
    }

    /// An answer leaves; whoever waits for it goes on.
    fn answered(&mut self, processed: &Processed) -> Check {
        let Processed { request, verdict, after, .. } = processed;
        let (id, index) = (request.id, request.member);
        self.history.push(Event::Answered(id));
        self.witness.released(processed, self.durable.states.get(&index))?;
        self.watcher.opening.remove(&id);
        if let Some(place) = self.watcher.telling.remove(&id)
            && after.is_some()
        {
            self.watcher.heard.insert(place);
        }
        if let Verdict::Accepted(Reply { snapshot, .. }) = verdict {
            self.clients[index].shown = Some(Balance::from(snapshot));
        }
        match request.asker {
            Asker::Client => {
                // A close that the closer is about to begin by itself answers the client, too.
                if let Op::Close { .. } = request.op
                    && !self.closer_waits.contains(&index)
                {
                    return self.close_answered(index, verdict);
                }
                Ok(())
            }
            Asker::Watcher => Ok(()),
            Asker::Closer => {
                self.closer_waits.remove(&index);
                self.close_answered(index, verdict)
            }
            Asker::Settler => self.settle_answered(index, verdict),
        }
    }

    /// A checkpoint begins, gives images, or stores them and moves the mark.
    pub(super) fn checkpoint(&mut self) -> Check {
        let count = self.dice.random_range(1..=3);
        let Some(server) = &mut self.server else { return Ok(()) };
        let frame = server.head().sequence;
        let done = match self.dice.random_range(0..4) {
            0 => {
                server.begin_checkpoint();
                Ok(())
            }
            1 => {
                server.give_images(count);
                Ok(())
            }
            _ => server.checkpoint_step(),
        };
        if done.is_err() {
            self.possible = [(frame, self.durable.clone())].into();
            return self.died();
        }
        Ok(())
    }

    pub(super) fn evict(&mut self) -> Check {
        let index = self.one_of();
        if let Some(server) = &mut self.server {
            server.evict(index);
        }
        Ok(())
    }

    /// What is durable must be durable now, not only once the next sync comes.
    pub(super) fn audit(&mut self) -> Check {
        if self.server.is_none() {
            return Ok(());
        }
        let disk = self.disk.at_worst();
        let books = match recover(&disk).and_then(|books| books.page(&disk, None, crate::cast::MEMBERS)) {
            Ok(books) => books,
            Err(error) => return broken(Rule::Recovery, format!("a power cut now would leave: {error}")),
        };
        let found = |index| books.iter().find(|stored| index_of(stored.channel) == index);
        for (index, state) in &self.durable.states {
            if found(*index).map(|stored| &stored.state) != Some(state) {
                let found = found(*index).map(|stored| &stored.state);
                let what = format!("channel {index} was answered as {state:?}, the disk keeps {found:?}");
                return broken(Rule::Money(1), what);
            }
            debug_assert_eq!(found(*index).map(|stored| &*stored.identity), Some(&member(*index).identity));
        }
        Ok(())
    }
}

/// A verdict in the model's words.
fn said(op: &Op, verdict: &Verdict, is_known: bool) -> Said {
    match (op, verdict) {
        (Op::Read, Verdict::Accepted(reply)) => Said::Read(Some(Balance::from(&reply.snapshot))),
        (Op::Read, Verdict::Rejected(_)) if !is_known => Said::Read(None),
        _ => Said::from(verdict),
    }
}

/// A voucher that is not the signer's may be refused for any reason, as long as it is refused.
fn agrees(op: &Op, said: &Said, expected: &Said) -> bool {
    match op {
        Op::Submit { genuine: false, .. } | Op::Close { genuine: false, .. } => {
            matches!((said, expected), (Said::Refused(_), Said::Refused(_)))
        }
        _ => said == expected,
    }
}

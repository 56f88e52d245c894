//! Histories of the real engine, with its threads, and whether some order of their operations explains them.
//!
//! Clients in threads of their own call one engine; when each call began and when its answer came is written
//! down in one list. The engine works on a [`Disk`] that dies where the seed says, or is killed while it works,
//! and is started again on what is left. In the end, for each channel, stateright's tester searches for an order
//! in which the plain [`Account`] would have given the same answers, where no operation moves past another one
//! that began after it ended (rule 5).
//!
//! A crash is an operation of its own, and nothing moves across it. A call that was not answered when the process
//! died may have happened before the crash or not at all: every choice is tried until one explains the rest.
//!
//! Who runs first is up to the machine, so a seed gives the same clients and the same crashes, not the same
//! history. A failure prints its history.

use farebox_core::units::UnixSeconds;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::account::{Account, Op};
use crate::cast::{MemberIndex, member};
use crate::said::Said;

mod clients;
mod play;

pub use play::{Setting, play};

/// Who calls: a client in one life of the process.
pub type Caller = u32;

/// The engine's clock stands still.
const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A call began.
    Began(Caller, MemberIndex, Op),
    /// Its answer came.
    Ended(Caller, Answer),
    /// The process died or was stopped, and another one serves. Before it, all calls that were not answered are
    /// over.
    Restarted,
}

/// What a call brought.
#[expect(
    clippy::large_enum_variant,
    reason = "a history is some dozens of lines, and nearly all calls are answered"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer.
    Said(Said),
    /// None: the process died.
    Lost,
}

/// The account as stateright wants to see it.
#[derive(Clone, Debug)]
struct Spec(Account);

impl SequentialSpec for Spec {
    type Op = Op;
    type Ret = Answer;

    fn invoke(&mut self, op: &Op) -> Answer {
        Answer::Said(self.0.ask(op))
    }

    fn is_valid_step(&mut self, op: &Op, answer: &Answer) -> bool {
        let Answer::Said(said) = answer else {
            self.0.ask(op);
            return true;
        };
        match op {
            _ if *said == Said::Busy => true,
            // Refused, and nothing changes; which of several reasons is given first is nobody's concern.
            Op::Submit { genuine: false, .. } | Op::Close { genuine: false, .. } => {
                matches!(said, Said::Refused(_))
            }
            _ => self.0.ask(op) == *said,
        }
    }
}

/// A history that nothing explains.
#[derive(Clone, Debug)]
pub struct Unexplained {
    /// The channel.
    pub member: MemberIndex,
    /// What happened to it.
    pub lines: Vec<Line>,
}

/// Searches an explanation for each channel of a history; channels do not know of each other.
///
/// # Errors
///
/// The first channel without one.
pub fn explain(history: &[Line]) -> Result<(), Unexplained> {
    let mut members: Vec<_> = history.iter().filter_map(Line::member).collect();
    members.sort_unstable();
    members.dedup();
    for member in members {
        let lines = of_channel(history, member);
        let lost: Vec<_> = (0..lines.len()).filter(|place| is_lost(&lines, *place)).collect();
        let choices = 1_u64 << lost.len();
        if !(0..choices).any(|choice| is_explained(&lines, member, &lost, choice)) {
            return Err(Unexplained { member, lines });
        }
    }
    Ok(())
}

impl Line {
    fn member(&self) -> Option<MemberIndex> {
        match self {
            Self::Began(_, member, _) => Some(*member),
            Self::Ended(..) | Self::Restarted => None,
        }
    }
}

/// The lines that are about one channel; calls that a crash left without an answer end there.
fn of_channel(history: &[Line], index: MemberIndex) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut running: Vec<Caller> = Vec::new();
    for line in history {
        match line {
            Line::Began(caller, member, _) if *member == index => running.push(*caller),
            Line::Ended(caller, _) if running.contains(caller) => running.retain(|other| other != caller),
            Line::Restarted => {
                lines.extend(running.drain(..).map(|caller| Line::Ended(caller, Answer::Lost)));
            }
            _ => continue,
        }
        lines.push(line.clone());
    }
    lines
}

/// Whether the call that begins here was lost.
fn is_lost(lines: &[Line], place: usize) -> bool {
    let Line::Began(caller, ..) = &lines[place] else { return false };
    let end = lines[place..].iter().find(|line| matches!(line, Line::Ended(same, _) if same == caller));
    matches!(end, Some(Line::Ended(_, Answer::Lost)))
}

/// Whether there is an order, when of the lost calls those happened whose bit is set.
fn is_explained(lines: &[Line], index: MemberIndex, lost: &[usize], choice: u64) -> bool {
    let happened = |place: usize| match lost.iter().position(|one| *one == place) {
        Some(bit) => choice >> bit & 1 == 1,
        None => true,
    };
    let mut tester = LinearizabilityTester::new(Spec(Account::new(member(index).version()).at(NOW.0)));
    let mut left_out = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let noted = match line {
            Line::Began(caller, _, op) if happened(place) => tester.on_invoke(*caller, op.clone()),
            Line::Began(caller, ..) => {
                left_out.push(*caller);
                continue;
            }
            Line::Ended(caller, Answer::Lost) if left_out.contains(caller) => {
                left_out.retain(|other| other != caller);
                continue;
            }
            Line::Ended(caller, answer) => tester.on_return(*caller, answer.clone()),
            Line::Restarted => tester
                .on_invoke(Caller::MAX, Op::Restart)
                .and_then(|tester| tester.on_return(Caller::MAX, Answer::Lost)),
        };
        noted.expect("callers call one thing after the other");
    }
    tester.is_consistent()
}

impl std::fmt::Display for Unexplained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "no order of the calls explains the answers on channel {}:", self.member)?;
        for line in &self.lines {
            writeln!(f, "  {line:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

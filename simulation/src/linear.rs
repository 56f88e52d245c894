//! Histories of the real engine, with its threads, and whether some order of their operations explains them.
//!
//! Clients in threads of their own call one engine; when each call began and when its answer came is written
//! down in one list. The engine works on a [`Disk`] that dies where the seed says, or is killed while it works,
//! and is started again on what is left. In the end, for each channel, a search looks for an order
//! in which the plain [`Account`] would have given the same answers, where no operation moves past another one
//! that began after it ended (rule 5).
//!
//! A crash is an operation of its own, and nothing moves across it. A call that was not answered when the process
//! died may have happened before the crash or not at all.
//!
//! Who runs first is up to the machine, so a seed gives the same clients and the same crashes, not the same
//! history. A failure prints its history.

use farebox_core::units::UnixSeconds;

use crate::account::{Account, Op};
use crate::cast::{self, MemberIndex};
use crate::said::Said;

mod clients;
mod play;
mod search;

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
        let account = Account::new(cast::member(member).version()).at(NOW.0);
        if !search::is_explained(&lines, account) {
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

//! `farebox settle-now`, `close`, `quarantine`, `release`, `deny` and `allow`: what a running server is told to do with a channel
//! or a payer, through its admin API and with its admin key. It decides and books; here nothing is decided.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::ask::{AskError, post};
use super::{End, end_with, load_config};
use crate::keys;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Claim what was spent; the channel goes on.
    Settle,
    /// End service, and claim what was spent.
    Close,
    /// Take no vouchers of a channel, for so many seconds or for good.
    Quarantine(Option<u64>),
    /// Take them again.
    Release,
    /// Take no vouchers of a payer, likewise.
    Deny(Option<u64>),
    /// Take them again.
    Allow,
}

impl Act {
    /// Where it is asked for.
    fn path(self, id: &str) -> String {
        let term =
            |seconds: Option<u64>| seconds.map(|seconds| format!("?for={seconds}")).unwrap_or_default();
        match self {
            Self::Settle => format!("/v1/channels/{id}/settle"),
            Self::Close => format!("/v1/channels/{id}/close"),
            Self::Quarantine(seconds) => format!("/v1/channels/{id}/quarantine{}", term(seconds)),
            Self::Release => format!("/v1/channels/{id}/release"),
            Self::Deny(seconds) => format!("/v1/payers/{id}/deny{}", term(seconds)),
            Self::Allow => format!("/v1/payers/{id}/allow"),
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("server.admin_key_file: found nothing, expected the path of the running server's admin key")]
struct NoKey;

/// Asks the server, and prints the channel as it is then.
pub fn run(config: &Path, act: Act, whom: &str, admin: Option<SocketAddr>, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    let Some(path) = &config.server.admin_key_file else { return end_with(End::Refused, &NoKey) };
    let key = match keys::admin_key(path) {
        Ok(key) => key,
        Err(error) => return end_with(End::Refused, &error),
    };
    // An id has no characters that a path would mind; anything else is refused by the server.
    let id: String = whom.chars().filter(char::is_ascii_alphanumeric).take(80).collect();
    match post(admin.unwrap_or(config.server.admin_listen), &act.path(&id), &key) {
        Ok(answer) => {
            print(act, &answer, as_json);
            End::Done
        }
        Err(error @ AskError::Away { .. }) => end_with(End::CannotStart, &error),
        Err(error @ AskError::Refused { status: 400 | 404, .. }) => end_with(End::Unusable, &error),
        Err(error @ AskError::Refused { status: 401 | 403, .. }) => end_with(End::Refused, &error),
        Err(error) => end_with(End::Failed, &error),
    }
}

fn print(act: Act, answer: &Value, as_json: bool) {
    if as_json {
        println!("{answer}");
        return;
    }
    let text = |key: &str| answer[key].as_str().unwrap_or("-").to_owned();
    let channel = || {
        let (phase, spent, settled) = (text("phase"), text("spent"), text("settled"));
        format!("it is {phase}, {spent} spent, {settled} settled (base units)")
    };
    let until = || match answer["until"].as_u64() {
        Some(until) => format!("until Unix time {until}"),
        None => "until it is let in again".into(),
    };
    let id = text("channelId");
    match act {
        Act::Settle => println!("{id} is being settled; {}", channel()),
        Act::Close => println!("{id} is being closed; {}", channel()),
        Act::Quarantine(_) => {
            println!("{id} takes no vouchers {}; what was spent is claimed as ever", until())
        }
        Act::Release => println!("{id} takes vouchers again"),
        Act::Deny(_) => println!("{} pays for nothing {}", text("payer"), until()),
        Act::Allow => println!("{} may pay again", text("payer")),
    }
}

//! `farebox settle-now` and `farebox close`: what a running server is told to do with one channel, through its admin API
//! and with its admin key. It decides and books; here nothing is decided.

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
}

impl Act {
    const fn name(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Close => "close",
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("server.admin_key_file: found nothing, expected the path of the running server's admin key")]
struct NoKey;

/// Asks the server, and prints the channel as it is then.
pub fn run(config: &Path, act: Act, channel: &str, admin: Option<SocketAddr>, as_json: bool) -> End {
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
    let id: String = channel.chars().filter(char::is_ascii_alphanumeric).take(80).collect();
    let path = format!("/v1/channels/{id}/{}", act.name());
    match post(admin.unwrap_or(config.server.admin_listen), &path, &key) {
        Ok(channel) => {
            print(act, &channel, as_json);
            End::Done
        }
        Err(error @ AskError::Away { .. }) => end_with(End::CannotStart, &error),
        Err(error @ AskError::Refused { status: 400 | 404, .. }) => end_with(End::Unusable, &error),
        Err(error @ AskError::Refused { status: 401 | 403, .. }) => end_with(End::Refused, &error),
        Err(error) => end_with(End::Failed, &error),
    }
}

fn print(act: Act, channel: &Value, as_json: bool) {
    if as_json {
        println!("{channel}");
        return;
    }
    let text = |key: &str| channel[key].as_str().unwrap_or("-").to_owned();
    let (id, phase, spent, settled) = (text("channelId"), text("phase"), text("spent"), text("settled"));
    let what = match act {
        Act::Settle => "is being settled",
        Act::Close => "is being closed",
    };
    println!("{id} {what}; it is {phase}, {spent} spent, {settled} settled (base units)");
}

//! `[webhook]`: who is told about money.

use std::path::{Path, PathBuf};

use super::expected::expected;
use super::problem::Problems;
use super::{UpstreamUrl, file, parse, raw, shown_url};

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The receiver.
    pub url: UpstreamUrl,
    /// The key that signs.
    pub key_file: PathBuf,
    /// Whether vouchers and charges are told, too.
    pub vouchers: bool,
}

/// The receiver of the file; `None` inside when there is none.
pub(super) fn webhook(
    raw: Option<&raw::Webhook>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Option<Webhook>> {
    let Some(raw) = raw else { return Some(None) };
    let key = "webhook.url";
    let url = problems.check(key, shown_url(&raw.url), expected(key), |_| parse::upstream(&raw.url));
    let key_file = file("webhook.key_file", &raw.key_file, directory, problems);
    Some(Some(Webhook { url: url?, key_file: key_file?, vouchers: raw.vouchers }))
}

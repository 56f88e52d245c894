//! `farebox settle`: the books, their settlement and the local API, without a gateway; or a watchtower.

use std::path::{Path, PathBuf};

use farebox_settlement::WatchtowerConfig;

use super::End;
use crate::serve::{standalone, watchtower};

/// Runs until a signal.
pub fn run(config: &Path, watch: Option<PathBuf>, after_s: u64, take_over: bool) -> End {
    match watch {
        Some(books) => {
            watchtower::run(config, &books, WatchtowerConfig { after_s, ..WatchtowerConfig::default() })
        }
        None => standalone::run(config, take_over),
    }
}

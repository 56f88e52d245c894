//! `farebox settle`: the books, their settlement and the local API, without a gateway.

use std::path::Path;

use super::End;
use crate::serve::standalone;

/// Runs until a signal.
pub fn run(config: &Path) -> End {
    standalone::run(config)
}

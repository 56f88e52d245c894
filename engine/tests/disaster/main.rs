//! A server on a real disk, and everything that can happen to both: it is killed, and what it answered is there.
//!
//! | module | what happens |
//! |---|---|
//! | `kill` | SIGKILL at random moments and at every fail point |
//! | `power` | the power goes: what was not synced is lost, kept, torn or reordered |
//! | `disk_full` | the disk fills up |
//! | `flips` | a bit of a file is not what was written |
//! | `disk` | a file system with a live and a durable image |
//! | `child`, `watch` | the server that dies, and the parent that knows what it answered |
//! | `account` | what one channel has to hold, apart from the engine |

mod account;
mod child;
mod disk;
mod disk_full;
mod flips;
mod kill;
mod power;
mod seed;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::collections::HashSet;

use farebox_engine::fail_points::ALL;

#[test]
fn every_fail_point_is_listed_once() {
    let names: HashSet<_> = ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names.len(), ALL.len());
}

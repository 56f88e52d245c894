//! A server on a real disk, and everything that can happen to both.

use std::collections::HashSet;

use farebox_engine::fail_points::ALL;

#[test]
fn every_fail_point_is_listed_once() {
    let names: HashSet<_> = ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names.len(), ALL.len());
}

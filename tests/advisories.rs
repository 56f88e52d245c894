//! Every advisory that docs/security.md lists has the test that it names.

use std::fs;
use std::path::Path;

#[test]
fn every_advisory_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (_, list) = page.split_once("## Where other servers got hurt").expect("the list is there");
    let list = list.split("\n## ").next().unwrap();
    let mut checked = 0;
    for row in list.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let words: Vec<&str> = row.rsplit('|').nth(1).unwrap().trim().split('`').collect();
        let &[_, file, _, test, _] = words.as_slice() else { panic!("no file and test in: {row}") };
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let declared = source.split_once(&format!("fn {test}(")).map(|(before, _)| before);
        let before = declared.unwrap_or_else(|| panic!("{file} has no test {test}"));
        let attributes = before.rsplit("\n\n").next().unwrap();
        assert!(attributes.contains("test"), "{test} in {file} is no test");
        assert!(!attributes.contains("ignore"), "{test} in {file} is skipped");
        checked += 1;
    }
    assert!(checked >= 20, "{checked}");
}

//! The page of metrics, the Grafana dashboard and the alert rules name metrics that the program has, and the page names all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Rust files below a folder, without tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// Words that begin with `farebox_`, as far as they could be a metric's name.
fn names(text: &str) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(|letter| !is_of_name(letter));
    words.filter(|word| word.starts_with("farebox_")).map(str::to_owned).collect()
}

/// What the program counts, with its kind. A name that is handed on (`tally.add_to("…")`) is that of a counter.
fn counted() -> BTreeMap<String, &'static str> {
    let mut files = Vec::new();
    for folder in ["src", "engine/src", "settlement/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut found = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let calls = [
            ("counter!(", "counter"),
            (".add_to(", "counter"),
            ("gauge!(", "gauge"),
            ("histogram!(", "histogram"),
        ];
        for (call, kind) in calls {
            for (place, _) in code.match_indices(call) {
                let rest = code[place + call.len()..].trim_start();
                let Some(rest) = rest.strip_prefix('"') else { continue };
                let name = rest.split('"').next().unwrap();
                assert!(name.starts_with("farebox_"), "{}: {name}", file.display());
                found.insert(name.to_owned(), kind);
            }
        }
    }
    found
}

#[test]
fn the_page_names_every_metric_and_no_other() {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `farebox_"));
    let told: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let name = cells.next().unwrap().trim_matches('`').to_owned();
            (name, cells.next().unwrap().to_owned())
        })
        .collect();
    let counted = counted();
    assert!(counted.len() > 30, "{counted:?}");
    let expected = counted.iter().map(|(name, kind)| (name.clone(), (*kind).to_owned())).collect();
    assert_eq!(told, expected);
    for (name, kind) in &counted {
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}: counters alone end in _total");
    }
}

/// The series of all metrics: a histogram has buckets, a sum and a count, and none of its own name.
fn series() -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    for (name, kind) in counted() {
        match kind {
            "histogram" => series.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            _ => _ = series.insert(name),
        }
    }
    series
}

#[test]
fn no_two_metrics_are_one_family_of_openmetrics() {
    let families: Vec<String> = counted()
        .into_keys()
        .map(|name| name.strip_suffix("_total").map(str::to_owned).unwrap_or(name))
        .collect();
    assert_eq!(families.iter().collect::<BTreeSet<_>>().len(), families.len(), "{families:?}");
}

#[test]
fn the_grafana_dashboard_asks_for_what_is_there() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/dashboard.json")).unwrap();
    let series = series();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 12);
    let mut with_exemplars = BTreeSet::new();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let asked = target["expr"].as_str().unwrap();
            let used = names(asked);
            assert!(!used.is_empty(), "{asked}");
            assert!(used.is_subset(&series), "{asked}: {used:?}");
            if target["exemplar"] == true {
                with_exemplars.extend(used);
            }
        }
    }
    // What is recorded while the trace of a request or of a claim is at hand.
    for part in ["request", "door", "upstream", "books", "claim", "sign"] {
        assert!(with_exemplars.remove(&format!("farebox_{part}_seconds_bucket")), "{part}");
    }
    assert_eq!(with_exemplars, BTreeSet::from(["farebox_requests_total".to_owned()]));
    let variable = &dashboard["templating"]["list"][1]["query"];
    assert!(names(variable.as_str().unwrap()).is_subset(&series));
}

#[test]
fn the_alerts_ask_for_what_is_there_and_the_manual_knows_the_alarms() {
    let rules = read("docs/grafana/alerts.yml");
    let series = series();
    let asked: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(asked.len(), rules.matches("- alert: ").count());
    for expression in &asked {
        let used = names(expression);
        let is_ours = !used.is_empty() || expression.starts_with("up{");
        assert!(is_ours && used.is_subset(&series), "{expression}: {used:?}");
    }
    let manual = read("docs/operations.md");
    for name in names(&manual).iter().filter(|name| name.ends_with("_total")) {
        assert!(series.contains(name), "docs/operations.md names {name}, which is no metric");
    }
}

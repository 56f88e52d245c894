//! The page as a whole.

use metrics::{counter, gauge, histogram, with_local_recorder};

use super::*;
use crate::traces::{TraceId, within_sync};

/// A page on which something of everything was counted, once in a trace.
fn page(format: Format) -> String {
    let measures = Measures::default();
    with_local_recorder(&measures, || {
        counter!("x_total", "kind" => "a\"b\\c\nd").increment(2);
        counter!("x_total").increment(1);
        gauge!("depth").set(1.5);
        gauge!("top").set(f64::INFINITY);
        gauge!("room_bytes", "shard" => "0").set(3.0);
        histogram!("wait_seconds", "class" => "2xx").record(0.003);
        let trace = TraceId::new(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        within_sync(trace, || {
            counter!("errors_total").increment(1);
            histogram!("wait_seconds", "class" => "2xx").record(0.0021);
        });
    });
    measures.render(format)
}

#[test]
fn the_text_is_what_prometheus_reads() {
    let page = page(Format::Text);
    let expected = "# TYPE errors_total counter\nerrors_total 1\n\
         # TYPE x_total counter\nx_total 1\nx_total{kind=\"a\\\"b\\\\c\\nd\"} 2\n\
         # TYPE depth gauge\ndepth 1.5\n# TYPE room_bytes gauge\nroom_bytes{shard=\"0\"} 3\n# TYPE top gauge\ntop +Inf\n\
         # TYPE wait_seconds histogram\nwait_seconds_bucket{class=\"2xx\",le=\"2.5e-05\"} 0\n";
    assert!(page.starts_with(expected), "{page}");
    for line in [
        "wait_seconds_bucket{class=\"2xx\",le=\"0.001\"} 0",
        "wait_seconds_bucket{class=\"2xx\",le=\"0.0025\"} 1",
        "wait_seconds_bucket{class=\"2xx\",le=\"0.005\"} 2",
        "wait_seconds_bucket{class=\"2xx\",le=\"+Inf\"} 2",
        "wait_seconds_sum{class=\"2xx\"} 0.0051",
        "wait_seconds_count{class=\"2xx\"} 2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    for other in [" # {", "# EOF", "# UNIT", "trace_id"] {
        assert!(!page.contains(other), "{other}: {page}");
    }
}

#[test]
fn openmetrics_has_units_exemplars_and_an_end() {
    let page = page(Format::OpenMetrics);
    assert!(page.ends_with("} 2\n# EOF\n") || page.ends_with(" 2\n# EOF\n"), "{page}");
    assert!(!page.contains("\n\n"), "no line is empty");
    for line in [
        "# TYPE x counter",
        "x_total{kind=\"a\\\"b\\\\c\\nd\"} 2",
        "# TYPE wait_seconds histogram",
        "# UNIT wait_seconds seconds",
        "# UNIT room_bytes bytes",
        "wait_seconds_bucket{class=\"2xx\",le=\"0.005\"} 2",
        "wait_seconds_bucket{class=\"2xx\",le=\"0.001\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    let exemplars: Vec<&str> = page.lines().filter(|line| line.contains(" # ")).collect();
    let told = " # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} ";
    let begins = [
        format!("errors_total 1{told}1 "),
        format!("wait_seconds_bucket{{class=\"2xx\",le=\"0.0025\"}} 1{told}0.0021 "),
    ];
    assert_eq!(exemplars.len(), begins.len(), "{exemplars:?}");
    for (exemplar, begin) in exemplars.iter().zip(begins) {
        let at = exemplar.strip_prefix(&begin).unwrap_or_else(|| panic!("{exemplar}"));
        assert!(at.parse::<f64>().unwrap() > 1.6e9 && at.split('.').nth(1).unwrap().len() == 3, "{at}");
    }
}

#[test]
fn a_page_of_nothing_has_an_end_all_the_same() {
    assert_eq!(Measures::default().render(Format::Text), "");
    assert_eq!(Measures::default().render(Format::OpenMetrics), "# EOF\n");
}

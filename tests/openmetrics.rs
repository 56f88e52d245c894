//! What the running program tells a scraper: OpenMetrics with the trace of a request, and plain text without it.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use program::fake_chain::{Claims, FakeChain};
use program::{Running, command, get, get_with, until};

/// The trace that a client began, and the span in it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// What Prometheus 3 says it takes.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
    text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// A sample with its exemplar.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    exemplar: Option<(BTreeMap<String, String>, f64)>,
}

/// Reads OpenMetrics, and takes nothing that the standard does not.
fn read(page: &str) -> Vec<Sample> {
    let body = page.strip_suffix("# EOF\n").expect("an end");
    let (mut samples, mut families) = (Vec::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let words: Vec<&str> = meta.split(' ').collect();
            let [what, name, said] = words[..] else { panic!("{line}") };
            match what {
                "TYPE" => {
                    assert!(families.insert(name.to_owned()), "a family comes once: {line}");
                    (family, kind) = (name.to_owned(), said.to_owned());
                }
                "UNIT" => assert!(name == family && name.ends_with(&format!("_{said}")), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, exemplar) = match line.split_once(" # ") {
            Some((sample, exemplar)) => (sample, Some(exemplar)),
            None => (line, None),
        };
        let (name, labels, rest) = read_labels(sample);
        let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("not of {family}: {line}"));
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{other}"),
        };
        assert!(suffixes.contains(&suffix), "{kind}: {line}");
        let exemplar = exemplar.map(|exemplar| {
            assert!(["_bucket", "_total"].contains(&suffix), "no place for an exemplar: {line}");
            let (name, labels, rest) = read_labels(exemplar);
            assert_eq!(name, "");
            let letters: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(letters <= 128, "{line}");
            let (value, at) = rest.split_once(' ').expect("a time");
            assert!(at.parse::<f64>().unwrap() > 1.6e9, "seconds: {line}");
            (labels, value.parse().unwrap())
        });
        samples.push(Sample { name, labels, value: rest.parse().unwrap(), exemplar });
    }
    samples
}

/// `name{label="value",…} rest`; no value of these has a brace or an escape.
fn read_labels(text: &str) -> (String, BTreeMap<String, String>, &str) {
    let Some((name, rest)) = text.split_once('{') else {
        let (name, rest) = text.split_once(' ').expect("a value");
        return (name.into(), BTreeMap::new(), rest);
    };
    let (inner, rest) = rest.split_once("} ").expect("a closed brace");
    let pairs = inner.split("\",").map(|pair| {
        let (name, value) = pair.split_once("=\"").expect("a label");
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    (name.into(), pairs.collect(), rest)
}

/// Buckets rise to the count; an exemplar is in its bucket and not below.
fn check_histograms(samples: &[Sample]) {
    let mut series: BTreeMap<String, Vec<(f64, &Sample)>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").expect("a bound").parse().unwrap();
        let stem = sample.name.trim_end_matches("_bucket");
        series.entry(format!("{stem}_count {labels:?}")).or_default().push((bound, sample));
    }
    assert!(series.len() >= 3, "{:?}", series.keys());
    for (count, buckets) in series {
        let (mut low, mut before) = (f64::NEG_INFINITY, 0.0);
        for (bound, sample) in &buckets {
            assert!(*bound > low && sample.value >= before, "{sample:?}");
            if let Some((_, value)) = &sample.exemplar {
                assert!(low < *value && value <= bound, "not within its bucket: {sample:?}");
            }
            (low, before) = (*bound, sample.value);
        }
        assert_eq!(low, f64::INFINITY);
        let all = samples.iter().find(|sample| format!("{} {:?}", sample.name, sample.labels) == count);
        assert_eq!(all.expect("a count").value, before, "{count}");
    }
}

fn serve(rpc: &str, folder: &std::path::Path) -> Running {
    let config = folder.join("farebox.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nrealm = \"test\"\n\
         [upstream]\nurl = \"http://127.0.0.1:9\"\n[chain]\nrpc = [\"{rpc}\"]\nid = 31337\n\
         [payee]\naddress = \"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"\n\
         token = \"0x20c0000000000000000000000000000000000000\"\nkey_file = \"payee.key\"\n\
         [[route]]\npath = \"/v1/*\"\namount = \"25\"\nunit = \"llm_token\"\nmeter = \"request\"\n\
         [[route]]\npath = \"/free\"\nfree = true\n[ledger]\nkind = \"memory\"\nallow_volatile = true\n"
    );
    std::fs::write(&config, text).unwrap();
    let key = folder.join("payee.key");
    // The first account of the well-known test mnemonic.
    std::fs::write(&key, "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let started = Running::start(command(&["serve", "-c", config.to_str().unwrap()]), folder);
    started.unwrap_or_else(|ended| panic!("{ended:?}"))
}

#[test]
fn a_request_with_a_trace_is_the_exemplar_of_its_bucket() {
    let chain = FakeChain::start(Claims { clock_ahead_s: None, balance: 0, ..Claims::sound(31337) });
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&chain.url, folder.path());
    let (listen, admin) = (server.text("listen"), server.text("adminListen"));
    until("the server is ready", || get(admin, "/readyz").0 == 200);
    let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    assert_eq!(get_with(listen, "/v1/x", &traced).status, 402);
    // Nobody is behind.
    assert_eq!(get_with(listen, "/free", &traced).status, 502);
    let unrecorded = format!("traceparent: 00-{}-{PARENT}-00\r\n", TRACE.replace('4', "5"));
    for head in ["", &unrecorded, "traceparent: 00-hello\r\n"] {
        assert_eq!(get_with(listen, "/v1/x", head).status, 402);
    }

    let accept = format!("accept: {ACCEPT}\r\n");
    let answer = get_with(admin, "/metrics", &accept);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.status == 200 && answer.head.contains(kind), "{}", answer.head);
    let samples = read(&answer.body);
    check_histograms(&samples);
    let all: Vec<&Sample> = samples.iter().filter(|sample| sample.exemplar.is_some()).collect();
    for sample in &all {
        let (labels, _) = sample.exemplar.as_ref().unwrap();
        assert_eq!(*labels, BTreeMap::from([("trace_id".to_owned(), TRACE.to_owned())]), "{sample:?}");
    }
    let has = |name: &str, class: Option<&str>| {
        all.iter()
            .any(|sample| sample.name == name && sample.labels.get("class").map(String::as_str) == class)
    };
    for class in ["4xx", "5xx"] {
        assert!(has("farebox_request_seconds_bucket", Some(class)), "{class}: {}", answer.body);
        assert!(has("farebox_requests_total", Some(class)), "{class}: {}", answer.body);
    }
    for part in ["door", "upstream"] {
        assert!(has(&format!("farebox_{part}_seconds_bucket"), None), "{part}: {}", answer.body);
    }
    assert!(has("farebox_door_problems_total", None), "{}", answer.body);

    let text = get_with(admin, "/metrics", "accept: */*\r\n");
    assert!(
        text.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{}",
        text.head
    );
    assert!(text.body.contains("farebox_requests_total{class=\"4xx\"} 4\n"), "{}", text.body);
    for other in [TRACE, " # ", "# EOF"] {
        assert!(!text.body.contains(other), "{other}: {}", text.body);
    }
    check_with_promtool(&text.body);
}

/// Prometheus's own reader has a look, where it is installed.
fn check_with_promtool(page: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics", "--lint=none"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else { return };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

//! The upper bounds of the buckets of histograms, by the unit that ends the name. They are written down in docs/metrics.md,
//! and stay: sums over servers and over time need the same ones.

/// Of durations, in seconds (`_seconds`): from one signature to a claim that many blocks did not take.
pub const SECONDS: [f64; 22] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// Of sizes (`_bytes`).
pub const BYTES: [f64; 9] =
    [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
/// Of everything else, which is counted: vouchers, records.
pub const COUNT: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0, 2_500.0];

/// The unit that ends a name, if one does.
pub fn unit(name: &str) -> Option<&'static str> {
    ["seconds", "bytes"]
        .into_iter()
        .find(|unit| name.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_')))
}

/// Those of a histogram.
pub fn of(name: &str) -> &'static [f64] {
    match unit(name) {
        Some("seconds") => &SECONDS,
        Some(_) => &BYTES,
        None => &COUNT,
    }
}

/// A bound as the label `le` has it, in both formats: `1.0`, `0.001`, `5e-05`, as the libraries of Prometheus write it.
pub fn label(bound: f64) -> String {
    if bound == f64::INFINITY {
        return "+Inf".into();
    }
    let digits = format!("{bound:e}");
    if bound < 1e-4
        && let Some((mantissa, power)) = digits.split_once("e-")
    {
        return format!("{mantissa}e-{power:0>2}");
    }
    format!("{bound:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_their_labels_are_numbers_again() {
        for bounds in [&SECONDS[..], &BYTES, &COUNT] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
            for bound in bounds {
                assert_eq!(label(*bound).parse(), Ok(*bound));
            }
        }
        let labels = [0.000_025, 0.000_05, 0.000_1, 0.0025, 1.0, 1_048_576.0, f64::INFINITY].map(label);
        assert_eq!(labels, ["2.5e-05", "5e-05", "0.0001", "0.0025", "1.0", "1048576.0", "+Inf"]);
    }

    #[test]
    fn a_name_ends_with_its_unit() {
        assert_eq!(unit("farebox_commit_seconds"), Some("seconds"));
        assert_eq!(unit("farebox_frame_bytes"), Some("bytes"));
        assert_eq!(unit("farebox_milliseconds"), None);
        assert_eq!(of("farebox_frame_records"), COUNT);
    }

    #[test]
    fn the_page_of_metrics_tells_them() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
        for (unit, bounds) in [("seconds", &SECONDS[..]), ("bytes", &BYTES), ("everything else", &COUNT)] {
            let labels: Vec<String> = bounds.iter().map(|bound| label(*bound)).collect();
            let row = format!("| {unit} | {} |", labels.join(" "));
            assert!(page.contains(&row), "docs/metrics.md does not say: {row}");
        }
    }
}

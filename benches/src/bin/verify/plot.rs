//! Draws microseconds a voucher over the size of the batch, both on logarithmic axes, as SVG.
//!
//! The picture has no script and no background. Its colours come in two sets, for light and for dark pages.

use std::fmt::Write as _;

use crate::hot::{BATCHES, MANY_SIGNERS, SOME_SIGNERS};
use crate::report::Report;
use crate::strangers::STRANGERS;

/// The picture, in pixels: the whole, and the margins around the plot.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 306.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;

/// The least distance of two labels' baselines.
const LABEL_PX: f64 = 17.0;

/// The axis of time, in microseconds.
const US_MIN: f64 = 0.8;
const US_MAX: f64 = 100.0;
const US_TICKS: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600; font-size: 15px }
    .axis { fill: #59636e }
    .grid { stroke: #d1d9e0; stroke-width: 1 }
    .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
    .peer { stroke-width: 1.5; stroke-dasharray: 6 4 }
    .c0 { stroke: #0969da } .c1 { stroke: #8250df } .c2 { stroke: #1a7f37 } .c3 { stroke: #bc4c00 }
    .dot.c0 { fill: #0969da } .dot.c1 { fill: #8250df } .dot.c2 { fill: #1a7f37 } .dot.c3 { fill: #bc4c00 }
    .c4 { stroke: #6e7781 } .dot.c4 { fill: #6e7781 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc } .axis { fill: #9198a1 } .grid { stroke: #3d444d }
      .c0 { stroke: #58a6ff } .c1 { stroke: #bc8cff } .c2 { stroke: #3fb950 } .c3 { stroke: #f0883e }
      .dot.c0 { fill: #58a6ff } .dot.c1 { fill: #bc8cff } .dot.c2 { fill: #3fb950 } .dot.c3 { fill: #f0883e }
      .c4 { stroke: #9198a1 } .dot.c4 { fill: #9198a1 }
    }
";

/// A line of the plot.
#[derive(Debug, PartialEq)]
pub struct Series {
    label: String,
    /// Peers take one voucher at a time: their lines are level.
    is_peer: bool,
    /// Batch, and microseconds a voucher.
    points: Vec<(usize, f64)>,
}

/// The lines of a run.
pub fn series(report: &Report) -> Vec<Series> {
    let ours = [
        ("avx512, 64 signers", "verify", "avx512", SOME_SIGNERS),
        ("avx512, 16,384 signers (DRAM)", "verify", "avx512", MANY_SIGNERS),
        ("avx512, signers without a table", "cold", "avx512", STRANGERS),
        ("portable, 64 signers", "verify", "portable", SOME_SIGNERS),
    ];
    let peers = [
        ("k256 recover", "recover", "k256"),
        ("k256 verify, cached key", "verify_cached_key", "k256"),
        ("mpp verify_voucher", "verify_voucher", "mpp"),
        ("libsecp256k1 recover", "recover", "libsecp256k1"),
        ("libsecp256k1 verify, cached key", "verify_cached_key", "libsecp256k1"),
    ];
    let ours = ours.into_iter().map(|(label, case, backend, signers)| {
        let point = |batch| Some((batch, report.find(case, backend, signers, batch)?.us()));
        Series {
            label: label.into(),
            is_peer: false,
            points: BATCHES.into_iter().filter_map(point).collect(),
        }
    });
    let peers = peers.into_iter().map(|(label, case, backend)| {
        let us = report.find(case, backend, SOME_SIGNERS, 1).map(|row| row.us());
        let points = us.into_iter().flat_map(|us| BATCHES.map(|batch| (batch, us))).collect();
        Series { label: label.into(), is_peer: true, points }
    });
    ours.chain(peers).filter(|series| !series.points.is_empty()).collect()
}

/// The picture.
pub fn draw(series: &[Series]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\">\n<title>Microseconds a voucher over the size of the batch</title>\n\
         <style>\n{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"24\">CPU time to verify a voucher, by \
         batch</text>\n"
    );
    axes(&mut svg);
    let mut labels = Vec::new();
    for (place, series) in series.iter().enumerate() {
        let colour = if series.is_peer { 4 } else { place.min(3) };
        let kind = if series.is_peer { " peer" } else { "" };
        let points: Vec<_> =
            series.points.iter().map(|(batch, us)| format!("{:.1},{:.1}", x(*batch), y(*us))).collect();
        put(
            &mut svg,
            format_args!("<polyline class=\"line{kind} c{colour}\" points=\"{}\"/>", points.join(" ")),
        );
        if !series.is_peer {
            for (batch, us) in &series.points {
                let (x, y) = (x(*batch), y(*us));
                put(
                    &mut svg,
                    format_args!("<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"),
                );
            }
        }
        if let Some((batch, us)) = series.points.last() {
            labels.push((y(*us), x(*batch), colour, format!("{} {us:.1} µs", series.label)));
        }
    }
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let places = spread(&labels.iter().map(|label| label.0).collect::<Vec<_>>());
    for ((at, end, colour, text), place) in labels.iter().zip(places) {
        let start = WIDTH - RIGHT + 22.0;
        put(
            &mut svg,
            format_args!(
                "<path class=\"line c{colour}\" style=\"stroke-width:1\" d=\"M{:.1} {at:.1}L{:.1} {place:.1}\"/>",
                end + 5.0,
                start - 4.0
            ),
        );
        put(&mut svg, format_args!("<text x=\"{start:.1}\" y=\"{:.1}\">{text}</text>", place + 4.5));
    }
    svg.push_str("</svg>\n");
    svg
}

fn put(svg: &mut String, line: std::fmt::Arguments) {
    writeln!(svg, "{line}").expect("a string takes everything");
}

fn axes(svg: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for us in US_TICKS {
        let y = y(us);
        put(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
        put(
            svg,
            format_args!(
                "<text class=\"axis\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{us} µs</text>",
                LEFT - 8.0,
                y + 4.5
            ),
        );
    }
    for batch in BATCHES {
        let x = x(batch);
        put(svg, format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>"));
        put(
            svg,
            format_args!(
                "<text class=\"axis\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{batch}</text>",
                bottom + 20.0
            ),
        );
    }
    put(
        svg,
        format_args!(
            "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">vouchers in a batch</text>",
            (LEFT + right) / 2.0,
            bottom + 42.0
        ),
    );
}

/// Where a batch stands.
fn x(batch: usize) -> f64 {
    let last = *BATCHES.last().expect("there are batches") as f64;
    LEFT + (batch as f64).ln() / last.ln() * (WIDTH - LEFT - RIGHT)
}

/// Where a cost stands; what lies beyond the axis is drawn at its end.
fn y(us: f64) -> f64 {
    let part = (us / US_MIN).ln() / (US_MAX / US_MIN).ln();
    HEIGHT - BOTTOM - part.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
}

/// Moves labels apart that are too close to each other, as little as may be. They come in order, and stay in it.
fn spread(wanted: &[f64]) -> Vec<f64> {
    // Labels that would touch form a block, which is centred on what they want.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for at in wanted {
        let mut block = (*at, 1);
        while let Some((centre, count)) = blocks.pop() {
            let touch = (count + block.1) as f64 / 2.0 * LABEL_PX;
            if block.0 - centre >= touch {
                blocks.push((centre, count));
                break;
            }
            let all = (count + block.1) as f64;
            block = ((centre * count as f64 + block.0 * block.1 as f64) / all, count + block.1);
        }
        blocks.push(block);
    }
    let lay = |(centre, count): (f64, usize)| {
        (0..count).map(move |i| centre + (i as f64 - (count - 1) as f64 / 2.0) * LABEL_PX)
    };
    blocks.into_iter().flat_map(lay).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_touch_and_stay_in_order() {
        assert_eq!(spread(&[10.0, 100.0]), [10.0, 100.0], "nothing moves without need");
        let crowded = spread(&[50.0, 50.0, 52.0, 60.0, 300.0]);
        assert!(crowded.windows(2).all(|pair| pair[1] - pair[0] > LABEL_PX - 1e-9), "{crowded:?}");
        assert_eq!(crowded[4], 300.0);
    }

    #[test]
    fn axes_are_logarithmic() {
        assert_eq!(x(1), LEFT);
        assert_eq!(x(4_096), WIDTH - RIGHT);
        assert!((x(64) - (x(1) + x(4_096)) / 2.0).abs() < 1e-9);
        assert!((y(1.0) - y(10.0) - (y(10.0) - y(100.0))).abs() < 1e-9);
        assert_eq!(y(1e6), TOP);
    }

    #[test]
    fn every_series_is_drawn_with_its_label() {
        let series = [
            Series { label: "ours".into(), is_peer: false, points: vec![(1, 20.0), (64, 2.0)] },
            Series { label: "theirs".into(), is_peer: true, points: vec![(1, 40.0), (4_096, 40.0)] },
        ];
        let svg = draw(&series);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("ours 2.0 µs") && svg.contains("theirs 40.0 µs"));
    }
}

//! The distribution of latencies as text and as an SVG file. Both axes are logarithmic: one late frame among a million shall be seen.

use super::report::Report;
use std::fmt::Write;

/// Steps of the histogram per factor of ten.
const STEPS_PER_DECADE: u32 = 10;
/// Characters of the longest bar.
const BAR_CHARACTERS: usize = 50;

/// Frames between two times.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    from_us: f64,
    to_us: f64,
    frames: u64,
}

/// Sorted times into bars of equal width on a logarithmic axis, from the first to the last that has frames.
fn bars(sorted_ns: &[u64]) -> Vec<Bar> {
    let step_of = |ns: u64| ((ns.max(1) as f64 / 1e3).log10() * f64::from(STEPS_PER_DECADE)).floor() as i32;
    let edge = |step: i32| 10_f64.powf(f64::from(step) / f64::from(STEPS_PER_DECADE));
    let (Some(&first), Some(&last)) = (sorted_ns.first(), sorted_ns.last()) else { return Vec::new() };
    let first = step_of(first);
    let mut bars: Vec<Bar> = (first..=step_of(last)).map(|step| Bar { from_us: edge(step), to_us: edge(step + 1), frames: 0 }).collect();
    for &time in sorted_ns {
        if let Some(bar) = bars.get_mut((step_of(time) - first) as usize) {
            bar.frames += 1;
        }
    }
    bars
}

/// Length of a bar from 0 to 1: nothing for no frame, a little for one, everything for the most.
fn length(frames: u64, most: u64) -> f64 {
    let of = |frames: u64| (1.0 + frames as f64).log10();
    if most == 0 { 0.0 } else { of(frames) / of(most) }
}

/// The histogram for a terminal.
pub(crate) fn text(report: &Report) -> String {
    let bars = bars(&report.times_ns);
    let most = bars.iter().map(|bar| bar.frames).max().unwrap_or(0);
    let mut text = String::from("frame due to decision written (bars: logarithm of the number of frames)\n");
    for bar in &bars {
        let blocks = "█".repeat((length(bar.frames, most) * BAR_CHARACTERS as f64).round() as usize);
        let _ = writeln!(text, "{:>9.1} to {:>9.1} µs {:>8} {blocks}", bar.from_us, bar.to_us, bar.frames);
    }
    text
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 50.0;

/// The histogram as an SVG document, with quantiles and the deadline.
pub(crate) fn svg(report: &Report) -> String {
    let bars = bars(&report.times_ns);
    let most = bars.iter().map(|bar| bar.frames).max().unwrap_or(0);
    let deadline_us = report.deadline_us as f64;
    let low = bars.first().map_or(1.0, |bar| bar.from_us).log10().floor();
    let high = bars.last().map_or(10.0, |bar| bar.to_us).max(deadline_us).log10().ceil();
    let x = |us: f64| LEFT + (us.log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let y = |share: f64| HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}: {} persons, {} frames \
         per second, {} frames</text>\n<text x=\"{LEFT}\" y=\"40\" fill=\"#555\">frame due to decision written; both axes logarithmic</text>\n",
        report.model, report.persons, report.frames_per_second, report.frames
    );
    for bar in &bars {
        let (left, top) = (x(bar.from_us), y(length(bar.frames, most)));
        let (width, height) = (x(bar.to_us) - left, y(0.0) - top);
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#4477aa\" stroke=\"white\"><title>{:.1} \
             to {:.1} µs: {} frames</title></rect>",
            bar.from_us, bar.to_us, bar.frames
        );
    }
    for decade in low as i32..=high as i32 {
        let (us, base) = (10_f64.powi(decade), y(0.0));
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{us} µs</text>", x(us), base + 18.0);
    }
    let times = &report.due_to_written;
    let marks = [("p50", times.p50_us, "#228833"), ("p99", times.p99_us, "#ccbb44"), ("p99.9", times.p999_us, "#ee6677")];
    for (row, (name, us, colour)) in marks.into_iter().chain([("deadline", deadline_us, "#000000")]).enumerate() {
        if us > 0.0 {
            let (at, top) = (x(us), TOP - 8.0 + 12.0 * row as f64);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{top:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/><text \
                 x=\"{:.1}\" y=\"{top:.1}\" text-anchor=\"{}\">{name} {us:.0} µs</text>",
                y(0.0),
                if row == 3 { at - 4.0 } else { at + 4.0 },
                if row == 3 { "end" } else { "start" }
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_in_one_bar() {
        let mut times: Vec<u64> = (1..5_000_u64).map(|number| number * number * 7 % 90_000_000 + 1).collect();
        times.sort_unstable();
        let bars = bars(&times);
        assert_eq!(bars.iter().map(|bar| bar.frames).sum::<u64>(), times.len() as u64);
        assert!(bars.windows(2).all(|pair| (pair[0].to_us - pair[1].from_us).abs() < 1e-9));
        assert!(super::bars(&[]).is_empty());
        assert_eq!((length(0, 10), length(10, 10)), (0.0, 1.0));
    }
}

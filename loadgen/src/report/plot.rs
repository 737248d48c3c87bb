//! A comparison as an SVG picture: a bar for each relay's CPU per line, from the median, with a
//! whisker from the lowest round to the highest. Pure text; the caller writes the file.

use super::grouped;
use crate::compare::{Comparison, Spread};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const LABEL_WIDTH: f64 = 140.0;
const FIGURE_WIDTH: f64 = 200.0;
const ROW_HEIGHT: f64 = 34.0;
const TOP: f64 = 40.0;

/// The picture, under `title`.
#[must_use]
pub fn svg(title: &str, comparison: &Comparison) -> String {
    let longest = comparison.contenders.iter().map(|c| c.cpu_ns_per_line.max).fold(1.0, f64::max);
    let scale = (WIDTH - LABEL_WIDTH - FIGURE_WIDTH) / longest;
    let rows = u32::try_from(comparison.contenders.len()).unwrap_or(u32::MAX);
    let bottom = TOP + ROW_HEIGHT * f64::from(rows);
    let height = bottom + 30.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"22\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    let mut top = TOP;
    for contender in &comparison.contenders {
        let ratio = contender.cpu_ratio.map_or_else(String::new, |ratio| {
            format!(" ({:.2} times {})", ratio.median, comparison.baseline)
        });
        row(&mut text, top, scale, &contender.relay.name, &contender.cpu_ns_per_line, &ratio);
        top += ROW_HEIGHT;
    }
    let machine = &comparison.machine;
    let foot = format!(
        "relay's CPU per line, median of {} rounds, whiskers from lowest to highest; {} cores of \
         {}, Linux {}",
        comparison.rounds, machine.cores, machine.cpu, machine.kernel
    );
    let foot_at = bottom + 18.0;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{foot_at:.0}\" font-size=\"10\" fill=\"#555\">{}</text>\n</svg>",
        escaped(&foot)
    );
    text
}

fn row(text: &mut String, top: f64, scale: f64, name: &str, spread: &Spread, ratio: &str) {
    let (middle, baseline) = (top + 11.0, top + 16.0);
    let at = |value: f64| LABEL_WIDTH + value * scale;
    let (low, high) = (at(spread.min), at(spread.max));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time")]
    let median = spread.median.round() as u64;
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{baseline:.1}\">{}</text>\n\
         <rect x=\"{LABEL_WIDTH}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"22\" \
         fill=\"#4c78a8\"/>\n\
         <path d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {top:.1}v22M{high:.1} {top:.1}v22\" \
         stroke=\"#222\"/>\n\
         <text x=\"{:.1}\" y=\"{baseline:.1}\">{} ns{}</text>",
        escaped(name),
        spread.median * scale,
        high + 8.0,
        grouped(median),
        escaped(ratio),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_as_long_as_its_median_and_names_are_escaped() {
        let mut text = String::new();
        let spread = Spread { median: 1_500.0, min: 1_000.0, max: 2_000.0 };
        row(&mut text, 40.0, 0.1, "a<b&c", &spread, "");
        assert!(text.contains("width=\"150.0\"") && text.contains("M240.0 51.0H340.0"), "{text}");
        assert!(text.contains(">a&lt;b&amp;c<") && text.contains(">1 500 ns<"), "{text}");
    }
}

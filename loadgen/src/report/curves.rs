//! What was measured at several rates as an SVG picture: a panel for each kind of sender, a curve
//! for each relay, named where it ends. Pure text; the caller writes the file.
//!
//! Readable on light and dark pages: no background, colours of middling lightness, and text that
//! follows the reader's scheme.

mod axis;

use anyhow::{Context, Result, ensure};
use axis::{Axis, Scale};
use clap::ValueEnum;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::Path;

/// What is drawn against the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// CPU per line
    Cpu,
    /// Lines that did not arrive
    Loss,
}

/// What was measured.
#[derive(Clone, Debug, Deserialize)]
pub struct Measured {
    /// Where and how: stands below the picture.
    pub foot: String,
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// One kind of sender.
#[derive(Clone, Debug, Deserialize)]
pub struct Panel {
    /// Its name.
    pub title: String,
    /// What [`Point::rate`] counts.
    pub x: String,
    /// In any order.
    pub points: Vec<Point>,
}

/// One relay at one rate.
#[derive(Clone, Debug, Deserialize)]
pub struct Point {
    /// The relay's name.
    pub relay: String,
    /// Offered, per second.
    pub rate: f64,
    /// CPU per line that arrived, in nanoseconds; `None` if none did.
    pub cpu_ns: Option<f64>,
    /// Share of the lines that did not arrive, 0 to 1.
    pub loss: f64,
}

const PANEL: f64 = 450.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 78.0;
const TOP: f64 = 66.0;
const PLOT_HEIGHT: f64 = 230.0;
const BOTTOM: f64 = 68.0;
/// Names at the ends of curves keep this distance.
const NAME_APART: f64 = 15.0;

/// Dark enough for a white page, light enough for a black one; told apart by more than colour.
const LOOKS: [(&str, &str); 4] =
    [("#3b82f6", ""), ("#e0762f", "7 4"), ("#8b8f98", "2 4"), ("#2fa36b", "10 3 2 3")];

const STYLE: &str = "<style>\
    text{fill:#24292f}.quiet{fill:#57606a}.grid{stroke:#8b949e;stroke-opacity:.28}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9aa4af}}\
    .name{font-weight:600}</style>\n";

impl Measured {
    /// Reads it from a JSON file.
    ///
    /// # Errors
    /// If the file cannot be read or is not as described.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let measured: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what plot draws", path.display()))?;
        for panel in &measured.panels {
            ensure!(!panel.points.is_empty(), "{}: {} has no points", path.display(), panel.title);
            let sane = |point: &Point| point.rate > 0.0 && (0.0..=1.0).contains(&point.loss);
            ensure!(panel.points.iter().all(sane), "{}: a rate or loss is not", path.display());
        }
        Ok(measured)
    }
}

impl Figure {
    fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU of the relay per line, against the offered rate",
            Self::Loss => "Lines lost, against the offered rate",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "µs of CPU per line that arrived, log scale",
            Self::Loss => "% of the lines sent",
        }
    }

    fn of(self, point: &Point) -> Option<f64> {
        match self {
            Self::Cpu => point.cpu_ns.filter(|&ns| ns > 0.0).map(|ns| ns / 1_000.0),
            Self::Loss => Some(point.loss * 100.0),
        }
    }

    fn axis(self, panel: &Panel) -> Axis {
        match self {
            Self::Cpu => {
                let values: Vec<f64> = panel.points.iter().filter_map(|p| self.of(p)).collect();
                Axis::covering(Scale::Logarithmic, &values)
            }
            Self::Loss => Axis { scale: Scale::Linear, low: 0.0, high: 100.0 },
        }
    }
}

/// The picture.
#[must_use]
pub fn svg(measured: &Measured, figure: Figure) -> String {
    let panels = u32::try_from(measured.panels.len()).unwrap_or(u32::MAX);
    let (width, height) = (PANEL * f64::from(panels), TOP + PLOT_HEIGHT + BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\">\n{STYLE}<title>{0}</title>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\" font-weight=\"600\">{0}</text>\n",
        figure.title()
    );
    let mut left = 0.0;
    for panel in &measured.panels {
        draw_panel(&mut text, left, panel, figure);
        left += PANEL;
    }
    let foot_at = height - 8.0;
    let foot = escaped(&measured.foot);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "<text class=\"quiet\" x=\"10\" y=\"{foot_at}\" font-size=\"10.5\">{foot}</text>\n</svg>"
    );
    text
}

fn draw_panel(text: &mut String, left: f64, panel: &Panel, figure: Figure) {
    let rates: Vec<f64> = panel.points.iter().map(|point| point.rate).collect();
    let (x, y) = (Axis::spanning(Scale::Logarithmic, &rates), figure.axis(panel));
    let (from, to) = (left + LEFT, left + PANEL - RIGHT);
    let bottom = TOP + PLOT_HEIGHT;
    let at_x = |value: f64| from + x.share(value) * (to - from);
    let at_y = |value: f64| bottom - y.share(value) * PLOT_HEIGHT;
    let _ = writeln!(
        text,
        "<text class=\"name\" x=\"{from}\" y=\"42\">{}</text>\n\
         <text class=\"quiet\" x=\"{from}\" y=\"57\" font-size=\"11\">{}</text>",
        escaped(&panel.title),
        figure.unit()
    );
    for tick in y.ticks() {
        let (at, label) = (at_y(tick), axis::label(tick));
        let _ = writeln!(
            text,
            "<path class=\"grid\" d=\"M{from:.1} {at:.1}H{to:.1}\"/><text class=\"quiet\" \
             x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            from - 7.0,
            at + 4.0
        );
    }
    for tick in x.ticks() {
        let (at, label) = (at_x(tick), axis::label(tick));
        let _ = writeln!(
            text,
            "<path class=\"grid\" d=\"M{at:.1} {bottom:.1}v5\"/><text class=\"quiet\" \
             x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 18.0
        );
    }
    let _ = writeln!(
        text,
        "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(from, to),
        bottom + 36.0,
        escaped(&panel.x)
    );
    let mut names = Vec::new();
    for (relay, (colour, dashes)) in relays(panel).into_iter().zip(LOOKS.into_iter().cycle()) {
        let mut curve: Vec<(f64, f64)> = panel
            .points
            .iter()
            .filter(|point| point.relay == relay)
            .filter_map(|point| Some((at_x(point.rate), at_y(figure.of(point)?))))
            .collect();
        curve.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some(&(_, end)) = curve.last() else { continue };
        draw_curve(text, &curve, colour, dashes);
        names.push((end, relay, colour));
    }
    draw_names(text, names, to + 9.0);
}

/// In the order in which they come first.
fn relays(panel: &Panel) -> Vec<&str> {
    let mut relays: Vec<&str> = Vec::new();
    for point in &panel.points {
        if !relays.contains(&&*point.relay) {
            relays.push(&point.relay);
        }
    }
    relays
}

fn draw_curve(text: &mut String, curve: &[(f64, f64)], colour: &str, dashes: &str) {
    let path: Vec<String> = curve.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let _ = writeln!(
        text,
        "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-linejoin=\"round\" stroke-dasharray=\"{dashes}\"/>",
        path.join("L")
    );
    for (x, y) in curve {
        let _ = write!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
    text.push('\n');
}

/// Each name where its curve ends, moved up as far as it must be to be read.
fn draw_names(text: &mut String, mut names: Vec<(f64, &str, &str)>, x: f64) {
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut below = f64::INFINITY;
    for (end, name, colour) in names {
        let at = end.min(below - NAME_APART);
        below = at;
        let _ = writeln!(
            text,
            "<text class=\"name\" x=\"{x:.1}\" y=\"{:.1}\" style=\"fill:{colour}\">{}</text>",
            at + 4.0,
            escaped(name)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(relay: &str, rate: f64, loss: f64) -> Point {
        Point { relay: relay.into(), rate, cpu_ns: Some(2_000.0), loss }
    }

    fn measured() -> Measured {
        let points = vec![
            point("a<b", 50_000.0, 0.5),
            point("a<b", 5_000.0, 0.0),
            point("c", 5_000.0, 0.0),
            point("c", 50_000.0, 0.49),
        ];
        let panel = Panel { title: "plain".into(), x: "lines/s".into(), points };
        Measured { foot: "here".into(), panels: vec![panel] }
    }

    #[test]
    fn a_curve_goes_from_low_rates_to_high_ones_as_high_as_its_loss() {
        let text = svg(&measured(), Figure::Loss);
        let bottom = TOP + PLOT_HEIGHT;
        let curve = format!(
            "M{LEFT:.1} {bottom:.1}L{:.1} {:.1}\"",
            PANEL - RIGHT,
            bottom - PLOT_HEIGHT / 2.0
        );
        assert!(text.contains(&curve), "{curve} in {text}");
        assert!(text.contains(">a&lt;b</text>"), "{text}");
    }

    #[test]
    fn names_do_not_lie_upon_each_other() {
        let mut text = String::new();
        draw_names(&mut text, vec![(100.0, "a", "red"), (101.0, "b", "red")], 5.0);
        assert!(text.contains("y=\"105.0\" style=\"fill:red\">b<"), "{text}");
        assert!(text.contains("y=\"90.0\" style=\"fill:red\">a<"), "{text}");
    }

    #[test]
    fn a_relay_of_which_nothing_arrived_has_no_curve() {
        let mut measured = measured();
        measured.panels[0].points.iter_mut().for_each(|point| point.cpu_ns = None);
        let text = svg(&measured, Figure::Cpu);
        assert!(!text.contains("<circle") && !text.contains("NaN"), "{text}");
    }
}

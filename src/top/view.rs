//! One frame: what is known of the relay, drawn into a buffer of any size. Called by `screen`, and
//! for the frame that is printed.

mod columns;

use super::model::{BackendRow, Health, Model};
use super::number::{count, short, time};
use super::table::{self, Cell, Column, Facts, Tone};
use columns::{BACKENDS, LISTENERS};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use unicode_width::UnicodeWidthStr;

/// What does not change from frame to frame.
pub(super) struct View {
    /// Whom is asked, without secrets.
    pub(super) url: String,
    pub(super) interval: Duration,
    pub(super) ascii: bool,
    pub(super) colours: bool,
}

/// What the user has chosen to see.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) sort: Sort,
    pub(super) focus: Pane,
    /// First row that is shown, of listeners and of backends.
    pub(super) first: [usize; 2],
    pub(super) paused: bool,
}

/// The order of backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Who wants a look comes first.
    #[default]
    Trouble,
    /// As in the configuration.
    File,
    Rate,
    Drops,
    Backlog,
}

/// Which rows the arrows move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    Listeners,
    #[default]
    Backends,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Trouble => Self::File,
            Self::File => Self::Rate,
            Self::Rate => Self::Drops,
            Self::Drops => Self::Backlog,
            Self::Backlog => Self::Trouble,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::File => "file",
            Self::Rate => "rate",
            Self::Drops => "drops",
            Self::Backlog => "backlog",
        }
    }

    fn sort(self, rows: &mut [&BackendRow]) {
        let rate = |rate: Option<f64>| Reverse(Ordered(rate.unwrap_or(-1.0)));
        match self {
            Self::File => {}
            Self::Trouble => rows.sort_by_key(|row| Reverse(row.health)),
            Self::Rate => rows.sort_by_key(|row| rate(row.delivered.rate)),
            Self::Drops => {
                rows.sort_by_key(|row| (rate(row.dropped.rate), Reverse(row.dropped.total)));
            }
            Self::Backlog => rows.sort_by_key(|row| Reverse((row.now.backlog, row.now.queued))),
        }
    }
}

/// A rate, to be compared.
#[derive(PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Draws a whole frame, and keeps what is scrolled to within what there is.
pub(super) fn draw(view: &View, look: &mut Look, model: &Model, now: Instant, buffer: &mut Buffer) {
    let height = usize::from(buffer.area.height);
    let width = usize::from(buffer.area.width);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (now_s, rest) = (since_epoch.as_secs(), 0);
    let mut facts = Facts { now_s, ascii: view.ascii, colours: view.colours, rest };
    title(view, look, model, &facts, buffer);
    summary(view, model, now, &facts, buffer);
    if height > 4 {
        let keys = format!(
            "q quit  arrows scroll  tab pane  s sort: {}  p {}",
            look.sort.label(),
            if look.paused { "go on" } else { "pause" }
        );
        let style = Tone::Quiet.style(view.colours);
        table::draw_text(buffer, (0, row(height - 1), width), &keys, style, view.ascii);
    }
    tables(look, model, &mut facts, buffer, 2, height.saturating_sub(3));
    if model.silent.is_some() {
        // What is shown is old.
        let old = Rect { y: 2, height: buffer.area.height.saturating_sub(2), ..buffer.area };
        buffer.set_style(old.intersection(buffer.area), Tone::Quiet.style(view.colours));
    }
}

/// One frame as text, as long as it needs to be.
pub(super) fn text(view: &View, model: &Model, columns: u16) -> String {
    let rows = 6 + model.listeners.len() + model.backends.len();
    let mut buffer = Buffer::empty(Rect::new(0, 0, columns, row(rows)));
    let (look, now) = (&mut Look { sort: Sort::File, ..Look::default() }, Instant::now());
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (now_s, rest) = (since_epoch.as_secs(), 0);
    let mut facts = Facts { now_s, ascii: view.ascii, colours: false, rest };
    title(view, look, model, &facts, &mut buffer);
    summary(view, model, now, &facts, &mut buffer);
    tables(look, model, &mut facts, &mut buffer, 2, rows - 2);
    let cells = buffer.content.chunks(usize::from(columns).max(1));
    let lines = cells.map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>());
    let text: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    format!("{}\n", text.trim_end())
}

fn row(row: usize) -> u16 {
    u16::try_from(row).unwrap_or(u16::MAX)
}

fn title(view: &View, look: &Look, model: &Model, facts: &Facts, buffer: &mut Buffer) {
    let width = usize::from(buffer.area.width);
    let mut text = format!("ringrelay {}", model.version);
    if model.version.is_empty() {
        text.truncate("ringrelay".len());
    }
    let end = text.len();
    table::draw_text(buffer, (0, 0, width), &text, Tone::Title.style(view.colours), view.ascii);
    let mut text = view.url.clone();
    if model.started_s > 0 {
        text += &format!("  up {}", time(facts.now_s.saturating_sub(model.started_s)));
    }
    match model.restarts {
        0 => {}
        1 => text += " (restarted)",
        n => text += &format!(" (restarted {n} times)"),
    }
    text += &format!("  every {:?}", view.interval);
    if look.paused {
        text += "  PAUSED";
    }
    let place = (end + 2, 0, width.saturating_sub(end + 2));
    table::draw_text(buffer, place, &text, Tone::Plain.style(view.colours), view.ascii);
}

/// All listeners together, or that nobody answers.
fn summary(view: &View, model: &Model, now: Instant, facts: &Facts, buffer: &mut Buffer) {
    let (mut x, width) = (0, usize::from(buffer.area.width));
    let (text, tone) = match (&model.silent, model.answered) {
        (Some((since, why)), _) => {
            let seconds = now.saturating_duration_since(*since).as_secs();
            (format!(" NO ANSWER for {}: {why} ", time(seconds)), Tone::Alarm)
        }
        (None, None) => ("waiting for the first answer".to_owned(), Tone::Quiet),
        (None, Some(_)) => {
            let lines = Model::sum(&model.listeners, |row| row.lines);
            let refused = Model::sum(&model.listeners, |row| row.refused);
            let kernel = Model::sum(&model.listeners, |row| row.kernel_drops);
            let dropped = Model::sum(&model.backends, |row| row.dropped);
            let down = model.backends.iter().filter(|row| row.health == Health::Down).count();
            let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), short);
            let mut text = format!("in {} lines/s", rate(lines.rate));
            let losses = [("dropped", dropped), ("kernel drops", kernel), ("refused", refused)];
            for (name, meter) in losses {
                text += &format!("  {name} {}/s ({})", rate(meter.rate), count(meter.total));
            }
            let loses = [dropped, kernel].iter().any(|meter| meter.rate.is_some_and(|r| r > 0.0));
            let tone = if loses { Tone::Warning } else { Tone::Plain };
            if down > 0 {
                let down = format!("{down} DOWN");
                let style = Tone::Alarm.style(facts.colours);
                table::draw_text(buffer, (0, 1, width), &down, style, view.ascii);
                x = down.len() + 2;
            }
            (text, tone)
        }
    };
    let place = (x, 1, width.saturating_sub(x));
    table::draw_text(buffer, place, &text, tone.style(facts.colours), view.ascii);
}

/// Both tables, into `height` rows from `top`.
fn tables(
    look: &mut Look,
    model: &Model,
    facts: &mut Facts,
    buffer: &mut Buffer,
    top: usize,
    height: usize,
) {
    let listeners: Vec<_> = model.listeners.iter().collect();
    let mut backends: Vec<_> = model.backends.iter().collect();
    look.sort.sort(&mut backends);
    // A blank row before and between, where there is room for them.
    let needs = listeners.len() + backends.len() + 3;
    let blank = usize::from(height >= 10 || height > needs);
    let rows = height.saturating_sub(2 + 2 * blank);
    let half = (rows / 3).max(1).max(rows.saturating_sub(backends.len()));
    let shown = listeners.len().min(half).min(rows);
    let top = top + blank;
    let name = |row: &&super::model::ListenerRow| format!("{} {}", row.now.transport, row.now.name);
    let names = listeners.iter().map(name).collect();
    let pane = PaneOf { title: "LISTENER", columns: &LISTENERS, rows: &listeners, names };
    pane.draw(facts, buffer, (top, 1 + shown), &mut look.first[0]);
    let top = top + 1 + shown + blank;
    let names = names_of(&backends);
    let pane = PaneOf { title: "BACKEND", columns: &BACKENDS, rows: &backends, names };
    pane.draw(facts, buffer, (top, 1 + rows - shown), &mut look.first[1]);
}

/// The backends' names; with the relay's where two would be the same.
fn names_of(rows: &[&BackendRow]) -> Vec<String> {
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for row in rows {
        if !seen.insert(&row.now.name) {
            twice.insert(&row.now.name);
        }
    }
    let name = |row: &&BackendRow| {
        let (relay, name) = (&row.now.relay, &row.now.name);
        if twice.contains(name) { format!("{relay} {name}") } else { name.clone() }
    };
    rows.iter().map(name).collect()
}

struct PaneOf<'a, Row> {
    title: &'static str,
    columns: &'a [Column<Row>],
    rows: &'a [&'a Row],
    names: Vec<String>,
}

impl<Row> PaneOf<'_, Row> {
    /// Into `height` rows from `top`, its title's among them; `first` is the row to begin with.
    fn draw(
        &self,
        facts: &mut Facts,
        buffer: &mut Buffer,
        (top, height): (usize, usize),
        first: &mut usize,
    ) {
        let bottom = usize::from(buffer.area.height);
        let shown = height.saturating_sub(1).min(self.rows.len());
        *first = (*first).min(self.rows.len() - shown);
        let longest = self.names.iter().map(|name| name.width()).max().unwrap_or_default();
        let width = usize::from(buffer.area.width);
        let (name_width, fitting) = table::fit(self.columns, longest, width);
        facts.rest = fitting.last().map_or(0, |&(_, width)| width);
        let mut title = self.title.to_owned();
        if shown < self.rows.len() {
            title = format!("{}-{}/{}", *first + 1, *first + shown, self.rows.len());
        }
        let title = Cell::left(title, Tone::Title);
        let titles = |place: usize| Cell {
            text: self.columns[place].title.to_owned(),
            tone: Tone::Title,
            left: ["STATE", "PAST"].contains(&self.columns[place].title),
        };
        let mut line = |y: usize, name: &Cell, cell: &dyn Fn(usize) -> Cell| {
            if y >= bottom {
                return;
            }
            let y = row(y);
            table::draw_cell(buffer, (0, y, name_width), name, facts);
            let mut x = name_width + 1;
            for &(place, width) in &fitting {
                table::draw_cell(buffer, (x, y, width), &cell(place), facts);
                x += width + 1;
            }
        };
        if height > 0 {
            line(top, &title, &titles);
        }
        let shown = self.rows.iter().zip(&self.names).skip(*first).take(shown);
        for ((row, name), y) in shown.zip(top + 1..) {
            let name = Cell::left(name.clone(), Tone::Plain);
            line(y, &name, &|place| (self.columns[place].cell)(row, facts));
        }
    }
}

#[cfg(test)]
mod tests;

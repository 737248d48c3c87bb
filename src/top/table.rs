//! Rows in columns: which columns fit, and how a cell is drawn. Called by `view`. Pure but for
//! the buffer that it draws into.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

/// Columns of a name that are always there.
const NAME_MIN: usize = 10;
/// Columns of a name that are given to it before the last column gets the rest.
const NAME_MAX: usize = 32;

/// A column behind the name's.
pub(super) struct Column<Row> {
    pub(super) title: &'static str,
    /// The least columns; the last one of a table takes what is left.
    pub(super) width: usize,
    pub(super) cell: fn(&Row, &Facts) -> Cell,
    /// Where there is no room for all, those with the lowest number stay.
    pub(super) keep: u8,
}

/// What cells need to know beside their row.
pub(super) struct Facts {
    /// Seconds since the epoch.
    pub(super) now_s: u64,
    pub(super) ascii: bool,
    pub(super) colours: bool,
    /// Columns that the last column has.
    pub(super) rest: usize,
}

/// What is in a cell.
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
    pub(super) left: bool,
}

/// What a text means. No meaning hangs on a colour alone: words and attributes say it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Nothing to see.
    Quiet,
    Title,
    Bar,
    /// It may want a look.
    Notice,
    /// Something is lost.
    Warning,
    Alarm,
}

impl Tone {
    /// Blue, cyan and yellow: they differ for every kind of colour blindness.
    pub(super) fn style(self, colours: bool) -> Style {
        let style = Style::new();
        let coloured = |colour| if colours { style.fg(colour) } else { style };
        match self {
            Self::Plain => style,
            Self::Quiet => style.add_modifier(Modifier::DIM),
            Self::Title => style.add_modifier(Modifier::BOLD),
            Self::Bar => coloured(Color::Blue),
            Self::Notice => coloured(Color::Cyan),
            Self::Warning => coloured(Color::Yellow).add_modifier(Modifier::BOLD),
            Self::Alarm => style.add_modifier(Modifier::REVERSED | Modifier::BOLD),
        }
    }
}

impl Cell {
    pub(super) fn right(text: String, tone: Tone) -> Self {
        Self { text, tone, left: false }
    }

    pub(super) fn left(text: String, tone: Tone) -> Self {
        Self { text, tone, left: true }
    }
}

/// The columns that fit, by their places, each with its width; the first is the name's.
pub(super) fn fit<Row>(
    columns: &[Column<Row>],
    longest_name: usize,
    width: usize,
) -> (usize, Vec<(usize, usize)>) {
    let mut by_keep: Vec<_> = (0..columns.len()).collect();
    by_keep.sort_by_key(|&place| columns[place].keep);
    let mut left = width.saturating_sub(NAME_MIN);
    let mut fitting = Vec::new();
    for place in by_keep {
        let needs = columns[place].width + 1;
        // What is less wanted must not take the place of what is more.
        if needs > left {
            break;
        }
        left -= needs;
        fitting.push((place, columns[place].width));
    }
    fitting.sort_unstable();
    let wanted = longest_name.clamp(NAME_MIN, NAME_MAX) - NAME_MIN;
    let name = NAME_MIN.min(width) + wanted.min(left);
    left -= wanted.min(left);
    if let Some((place, width)) = fitting.last_mut()
        && *place + 1 == columns.len()
    {
        *width += left;
    }
    (name, fitting)
}

/// Draws `text` into the columns from `x`, cut if it is longer than `width`.
pub(super) fn draw_text(
    buffer: &mut Buffer,
    (x, y, width): (usize, u16, usize),
    text: &str,
    style: Style,
    ascii: bool,
) {
    let (Ok(x), Ok(width)) = (u16::try_from(x), u16::try_from(width)) else { return };
    let area = buffer.area.intersection(Rect { x, y, width, height: 1 });
    if area.is_empty() {
        return;
    }
    // Names come from outside.
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let fits = clean.width() <= usize::from(area.width);
    buffer.set_stringn(area.x, area.y, &clean, area.width.into(), style);
    if !fits {
        let cut = if ascii { "~" } else { "…" };
        buffer.set_stringn(area.right() - 1, area.y, cut, 1, style);
    }
}

/// Draws a cell, to the right unless it wants to be to the left.
pub(super) fn draw_cell(
    buffer: &mut Buffer,
    (x, y, width): (usize, u16, usize),
    cell: &Cell,
    facts: &Facts,
) {
    let indent = if cell.left { 0 } else { width.saturating_sub(cell.text.width()) };
    let place = (x + indent, y, width - indent);
    draw_text(buffer, place, &cell.text, cell.tone.style(facts.colours), facts.ascii);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(width: usize, keep: u8) -> Column<()> {
        let cell = |(): &(), _: &Facts| Cell::right(String::new(), Tone::Plain);
        Column { title: "", width, cell, keep }
    }

    #[test]
    fn the_least_wanted_columns_go_first_and_the_last_takes_the_rest() {
        let columns = [column(5, 1), column(7, 9), column(8, 2)];
        assert_eq!(fit(&columns, 0, 100), (10, vec![(0, 5), (1, 7), (2, 75)]));
        assert_eq!(fit(&columns, 20, 100), (20, vec![(0, 5), (1, 7), (2, 65)]));
        assert_eq!(fit(&columns, 20, 26), (11, vec![(0, 5), (2, 8)]));
        assert_eq!(fit(&columns, 20, 25), (10, vec![(0, 5), (2, 8)]));
        assert_eq!(fit(&columns, 20, 24), (18, vec![(0, 5)]));
        assert_eq!(fit(&columns, 20, 3), (3, vec![]));
    }

    proptest! {
        #[test]
        fn what_fits_fits(width in 0..300_usize, longest in 0..100_usize) {
            let columns = [column(5, 1), column(7, 9), column(8, 2), column(20, 3)];
            let (name, fitting) = fit(&columns, longest, width);
            let needs = name + fitting.iter().map(|(_, width)| width + 1).sum::<usize>();
            prop_assert!(needs <= width);
        }
    }

    #[test]
    fn text_is_cut_with_a_mark_and_cannot_move_the_cursor() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 1));
        draw_text(&mut buffer, (0, 0, 4), "abcdef", Style::new(), true);
        assert_eq!(buffer, Buffer::with_lines(["abc~  "]));
        draw_text(&mut buffer, (2, 0, 9), "a\x1b\u{9b}b", Style::new(), true);
        assert_eq!(buffer, Buffer::with_lines(["aba??b"]));
        for place in [(7, 0, 1), (0, 1, 3), (0, 0, 0), (usize::MAX, 0, 1)] {
            draw_text(&mut buffer, place, "outside", Style::new(), true);
        }
        assert_eq!(buffer, Buffer::with_lines(["aba??b"]));
    }
}

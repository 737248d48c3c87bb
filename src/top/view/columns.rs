//! The columns of the two tables. The last of each takes the width that is left.

use super::Tone::{self, Notice, Plain, Warning};
use super::{BackendRow, Cell, Column, Facts, Health, count, short, time};
use crate::top::model::{ListenerRow, Meter};
use crate::top::number::latency;
use crate::top::spark::Spark;

#[rustfmt::skip]
pub(super) const LISTENERS: [Column<ListenerRow>; 7] = [
    Column { title: "LINES/s", width: 7, keep: 1, cell: |row, _| rate(row.lines, Plain) },
    Column { title: "BYTES/s", width: 7, keep: 7, cell: |row, _| rate(row.bytes, Plain) },
    Column { title: "REFUSED/s", width: 9, keep: 3, cell: |row, _| rate(row.refused, Notice) },
    Column { title: "REFUSED", width: 7, keep: 6, cell: |row, _| total(row.refused) },
    Column { title: "KDROPS/s", width: 8, keep: 2, cell: |row, _| rate(row.kernel_drops, Warning) },
    Column { title: "KDROPS", width: 6, keep: 5, cell: |row, _| total(row.kernel_drops) },
    Column { title: "PAST", width: 8, keep: 4, cell: |row, facts| past(&row.past, facts) },
];

#[rustfmt::skip]
pub(super) const BACKENDS: [Column<BackendRow>; 11] = [
    Column { title: "STATE", width: 8, keep: 1, cell: |row, _| state(row.health) },
    Column { title: "LINES/s", width: 7, keep: 2, cell: |row, _| rate(row.delivered, Plain) },
    Column { title: "DROPS/s", width: 7, keep: 3, cell: |row, _| rate(row.dropped, Warning) },
    Column { title: "DROPPED", width: 7, keep: 5, cell: |row, _| total(row.dropped) },
    Column { title: "BACKLOG", width: 7, keep: 4, cell: |row, _| gauge(row.now.backlog) },
    Column { title: "AGE", width: 6, keep: 7, cell: age },
    Column { title: "QUEUED", width: 6, keep: 8, cell: |row, _| gauge(row.now.queued) },
    Column { title: "P99", width: 5, keep: 9, cell: |row, _| p99(row) },
    Column { title: "BYTES/s", width: 7, keep: 10, cell: |row, _| rate(row.bytes, Plain) },
    Column { title: "SPOOL", width: 5, keep: 11, cell: |row, _| gauge(row.now.spool_bytes) },
    Column { title: "PAST", width: 8, keep: 6, cell: |row, facts| past(&row.past, facts) },
];

fn rate(meter: Meter, tone: Tone) -> Cell {
    match meter.rate {
        None => Cell::right("-".to_owned(), Tone::Quiet),
        Some(rate) => {
            let text = short(rate);
            let tone = if rate > 0.0 { tone } else { Tone::Quiet };
            Cell::right(text, tone)
        }
    }
}

fn total(meter: Meter) -> Cell {
    gauge(meter.total)
}

fn gauge(value: u64) -> Cell {
    Cell::right(count(value), if value > 0 { Tone::Plain } else { Tone::Quiet })
}

fn state(health: Health) -> Cell {
    match health {
        Health::Up => Cell::left("up".to_owned(), Tone::Plain),
        Health::Behind => Cell::left("~behind".to_owned(), Tone::Notice),
        Health::Drops => Cell::left("!drops".to_owned(), Tone::Warning),
        Health::Down => Cell::left("x DOWN".to_owned(), Tone::Alarm),
    }
}

/// Of the oldest write in the backlog.
fn age(row: &BackendRow, facts: &Facts) -> Cell {
    match row.now.oldest_s {
        0 => Cell::right("-".to_owned(), Tone::Quiet),
        oldest_s => Cell::right(time(facts.now_s.saturating_sub(oldest_s)), Tone::Plain),
    }
}

fn p99(row: &BackendRow) -> Cell {
    match row.p99_s {
        None => Cell::right("-".to_owned(), Tone::Quiet),
        Some(seconds) => Cell::right(latency(seconds), Tone::Plain),
    }
}

fn past(past: &Spark, facts: &Facts) -> Cell {
    Cell::right(past.draw(facts.rest, facts.ascii), Tone::Bar)
}

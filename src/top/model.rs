//! What was seen of a relay so far, as rates and their history. Pure: the time comes in.

use super::scrape::{Backend, Listener, Snapshot};
use super::spark::Spark;
use std::collections::HashMap;
use std::time::Instant;

/// Everything that a frame shows of the relay.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) version: String,
    pub(super) started_s: u64,
    pub(super) listeners: Vec<ListenerRow>,
    pub(super) backends: Vec<BackendRow>,
    /// When the relay answered last.
    pub(super) answered: Option<Instant>,
    /// Since when it does not, and why.
    pub(super) silent: Option<(Instant, String)>,
    /// Times that its counters began anew.
    pub(super) restarts: u32,
}

/// A total and its growth in a second; `None` where two looks cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Meter {
    pub(super) total: u64,
    pub(super) rate: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ListenerRow {
    pub(super) now: Listener,
    pub(super) lines: Meter,
    pub(super) bytes: Meter,
    pub(super) refused: Meter,
    pub(super) kernel_drops: Meter,
    pub(super) past: Spark,
}

#[derive(Clone, Debug, Default)]
pub(super) struct BackendRow {
    pub(super) now: Backend,
    pub(super) health: Health,
    pub(super) delivered: Meter,
    pub(super) dropped: Meter,
    pub(super) bytes: Meter,
    udp_troubles: Meter,
    /// Of the requests since the last look: 99 of 100 took no longer, in seconds.
    pub(super) p99_s: Option<f64>,
    pub(super) past: Spark,
}

/// How a backend does, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    #[default]
    Up,
    /// It takes lines, and has some to catch up with.
    Behind,
    /// Lines for it are dropped.
    Drops,
    Down,
}

impl Model {
    /// The relay has answered at `now`.
    pub(super) fn answered(&mut self, snapshot: Snapshot, now: Instant) {
        let begins = self.answered.is_some() && snapshot.started_s != self.started_s;
        self.restarts += u32::from(begins);
        let since = self.answered.filter(|_| !begins).map(|before| (now - before).as_secs_f64());
        let since = since.filter(|&seconds| seconds > 0.0);
        let listeners = std::mem::take(&mut self.listeners).into_iter();
        let mut listeners: HashMap<_, _> =
            listeners.map(|row| ((row.now.transport, row.now.name.clone()), row)).collect();
        let backends = std::mem::take(&mut self.backends).into_iter();
        let mut backends: HashMap<_, _> = backends.map(|row| (key(&row.now), row)).collect();
        self.listeners = snapshot
            .listeners
            .into_iter()
            .map(|now| {
                let before = listeners.remove(&(now.transport, now.name.clone()));
                ListenerRow::next(before, now, since)
            })
            .collect();
        self.backends = snapshot
            .backends
            .into_iter()
            .map(|now| {
                let before = backends.remove(&key(&now));
                BackendRow::next(before, now, since)
            })
            .collect();
        (self.version, self.started_s) = (snapshot.version, snapshot.started_s);
        (self.answered, self.silent) = (Some(now), None);
    }

    /// The relay has not answered at `now`.
    pub(super) fn failed(&mut self, why: String, now: Instant) {
        let since = self.silent.as_ref().map_or(now, |(since, _)| *since);
        self.silent = Some((since, why));
        self.listeners.iter_mut().for_each(|row| row.past.push(None));
        self.backends.iter_mut().for_each(|row| row.past.push(None));
    }

    /// A meter of all listeners or backends together.
    pub(super) fn sum<T>(rows: &[T], meter: impl Fn(&T) -> Meter) -> Meter {
        let total = rows.iter().map(|row| meter(row).total).fold(0, u64::saturating_add);
        let rates: Vec<f64> = rows.iter().filter_map(|row| meter(row).rate).collect();
        Meter { total, rate: (!rates.is_empty()).then(|| rates.iter().sum()) }
    }
}

fn key(backend: &Backend) -> (String, String) {
    (backend.relay.clone(), backend.name.clone())
}

impl Meter {
    /// The next total, `since` seconds after this one. A total that fell was begun anew.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    fn next(self, total: u64, since: Option<f64>) -> Self {
        let grown = since.zip(total.checked_sub(self.total));
        Self { total, rate: grown.map(|(seconds, grown)| grown as f64 / seconds) }
    }

    fn grows(self) -> bool {
        self.rate.is_some_and(|rate| rate > 0.0)
    }
}

impl ListenerRow {
    fn next(before: Option<Self>, now: Listener, since: Option<f64>) -> Self {
        let since = since.filter(|_| before.is_some());
        let mut row = before.unwrap_or_default();
        row.lines = row.lines.next(now.lines, since);
        row.bytes = row.bytes.next(now.bytes, since);
        row.refused = row.refused.next(now.refused, since);
        row.kernel_drops = row.kernel_drops.next(now.kernel_drops, since);
        row.past.push(row.lines.rate);
        row.now = now;
        row
    }
}

impl BackendRow {
    fn next(before: Option<Self>, now: Backend, since: Option<f64>) -> Self {
        let since = since.filter(|_| before.is_some());
        let mut row = before.unwrap_or_default();
        row.delivered = row.delivered.next(now.delivered, since);
        row.dropped = row.dropped.next(now.dropped, since);
        row.bytes = row.bytes.next(now.bytes, since);
        row.udp_troubles = row.udp_troubles.next(now.udp_troubles, since);
        row.p99_s = since.and_then(|_| p99(&row.now.latency, &now.latency));
        row.past.push(row.delivered.rate);
        row.now = now;
        row.health = row.health();
        row
    }

    fn health(&self) -> Health {
        if self.now.state == "down" || self.udp_troubles.grows() {
            Health::Down
        } else if self.dropped.grows() {
            Health::Drops
        } else if self.now.state == "draining" || self.now.backlog > 0 {
            Health::Behind
        } else {
            Health::Up
        }
    }
}

/// The bound that 99 of 100 requests between two looks kept; `None` if there were none.
fn p99(before: &[(f64, u64)], now: &[(f64, u64)]) -> Option<f64> {
    let grown = |(place, &(most, count)): (usize, &(f64, u64))| {
        let before = before.get(place).map_or(0, |&(_, count)| count);
        (most, count.saturating_sub(before))
    };
    let grown: Vec<_> = now.iter().enumerate().map(grown).collect();
    let &(_, all) = grown.last()?;
    let wanted = all - all / 100;
    grown.iter().find(|&&(_, count)| all > 0 && count >= wanted).map(|&(most, _)| most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn snapshot(started_s: u64, lines: u64, change: impl FnOnce(&mut Backend)) -> Snapshot {
        let name = "in".to_owned();
        let listener = Listener { transport: "udp", name, lines, ..Listener::default() };
        let mut backend = Backend { name: "out".into(), state: "up".into(), ..Backend::default() };
        backend.delivered = lines;
        change(&mut backend);
        let (listeners, backends) = (vec![listener], vec![backend]);
        Snapshot { version: "1".into(), started_s, listeners, backends }
    }

    #[test]
    fn rates_are_growth_in_a_second_also_over_a_gap() {
        let (mut model, start) = (Model::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        let rate = |model: &Model| model.listeners[0].lines.rate;
        model.answered(snapshot(1, 100, |_| ()), after(0));
        assert_eq!(rate(&model), None, "one look tells no rate");
        model.answered(snapshot(1, 150, |_| ()), after(500));
        assert_eq!(rate(&model), Some(100.0));
        model.failed("gone".into(), after(1_500));
        model.failed("gone still".into(), after(2_500));
        assert_eq!(model.silent, Some((after(1_500), "gone still".into())));
        assert_eq!(rate(&model), Some(100.0), "what was known stays");
        model.answered(snapshot(1, 190, |_| ()), after(4_500));
        assert_eq!((rate(&model), model.silent.is_none()), (Some(10.0), true));
        assert_eq!(model.listeners[0].past.draw(9, true), " #  .");
        assert_eq!(Model::sum(&model.listeners, |row| row.lines).rate, Some(10.0));
    }

    #[test]
    fn a_restart_is_no_rate() {
        let (mut model, start) = (Model::default(), Instant::now());
        let after = |s| start + Duration::from_secs(s);
        model.answered(snapshot(1, 1_000, |_| ()), after(0));
        model.answered(snapshot(2, 2_000, |_| ()), after(1));
        assert_eq!((model.listeners[0].lines.rate, model.restarts), (None, 1));
        model.answered(snapshot(2, 2_010, |_| ()), after(2));
        assert_eq!(model.listeners[0].lines.rate, Some(10.0));
        model.answered(snapshot(2, 5, |_| ()), after(3));
        assert_eq!(model.listeners[0].lines.rate, None, "a counter that fell");
        let mut renamed = snapshot(2, 9, |_| ());
        renamed.listeners[0].name = "other".into();
        model.answered(renamed, after(4));
        assert_eq!((model.listeners.len(), model.listeners[0].lines.rate), (1, None));
    }

    #[test]
    fn health_is_the_worst_that_is_seen() {
        let (mut model, start) = (Model::default(), Instant::now());
        let mut second = 0;
        let mut health = |change: fn(&mut Backend)| {
            second += 1;
            model.answered(snapshot(1, 0, change), start + Duration::from_secs(second));
            model.backends[0].health
        };
        assert_eq!(health(|_| ()), Health::Up);
        assert_eq!(health(|b| b.dropped = 1), Health::Drops);
        assert_eq!(health(|b| b.dropped = 1), Health::Up, "it did, and does not");
        assert_eq!(health(|b| b.backlog = 1), Health::Behind);
        assert_eq!(health(|b| b.state = "draining".into()), Health::Behind);
        assert_eq!(health(|b| b.state = "down".into()), Health::Down);
        assert_eq!(health(|b| b.udp_troubles = 1), Health::Down);
    }

    #[test]
    fn the_99th_percentile_is_of_what_came_between() {
        let before = [(0.1, 1_000), (1.0, 1_000), (f64::INFINITY, 1_000)];
        let now = [(0.1, 1_098), (1.0, 1_099), (f64::INFINITY, 1_100)];
        assert_eq!(p99(&before, &now), Some(1.0));
        assert_eq!(p99(&[], &now), Some(0.1));
        assert_eq!(p99(&now, &now), None);
        assert_eq!(p99(&[], &[]), None);
    }
}

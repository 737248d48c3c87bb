//! Frames as they are seen, of a relay that does what is put into its metrics.

use super::*;
use crate::top::scrape::{Backend, Listener, Snapshot};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;

fn view() -> View {
    let url = "http://127.0.0.1:9096".to_owned();
    View { url, interval: Duration::from_secs(1), ascii: true, colours: true }
}

fn listener(transport: &'static str, name: &str, lines: u64) -> Listener {
    Listener { transport, name: name.into(), lines, bytes: lines * 60, ..Listener::default() }
}

fn backend(name: &str, state: &str, delivered: u64) -> Backend {
    let (relay, name, state) = ("in".to_owned(), name.to_owned(), state.to_owned());
    Backend { relay, name, state, delivered, bytes: delivered * 60, ..Backend::default() }
}

/// A relay at its `second`: one backend well, one down, one catching up, one dropping.
fn snapshot(second: u64) -> Snapshot {
    let mut udp = listener("udp", "in", second * 12_300);
    (udp.kernel_drops, udp.refused) = (second * 20, second * 3);
    let (mut down, mut behind) = (backend("b", "down", 5), backend("c", "draining", second * 900));
    (down.backlog, down.queued) = (1_234_567, 1_234_567);
    (behind.backlog, behind.queued) = (5_000, 5_100);
    let mut drops = backend("d", "up", second * 12_000);
    drops.dropped = second * 300;
    let backends = vec![backend("a", "up", second * 12_300), down, behind, drops];
    let listeners = vec![udp, listener("http", "web", second * 40)];
    Snapshot { version: "0.1.0".into(), started_s: 0, listeners, backends }
}

fn model(snapshots: impl IntoIterator<Item = Snapshot>) -> (Model, Instant) {
    let (mut model, mut now) = (Model::default(), Instant::now());
    for snapshot in snapshots {
        now += Duration::from_secs(1);
        model.answered(snapshot, now);
    }
    (model, now)
}

fn frame(look: &mut Look, (model, now): &(Model, Instant), size: (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a buffer");
    let drawn = terminal.draw(|frame| draw(&view(), look, model, *now, frame.buffer_mut()));
    drawn.expect("a buffer").buffer.clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    let line = |cells: &[ratatui::buffer::Cell]| -> String {
        cells.iter().map(|cell| cell.symbol()).collect()
    };
    rows.map(|cells| line(cells).trim_end().to_owned()).collect()
}

#[test]
fn a_frame_of_80_columns() {
    let frame = frame(&mut Look::default(), &model((1..=9).map(snapshot)), (80, 24));
    let lines = lines(&frame);
    let expected = [
        "ringrelay 0.1.0  http://127.0.0.1:9096  every 1s",
        "1 DOWN  in 12.3k lines/s  dropped 300/s (2.70k)  kernel drops 20/s (180)  refus~",
        "",
        "LISTENER   LINES/s BYTES/s REFUSED/s REFUSED KDROPS/s KDROPS PAST",
        "udp in       12.3k    738k         3      27       20    180            ########",
        "http web        40   2.40k         0       0        0      0            ########",
        "",
        "BACKEND    STATE    LINES/s DROPS/s DROPPED BACKLOG    AGE QUEUED   P99 PAST",
        "b          x DOWN         0       0       0   1.23M      -  1.23M     - ________",
        "d          !drops     12.0k     300   2.70k       0      -      0     - ########",
        "c          ~behind      900       0       0   5.00k      -  5.10k     - ########",
        "a          up         12.3k       0       0       0      -      0     - ########",
    ];
    assert_eq!(lines[..expected.len()], expected, "{lines:#?}");
    assert_eq!(lines[23], "q quit  arrows scroll  tab pane  s sort: trouble  p pause");
    let cell = |x, y| frame.cell((x, y)).expect("it is in the frame").modifier;
    assert!(cell(11, 8).contains(Modifier::REVERSED), "who is down stands out without colours");
}

#[test]
fn a_frame_of_40_columns_keeps_what_matters() {
    let lines = lines(&frame(&mut Look::default(), &model((1..=3).map(snapshot)), (40, 10)));
    let expected = [
        "ringrelay 0.1.0  http://127.0.0.1:9096 ~",
        "1 DOWN  in 12.3k lines/s  dropped 300/s~",
        "1-1/2      LINES/s REFUSED/s KDROPS/s",
        "udp in       12.3k         3       20",
        "BACKEND    STATE    LINES/s DROPS/s",
        "b          x DOWN         0       0",
        "d          !drops     12.0k     300",
        "c          ~behind      900       0",
        "a          up         12.3k       0",
        "q quit  arrows scroll  tab pane  s sort~",
    ];
    assert_eq!(lines, expected, "{lines:#?}");
}

#[test]
fn many_backends_scroll_and_sort() {
    let snapshot = |second| {
        let backends = (0..40).map(|n| backend(&format!("b{n:02}"), "up", second * n)).collect();
        let listeners = vec![listener("udp", "in", second)];
        Snapshot { version: "1".into(), started_s: 0, listeners, backends }
    };
    let model = model((1..=2).map(snapshot));
    let mut look = Look { first: [0, usize::MAX], ..Look::default() };
    let lines_of = |look: &mut Look| lines(&frame(look, &model, (80, 24)));
    let lines = lines_of(&mut look);
    assert!(lines[6].starts_with("25-40/40 "), "{lines:#?}");
    assert!(lines[7].starts_with("b24 ") && lines[22].starts_with("b39 "), "{lines:#?}");
    assert_eq!(look.first, [0, 24], "the end is where the last one is seen");
    look = Look { sort: Sort::Rate, ..Look::default() };
    let lines = lines_of(&mut look);
    assert!(lines[6].starts_with("1-16/40 ") && lines[7].starts_with("b39 "), "{lines:#?}");
}

#[test]
fn a_relay_that_is_away_and_back() {
    let (mut model, mut now) = model((1..=3).map(snapshot));
    now += Duration::from_secs(1);
    model.failed("nobody listens there".into(), now);
    now += Duration::from_secs(74);
    let mut look = Look::default();
    let shown = frame(&mut look, &(model, now), (80, 24));
    let lines_then = lines(&shown);
    assert_eq!(lines_then[1], " NO ANSWER for 1m14s: nobody listens there");
    assert!(lines_then[4].starts_with("udp in       12.3k"), "what was known stays");
    let cell = shown.cell((14, 4)).expect("it is in the frame");
    assert!(cell.modifier.contains(Modifier::DIM), "and is seen to be old");

    let (mut model, now) = self::model((1..=3).map(snapshot));
    let later = now + Duration::from_secs(9);
    let started_s = 1;
    model.answered(Snapshot { started_s, ..snapshot(1) }, later);
    let lines = lines(&frame(&mut look, &(model, later), (100, 24)));
    assert!(lines[0].contains(" (restarted)  every 1s"), "{}", lines[0]);
    assert!(lines[4].starts_with("udp in           -"), "no rate yet: {}", lines[4]);
}

#[test]
fn before_the_first_answer_and_as_text() {
    let nothing = (Model::default(), Instant::now());
    let lines = lines(&frame(&mut Look::default(), &nothing, (80, 24)));
    assert_eq!(
        lines[..2],
        ["ringrelay  http://127.0.0.1:9096  every 1s", "waiting for the first answer"]
    );
    let (model, _) = model((1..=2).map(snapshot));
    let text = text(&view(), &model, 120);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 12, "{text}");
    assert!(lines[0].starts_with("ringrelay 0.1.0  http://127.0.0.1:9096"), "{text}");
    assert!(lines[8].starts_with("a ") && lines[11].starts_with("d "), "as in the file: {text}");
    assert!(!text.contains("q quit"));
}

#[test]
fn names_that_two_listeners_use_have_the_listener_before_them() {
    let mut other = backend("a", "up", 1);
    other.relay = "web".into();
    let backends = vec![backend("a", "up", 1), other, backend("b", "up", 1)];
    let model = model([Snapshot { backends, ..Snapshot::default() }]);
    let lines = lines(&frame(&mut Look::default(), &model, (80, 24)));
    let names: Vec<_> = lines.iter().filter_map(|line| line.split(" up ").next()).collect();
    for name in ["in a", "web a", "b"] {
        assert!(names.iter().any(|found| found.trim_end() == name), "{name}: {lines:#?}");
    }
}

proptest! {
    #[test]
    fn any_size_has_a_frame(
        size in (1..200_u16, 1..60_u16),
        many in 0..70_usize,
        first in [any::<usize>(), any::<usize>()],
        name in "\\PC{0,40}",
    ) {
        let mut snapshot = snapshot(3);
        snapshot.backends = vec![backend(&name, "down", 7); many];
        snapshot.listeners = vec![listener("udp", &name, 9); many / 3];
        let mut model = model([snapshot.clone(), snapshot]);
        let mut look = Look { first, ..Look::default() };
        frame(&mut look, &model, size);
        model.0.failed(name, model.1);
        frame(&mut look, &model, size);
        let _ = text(&view(), &model.0, size.0);
    }
}

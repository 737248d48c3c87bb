//! The terminal: frames onto it, keys from it, and as it was before when all is over, also after a
//! panic. A thread asks the relay, so that keys are answered while it does not.

use super::TopError;
use super::fetch::Fetcher;
use super::model::Model;
use super::scrape::Snapshot;
use super::view::{self, Look, Pane, View};
use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time that an answer or a signal waits to be seen.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Rows of a page.
const PAGE: isize = 10;

/// When it came, and what it is.
type Answer = (Instant, Result<Snapshot, String>);

/// Puts the terminal back, however this ends.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows frames until the user, or a signal, says that it is enough.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn run(fetcher: Fetcher, view: &View) -> Result<(), TopError> {
    let stop = Arc::<AtomicBool>::default();
    // SIGHUP ends the process: there is no terminal any more that wants to be put back.
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let (tell, answers) = bounded(1);
    let interval = view.interval;
    thread::Builder::new().name("fetch".to_owned()).spawn(move || ask(fetcher, interval, &tell))?;
    thread::Builder::new().name("hangup".to_owned()).spawn(end_at_hangup)?;
    let restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, view, &answers, &stop);
    drop(restored);
    shown.map_err(TopError::Terminal)
}

/// Asks until nobody wants to know any more.
fn ask(mut fetcher: Fetcher, interval: Duration, tell: &Sender<Answer>) {
    let mut next = Instant::now();
    loop {
        let answer = fetcher.fetch();
        // While nobody looks this waits, and nothing is asked.
        if tell.send((Instant::now(), answer)).is_err() {
            return;
        }
        next = (next + interval).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Ends the process when its terminal is gone, should no SIGHUP have done it: crossterm would read
/// its end for ever.
fn end_at_hangup() {
    let terminal = io::stdout();
    loop {
        let mut events = [PollFd::new(&terminal, PollFlags::empty())];
        match poll(&mut events, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
            Ok(_) => std::process::exit(1),
        }
    }
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    view: &View,
    answers: &Receiver<Answer>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let (mut model, mut look) = (Model::default(), Look::default());
    let mut drawn: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut changed = drawn.is_none();
        if !look.paused {
            for (at, answer) in answers.try_iter() {
                match answer {
                    Ok(snapshot) => model.answered(snapshot, at),
                    Err(why) => model.failed(why, at),
                }
                changed = true;
            }
        }
        // How long nobody has answered is a clock.
        changed |= drawn.is_some_and(|drawn| drawn.elapsed() >= Duration::from_secs(1));
        if changed {
            draw(terminal, view, &mut look, &model)?;
            drawn = Some(Instant::now());
        }
        if event::poll(LOOK_PAUSE)? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && !obey(key, &mut look)
            {
                break;
            }
            draw(terminal, view, &mut look, &model)?;
        }
    }
    Ok(())
}

fn draw(
    terminal: &mut ratatui::DefaultTerminal,
    view: &View,
    look: &mut Look,
    model: &Model,
) -> io::Result<()> {
    let draw = |frame: &mut ratatui::Frame<'_>| {
        view::draw(view, look, model, Instant::now(), frame.buffer_mut());
    };
    terminal.draw(draw).map(drop)
}

/// Does what a key asks for; false if that is to end.
fn obey(key: KeyEvent, look: &mut Look) -> bool {
    let first = &mut look.first[look.focus as usize];
    let mut scroll = |rows: isize| *first = first.saturating_add_signed(rows);
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => return false,
        KeyCode::Up | KeyCode::Char('k') => scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => scroll(1),
        KeyCode::PageUp => scroll(-PAGE),
        KeyCode::PageDown => scroll(PAGE),
        KeyCode::Home | KeyCode::Char('g') => *first = 0,
        // The frame knows the last one.
        KeyCode::End | KeyCode::Char('G') => *first = usize::MAX,
        KeyCode::Tab => {
            look.focus = match look.focus {
                Pane::Listeners => Pane::Backends,
                Pane::Backends => Pane::Listeners,
            };
        }
        KeyCode::Char('s') => look.sort = look.sort.next(),
        KeyCode::Char('p' | ' ') => look.paused = !look.paused,
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::view::Sort;

    fn press(code: KeyCode, look: &mut Look) -> bool {
        obey(KeyEvent::new(code, KeyModifiers::NONE), look)
    }

    #[test]
    fn keys_do_what_the_foot_of_the_frame_says() {
        let mut look = Look::default();
        for code in [KeyCode::Down, KeyCode::PageDown, KeyCode::Up] {
            assert!(press(code, &mut look));
        }
        assert_eq!(look.first, [0, 10]);
        press(KeyCode::Tab, &mut look);
        press(KeyCode::Char('j'), &mut look);
        press(KeyCode::Char('k'), &mut look);
        press(KeyCode::Char('k'), &mut look);
        assert_eq!(look.first, [0, 10], "the other pane, and not above its top");
        press(KeyCode::Tab, &mut look);
        press(KeyCode::Home, &mut look);
        assert_eq!(look.first, [0, 0]);
        press(KeyCode::Char('p'), &mut look);
        press(KeyCode::Char('s'), &mut look);
        assert_eq!((look.paused, look.sort), (true, Sort::File));
        assert!(!press(KeyCode::Char('q'), &mut look));
        assert!(!press(KeyCode::Esc, &mut look));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!obey(interrupt, &mut look));
        assert!(press(KeyCode::Char('c'), &mut look), "a letter");
    }

    #[test]
    #[ignore = "it panics, in the terminal that the next test makes"]
    fn panics_in_a_terminal() {
        let _restored = Restored;
        let _terminal = ratatui::try_init().expect("a terminal");
        panic!("on purpose");
    }

    #[test]
    fn after_a_panic_the_terminal_is_as_it_was() {
        let tests = std::env::current_exe().expect("this program");
        let name = "top::screen::tests::panics_in_a_terminal";
        let run = format!("'{}' --exact {name} --ignored --nocapture; stty -a", tests.display());
        let output = std::process::Command::new("script")
            .args(["-qec", &run, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("script is everywhere");
        let written = String::from_utf8_lossy(&output.stdout);
        let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("no {text}: {written}"));
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l"));
        assert!(at("\x1b[?1049l") < at("on purpose"), "the message is not lost with the screen");
        assert!(at("on purpose") < at(" icanon") && written.contains(" echo "), "{written}");
    }
}

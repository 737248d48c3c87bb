//! Signals as messages: SIGINT and SIGTERM stop, SIGHUP reloads. Called by `main`.

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::time::{Duration, Instant};

/// A signal this soon after the first is the same request: `timeout`, shells and terminals signal
/// a process and then its group.
const ECHO: Duration = Duration::from_secs(1);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To stop, by the signal of this name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

/// What signals ask of the relay, as they come. A later one that asks it to stop, of somebody who
/// will not wait for the queues to drain, ends the process.
///
/// # Errors
/// If the handlers or their thread cannot be had.
pub fn requests() -> io::Result<Receiver<Request>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (tell, requests) = unbounded();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut asked: Option<Instant> = None;
        for signal in signals.forever() {
            let name = match signal {
                SIGHUP => {
                    // A relay that ends has no use for it.
                    let _ = tell.send(Request::Reload);
                    continue;
                }
                SIGINT => "SIGINT",
                _ => "SIGTERM",
            };
            if asked.is_some_and(|asked| asked.elapsed() < ECHO) {
                continue;
            }
            let again = asked.replace(Instant::now()).is_some();
            if again || tell.send(Request::Stop(name)).is_err() {
                tracing::error!(signal = name, "gone at once: what is queued is lost");
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(requests)
}

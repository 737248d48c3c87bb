//! SIGINT and SIGTERM as messages. Called by `main`.

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::time::{Duration, Instant};

/// A signal this soon after the first is the same request: `timeout`, shells and terminals signal
/// a process and then its group.
const ECHO: Duration = Duration::from_secs(1);

/// The names of the signals that ask the relay to stop, as they come. A later one, of somebody
/// who will not wait for the queues to drain, ends the process.
///
/// # Errors
/// If the handlers or their thread cannot be had.
pub fn stop_requests() -> io::Result<Receiver<&'static str>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (tell, requests) = unbounded();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut asked: Option<Instant> = None;
        for signal in signals.forever() {
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            if asked.is_some_and(|asked| asked.elapsed() < ECHO) {
                continue;
            }
            if asked.replace(Instant::now()).is_some() || tell.send(name).is_err() {
                tracing::error!(signal = name, "gone at once: what is queued is lost");
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(requests)
}

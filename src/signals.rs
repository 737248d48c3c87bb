//! SIGINT and SIGTERM as messages. Called by `main`.

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;

/// The names of the signals that ask the relay to stop, as they come. The second one, of somebody
/// who will not wait for the queues to drain, ends the process.
///
/// # Errors
/// If the handlers or their thread cannot be had.
pub fn stop_requests() -> io::Result<Receiver<&'static str>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (tell, requests) = unbounded();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            if count > 0 || tell.send(name).is_err() {
                tracing::error!(signal = name, "gone at once: what is queued is lost");
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(requests)
}

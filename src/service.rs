//! What the service manager is told, and what it asks: systemd's notifications and watchdog.
//! What it passes is in [`passed`].
//!
//! Called by `main`. Outside a service manager every call does nothing.

pub mod passed;

use sd_notify::NotifyState;
use std::time::Duration;

/// Of the watchdog's time, how much passes between two signs of life: one may be missed while
/// the threads are slow to answer.
const SIGNS: u32 = 3;
/// From the drain deadline to the end of the process.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often the service manager wants a sign of life, if it does: well within `WATCHDOG_USEC`.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let limit = sd_notify::watchdog_enabled()?;
    Some((limit / SIGNS).max(Duration::from_millis(1)))
}

/// All sockets are bound and all threads run; or the reload that was told is over.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again, until the relay is [`ready`].
pub fn reloading() {
    // systemd asks for the time, to tell this reload from one before.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic clock: the reload is not told"),
    }
}

/// The relay is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The relay stops, which may take as long as `drain`; the service manager waits for longer than
/// its own limit then.
pub fn stopping(drain: Duration) {
    let drain = u32::try_from((drain + FAREWELL).as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(drain),
        NotifyState::Status("draining what is queued"),
    ]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) could not be told");
    }
}

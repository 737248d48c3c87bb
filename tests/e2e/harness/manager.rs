//! The service manager, played: the socket that a service tells its state to.

use super::{DEADLINE, binary, wait_for};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A service manager that writes down what it is told, and when.
pub(crate) struct Manager {
    dir: tempfile::TempDir,
    told: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Manager {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a short path");
        let told = Arc::<Mutex<Vec<(Instant, String)>>>::default();
        let record = Arc::clone(&told);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                record.lock().expect("nobody panics").push((Instant::now(), text));
            }
        });
        Self { dir, told }
    }

    /// The command of a service that is told whom to tell.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command
    }

    /// All messages so far.
    pub(crate) fn told(&self) -> Vec<String> {
        let told = self.told.lock().expect("nobody panics");
        told.iter().map(|(_, text)| text.clone()).collect()
    }

    /// Waits for a message with this line, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&self, line: &str) -> String {
        let has = |text: &String| text.lines().any(|found| found == line);
        wait_for(&format!("{line} to be told"), || self.told().into_iter().find(has))
    }

    /// Whether a sign of life comes within `limit` from now.
    pub(crate) fn hears(&self, limit: Duration) -> bool {
        assert!(limit < DEADLINE);
        let since = Instant::now();
        while since.elapsed() < limit {
            let told = self.told.lock().expect("nobody panics");
            if told.iter().any(|(at, text)| *at > since && text.contains("WATCHDOG=1")) {
                return true;
            }
            drop(told);
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

//! A terminal of a given size with a program in it, and what the program has written on it.

use super::{DEADLINE, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A program in a terminal. It is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// Kept open: what the program has set outlives it, to be looked at.
    slave: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` in a terminal of this many columns and rows, in a session of its own: the
    /// terminal that the tests may run in is not for it.
    #[track_caller]
    pub(crate) fn start(command: &Command, size: (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name").into_string();
        let name = name.expect("a path of ASCII");
        let master = File::from(master);
        let slave = OpenOptions::new().read(true).write(true).open(name).expect("it is unlocked");
        let end = || Stdio::from(slave.try_clone().expect("a file descriptor is left"));
        let this = Self::sized(&master, size);
        assert!(this, "a terminal has a size");
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid is everywhere");
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (record, mut reader) = (Arc::clone(&written), master.try_clone().expect("a clone"));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Fails once the other side is closed.
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                record.lock().expect("nobody panics").extend(&bytes[..n]);
            }
        });
        Self { child, master, slave, written }
    }

    fn sized(master: &File, (columns, rows): (u16, u16)) -> bool {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(master, size).is_ok()
    }

    /// Everything written so far, escape sequences and all.
    pub(crate) fn written(&self) -> String {
        let written = self.written.lock().expect("nobody panics");
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Waits until `text` is written behind the byte `from`; answers where that ends. A word alone:
    /// over blanks that are blank already a program just moves the cursor.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str, from: usize) -> usize {
        wait_until(&format!("{text:?} on the terminal"), || {
            self.written().get(from..).is_some_and(|written| written.contains(text))
        });
        let written = self.written();
        from + written[from..].find(text).expect("it was there") + text.len()
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Gives the terminal another size, of which the kernel tells the program.
    pub(crate) fn resize(&self, size: (u16, u16)) {
        assert!(Self::sized(&self.master, size), "a terminal has a size");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our own child");
    }

    /// Whether it works by lines and shows what is typed, as a shell wants it.
    pub(crate) fn is_as_a_shell_wants_it(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the program's end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.written());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

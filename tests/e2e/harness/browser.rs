//! A real Chromium without a window, driven over its debugging pipe (the Chrome DevTools
//! Protocol): what a page shows, logs and asks for.

use super::{DEADLINE, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// As root it starts without its sandbox alone; without the others it asks for hosts of its own.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

/// A browser with one page. It is killed when it is dropped.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<Value>,
    asked: u64,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium with an empty page.
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        // It reads commands from descriptor 3 and answers on 4.
        let exec = "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", exec, "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let to = child.stdin.take().expect("it is piped");
        let from = messages(child.stdout.take().expect("it is piped"));
        let (session, asked, events) = (None, 0, Vec::new());
        let mut browser = Self { child, to, from, session, asked, events, _profile: profile };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session = Some(browser.call("Target.attachToTarget", &attach)["sessionId"].clone());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Sends a command and waits for its result; what happens meanwhile is kept.
    #[track_caller]
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("Chromium runs");
        loop {
            let message = self.receive(method);
            if message["id"] == self.asked {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    #[track_caller]
    fn receive(&self, what: &str) -> Value {
        let message = self.from.recv_timeout(DEADLINE);
        message.unwrap_or_else(|gone| panic!("{what}: Chromium: {gone}"))
    }

    /// Opens an address, once, and waits until all of it is there.
    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", &json!({ "url": url }));
        assert_eq!(opened["errorText"], Value::Null, "{url}");
        let is_loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_loaded) {
            let event = self.receive(url);
            self.events.push(event);
        }
    }

    /// The size of the page, in CSS pixels.
    #[track_caller]
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the page's reader prefers: `light` or `dark`.
    #[track_caller]
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// The value of a JavaScript expression, or what its promise resolves to.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let what = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let got = self.call("Runtime.evaluate", &what);
        assert_eq!(got["exceptionDetails"], Value::Null, "{expression}");
        got["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) {
        wait_for(expression, || (self.value(expression) == true).then_some(()));
    }

    /// What the page logged, and what the browser logged about it.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let kinds = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        let events = self.events.iter();
        let complaints = events.filter(|event| kinds.iter().any(|kind| event["method"] == *kind));
        complaints.map(|event| event["params"].to_string()).collect()
    }

    /// The addresses that were asked for, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        let events = self.events.iter();
        let requests = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        let url = |event: &Value| event["params"]["request"]["url"].as_str().map(str::to_owned);
        requests.map(|event| url(event).expect("a request has a URL")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail only if it has ended already; its other processes end with it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Messages end with a zero byte.
fn messages(from: ChildStdout) -> Receiver<Value> {
    let (give, take) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(from).split(0) {
            let Ok(message) = message else { return };
            let message = serde_json::from_slice(&message).expect("Chromium speaks JSON");
            if give.send(message).is_err() {
                return;
            }
        }
    });
    take
}

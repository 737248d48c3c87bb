//! The status page in a real browser: what it shows, what it asks for, how it looks in light and
//! dark, on a narrow screen, and when the relay is gone.

use crate::harness::{
    Browser, HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, numbered, require,
    udp_listener, udp_output, wait_until,
};
use serde_json::json;

/// What a backend says, and is called, that would be markup if it were taken for it.
const MARKUP: &str = "<img src=x onerror=alert(1)>";
const MARKUP_NAME: &str = "<em>b</em>";

/// The pairs of colours of all text that is shown, with too little contrast for the AA level of
/// the W3C's guidelines.
const FAINT: &str = r#"(() => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return channels(color)[3] === 0 ? ground(node.parentElement) : color;
  };
  const isText = (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== "";
  const texts = [...document.body.querySelectorAll("*")]
    .filter((node) => node.checkVisibility() && [...node.childNodes].some(isText));
  if (texts.length < 40) return [`only ${texts.length} texts`];
  return texts.map((node) => [getComputedStyle(node).color, ground(node), node.textContent])
    .filter(([color, behind]) => {
      const [a, b] = [luminance(color), luminance(behind)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05) < 4.5;
    });
})()"#;

/// What is shown and reaches over the right edge.
const TOO_WIDE: &str = r#"[...document.body.querySelectorAll("*")]
  .filter((node) => node.checkVisibility() && !node.closest("thead"))
  .filter((node) => node.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map((node) => node.outerHTML)"#;

fn text_of(selector: &str) -> String {
    format!("document.querySelector('{selector}').innerText")
}

/// Whether the row of a table that names `name` has all these words.
fn row_says(table: &str, name: &str, words: &[&str]) -> String {
    format!(
        "[...document.querySelectorAll('#{table} tbody tr')].some((row) => \
         row.innerText.includes({}) && {}.every((word) => row.innerText.includes(word)))",
        json!(name),
        json!(words)
    )
}

#[test]
fn the_status_page_shows_the_relay_to_every_reader() {
    if !require(&["chromium"]) {
        return;
    }
    let (sink, healthy) = (UdpSink::start(), HttpBackend::healthy());
    let refusing = HttpBackend::refusing(400, MARKUP);
    let (dead, _socket) = HttpBackend::dead();
    let outputs = [
        http_output("database", healthy.addr(), ""),
        http_output(MARKUP_NAME, refusing.addr(), ""),
        http_output("away", dead, "buffer-size-mb = 1"),
        http_output("gone", dead, ""),
    ];
    let toml = "shutdown-timeout = \"100ms\"\n".to_owned()
        + &udp_listener("telegraf", "", &[udp_output("mirror", sink.addr(), "")])
        + &http_listener("clients", "", &outputs);
    let relay = Relay::start(&toml);
    assert_eq!(relay.client("clients").get("/").status(), 404, "as the Go relay");
    assert_eq!(relay.client("admin").request("POST", "/", &[], b"").status(), 405);
    UdpSource::new(&relay, "telegraf").send_all(&numbered("u", 30));
    for line in numbered("h", 12) {
        assert_eq!(relay.client("clients").write("db=d", line).status(), 204);
    }
    let bad = relay.client("clients").write("db=d", "good f=1 1\nbad");
    assert_eq!(bad.status(), 400);
    sink.wait_for_lines(30);
    let failed = || relay.metrics().books("clients", "gone").dropped("unavailable");
    wait_until("the dead backend to fail", || failed() == 12);

    let url = format!("http://{}/", relay.addr("admin"));
    let mut browser = Browser::start();
    browser.resize(1180, 900);
    browser.open(&url);
    let shown = [
        row_says("listeners", "telegraf", &["UDP", "datagrams"]),
        row_says("listeners", "clients", &["HTTP", "requests", "beside a bad line 1"]),
        row_says("backends", "mirror", &["UDP", "sending", &sink.addr().to_string()]),
        row_says("backends", "database", &["HTTP", "up", "nothing"]),
        row_says("backends", MARKUP_NAME, &["refused 12"]),
        row_says("backends", "away", &["down", "12 lines", "oldest"]),
        row_says("backends", "gone", &["down", "unavailable 12"]),
        row_says("backends", "it answers 400", &[MARKUP]),
        row_says("backends", "cannot connect", &["Connection refused"]),
        format!("{}.includes('42 in total')", text_of("#tiles")),
        format!("{}.includes('2 of 5 backends down')", text_of("#health")),
        // A rate takes two answers, and so does a curve.
        "document.querySelector('#tiles .line').getAttribute('d').includes('L')".to_owned(),
    ];
    for expression in &shown {
        browser.wait_until(expression);
    }
    assert_eq!(browser.value("document.querySelectorAll('em, img').length"), 0, "no markup");

    // More comes, and is seen without a reload.
    UdpSource::new(&relay, "telegraf").send_all(&numbered("v", 10));
    browser.wait_until(&format!("{}.includes('52 in total')", text_of("#tiles")));
    browser.wait_until(&format!("/^[1-9]/.test({})", text_of("#listeners td.rate")));

    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        assert_eq!(browser.value(FAINT), json!([]), "{scheme}");
    }
    assert_ne!(grounds[0], grounds[1]);
    for width in [360, 700, 960, 1180] {
        browser.resize(width, 800);
        browser.wait_until(&format!("innerWidth === {width}"));
        assert_eq!(browser.value(TOO_WIDE), json!([]), "{width} pixels");
        let sideways =
            "document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.value(sideways), false, "{width} pixels");
    }

    assert_eq!(browser.complaints(), [""; 0]);
    let own = [url.clone(), format!("{url}status")];
    let outside = |asked: &&String| !own.contains(asked) && !asked.starts_with("data:");
    let requests = browser.requests();
    assert_eq!(requests.iter().find(outside), None);
    assert!(requests.iter().filter(|asked| **asked == own[1]).count() > 2, "{requests:?}");
    runs_nothing_else(&mut browser);
    drop(browser);
    relay.signal(rustix::process::Signal::TERM);
    relay.wait().books_close();
}

/// The page's policy holds against markup, a script, a request and a picture that are not its own.
#[track_caller]
fn runs_nothing_else(browser: &mut Browser) {
    let tries = r#"(async () => {
      const script = document.createElement("script");
      let held = 0;
      try { script.text = "window.foreign = true"; } catch { held += 1; }
      document.body.append(script);
      try { document.body.insertAdjacentHTML("beforeend", "<em>x</em>"); } catch { held += 1; }
      await fetch("http://127.0.0.1:1/").catch(() => { held += 1; });
      const refused = await new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
          if (effectiveDirective === "img-src") resolve(effectiveDirective);
        });
        const image = new Image();
        image.src = "/status";
      });
      return { held, refused, foreign: window.foreign === true };
    })()"#;
    let expected = json!({ "held": 3, "refused": "img-src", "foreign": false });
    assert_eq!(browser.value(tries), expected);
}

#[test]
fn the_status_page_says_when_the_relay_is_gone() {
    if !require(&["chromium"]) {
        return;
    }
    let sink = UdpSink::start();
    let relay = Relay::start(&udp_listener("in", "", &[udp_output("out", sink.addr(), "")]));
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", relay.addr("admin")));
    browser.wait_until(&format!("{} === 'All is well'", text_of("#health")));
    assert_eq!(browser.value("document.querySelector('#notice').hidden"), true);
    relay.finish();
    browser.wait_until(&format!("{}.startsWith('No answer since ')", text_of("#notice")));
    assert_eq!(browser.value(&text_of("#health")), "No answer");
    let still = browser.value(&row_says("backends", "out", &["sending"]));
    assert_eq!(still, true, "the last figures stay");
}

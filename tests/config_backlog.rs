//! What an output keeps while its backend fails, as the configuration says it.

use ringrelay::config::{Backlog, Config, DeadLetters, Fsync, Spool, Target};
use std::time::Duration;

#[test]
fn a_buffer_makes_a_backlog() {
    let backlog = |keys: &str| {
        let output = format!("[[http.output]]\nlocation = 'http://h/'\n{keys}");
        let text = format!("[[http]]\nbind-addr = ':1'\n{output}");
        let config = Config::parse(&text, "f").expect("it runs");
        match &config.http[0].outputs[0].target {
            Target::Http(target) => target.backlog.clone(),
            Target::Udp(target) => panic!("an output by HTTP, not {target:?}"),
        }
    };
    assert_eq!(backlog("max-delay-interval = '1s'"), None, "as in Go: no buffer, no effect");
    let plain = Backlog {
        bytes_max: 100 << 20,
        delay_max: Duration::from_secs(10),
        keep_refused: true,
        dead_letters: None,
        spool: None,
    };
    assert_eq!(backlog("buffer-size-mb = 100"), Some(plain.clone()));
    let letters = DeadLetters { dir: "/x/y".into(), bytes_max: 2 << 20 };
    let spool = Spool {
        dir: "/s".into(),
        bytes_max: 16 << 20,
        age_max: Some(Duration::from_secs(86_400)),
        fsync: Fsync::Always,
    };
    let all = Backlog {
        bytes_max: 1 << 20,
        delay_max: Duration::from_secs(30),
        keep_refused: false,
        dead_letters: Some(letters),
        spool: Some(spool),
    };
    let keys = "buffer-size-mb = 1\nmax-delay-interval = '30s'\non-refused = 'drop'\n\
                dead-letter-dir = '/x/y'\ndead-letter-size-mb = 2\n\
                spool-dir = '/s'\nspool-size-mb = 16\nspool-max-age = '24h'\nfsync = 'always'";
    assert_eq!(backlog(keys), Some(all));
    let unsaid = backlog("buffer-size-mb = 1\nspool-dir = '/s'").and_then(|kept| kept.spool);
    let (age_max, fsync) = (None, Fsync::Interval);
    assert_eq!(unsaid, Some(Spool { dir: "/s".into(), bytes_max: 1 << 30, age_max, fsync }));
}

//! What comes twice is counted, even where a backlog has no part in it.

use crate::backend::{Backend, Bad};
use crate::fault::Fault;
use crate::harness::{Relay, wait_until};
use crate::seed::Numbers;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A request on a connection that was used before is sent again at once when that breaks: the
/// backend may have stored it all the same.
#[test]
fn a_request_that_is_sent_again_at_once_is_counted() {
    let backend =
        Backend::start(Ipv4Addr::LOCALHOST, Numbers::new(0, 0), Bad::Taken, &Arc::default());
    let relay = Relay::start(&format!(
        "[[http]]\nname = \"in\"\nbind-addr = \"127.0.0.1:0\"\n[[http.output]]\nname = \"b\"\n\
         location = \"http://{}/\"\nbuffer-size-mb = 1\nmax-delay-interval = \"20ms\"",
        backend.addr()
    ));
    let mut client = relay.client("in");
    let line = |n: usize| format!("fault,source=0,series=0 n={n}i 1");
    assert_eq!(client.write("db=d0", line(0)).status(), 204);
    backend.set(Fault::AnswerLost);
    assert_eq!(client.write("db=d0", line(1)).status(), 204);
    // On the connection that was idle, and on a new one: then it waits in the backlog.
    wait_until("two requests without an answer", || backend.seen() >= 2);
    backend.set(Fault::None);
    let metrics = relay.wait_until_settled();
    let lost = backend.store().repeats.requests_untold as u64;
    assert!(lost >= 2, "{lost}");
    let of_none = [("code", "none")];
    assert_eq!(metrics.of("ringrelay_backend_requests_total", &of_none), lost);
    assert_eq!(metrics.of("ringrelay_backend_retries_total", &[]), lost);
    relay.finish();
}

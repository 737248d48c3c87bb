//! `ack`: how many backends must have a write before its client is told so.

use crate::harness::{HttpBackend, Relay, Reply, http_listener, http_output};

fn answering(status: u16) -> HttpBackend {
    HttpBackend::start(move |_| Reply::json(status, &format!("{{\"error\":\"said {status}\"}}")))
}

#[test]
fn the_status_depends_on_how_many_backends_took_the_write() {
    let cases: [(&str, &[u16], u16); 9] = [
        ("any", &[503, 204, 400], 204),
        ("any", &[503, 503, 400], 400),
        ("quorum", &[204, 503, 204], 204),
        ("quorum", &[204, 503, 503], 503),
        ("quorum", &[204, 404, 400], 404),
        ("quorum", &[204, 503], 503),
        ("all", &[204, 204], 204),
        ("all", &[204, 503], 503),
        ("all", &[204, 503, 400], 400),
    ];
    for (ack, statuses, wanted) in cases {
        let backends: Vec<_> = statuses.iter().map(|&status| answering(status)).collect();
        let outputs: Vec<_> = backends
            .iter()
            .zip(["a", "b", "c"])
            .map(|(backend, name)| http_output(name, backend.addr(), ""))
            .collect();
        let relay = Relay::start(&http_listener("in", &format!("ack = \"{ack}\""), &outputs));
        // The same answer each time, whichever backend is faster.
        for _ in 0..5 {
            let answer = relay.client("in").write("db=d", "m f=1 1");
            assert_eq!(answer.status(), wanted, "{ack} {statuses:?}: {}", answer.text());
            if (400..500).contains(&wanted) {
                assert_eq!(answer.error(), format!("said {wanted}"));
            }
        }
        relay.finish();
    }
}

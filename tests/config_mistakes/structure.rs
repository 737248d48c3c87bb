//! Mistakes of the file as a whole: clashes, gaps, and what this version does not serve.

use super::{each, http, http_output, udp, words};
use ringrelay::config::Config;

#[test]
fn clashes() {
    let two = |first: &str, second: &str| {
        let output = "[[udp.output]]\nlocation = 'h:1'";
        format!("[[udp]]\n{first}\n{output}\n[[udp]]\n{second}\n{output}")
    };
    each(&[
        (
            two("name = 'a'\nbind-addr = ':1'", "name = 'a'\nbind-addr = ':2'"),
            "f:7: name = 'a': gives the name \"a\", which the listener of line 1 has; \
             give each listener a `name` of its own",
        ),
        (
            two("bind-addr = '127.0.0.1:1'", "name = 'b'\nbind-addr = ':1'"),
            "f:7: bind-addr = ':1': clashes with 127.0.0.1:1 of line 2; \
             give each listener a port of its own",
        ),
        (
            format!("{}\n[admin]\nbind-addr = '[::1]:1'", http("")),
            "f:7: bind-addr = '[::1]:1': clashes with [::]:1 of line 3; \
             give each listener a port of its own",
        ),
        (
            http_output("location = 'http://h/'\n[[http.output]]\nlocation = 'http://h/'"),
            "f:5: [[http.output]]: gives the name \"http://h/\", which the output of line 3 has; \
             give each output of a listener a `name` of its own",
        ),
    ]);
    let apart = two("bind-addr = '127.0.0.1:1'", "bind-addr = '127.0.0.2:1'");
    assert!(Config::parse(&apart, "f").is_ok(), "two addresses may share a port");
    let free = two("name = 'a'\nbind-addr = ':0'", "name = 'b'\nbind-addr = ':0'");
    assert!(Config::parse(&free, "f").is_ok(), "port 0 is a free port each time");
    let both = format!("{}\n{}", http(""), udp("name = 'b'"));
    assert!(Config::parse(&both, "f").is_ok(), "UDP and TCP do not share ports");
}

#[test]
fn too_few_and_too_many() {
    let outputs = "[[http.output]]\nlocation = 'http://h/'\n".repeat(65);
    let many = words(&format!("[[http]]\nbind-addr = ':1'\n{outputs}"));
    assert!(many.starts_with("f:1: [[http]]: has 65 outputs; give at most 64\n"), "{many}");
    let listeners: String = (1..=65)
        .map(|n| format!("[[udp]]\nbind-addr = ':{n}'\noutput = [{{ location = 'h:1' }}]\n"))
        .collect();
    each(&[
        (
            String::new(),
            "f:1: top level: has no listener; \
             write an [[http]] or a [[udp]] table with its output",
        ),
        (listeners, "f:1: top level: has 65 listeners; at most 64 run in one relay"),
        (
            "[[udp]]\nbind-addr = ':1'".to_owned(),
            "f:1: [[udp]]: has no output; write its backend as a table [[udp.output]]",
        ),
    ]);
}

#[test]
fn what_this_version_does_not_serve() {
    for (text, start) in [
        (http("rate-limit = 5"), "f:2: rate-limit = 5: "),
        (http("burst-limit = 10"), "f:2: burst-limit = 10: "),
        (http_output("type = 'prometheus'"), "f:4: type = 'prometheus': "),
        (http_output("endpoints = { write_prom = '/p' }"), "f:4: endpoints: "),
    ] {
        let error = words(&text);
        let expected = format!("{start}is not served by this version yet; ");
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn filters() {
    let filter = |lines: &str| format!("{}\n[[filter]]\n{lines}", udp(""));
    each(&[
        (filter(""), "f:6: [[filter]]: names no output; list them as in outputs = [\"NAME\"]"),
        (
            filter("outputs = ['x', 'h:1']"),
            "f:7: outputs = ['x', 'h:1']: names \"x\", which no output is called; \
             correct the name",
        ),
        (
            filter("outputs = 'h:1'"),
            "f:7: outputs = 'h:1': is of type string; \
             write texts in brackets: outputs = [\"...\", \"...\"]",
        ),
        (
            filter("outputs = ['h:1']\ntag-expression = '^(a|b$'"),
            "f:8: tag-expression = '^(a|b$': is no regular expression: unclosed group, \
             at character 2; correct it; to match a sign itself, put a backslash before it",
        ),
        (
            filter("measurement-expression = 'cpu*+['\noutputs = ['h:1']"),
            "f:7: measurement-expression = 'cpu*+[': is no regular expression: \
             unclosed character class, at character 6; \
             correct it; to match a sign itself, put a backslash before it",
        ),
    ]);
}

#[test]
fn all_problems_are_told_in_the_files_order_and_quoted_with_care() {
    let text = "[[udp]]\nbind-addr = ':x'\nworkers = 1000\n[[udp.output]]\nlocation = 'h'\nmtu = 1";
    let error = words(text);
    let lines: Vec<_> = error.lines().map(|line| &line[..3]).collect();
    assert_eq!(lines, ["f:2", "f:3", "f:5", "f:6"], "{error}");

    let long = words(&udp(&format!("precision = '{}'", "ü".repeat(100))));
    let quoted = format!("f:2: precision = '{}...: is no precision", "ü".repeat(59));
    assert!(long.starts_with(&quoted), "{long}");
    let lines = words(&udp("name = '''a\nb'''"));
    assert!(lines.starts_with("f:2: name = '''a...: is longer than 4096 bytes or has"), "{lines}");
}

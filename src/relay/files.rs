//! Open files: what the relay needs for itself, and what is left for its clients.
//!
//! A client's connection is a file, as is one to a backend. Without a share for each, clients
//! could take all that the process may open, and no backend could be written to.

use super::StartError;
use crate::config::{ADMIN_CONNECTIONS, Config, Output, Target};

/// Standard streams, signals, and files that are open for a moment: certificates, `/proc`.
const PROCESS: usize = 32;
/// The ring of a `tokio-uring` runtime, its epoll instances and what wakes it.
const RUNTIME: usize = 8;
/// A listening socket, its second handle, and a connection that was accepted and has no place yet.
const SOCKET: usize = 3;
/// A UDP worker: its socket, its ring, and what wakes it.
const WORKER: usize = 4;
/// A backend's pings and queries, a name that is resolved, and the dead-letter file.
const QUESTIONS: usize = 16;

/// Lowers `max-connections` of all listeners so far that their sum fits below `limit`, after all
/// that the relay itself may open. Says so if it had to.
pub(super) fn share(config: &mut Config, limit: usize) -> Result<Option<String>, StartError> {
    let needed = needed(config);
    let wanted: usize = config.http.iter().map(|listener| listener.connections.open_max).sum();
    let left = limit.saturating_sub(needed);
    if wanted <= left {
        return Ok(None);
    }
    if left < config.http.len() {
        return Err(StartError::FileLimit { limit, needed: needed + config.http.len() });
    }
    for listener in &mut config.http {
        let open_max = &mut listener.connections.open_max;
        // Rounded down, so that the sum fits; a listener without any place would be none.
        let share = *open_max as u128 * left as u128 / wanted as u128;
        *open_max = usize::try_from(share).unwrap_or(*open_max).max(1);
    }
    let given: Vec<_> = config
        .http
        .iter()
        .map(|listener| format!("{} gets {}", listener.name, listener.connections.open_max))
        .collect();
    Ok(Some(format!(
        "max-connections adds up to {wanted}, and the limit on open files, {limit}, leaves {left} \
         for clients: {}; raise the limit to {} (`ulimit -Hn`, LimitNOFILE), or lower \
         max-connections",
        given.join(", "),
        needed + wanted,
    )))
}

/// Files that the relay may have open besides its clients' connections.
fn needed(config: &Config) -> usize {
    let http = match config.http.len() {
        0 => 0,
        listeners => config.http_threads * (RUNTIME + listeners * SOCKET),
    };
    let workers: usize = config.udp.iter().map(|listener| listener.workers).sum();
    let outputs = config.http.iter().flat_map(|listener| &listener.outputs);
    let outputs = outputs.chain(config.udp.iter().flat_map(|listener| &listener.outputs));
    let admin = config.admin.map_or(0, |_| RUNTIME + SOCKET + ADMIN_CONNECTIONS);
    PROCESS + http + workers * WORKER + outputs.map(of_output).sum::<usize>() + admin
}

fn of_output(output: &Output) -> usize {
    match &output.target {
        Target::Udp(_) => WORKER,
        // A connection that failed may still be closing while the next one is open.
        Target::Http(target) => RUNTIME + 2 * target.in_flight_max + QUESTIONS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(max_connections: [usize; 2]) -> Config {
        let listener = |n: usize, max: usize| {
            format!(
                "[[http]]\nbind-addr = \"127.0.0.1:{n}\"\nmax-connections = {max}\n\
                 [[http.output]]\nlocation = \"http://127.0.0.1:1/\"\n"
            )
        };
        let [a, b] = max_connections;
        let toml = format!("http-threads = 2\n{}{}", listener(10, a), listener(11, b));
        Config::parse(&toml, "test").expect("it is valid")
    }

    fn shares(config: &Config) -> Vec<usize> {
        config.http.iter().map(|listener| listener.connections.open_max).collect()
    }

    #[test]
    fn clients_share_what_the_relay_does_not_need() {
        let mut enough = config([1_000, 3_000]);
        let needed = needed(&enough);
        assert!((100..300).contains(&needed), "{needed}");
        assert_eq!(share(&mut enough, needed + 4_000).expect("it fits"), None);
        assert_eq!(shares(&enough), [1_000, 3_000]);
        let mut low = config([1_000, 3_000]);
        let said = share(&mut low, needed + 100).expect("some are left").expect("too few");
        assert_eq!(shares(&low), [25, 75]);
        let remedy = format!("raise the limit to {}", needed + 4_000);
        assert!(said.contains("leaves 100") && said.contains(&remedy), "{said}");
    }

    #[test]
    fn without_a_file_for_each_listener_it_does_not_start() {
        let mut least = config([1, 3_000]);
        let needed = needed(&least);
        share(&mut least, needed + 2).expect("one each");
        assert_eq!(shares(&least), [1, 1]);
        let error = share(&mut config([1, 3_000]), needed + 1).expect_err("one for two");
        assert!(error.to_string().contains("open files"), "{error}");
        share(&mut config([1, 1]), 0).expect_err("none");
    }
}

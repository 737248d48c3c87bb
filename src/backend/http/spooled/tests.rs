//! When clients are told that their writes are kept, or that they are not.

use super::*;
use crate::answers::Receiver;
use crate::backend::http::Files;
use crate::backend::http::held::Held;
use crate::backend::http::held::tests::held;
use crate::config;
use std::path::Path;

/// The spool in a directory, of 2 MiB, that promises nothing before it is on the disk.
pub(in crate::backend::http) fn spooled(dir: &Path, metrics: &Arc<metrics::Backend>) -> Spooled {
    let (bytes_max, age_max, fsync) = (2 << 20, None, Fsync::Always);
    let spool = config::Spool { dir: dir.to_owned(), bytes_max, age_max, fsync };
    let config = config::Backlog {
        bytes_max: 20_000,
        delay_max: Duration::ZERO,
        keep_refused: true,
        spool: Some(spool),
        dead_letters: None,
    };
    let files = Files::open(&config, "relay", "out", metrics).expect("it opens");
    let (spool, fsync) = files.spool.expect("it is configured");
    Spooled::new(spool, fsync, Arc::clone(metrics))
}

/// Some writes of 8 KB each, with their places and clients.
fn appended(spooled: &mut Spooled, count: usize) -> Vec<(Place, Held, Receiver)> {
    let one = |_| {
        let (held, client) = held(1_000);
        let place = spooled.append(&held.write, 1, true).expect("the disk is well");
        (place, held, client)
    };
    (0..count).map(one).collect()
}

fn promise(spooled: &mut Spooled, place: Place, held: &mut Held) {
    spooled.promise(place, held.waiter(), Answer::Buffered, &mut Wakes::default());
}

fn told(client: &mut Receiver) -> Option<&'static str> {
    client.try_recv().map(|(_, answer)| match answer {
        Answer::Buffered => "buffered",
        Answer::Unavailable => "unavailable",
        _ => "else",
    })
}

fn with_spool(test: impl FnOnce(&mut Spooled)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let metrics = metrics::Backend::new("relay".into(), "out".into(), Arc::default());
    test(&mut spooled(dir.path(), &Arc::new(metrics)));
}

#[test]
fn clients_are_told_when_it_is_durable_in_whatever_order_they_were_promised() {
    with_spool(|spooled| {
        let mut writes = appended(spooled, 3);
        for at in [2, 0] {
            let (place, held, _) = &mut writes[at];
            promise(spooled, *place, held);
        }
        let commit = spooled.commit(Instant::now()).expect("something is not durable");
        let (place, mut late, mut late_client) = appended(spooled, 1).remove(0);
        promise(spooled, place, &mut late);
        assert_eq!(told(&mut writes[0].2), None);
        let ended = commit.sync();
        spooled.committed(commit, ended);
        assert_eq!([0, 2].map(|at| told(&mut writes[at].2)), [Some("buffered"); 2]);
        assert_eq!(told(&mut late_client), None, "it came after the sync began");
        let commit = spooled.commit(Instant::now()).expect("one is not durable");
        let ended = commit.sync();
        spooled.committed(commit, ended);
        assert_eq!(told(&mut late_client), Some("buffered"));
        // Nothing is left to sync, and who is promised now is told in this turn.
        let (place, held, client) = &mut writes[1];
        promise(spooled, *place, held);
        assert!(spooled.commit(Instant::now()).is_none());
        assert_eq!(told(client), Some("buffered"));
    });
}

#[test]
fn a_sync_that_failed_is_not_made_good_by_the_next() {
    with_spool(|spooled| {
        let mut writes = appended(spooled, 2);
        let (place, held, client) = &mut writes[0];
        promise(spooled, *place, held);
        let commit = spooled.commit(Instant::now()).expect("something is not durable");
        spooled.committed(commit, Err(io::ErrorKind::Other.into()));
        assert_eq!(told(client), Some("unavailable"));
        let (place, mut new, mut new_client) = appended(spooled, 1).remove(0);
        promise(spooled, place, &mut new);
        let commit = spooled.commit(Instant::now()).expect("something is not durable");
        let ended = commit.sync();
        spooled.committed(commit, ended);
        assert_eq!(told(&mut new_client), Some("buffered"));
        let (place, held, client) = &mut writes[1];
        promise(spooled, *place, held);
        assert_eq!(told(client), Some("unavailable"), "its own sync failed");
    });
}

#[test]
fn what_a_full_spool_has_dropped_is_not_promised() {
    with_spool(|spooled| {
        let mut writes = appended(spooled, 2);
        let (place, held, client) = &mut writes[0];
        promise(spooled, *place, held);
        // Two segments of 1 MiB, and the third.
        drop(appended(spooled, 300));
        assert_eq!(told(client), Some("unavailable"));
        let (place, held, client) = &mut writes[1];
        promise(spooled, *place, held);
        assert_eq!(told(client), Some("unavailable"));
    });
}

#[test]
fn what_no_client_waits_for_is_synced_after_a_pause() {
    with_spool(|spooled| {
        let began = Instant::now() + PAUSE;
        drop(appended(spooled, 1));
        let commit = spooled.commit(began).expect("nothing was synced for long");
        let ended = commit.sync();
        spooled.committed(commit, ended);
        assert_eq!(spooled.next_tick(), None, "nothing is to be synced");
        let (place, mut held, _client) = appended(spooled, 1).remove(0);
        assert!(spooled.commit(began).is_none());
        assert_eq!(spooled.next_tick(), Some(began + PAUSE));
        promise(spooled, place, &mut held);
        let commit = spooled.commit(began).expect("a client waits");
        assert_eq!(spooled.next_tick(), None, "its end comes first");
        let ended = commit.sync();
        spooled.committed(commit, ended);
        drop(appended(spooled, 1));
        assert!(spooled.commit(began + PAUSE).is_some(), "it is time");
    });
}

//! Runs one schedule: the backends, the sources, and the relay in all its lives.

use crate::backend::Backend;
use crate::fault::Fault;
use crate::harness::{Metrics, Relay, Stopped, names, wait_until};
use crate::pace::{Pace, Place};
use crate::schedule::{Kind, Schedule, Step, What};
use crate::seed::Numbers;
use crate::source::{self, Written};
use crate::spool::{self, Hit};
use crate::surroundings::{Answers, DiskState, Surroundings};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The names of the relay's listeners.
pub(crate) const HTTP: &str = "in";
pub(crate) const UDP: &str = "udp";

/// How long a step waits for a fault to show. Some never do: a backend that is left alone for a
/// second, or one that has nothing to get.
const SHOW_MAX: Duration = Duration::from_millis(300);

/// How a life of the relay ended.
pub(crate) enum End {
    /// As it should; with what `/metrics` said last, if it was asked when all was quiet.
    Stopped(Stopped, Option<Metrics>),
    Killed(Vec<String>),
}

/// All that is known when a schedule is over.
pub(crate) struct Record {
    pub(crate) backends: Vec<Backend>,
    /// By source, each in its order.
    pub(crate) written: Vec<Vec<Written>>,
    pub(crate) lives: Vec<End>,
    pub(crate) ended: SystemTime,
    /// What damage to the spools has hit.
    pub(crate) hit: Hit,
    /// What went wrong on the way.
    pub(crate) defects: Vec<String>,
}

/// Runs it to its end.
pub(crate) fn run(schedule: &Schedule) -> Record {
    let life = Arc::new(AtomicUsize::new(0));
    let backends: Vec<_> = (10..)
        .zip(&schedule.backends)
        .map(|(stream, &bad)| {
            let numbers = Numbers::new(schedule.seed, stream);
            Backend::start(schedule.host(), numbers, bad, &life)
        })
        .collect();
    let pace = Pace::new(schedule.sources.len());
    let mut lives = Lives {
        schedule,
        backends: &backends,
        pace: &pace,
        life,
        surroundings: Surroundings::new(schedule),
        ended: vec![],
        hit: Hit::default(),
    };
    let mut defects = Vec::new();
    let written = std::thread::scope(|scope| {
        let sources: Vec<_> = (0..)
            .zip(&schedule.sources)
            .map(|(index, plan)| {
                let (pace, numbers) = (&pace, Numbers::new(schedule.seed, 100 + index as u64));
                scope.spawn(move || source::run(index, plan, numbers, pace))
            })
            .collect();
        // The sources end whatever happens here, or nobody would hear of it.
        let ends = EndsSources(&pace);
        let relay = lives.play(&mut defects);
        drop(ends);
        let written: Vec<Vec<Written>> =
            sources.into_iter().map(|source| source.join().expect("it does not panic")).collect();
        lives.finish(relay, &written);
        written
    });
    let left = spool::all_files(lives.surroundings.dir());
    if !left.is_empty() && schedule.kind != Kind::Disk {
        defects.push(format!("all is delivered, and the spool has {left:?}"));
    }
    let (hit, lives) = (lives.hit, lives.ended);
    Record { backends, written, lives, ended: SystemTime::now(), hit, defects }
}

struct EndsSources<'a>(&'a Pace);

impl Drop for EndsSources<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Lives<'a> {
    schedule: &'a Schedule,
    backends: &'a [Backend],
    pace: &'a Pace,
    life: Arc<AtomicUsize>,
    surroundings: Surroundings,
    ended: Vec<End>,
    hit: Hit,
}

impl Lives<'_> {
    /// All steps; gives the relay that is left, and the faults that are.
    fn play(&mut self, defects: &mut Vec<String>) -> Relay {
        let mut relay = self.start();
        let schedule = self.schedule;
        for (number, step) in schedule.steps.iter().enumerate() {
            self.pace.grant(step.lines);
            relay = self.take(relay, step.what);
            if !self.pace.wait_for(step.percent) {
                defects.push(format!("the sources do not get on in step {number}"));
                return relay;
            }
            self.wait_for_show(step);
        }
        // So that the last life has a line of each series. Whatever ails a backend still does.
        self.pace.grant(schedule.sources.iter().map(|plan| plan.series).max().unwrap_or(0));
        if !self.pace.wait_for(100) {
            defects.push("the sources do not get to their end".to_owned());
        }
        relay
    }

    /// All ails end, all that is kept is delivered, and the relay ends in order.
    fn finish(&mut self, relay: Relay, written: &[Vec<Written>]) {
        self.surroundings.set_disk(DiskState::Well);
        self.surroundings.answer(Answers::Right);
        for backend in self.backends {
            backend.set(Fault::None);
        }
        let life = self.life.load(Ordering::SeqCst);
        let by_udp = self.schedule.sources.iter().zip(written).filter(|(plan, _)| plan.by_udp);
        let of_life = |written: &[Written]| {
            written.iter().filter(|written| written.life == life && written.opens).count()
        };
        let sent: usize = by_udp.map(|(_, written)| of_life(written)).sum();
        wait_until("all datagrams to be taken, or counted as dropped", || {
            let (metrics, labels) = (relay.metrics(), [("listener", UDP)]);
            let dropped = metrics.of("ringrelay_udp_kernel_drops_total", &labels);
            metrics.of(names::UDP_DATAGRAMS, &labels) + dropped == sent as u64
        });
        let metrics = relay.wait_until_settled();
        relay.signal(Signal::TERM);
        self.ended.push(End::Stopped(relay.wait(), Some(metrics)));
    }

    fn start(&self) -> Relay {
        let relay = Relay::start_as(self.surroundings.command(), &self.toml());
        let (http, udp) = (relay.addr(HTTP), relay.addr(UDP));
        let life = self.life.load(Ordering::SeqCst);
        self.pace.set_place(Some(Place { life, http, udp }));
        relay
    }

    fn toml(&self) -> String {
        let Schedule { timeout, delay_max, batch_kb, in_flight, small, .. } = self.schedule;
        let Schedule { ack, shutdown_timeout, .. } = self.schedule;
        let spool = self.schedule.spool;
        let memory_mb = spool.map_or(if *small { 1 } else { 64 }, |plan| plan.memory_mb);
        let spool =
            spool.map_or_else(String::new, |plan| plan.keys(self.surroundings.dir(), *small));
        let keys = format!(
            "timeout = \"{timeout:?}\"\nmax-delay-interval = \"{delay_max:?}\"\n\
             max-batch-kb = {batch_kb}\nmax-in-flight = {in_flight}\nbuffer-size-mb = {memory_mb}\n\
             {spool}"
        );
        let outputs = |more: &str| -> Vec<_> {
            self.backends
                .iter()
                .enumerate()
                .map(|(index, backend)| {
                    let host = self.surroundings.host(index);
                    let port = backend.addr().port();
                    format!(
                        "name = \"b{index}\"\nlocation = \"http://{host}:{port}/\"\n{keys}{more}"
                    )
                })
                .collect()
        };
        let ack = format!("ack = \"{ack}\"");
        let http = self.listener("http", HTTP, &ack, &outputs(""));
        let udp = self.listener("udp", UDP, "workers = 1", &outputs("database = \"d0\"\n"));
        format!("http-threads = 1\nshutdown-timeout = \"{shutdown_timeout:?}\"\n{http}{udp}")
    }

    fn listener(&self, kind: &str, name: &str, more: &str, outputs: &[String]) -> String {
        let host = self.schedule.host();
        let outputs = outputs.iter().map(|output| format!("[[{kind}.output]]\n{output}\n"));
        let outputs = outputs.collect::<String>();
        format!("[[{kind}]]\nname = \"{name}\"\nbind-addr = \"{host}:0\"\n{more}\n{outputs}")
    }

    fn take(&mut self, relay: Relay, what: What) -> Relay {
        match what {
            What::Backend(index, fault) => self.backends[index].set(fault),
            What::Names(answers) => {
                self.surroundings.answer(answers);
                self.backends.iter().for_each(Backend::disconnect);
            }
            What::Clock(seconds) => self.surroundings.set_clock(seconds),
            What::Disk(state) => self.surroundings.set_disk(state),
            What::Terminate | What::Kill | What::Damage(_) => {
                let kills = what != What::Terminate;
                let signal = if kills { Signal::KILL } else { Signal::TERM };
                relay.signal(signal);
                self.pace.set_place(None);
                let stopped = relay.wait();
                self.ended.push(match kills {
                    true => End::Killed(stopped.log),
                    false => End::Stopped(stopped, None),
                });
                self.surroundings.set_disk(DiskState::Well);
                if let What::Damage(damage) = what {
                    damage.strike(self.surroundings.dir(), &mut self.hit);
                }
                self.life.fetch_add(1, Ordering::SeqCst);
                return self.start();
            }
        }
        relay
    }

    fn wait_for_show(&self, step: &Step) {
        let What::Backend(index, _) = step.what else { return };
        let until = Instant::now() + SHOW_MAX;
        while self.backends[index].seen() < step.seen && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

//! A schedule: everything about one run that is decided beforehand, from a seed alone.

use crate::backend::Bad;
use crate::fault::Fault;
use crate::line::Stamps;
use crate::seed::Numbers;
use crate::source::SourcePlan;
use crate::spool::{Damage, SpoolPlan};
use crate::surroundings::{Answers, DiskState};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// What the schedules of one test have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Backends that fail, and a relay that is restarted.
    Plain,
    /// Points that are overwritten all the time.
    Overwrites,
    /// The backends have names, which at times do not resolve.
    Names,
    /// The relay's clock is stepped.
    Clock,
    /// As [`Kind::Plain`], with a spool: the relay is killed more often, and finds damage then.
    Spool,
    /// Points that are overwritten all the time, by way of a spool and through restarts.
    SpooledOverwrites,
    /// The clock is stepped, and what is in the spool may be too old.
    SpooledClock,
    /// The spool's disk is full, or can only be read.
    Disk,
}

impl Kind {
    pub(crate) fn has_spool(self) -> bool {
        matches!(self, Self::Spool | Self::SpooledOverwrites | Self::SpooledClock | Self::Disk)
    }

    pub(crate) fn sets_clock(self) -> bool {
        matches!(self, Self::Clock | Self::SpooledClock)
    }

    fn overwrites(self) -> bool {
        matches!(self, Self::Overwrites | Self::SpooledOverwrites)
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) ack: &'static str,
    pub(crate) timeout: Duration,
    pub(crate) delay_max: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) batch_kb: usize,
    pub(crate) in_flight: usize,
    /// The backlogs are so small that an outage fills them.
    pub(crate) small: bool,
    pub(crate) spool: Option<SpoolPlan>,
    pub(crate) backends: Vec<Bad>,
    pub(crate) sources: Vec<SourcePlan>,
    pub(crate) steps: Vec<Step>,
}

/// Something happens, and the sources go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) what: What,
    /// Lines that each source may write then.
    pub(crate) lines: usize,
    /// The next step comes when they have written so much of all that they may, in percent ...
    pub(crate) percent: usize,
    /// ... and the backend has seen so many requests, or a while has passed.
    pub(crate) seen: usize,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A backend behaves like this.
    Backend(usize, Fault),
    /// The relay is told to stop, and started again.
    Terminate,
    /// The relay is killed, and started again.
    Kill,
    /// It is killed, a file of its spool is damaged, and it is started again.
    Damage(Damage),
    /// How the spool's disk is. It is well before the relay starts.
    Disk(DiskState),
    /// How names resolve. All connections end, so that it matters.
    Names(Answers),
    /// The relay's clock is set so many seconds off.
    Clock(i64),
}

impl Schedule {
    /// The schedule of this seed.
    pub(crate) fn draw(kind: Kind, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed, kind as u64);
        let small = matches!(kind, Kind::Plain | Kind::Spool) && numbers.chance(10);
        let picky = numbers.chance(40);
        let backends = (0..numbers.within(2, 3))
            .map(|index| match index {
                0 if picky => numbers.pick(&[Bad::Refused, Bad::Partial]),
                _ => Bad::Taken,
            })
            .collect::<Vec<_>>();
        let spool = kind.has_spool().then(|| SpoolPlan::draw(&mut numbers, kind));
        // What a life drops that is killed is in no closing books.
        let kills = match spool {
            Some(plan) => !small && plan.age_max_s.is_none() && (kind != Kind::Disk || plan.syncs),
            None => true,
        };
        Self {
            seed,
            kind,
            ack: numbers.pick(&["any", "all", "quorum"]),
            timeout: numbers.millis(700, 1_000),
            delay_max: numbers.millis(10, 60),
            shutdown_timeout: numbers.millis(100, 600),
            batch_kb: numbers.pick(&[1, 4, 512]),
            in_flight: numbers.pick(&[1, 2, 8]),
            small,
            spool,
            sources: sources(&mut numbers, kind, small, picky),
            steps: steps(&mut numbers, kind, backends.len(), kills),
            backends,
        }
    }

    /// An address of loopback that no other schedule uses at the same time: a port that one gives
    /// up would soon be another one's, and take what was sent to the first.
    pub(crate) fn host(&self) -> Ipv4Addr {
        let process = std::process::id() % 200 + 16;
        let number = self.seed % 0x2000 * 8 + self.kind as u64;
        let [_, _, high, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
        Ipv4Addr::new(127, u8::try_from(process).unwrap_or(16), high, low)
    }

    /// Whether nothing ails a backend throughout a life of the relay, so that it keeps no backlog.
    pub(crate) fn is_steady(&self, backend: usize, life: usize) -> bool {
        let (mut at, mut well, mut steady) = (0, true, !self.small && self.kind != Kind::Names);
        for step in &self.steps {
            match step.what {
                What::Terminate | What::Kill | What::Damage(_) => at += 1,
                What::Backend(index, fault) if index == backend => well = fault == Fault::None,
                _ => {}
            }
            steady &= well || at != life;
        }
        steady
    }

    /// Which drops, besides those of bad lines, the schedule gives reason for.
    pub(crate) fn may_drop(&self, reason: &str) -> bool {
        let has = |wanted: &dyn Fn(&What) -> bool| self.steps.iter().any(|s| wanted(&s.what));
        match reason {
            // Counted for each life by itself, see `judge`.
            "shutdown" if self.spool.is_none() => has(&|what| *what == What::Terminate),
            // What the disk did not take was in memory alone.
            "shutdown" | "spool_failed" => self.kind == Kind::Disk,
            "spool_full" => self.small && self.spool.is_some(),
            "spool_aged" => self.spool.is_some_and(|plan| plan.age_max_s.is_some()),
            "buffer_full" => self.small && self.spool.is_none(),
            "queue_full" => self.small,
            "poison" => {
                has(&|what| matches!(what, What::Backend(_, fault) if fault.is_about_content()))
            }
            _ => false,
        }
    }
}

fn sources(numbers: &mut Numbers, kind: Kind, small: bool, picky: bool) -> Vec<SourcePlan> {
    let overwrites = kind.overwrites();
    let spool = kind.has_spool();
    let count = if overwrites { 5 } else { numbers.within(2, 5) };
    (0..count)
        .map(|index| SourcePlan {
            by_udp: !overwrites && index > 0 && numbers.chance(30),
            database: numbers.below(3),
            series: if overwrites { 10 } else { numbers.within(1, 3) },
            stamps: match kind {
                _ if overwrites => Stamps::Same,
                _ if kind.sets_clock() => Stamps::Relays,
                _ => numbers.pick(&[Stamps::Rising, Stamps::Same, Stamps::Relays]),
            },
            together_max: numbers.pick(&[1, 2, 6]),
            bad_percent: if picky && !overwrites { 5 } else { 0 },
            padding: match (small, spool) {
                (true, false) => 8_000,
                (true, true) => 30_000,
                (false, false) => numbers.pick(&[0, 0, 200]),
                (false, true) => numbers.pick(&[0, 0, 200, 8_000]),
            },
        })
        .map(|plan| match plan.by_udp {
            // A bad line takes its whole batch with it, and long ones overrun the socket's buffer.
            true => SourcePlan { bad_percent: 0, padding: 0, ..plan },
            false => plan,
        })
        .collect()
}

fn steps(numbers: &mut Numbers, kind: Kind, backends: usize, kills: bool) -> Vec<Step> {
    let mut faulty = vec![false; backends];
    let (mut resolves, mut restarts) = (true, 0);
    let mut steps = Vec::new();
    for _ in 0..numbers.within(4, 9) {
        let (most, chance) = if kind.has_spool() { (4, 35) } else { (2, 20) };
        let restart = kind != Kind::Overwrites && restarts < most && numbers.chance(chance);
        let what = if restart {
            restarts += 1;
            match numbers.below(4) {
                0 | 1 if kills && kind.has_spool() => What::Kill,
                2 if kills && kind == Kind::Spool => What::Damage(Damage::draw(numbers)),
                3 if kills => What::Kill,
                _ => What::Terminate,
            }
        } else if kind == Kind::Disk && numbers.chance(40) {
            let states = [DiskState::Well, DiskState::Full, DiskState::ReadOnly];
            What::Disk(numbers.pick(&states))
        } else if kind == Kind::Names && numbers.chance(40) {
            resolves = !resolves;
            let wrong = [Answers::NoSuchName, Answers::Failure, Answers::Silence];
            What::Names(if resolves { Answers::Right } else { numbers.pick(&wrong) })
        } else if kind.sets_clock() && numbers.chance(50) {
            What::Clock(numbers.pick(&[-86_400, -60, -1, 0, 1, 60, 86_400]))
        } else {
            let index = numbers.below(backends);
            let heals = faulty[index] && numbers.chance(60);
            faulty[index] = !heals;
            What::Backend(index, if heals { Fault::None } else { Fault::draw(numbers) })
        };
        let (percent, seen) = (numbers.within(30, 100), numbers.within(0, 4));
        steps.push(Step { what, lines: numbers.within(3, 25), percent, seen });
    }
    steps
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kind, ack, timeout, delay_max, shutdown_timeout, .. } = self;
        writeln!(f, "schedule {seed} ({kind:?}): ack {ack}, timeout {timeout:?},")?;
        writeln!(f, "  delay at most {delay_max:?}, shutdown-timeout {shutdown_timeout:?},")?;
        let Self { batch_kb, in_flight, small, backends, .. } = self;
        writeln!(f, "  max-batch-kb {batch_kb}, max-in-flight {in_flight}, small {small}")?;
        writeln!(f, "  spool {:?}", self.spool)?;
        writeln!(f, "  bad lines at the backends: {backends:?}")?;
        for (index, source) in self.sources.iter().enumerate() {
            writeln!(f, "  source {index}: {source:?}")?;
        }
        for (index, Step { what, lines, percent, seen }) in self.steps.iter().enumerate() {
            writeln!(f, "  step {index}: {what:?}, {lines} lines, {percent} %, seen {seen}")?;
        }
        Ok(())
    }
}

#[test]
fn a_seed_is_a_schedule() {
    for kind in [Kind::Plain, Kind::Overwrites, Kind::Names, Kind::Spool, Kind::Disk] {
        let text = |seed| Schedule::draw(kind, seed).to_string();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7).replace("schedule 7", ""), text(8).replace("schedule 8", ""));
    }
}

//! The sources: each writes numbered lines of its own series, one request after the other, and
//! notes what became of each line. None writes a line twice.

use crate::harness::Client;
use crate::line::{Line, Stamps};
use crate::pace::{Pace, Place};
use crate::seed::Numbers;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// What a source is to do.
#[derive(Clone, Debug)]
pub(crate) struct SourcePlan {
    pub(crate) by_udp: bool,
    /// The number of the database that it writes to, by HTTP.
    pub(crate) database: usize,
    pub(crate) series: usize,
    pub(crate) stamps: Stamps,
    /// Lines in a request or datagram, at most.
    pub(crate) together_max: usize,
    /// How many in a hundred of its requests are one bad line.
    pub(crate) bad_percent: usize,
    /// Bytes that each line is longer.
    pub(crate) padding: usize,
}

/// What a source knows of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// 204.
    Acknowledged,
    /// Another status.
    Declined(u16),
    /// The relay ended before it answered, or it was sent by UDP.
    Nothing,
}

/// A line that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) line: Line,
    pub(crate) life: usize,
    pub(crate) known: Known,
    /// How long that took.
    pub(crate) waited: Duration,
    /// It was the first of its request or datagram.
    pub(crate) opens: bool,
}

/// Writes as `pace` lets it until the end; gives all lines in their order.
pub(crate) fn run(
    index: usize,
    plan: &SourcePlan,
    mut numbers: Numbers,
    pace: &Pace,
) -> Vec<Written> {
    let mut written = Vec::new();
    let mut way = Way::None;
    while let Some((granted, place)) = pace.next(index) {
        if !way.leads_to(place) {
            way = Way::to(place, plan.by_udp);
            if matches!(way, Way::None) {
                pace.wait_for_another(place);
                continue;
            }
        }
        let bad = numbers.chance(plan.bad_percent);
        let together = if bad { 1 } else { numbers.within(1, plan.together_max).min(granted) };
        let mut text = String::new();
        let lines: Vec<_> = (written.len()..written.len() + together)
            .map(|number| Line { source: index, series: number % plan.series, number, bad })
            .collect();
        for line in &lines {
            line.write(&mut text, plan.stamps, plan.padding);
            text.push('\n');
        }
        let started = Instant::now();
        let known = way.write(plan.database, text.as_bytes());
        let waited = started.elapsed();
        let (life, first) = (place.life, written.len());
        written.extend(lines.into_iter().map(|line| {
            let opens = line.number == first;
            Written { line, life, known, waited, opens }
        }));
        pace.wrote(index, together);
    }
    written
}

enum Way {
    None,
    Http(Place, Client),
    Udp(Place, UdpSocket),
}

impl Way {
    fn to(place: Place, by_udp: bool) -> Self {
        if by_udp {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            socket.connect(place.udp).expect("UDP connects to anything");
            return Self::Udp(place, socket);
        }
        Client::try_connect(place.http).map_or(Self::None, |client| Self::Http(place, client))
    }

    fn leads_to(&self, to: Place) -> bool {
        matches!(self, Self::Http(place, _) | Self::Udp(place, _) if *place == to)
    }

    fn write(&mut self, database: usize, body: &[u8]) -> Known {
        let answer = match self {
            Self::None => return Known::Nothing,
            Self::Udp(_, socket) => {
                // The kernel may report here that the relay before this one was gone.
                drop(socket.send(body));
                return Known::Nothing;
            }
            Self::Http(_, client) => {
                let length = body.len();
                let head = format!("POST /write?db=d{database} HTTP/1.1\r\nHost: relay\r\n");
                let head = format!("{head}Content-Length: {length}\r\n\r\n");
                let sent = client.send(&[head.as_bytes(), body].concat());
                sent.and_then(|()| client.receive())
            }
        };
        let Ok(Some(answer)) = answer else {
            *self = Self::None;
            return Known::Nothing;
        };
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            *self = Self::None;
        }
        match answer.status() {
            204 => Known::Acknowledged,
            status => Known::Declined(status),
        }
    }
}

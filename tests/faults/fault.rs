//! What a backend may do wrong, and what that means for one request.

use crate::seed::Numbers;
use std::time::Duration;

/// How a backend behaves until it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Stores and answers 204.
    None,
    /// Nobody listens, and the connections that were there are gone.
    Refused,
    /// Connections are reset at the first bytes of a request.
    Reset,
    /// The connection is reset within the status line of an answer.
    ResetInAnswer,
    /// No answer, until the relay gives up.
    Stalled,
    /// Stores and answers, after a time.
    Slow(Duration),
    /// Answers this status, stores nothing, and may want to be left alone for so many seconds.
    Status(u16, Option<u64>),
    /// Answers 404 to writes to every second database.
    NotFound,
    /// Answers 413 to more lines than this.
    TooLarge(usize),
    /// The head of an answer is whole and its body is cut off.
    HalfAnswer,
    /// Closes in place of an answer.
    AnswerLost,
    /// Answers with what is not HTTP.
    Garbage,
    /// Another one of these for each request.
    Mixed,
}

/// What becomes of one request that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) stored: bool,
    pub(crate) delay: Duration,
    pub(crate) end: End,
}

/// How a request ends that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answer(u16, Option<u64>),
    /// As [`End::Answer`], with a body that ends early.
    HalfBody(u16),
    /// A part of the status line, then a reset.
    ResetInAnswer,
    Close,
    Garbage,
    Stall,
}

impl End {
    /// Whether the relay can know that a stored request was stored.
    pub(crate) fn tells(self) -> bool {
        matches!(self, Self::Answer(200..=299, _) | Self::HalfBody(200..=299))
    }
}

impl Fault {
    /// One that lets some requests through or none, with a delay or a status of its own.
    pub(crate) fn draw(numbers: &mut Numbers) -> Self {
        match numbers.below(19) {
            0 | 1 => Self::Refused,
            2 => Self::Reset,
            3 => Self::ResetInAnswer,
            4 | 5 => Self::Stalled,
            6 => Self::Slow(numbers.millis(5, 60)),
            7 => Self::Status(500, None),
            8 => Self::Status(503, None),
            9 => Self::Status(503, Some(numbers.below(2) as u64)),
            10 => Self::Status(429, Some(1)),
            11 => Self::Status(302, None),
            12 => Self::NotFound,
            13 => Self::TooLarge(numbers.within(1, 4)),
            14 => Self::HalfAnswer,
            15 => Self::AnswerLost,
            16 => Self::Garbage,
            _ => Self::Mixed,
        }
    }

    /// Whether a write may be taken for poison because of it.
    pub(crate) fn is_about_content(self) -> bool {
        matches!(self, Self::Status(500, _) | Self::HalfAnswer | Self::Mixed)
    }

    /// The fault that the next request meets: never [`Fault::Mixed`].
    pub(crate) fn of_one_request(self, numbers: &mut Numbers) -> Self {
        if self != Self::Mixed {
            return self;
        }
        if numbers.chance(40) {
            return Self::None;
        }
        loop {
            // None that takes long.
            match Self::draw(numbers) {
                Self::Mixed | Self::Refused | Self::Stalled | Self::Status(_, Some(_)) => {}
                fault => return fault,
            }
        }
    }

    /// Decides about a request of so many lines to the database of this number.
    pub(crate) fn fate(self, numbers: &mut Numbers, lines: usize, database: usize) -> Fate {
        let perhaps = numbers.chance(50);
        let end = match self {
            Self::Refused | Self::Reset | Self::ResetInAnswer => End::ResetInAnswer,
            Self::Stalled => End::Stall,
            Self::Status(status, wait) => End::Answer(status, wait),
            Self::NotFound if database % 2 == 1 => End::Answer(404, None),
            Self::TooLarge(most) if lines > most => End::Answer(413, None),
            Self::HalfAnswer => End::HalfBody(if perhaps { 200 } else { 500 }),
            Self::AnswerLost => End::Close,
            Self::Garbage => End::Garbage,
            Self::None | Self::Slow(_) | Self::NotFound | Self::TooLarge(_) | Self::Mixed => {
                End::Answer(204, None)
            }
        };
        let stored = match end {
            End::Answer(status, _) => status == 204,
            _ => perhaps || self == Self::AnswerLost,
        };
        let delay = if let Self::Slow(delay) = self { delay } else { Duration::ZERO };
        Fate { stored, delay, end }
    }
}

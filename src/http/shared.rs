//! What the threads of one listener share: its bounds on bodies, connections and rates.

use super::answer::{Answer, Form};
use super::budget::Budget;
use super::places::Places;
use crate::config::{HttpListener, Rate};
use crate::rate_limit::RateLimit;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use hyper::http::HeaderValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The bounds of one listener. Each of its threads has a clone.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What the bodies being read may hold together.
    pub bodies: Arc<Budget>,
    /// A place for each connection that may be open.
    pub(super) places: Arc<Places>,
    requests: Option<Arc<RateLimit>>,
    lines: Option<Arc<RateLimit>>,
}

impl Shared {
    /// The bounds that `config` sets, none of them used.
    #[must_use]
    pub fn new(config: &HttpListener) -> Self {
        let limit =
            |rate: Rate| Arc::new(RateLimit::new(rate.per_second, rate.burst, Instant::now()));
        Self {
            bodies: Arc::new(Budget::new(config.bodies_bytes_max)),
            places: Arc::new(Places::new(config.connections.open_max)),
            requests: config.request_rate.map(limit),
            lines: config.line_rate.map(limit),
        }
    }

    /// The bounds after a change from `old` to `new`. What is used of bounds that stay is used; a
    /// rate that changed begins anew. Connections that are open keep their places, and bodies that
    /// are being read go on under the bound that they began with.
    #[must_use]
    pub fn renewed(&self, old: &HttpListener, new: &HttpListener) -> Self {
        self.places.resize(new.connections.open_max);
        let mut renewed = Self { places: Arc::clone(&self.places), ..Self::new(new) };
        if old.bodies_bytes_max == new.bodies_bytes_max {
            renewed.bodies = Arc::clone(&self.bodies);
        }
        if old.request_rate == new.request_rate {
            renewed.requests.clone_from(&self.requests);
        }
        if old.line_rate == new.line_rate {
            renewed.lines.clone_from(&self.lines);
        }
        renewed
    }

    /// Takes one request; the 429 if it goes over the limit.
    pub(super) fn limit_request(&self, form: Form) -> Option<Answer> {
        let why = "rate-limit: too many requests a second: try again later";
        take(self.requests.as_deref(), 1, why, form)
    }

    /// Takes the lines of a request, all or none; the 429 if they go over the limit.
    pub(super) fn limit_lines(&self, lines: u64, form: Form) -> Option<Answer> {
        let why = "rate-limit-lines: too many lines a second: try again later";
        take(self.lines.as_deref(), lines, why, form)
    }
}

fn take(limit: Option<&RateLimit>, n: u64, why: &str, form: Form) -> Option<Answer> {
    limit?.take(n, Instant::now()).err().map(|wait| too_many(why, wait, form))
}

fn too_many(why: &str, wait: Duration, form: Form) -> Answer {
    let mut answer = form.error(StatusCode::TOO_MANY_REQUESTS, why);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    answer
}

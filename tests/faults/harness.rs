//! The parts of the end-to-end tests' harness that this suite shares.

#[path = "../e2e/harness/http.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod http;
#[path = "../e2e/harness/metrics.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod metrics;
#[path = "../e2e/harness/relay.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod relay;
#[path = "../e2e/harness/wait.rs"]
mod wait;

pub(crate) use http::{Client, read};
pub(crate) use metrics::{Books, Metrics, names};
pub(crate) use relay::{Relay, Stopped, binary};
pub(crate) use wait::{DEADLINE, wait_for, wait_until};

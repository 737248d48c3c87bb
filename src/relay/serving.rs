//! What the fronts of a listener work with, made of its configuration and its outputs: at the start
//! and again when the configuration is read again.

use super::BATCH_BYTES;
use super::output::Running;
use crate::backend;
use crate::config::{self, HttpListener, Rate, Target, UdpListener};
use crate::fanout::{Fanout, Hand};
use crate::rate_limit::RateLimit;
use crate::{http, sys, udp};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

/// Of a `[[udp]]`.
pub(super) fn of_udp(
    listener: &UdpListener,
    outputs: &[Running],
    line_limit: Option<Arc<RateLimit>>,
) -> Arc<udp::Serving> {
    Arc::new(udp::Serving {
        fanout: fanout(outputs),
        precision: listener.precision,
        batch_wait: listener.batch_wait,
        hand_when_busy: hand_when_busy(listener.workers),
        line_limit,
        batches: batches(&listener.outputs),
    })
}

/// Of an `[[http]]`.
pub(super) fn of_http(
    listener: &HttpListener,
    outputs: &[Running],
    shared: http::Shared,
) -> Arc<http::Serving> {
    let config = Arc::new(listener.clone());
    Arc::new(http::Serving { config, fanout: fanout(outputs), shared })
}

/// A thread of a backend takes work off a busy worker only where it has a core to run on: where
/// each core has its worker, sending by itself is cheaper.
fn hand_when_busy(workers: usize) -> Hand {
    if sys::cores() > workers { Hand::Queue } else { Hand::Direct }
}

/// A full bucket.
pub(super) fn rate_limit(rate: Rate) -> Arc<RateLimit> {
    Arc::new(RateLimit::new(rate.per_second, rate.burst, Instant::now()))
}

fn fanout(outputs: &[Running]) -> Fanout {
    Fanout::new(outputs.iter().map(|output| output.front.clone()).collect())
}

/// Where all UDP outputs of a listener share one `mtu`, batches are laid out for it.
fn batches(outputs: &[config::Output]) -> udp::Batches {
    let mut mtus = outputs.iter().filter_map(|output| match &output.target {
        Target::Udp(target) => NonZeroUsize::new(target.mtu),
        Target::Http(_) => None,
    });
    let shared = mtus.next().filter(|first| mtus.all(|mtu| mtu == *first));
    let layout = shared.map(backend::udp::layout);
    let bytes = layout.map_or(BATCH_BYTES, |layout| layout.bytes.get() * layout.count_max);
    udp::Batches { layout, bytes }
}

//! The runtime of a thread that runs tasks: tokio over an io_uring ring.
//!
//! `relay` makes one on each thread of `http`, `admin` and the backends by HTTP, which run in it.

use std::future::Future;
use std::io;
use std::time::Duration;
use tokio_uring::Runtime;

/// A timer that falls due before all others makes tokio wake its own thread: a write, and a turn of
/// the loop, for nothing. One that is always due sooner than any timeout of a request spares each
/// request that.
const SOONER: Duration = Duration::from_secs(1);

/// A runtime for the calling thread.
///
/// # Errors
/// If io_uring is not to be had.
pub fn new() -> io::Result<Runtime> {
    let mut builder = tokio_uring::builder();
    let mut ring = tokio_uring::uring_builder();
    // Completions wait for the thread's next system call instead of interrupting it, and need no
    // lock, since no other thread submits. Linux 6.0.
    ring.setup_coop_taskrun().setup_single_issuer();
    Runtime::new(builder.uring_builder(&ring))
}

/// Runs `future` to its end.
pub fn block_on<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    runtime.block_on(async {
        let sooner = tokio::task::spawn_local(async {
            loop {
                tokio::time::sleep(SOONER).await;
            }
        });
        let output = future.await;
        sooner.abort();
        output
    })
}

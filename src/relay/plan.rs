//! The first half of starting: every queue made and every socket bound, no thread yet.

use super::StartError;
use super::output::Made;
use crate::config::{Config, HttpListener, Output, UdpListener};
use crate::metrics::{self, Registry};
use crate::service::passed::Passed;
use crate::sys;
use crate::timestamp::Precision;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

/// Everything that the threads will be given.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) registry: Registry,
    pub(super) udp: Vec<Bound<UdpSocket, UdpListener>>,
    pub(super) http: Vec<Bound<TcpListener, HttpListener>>,
    /// And whether it was passed.
    pub(super) admin: Option<(TcpListener, bool)>,
}

/// A listener with its queues made and its sockets bound: one per thread.
pub(super) struct Bound<Socket, Listener> {
    pub(super) sockets: Vec<Socket>,
    /// By the service manager, which has them too.
    pub(super) passed: bool,
    pub(super) listener: Listener,
    pub(super) outputs: Vec<Made>,
}

impl Plan {
    /// Makes the queues of a whole configuration, and binds the sockets that were not passed.
    pub(super) fn make(config: &Config, mut passed: Passed) -> Result<Self, StartError> {
        let mut plan = Self::default();
        plan.registry.started_s = sys::now_s();
        for listener in &config.udp {
            let sockets = passed.udp(listener.bind);
            plan.bind_udp(listener.clone(), sockets)?;
        }
        for listener in &config.http {
            let sockets = passed.tcp(listener.bind);
            plan.bind_http(listener.clone(), config.http_threads, sockets)?;
        }
        if let Some(address) = config.admin {
            let sockets = passed.tcp(address);
            plan.bind_admin(address, sockets)?;
        }
        passed.all_claimed()?;
        Ok(plan)
    }

    fn bind_udp(
        &mut self,
        listener: UdpListener,
        mut sockets: Vec<UdpSocket>,
    ) -> Result<(), StartError> {
        let failed = |error| StartError::bind("udp", &listener.name, listener.bind, error);
        let passed = !sockets.is_empty();
        if passed {
            tell_passed(&listener, sockets.len());
        } else {
            sockets = sys::bind_udp(listener.bind, listener.workers).map_err(failed)?;
        }
        let mut granted = usize::MAX;
        for socket in &sockets {
            // The ring waits by itself; on a non-blocking socket it would answer EAGAIN instead.
            socket.set_nonblocking(false).map_err(failed)?;
            sys::set_receive_options(socket).map_err(failed)?;
            granted = granted.min(set_read_buffer(socket, &listener, passed).map_err(failed)?);
        }
        tell_granted(&listener, granted);
        announce(&listener.name, sockets[0].local_addr().map_err(failed)?);
        self.registry.udp.push(metrics::UdpListener {
            name: Arc::clone(&listener.name),
            workers: sockets.iter().map(|_| Arc::default()).collect(),
        });
        let outputs = make(&listener.name, &listener.outputs, Some(listener.precision))?;
        self.udp.push(Bound { sockets, passed, listener, outputs });
        Ok(())
    }

    fn bind_http(
        &mut self,
        listener: HttpListener,
        threads: usize,
        mut sockets: Vec<TcpListener>,
    ) -> Result<(), StartError> {
        let failed = |error| StartError::bind("http", &listener.name, listener.bind, error);
        let passed = !sockets.is_empty();
        if passed {
            // Every thread serves one, so those that are short of one share.
            for place in 0..threads.saturating_sub(sockets.len()) {
                sockets.push(sockets[place].try_clone().map_err(failed)?);
            }
        } else {
            sockets = sys::bind_tcp(listener.bind, threads).map_err(failed)?;
        }
        announce(&listener.name, sockets[0].local_addr().map_err(failed)?);
        self.registry.http.push(metrics::HttpListener {
            name: Arc::clone(&listener.name),
            workers: (0..threads).map(|_| Arc::default()).collect(),
            tls: listener.tls.clone().into(),
        });
        let outputs = make(&listener.name, &listener.outputs, None)?;
        self.http.push(Bound { sockets, passed, listener, outputs });
        Ok(())
    }

    fn bind_admin(
        &mut self,
        address: SocketAddr,
        mut sockets: Vec<TcpListener>,
    ) -> Result<(), StartError> {
        let failed = |error| StartError::bind("admin", "admin", address, error);
        let passed = !sockets.is_empty();
        if sockets.len() > 1 {
            return Err(failed(io::Error::other("the service manager passed it more than once")));
        }
        if !passed {
            sockets = sys::bind_tcp(address, 1).map_err(failed)?;
        }
        let socket = sockets.remove(0);
        announce("admin", socket.local_addr().map_err(failed)?);
        self.admin = Some((socket, passed));
        Ok(())
    }
}

/// Makes the queues of a listener's outputs.
fn make(
    relay: &Arc<str>,
    outputs: &[Output],
    precision: Option<Precision>,
) -> Result<Vec<Made>, StartError> {
    outputs.iter().map(|output| Made::new(relay, output, precision)).collect()
}

/// The line that tells people and tests which port was bound.
fn announce(relay: &str, address: SocketAddr) {
    tracing::info!(%relay, addr = %address, "listening");
}

/// One worker serves one socket: two would tear the datagrams of one source apart.
fn tell_passed(listener: &UdpListener, sockets: usize) {
    let (relay, workers) = (&*listener.name, listener.workers);
    if sockets == workers {
        return;
    }
    tracing::info!(
        relay,
        sockets,
        workers,
        "as many workers run as sockets were passed; \
         ReusePort=yes and one ListenDatagram= for each worker pass as many as wanted"
    );
}

/// Sets the size of a socket's buffer, and gives what the kernel granted. A passed socket may have
/// more already: the service manager may ask for what the relay may not.
fn set_read_buffer(socket: &UdpSocket, listener: &UdpListener, passed: bool) -> io::Result<usize> {
    let wanted = listener.read_buffer_bytes;
    let has = if passed { sys::read_buffer(socket)? } else { 0 };
    if has >= wanted { Ok(has) } else { sys::set_read_buffer(socket, wanted) }
}

fn tell_granted(listener: &UdpListener, granted: usize) {
    let wanted = listener.read_buffer_bytes;
    if granted < wanted {
        tracing::warn!(
            relay = %listener.name,
            wanted,
            granted,
            "the kernel granted less than read-buffer asks for: \
             set sysctl net.core.rmem_max={wanted}, or grant CAP_NET_ADMIN"
        );
    }
}

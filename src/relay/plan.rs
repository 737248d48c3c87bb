//! The first half of starting: every queue made and every socket bound, no thread yet.

use super::StartError;
use crate::backend;
use crate::backend::http::{Files, FilesError};
use crate::config::{self, Config, Dialect, HttpListener, HttpTarget, Target, UdpListener};
use crate::control::{self, Command};
use crate::dialect;
use crate::fanout::{Direct, Fanout, Output};
use crate::metrics::{self, Registry};
use crate::queue::{self, Limits, Receiver};
use crate::service::passed::Passed;
use crate::sys;
use crate::timestamp::Precision;
use crate::write::{Api, Destination, Write};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Writes that may wait for one backend; the byte limit is usually the tighter one.
const QUEUED_WRITES: usize = 8192;

/// Everything that the threads will be given.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) registry: Registry,
    pub(super) senders: Vec<Sender>,
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
    pub(super) fanout: Fanout,
}

/// A backend whose queue is made.
pub(super) struct Sender {
    pub(super) queue: Receiver<Write>,
    pub(super) transport: Transport,
    pub(super) metrics: Arc<metrics::Backend>,
}

/// How a sender thread sends.
pub(super) enum Transport {
    Udp(Arc<backend::udp::Transport>),
    Http(Box<HttpWay>),
}

/// What an HTTP backend's thread is given.
pub(super) struct HttpWay {
    pub(super) target: HttpTarget,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) files: Files,
}

impl Plan {
    /// Makes the queues of a whole configuration, and binds the sockets that were not passed.
    pub(super) fn make(config: Config, mut passed: Passed) -> Result<Self, StartError> {
        let mut plan = Self::default();
        plan.registry.started_s = sys::now_s();
        for listener in config.udp {
            let sockets = passed.udp(listener.bind);
            plan.bind_udp(listener, sockets)?;
        }
        for listener in config.http {
            let sockets = passed.tcp(listener.bind);
            plan.bind_http(listener, config.http_threads, sockets)?;
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
        for socket in &sockets {
            // The ring waits by itself; on a non-blocking socket it would answer EAGAIN instead.
            socket.set_nonblocking(false).map_err(failed)?;
            sys::set_receive_options(socket).map_err(failed)?;
            set_read_buffer(socket, &listener, passed).map_err(failed)?;
        }
        announce(&listener.name, sockets[0].local_addr().map_err(failed)?);
        self.registry.udp.push(metrics::UdpListener {
            name: Arc::clone(&listener.name),
            workers: sockets.iter().map(|_| Arc::default()).collect(),
        });
        let outputs = listener.outputs.iter();
        let outputs = outputs.map(|output| {
            let destination = destination(&output.target, listener.precision);
            self.output(&listener.name, output, destination)
        });
        let fanout = Fanout::new(outputs.collect::<Result<_, _>>()?);
        self.udp.push(Bound { sockets, passed, listener, fanout });
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
            tls: listener.tls.clone(),
        });
        let outputs = listener.outputs.iter();
        let outputs =
            outputs.map(|output| self.output(&listener.name, output, Destination::default()));
        let fanout = Fanout::new(outputs.collect::<Result<_, _>>()?);
        self.http.push(Bound { sockets, passed, listener, fanout });
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

    /// Makes the queue of one backend; its thread's end is kept in `senders`.
    fn output(
        &mut self,
        relay: &Arc<str>,
        output: &config::Output,
        destination: Destination,
    ) -> Result<Output, StartError> {
        let limits = Limits { items_max: QUEUED_WRITES, bytes_max: output.queue_bytes_max };
        let (push, pop) = queue::bounded(limits);
        let owed = Arc::clone(push.owed());
        let metrics =
            Arc::new(metrics::Backend::new(Arc::clone(relay), Arc::clone(&output.name), owed));
        metrics.configured.set(configured(output));
        self.registry.backends.push(Arc::clone(&metrics));
        let dialect = match &output.target {
            Target::Http(target) => target.dialect.clone(),
            Target::Udp(_) => Dialect::V1,
        };
        let (mut control, mut apis) = (None, vec![Api::Lines]);
        let (transport, direct) = match output.target.clone() {
            Target::Udp(target) => {
                let udp = Arc::new(backend::udp::Transport::new(target, Arc::clone(&metrics)));
                let direct: Arc<dyn Direct> = Arc::clone(&udp) as _;
                (Transport::Udp(udp), Some(direct))
            }
            Target::Http(target) => {
                let paths =
                    [(Api::Lines, &target.write_path), (Api::Prometheus, &target.write_prom_path)];
                apis = paths
                    .into_iter()
                    .filter_map(|(api, path)| path.as_ref().map(|_| api))
                    .collect();
                let (give, commands) = control::channel();
                control = Some(give);
                let files = files(&target, relay, &output.name, &metrics)?;
                (Transport::Http(Box::new(HttpWay { target, commands, files })), None)
            }
        };
        self.senders.push(Sender { queue: pop, transport, metrics: Arc::clone(&metrics) });
        let (filter, destination) = (output.filter.clone(), Arc::new(destination));
        Ok(Output { queue: push, metrics, direct, filter, dialect, destination, apis, control })
    }
}

/// What is shown of an output beside its counters.
fn configured(output: &config::Output) -> metrics::ConfiguredValues {
    let backlog = match &output.target {
        Target::Http(target) => target.backlog.as_ref(),
        Target::Udp(_) => None,
    };
    let spool = backlog.and_then(|backlog| backlog.spool.as_ref());
    metrics::ConfiguredValues {
        location: output.target.location(),
        is_udp: matches!(output.target, Target::Udp(_)),
        queue_bytes_max: output.queue_bytes_max,
        backlog_bytes_max: backlog.map_or(0, |backlog| backlog.bytes_max),
        spool_bytes_max: spool.map_or(0, |spool| spool.bytes_max),
    }
}

/// Where a backend of a UDP listener gets its lines written to.
fn destination(target: &Target, precision: Precision) -> Destination {
    match target {
        Target::Http(HttpTarget { database: Some(database), dialect: Dialect::V1, .. }) => {
            dialect::v1(database, precision)
        }
        Target::Http(HttpTarget { dialect: Dialect::V2 { org, bucket: Some(bucket) }, .. }) => {
            dialect::v2(org, bucket, precision)
        }
        _ => Destination::default(),
    }
}

fn files(
    target: &HttpTarget,
    relay: &str,
    backend: &str,
    metrics: &metrics::Backend,
) -> Result<Files, StartError> {
    let failed = |error: FilesError| StartError::Directory {
        name: backend.to_owned(),
        key: error.key,
        dir: error.dir,
        error: error.error,
    };
    let open = |backlog| Files::open(backlog, relay, backend, metrics).map_err(failed);
    target.backlog.as_ref().map_or(Ok(Files::default()), open)
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

/// A passed socket may have more already: the service manager may ask for what the relay may not.
fn set_read_buffer(socket: &UdpSocket, listener: &UdpListener, passed: bool) -> io::Result<()> {
    let wanted = listener.read_buffer_bytes;
    if wanted == 0 || (passed && sys::read_buffer(socket)? >= wanted) {
        return Ok(());
    }
    let granted = sys::set_read_buffer(socket, wanted)?;
    if granted < wanted {
        tracing::warn!(
            relay = %listener.name,
            wanted,
            granted,
            "the kernel granted less than read-buffer asks for: \
             set sysctl net.core.rmem_max={wanted}, or grant CAP_NET_ADMIN"
        );
    }
    Ok(())
}

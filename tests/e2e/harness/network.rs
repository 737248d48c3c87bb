//! Several hosts on one: network namespaces with an address of their own, and nginx as the load
//! balancer before them. The namespaces, and their cables, are gone when it is dropped.

use super::real::Process;
use super::{binary, wait_until};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where Debian has nginx's module for TCP and UDP.
pub(super) const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Runs `ip`; gives whether it succeeded.
fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// As [`ip`], of what must succeed.
#[track_caller]
fn must(arguments: &str) {
    assert!(ip(arguments), "ip {arguments}");
}

/// Hosts that reach this one, and each other through it.
pub(crate) struct Network {
    number: u8,
    hosts: u8,
}

impl Network {
    /// Whether namespaces can be made here. Tried once: tests run side by side.
    pub(super) fn is_allowed() -> bool {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        *ALLOWED.get_or_init(|| {
            let name = format!("ringrelay-probe-{}", std::process::id());
            ip(&format!("netns add {name}")) && ip(&format!("netns del {name}"))
        })
    }

    /// Makes `hosts` of them.
    #[track_caller]
    pub(crate) fn start(hosts: u8) -> Self {
        // A namespace reserves its number. A cable may outlive an earlier one for a moment.
        let is_free = |number: &u8| {
            ip(&format!("netns add {}", name(*number, 0)))
                && !(0..hosts).any(|host| ip(&format!("link show {}", cable(*number, host))))
        };
        let number = (0..=u8::MAX).find(is_free).expect("a free number");
        let network = Self { number, hosts };
        for host in 0..hosts {
            if host > 0 {
                must(&format!("netns add {}", name(number, host)));
            }
            network.plug(host);
        }
        network
    }

    /// Gives a host a cable to this one, with an address at each end.
    fn plug(&self, host: u8) {
        let (name, here) = (name(self.number, host), cable(self.number, host));
        let (ours, theirs) = (self.ours(host), self.address(host));
        must(&format!("link add {here} type veth peer name eth0 netns {name}"));
        must(&format!("address add {ours}/30 dev {here}"));
        must(&format!("link set {here} up"));
        must(&format!("-n {name} address add {theirs}/30 dev eth0"));
        must(&format!("-n {name} link set eth0 up"));
        must(&format!("-n {name} link set lo up"));
        must(&format!("-n {name} route add default via {ours}"));
    }

    fn ours(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 4 * host + 1)
    }

    /// This host, as the others see it. Nobody else binds a port there.
    pub(crate) fn here(&self) -> Ipv4Addr {
        self.ours(0)
    }

    /// A host's address.
    pub(crate) fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 4 * host + 2)
    }

    /// Runs the relay on a host.
    pub(crate) fn relay(&self, host: u8) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(self.number, host)]).arg(binary());
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            // These fail only if they were never made.
            ip(&format!("link del {}", cable(self.number, host)));
            ip(&format!("netns del {}", name(self.number, host)));
        }
    }
}

fn name(number: u8, host: u8) -> String {
    format!("ringrelay-{number}-{host}")
}

/// The end of a host's cable that is here.
fn cable(number: u8, host: u8) -> String {
    format!("rr{number}h{host}")
}

/// A real nginx, one process, that spreads TCP and UDP.
pub(crate) struct Nginx(Process);

impl Nginx {
    /// Runs it with this `stream { ... }`, and waits until it listens at `tcp`.
    #[track_caller]
    pub(crate) fn start(stream: &str, tcp: SocketAddr) -> Self {
        let process = Process::start("nginx", |dir| {
            let (file, at) = (dir.join("nginx.conf"), dir.display());
            let main = format!(
                "load_module {NGINX_STREAM};\ndaemon off;\nmaster_process off;\n\
                 pid {at}/pid;\nerror_log stderr warn;\n\
                 events {{ worker_connections 4096; }}\n"
            );
            fs::write(&file, main + stream).expect("a temporary file");
            vec!["-p".to_owned(), at.to_string(), "-c".to_owned(), file.display().to_string()]
        });
        let nginx = Self(process);
        wait_until("nginx to listen", || TcpStream::connect(tcp).is_ok());
        nginx
    }

    pub(crate) fn log(&self) -> String {
        self.0.log()
    }
}

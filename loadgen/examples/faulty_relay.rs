//! A tiny UDP relay with a fault, for proving that `loadgen bench` notices: it takes the
//! configuration that bench writes, forwards every datagram to every backend of its one listener,
//! and serves counters. `FAULT` says what it does wrong, to one datagram or line and one backend:
//! `none`, `drop` (a datagram, in silence), `drop-counted`, `duplicate`, `swap`, `alter`,
//! `stamp` (with different timestamps), `die`.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use toml::{Table, Value};

/// The datagram that the fault befalls.
const VICTIM: u64 = 100;

#[derive(Default)]
struct Counts {
    datagrams: AtomicU64,
    backends: Mutex<Vec<Backend>>,
}

struct Backend {
    name: String,
    address: SocketAddr,
    delivered: u64,
    dropped: u64,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some("-config"), Some(file)) = (arguments.next().as_deref(), arguments.next()) else {
        bail!("usage: faulty_relay -config FILE");
    };
    let fault = std::env::var("FAULT").unwrap_or_else(|_| "none".into());
    let config: Table = std::fs::read_to_string(file)?.parse()?;
    let text = |value: &Value, key: &str| -> Result<String> {
        Ok(value.get(key).and_then(Value::as_str).with_context(|| format!("no {key}"))?.to_owned())
    };
    let (admin, listener) = (&config["admin"], &config["udp"][0]);
    let counts = Arc::new(Counts::default());
    for output in listener["output"].as_array().context("no outputs")? {
        let (name, address) = (text(output, "name")?, text(output, "location")?.parse()?);
        let backend = Backend { name, address, delivered: 0, dropped: 0 };
        counts.backends.lock().expect("not poisoned").push(backend);
    }
    let socket = UdpSocket::bind(text(listener, "bind-addr")?)?;
    let buffer = listener["read-buffer"].as_integer().context("no read-buffer")?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(usize::try_from(buffer)?)?;
    let served = TcpListener::bind(text(admin, "bind-addr")?)?;
    let theirs = Arc::clone(&counts);
    std::thread::spawn(move || {
        for client in served.incoming().flatten() {
            answer(client, &theirs).ok();
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    relay(&socket, &counts, &fault, &stop)
}

fn relay(socket: &UdpSocket, counts: &Counts, fault: &str, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let (mut buffer, mut held) = (vec![0; 65_536], None::<Vec<u8>>);
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let number = counts.datagrams.fetch_add(1, Ordering::Relaxed);
        let mut backends = counts.backends.lock().expect("not poisoned");
        let victim = number == VICTIM;
        for (index, backend) in backends.iter_mut().enumerate() {
            let mut datagram = buffer[..length].to_vec();
            let lines = datagram.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let mut copies = vec![];
            match (fault, victim && index == 0) {
                ("drop", true) => {}
                ("drop-counted", true) => backend.dropped += lines,
                ("duplicate", true) => copies = vec![datagram.clone(), datagram],
                ("swap", true) => held = Some(datagram),
                ("alter", true) => {
                    datagram[10] ^= 1;
                    copies = vec![datagram];
                }
                ("stamp", true) => copies = vec![stamped(&datagram, 17)],
                ("stamp", false) => copies = vec![stamped(&datagram, 18)],
                ("die", true) => bail!("told to die"),
                _ => {
                    copies.push(datagram);
                    copies.extend(if index == 0 { held.take() } else { None });
                }
            }
            for datagram in copies {
                socket.send_to(&datagram, backend.address)?;
                backend.delivered += lines;
            }
        }
    }
    Ok(())
}

/// The lines of a datagram that came without timestamps, all with `stamp`.
fn stamped(datagram: &[u8], stamp: u32) -> Vec<u8> {
    let text = String::from_utf8_lossy(datagram);
    text.lines().map(|line| format!("{line} {stamp}\n")).collect::<String>().into_bytes()
}

fn answer(mut client: TcpStream, counts: &Counts) -> Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    // The whole request fits one read; what it asks for does not matter.
    let _request = client.read(&mut [0; 4096])?;
    let mut body = format!(
        "ringrelay_udp_datagrams_received_total{{listener=\"udp\"}} {}\n",
        counts.datagrams.load(Ordering::Relaxed)
    );
    for backend in counts.backends.lock().expect("not poisoned").iter() {
        let labels = format!("relay=\"udp\",backend=\"{}\"", backend.name);
        body +=
            &format!("ringrelay_backend_lines_delivered_total{{{labels}}} {}\n", backend.delivered);
        body += &format!(
            "ringrelay_backend_lines_dropped_total{{{labels},reason=\"queue_full\"}} {}\n",
            backend.dropped
        );
    }
    write!(client, "HTTP/1.0 200 OK\r\n\r\n{body}")?;
    Ok(())
}

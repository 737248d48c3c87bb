//! End to end: the real relay binary between scripted or real backends and real clients.
//!
//! One file per subject, and one harness below them. Every test starts a relay of its own on free
//! ports, waits for conditions and never for time, and ends by asserting that the books close.
//!
//! What users of the Go relay rely on, what is mended and what is new, and the tests that hold it:
//!
//! | subject | tests |
//! |---|---|
//! | `-config`, `-v`, `-version`, `-check`, exit codes | `start` |
//! | signals end it in order | `stop` |
//! | SIGHUP reads the file again, whole or not at all | `reload`, `reload_refused` |
//! | configuration files of both Go relays | `start::files_of_both`, `http_in::the_original` |
//! | names default to addresses | `status::names_are`, `tls::credentials_reach` |
//! | mistakes: file, line, remedy, nothing bound | `start` (each one: `tests/config_mistakes`) |
//! | `default-ping-response`, `default-retention-policy` | `status`, `http_in` |
//! | `ssl-combined-pem`, `skip-tls-verification` | `tls`, `tls_scan`, `real_tls` |
//! | `rate-limit`, `burst-limit`, `rate-limit-lines` | `rates` |
//! | `endpoints`, `location` with or without `/` | `http_in`, `status::health_asks`, `prometheus` |
//! | `timeout`, `max-batch-kb` | `answers::a_timeout`, `merging::a_merged_request` |
//! | `[[udp]]`: `precision`, `read-buffer`, `mtu` | `udp_in::stamps_are`, `udp_out` |
//! | `/write`: 204, a backend's 4xx, 503; `ack` | `answers`, `acks`, `http_out` |
//! | no `db`, nothing to write, bad lines | `http_in` |
//! | cut off, bad gzip, too large | `http_body` |
//! | OPTIONS, other methods, other paths | `http_in` |
//! | parameters and credentials passed on, timestamps | `http_in`, `tls::credentials_reach` |
//! | Prometheus remote writes | `prometheus`, `real_prometheus` |
//! | `/ping`, `/status`, `/health`, `/ready`, `/metrics` | `http_in`, `status` |
//! | `/admin`, `/admin/flush` | `admin` |
//! | InfluxDB 2, both ways | `v2`, `real_clients` |
//! | filters per point, on HTTP and UDP | `filters` |
//! | the backlog: order, outages, stop | `backlog`, `real_prometheus`, `real_outage` |
//! | what is tried again, cut, refused, set aside; full | `retries` |
//! | UDP: bad and long lines alone, packing, quotes | `udp_in`, `udp_out` |
//! | UDP in, HTTP out | `udp_to_http`, `backlog::what_came_by_udp` |
//! | outputs resolved again | `udp_out::a_name_that` (a change: `src/backend/http/tests.rs`) |
//! | the log: bad senders, backends that come and go | `logs`, `backlog` |
//! | line protocol as InfluxDB 1.x reads it | `line_protocol`, `real_databases` |
//! | the status page, the dashboard, the alerts | `real_page`, `real_dashboard` |
//! | hostile and slow clients | `hostile`, `hostile_clients`, `idle` |
//! | `ringrelay top` | `top` |
//! | backends do not harm each other | `isolation` |
//! | several relays behind a load balancer | `real_many` |
//! | installed from its Debian package | `package` |

#[path = "../support/certificates.rs"]
mod certificates;
mod harness;

mod acks;
mod activation;
mod admin;
mod answers;
mod backlog;
mod clients;
mod filters;
mod hostile;
mod hostile_clients;
mod http_body;
mod http_in;
mod http_out;
mod idle;
mod isolation;
mod line_protocol;
mod logs;
mod merging;
mod package;
mod prometheus;
mod rates;
mod real_cli;
mod real_clients;
mod real_dashboard;
mod real_databases;
mod real_kubernetes;
mod real_many;
mod real_outage;
mod real_page;
mod real_prometheus;
mod real_tls;
mod reload;
mod reload_refused;
mod reload_removed;
mod retries;
mod service;
mod spool;
mod start;
mod status;
mod stop;
mod tls;
mod tls_scan;
mod top;
mod udp_in;
mod udp_out;
mod udp_to_http;
mod units;
mod v2;

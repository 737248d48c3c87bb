//! The `ringrelay` command: arguments, allocator, logging, configuration, signals, exit code.

use crossbeam_channel::{Receiver, never, select, tick};
use ringrelay::cli::{self, Command, LogFormat, TOP_USAGE, USAGE};
use ringrelay::config::Config;
use ringrelay::relay::{Relay, Reload};
use ringrelay::service::{self, passed::Passed};
use ringrelay::signals::{self, Request};
use ringrelay::{sys, top};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a start-up that failed: a bad configuration, a taken port.
const FAILED_TO_START: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run { config, verbose, log }) => run(&config, verbose, log),
        Ok(Command::Check { config }) => check(&config),
        Ok(Command::Version) => print(&concat!("ringrelay ", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Help) => print(&USAGE.trim_end()),
        Ok(Command::Top(options)) => match top::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.exit_code(), &error),
        },
        Ok(Command::TopHelp) => print(&TOP_USAGE.trim_end()),
        Err(error) => fail(error.exit_code(), &error),
    }
}

fn run(config: &Path, verbose: bool, log: LogFormat) -> ExitCode {
    log_to_stderr(verbose, log);
    let reload = Reload::of(config.to_owned());
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(error) => return fail(FAILED_TO_START, &error),
    };
    let passed = match Passed::take() {
        Ok(passed) => passed,
        Err(error) => return fail(FAILED_TO_START, &error),
    };
    if let Err(error) = sys::raise_file_limit() {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
    let signals = match signals::requests() {
        Ok(signals) => signals,
        Err(error) => {
            let error = format!("signal handlers could not be installed: {error}");
            return fail(FAILED_TO_START, &error);
        }
    };
    match Relay::start(config, passed) {
        Ok(relay) => match serve(relay, reload, &signals) {
            Ok(code) => code,
            Err(error) => fail(1, &format!("{error:#}")),
        },
        Err(error) => fail(FAILED_TO_START, &error),
    }
}

/// Runs until a signal says stop, or a thread that should not end did.
fn serve(
    mut relay: Relay,
    mut reload: Reload,
    signals: &Receiver<Request>,
) -> anyhow::Result<ExitCode> {
    tracing::info!("ready");
    service::ready("serving");
    let (ended, mut silent) = (relay.ended(), Vec::new());
    let watchdog = service::watchdog().map_or_else(never, tick);
    let second = tick(Duration::from_secs(1));
    let code = loop {
        select! {
            recv(signals) -> request => match request? {
                Request::Stop(signal) => {
                    tracing::info!(signal, "stopping");
                    break ExitCode::SUCCESS;
                }
                Request::Reload => {
                    tracing::info!(signal = "SIGHUP", "reloading the configuration");
                    service::reloading();
                    reload.ask(&relay);
                    tell_reload(&relay, &reload);
                }
            },
            recv(reload.ready()) -> ready => {
                reload.finish(&mut relay, ready);
                tell_reload(&relay, &reload);
            }
            recv(ended) -> ended => if let Some(ended) = relay.note(ended?) {
                tracing::error!(?ended, "a thread ended before its time: going down");
                break ExitCode::FAILURE;
            },
            recv(watchdog) -> _ => feed(&mut relay, &mut silent),
            recv(second) -> _ => relay.tell(),
        }
    };
    service::stopping(relay.shutdown_timeout());
    let books = relay.stop();
    books.log();
    Ok(if books.close() { code } else { ExitCode::FAILURE })
}

/// Tells the service manager how a reload ended, if it has.
fn tell_reload(relay: &Relay, reload: &Reload) {
    if !reload.is_under_way() {
        let succeeded = relay.registry().reloads.last_succeeded();
        let refused = "serving; the configuration was not reloaded: see the log";
        service::ready(if succeeded { "serving" } else { refused });
    }
}

/// Gives a sign of life, unless a thread does not.
fn feed(relay: &mut Relay, before: &mut Vec<String>) {
    let silent: Vec<_> = relay.silent().into_iter().map(str::to_owned).collect();
    if silent.is_empty() {
        service::alive();
    } else if silent != *before {
        tracing::error!(threads = ?silent, "no sign of life: the watchdog is not fed");
    }
    *before = silent;
}

fn log_to_stderr(verbose: bool, format: LogFormat) {
    let default = if verbose { "debug" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(colours).init(),
        LogFormat::Json => log.json().init(),
    }
}

fn check(config: &Path) -> ExitCode {
    match Config::load(config) {
        Ok(config) => print(&config.summary()),
        Err(error) => fail(FAILED_TO_START, &error),
    }
}

fn print(text: &dyn std::fmt::Display) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    drop(writeln!(std::io::stderr(), "ringrelay: {error}"));
    ExitCode::from(code)
}

//! The `loadgen` command: arguments, dispatch, exit status.

use anyhow::Result;
use clap::Parser;
use loadgen::arguments::{Arguments, Command};
use loadgen::{bench, demo, report, standalone};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether all is well.
fn run(arguments: &Arguments) -> Result<bool> {
    match &arguments.command {
        Command::Send(arguments) => standalone::send(arguments),
        Command::Sink(arguments) => standalone::sink(arguments),
        Command::Bench(arguments) => {
            let measured = bench::run(&arguments.check()?, &mut |_| {})?;
            if arguments.json {
                report::print_json(&measured)?;
            } else {
                report::print(&report::bench(&measured))?;
            }
            Ok(measured.proven)
        }
        Command::Demo(arguments) => demo::run(&arguments.check()?),
    }
}

//! The `loadgen` command: arguments, dispatch, exit status.

use anyhow::Result;
use clap::Parser;
use loadgen::arguments::{Arguments, Command, Task};
use loadgen::bench::{self, Plan};
use loadgen::compare::{self, Match};
use loadgen::report::{self, comparison};
use loadgen::{demo, floor, standalone};
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
        Command::Demo(arguments) => demo::run(&arguments.check()?),
        Command::Bench(arguments) => match arguments.check()? {
            Task::Bench(plan) => measure(&plan, arguments.json),
            Task::VersusFloor(match_) => measure_in_turns(&match_, arguments.json),
        },
        Command::Compare(arguments) => measure_in_turns(&arguments.check()?, arguments.json),
        Command::Floor(arguments) => {
            let forwarded = floor::run(&arguments.plan())?;
            eprintln!("loadgen: {forwarded:?}");
            Ok(forwarded.failed == 0)
        }
    }
}

fn measure(plan: &Plan, json: bool) -> Result<bool> {
    let measured = bench::run(plan, &mut |_| {})?;
    if json {
        report::print_json(&measured)?;
    } else {
        report::print(&report::bench(&measured))?;
    }
    Ok(measured.proven)
}

fn measure_in_turns(match_: &Match, json: bool) -> Result<bool> {
    if !json {
        report::print(&comparison::headings(match_))?;
    }
    let compared = compare::run(match_, &mut |program, turn| {
        if !json {
            // Progress is for the eye: where nobody reads it any more, the result still counts.
            report::print(&comparison::turn(program, turn)).ok();
        }
    })?;
    if json {
        report::print_json(&compared)?;
    } else {
        report::print(&comparison::verdict(&compared))?;
    }
    Ok(compared.proven)
}

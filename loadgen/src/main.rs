//! The `loadgen` command: arguments, dispatch, exit status.

use anyhow::Result;
use clap::Parser;
use loadgen::arguments::{Arguments, Command, CompareArguments, DrainArguments, Task};
use loadgen::bench::{self, Plan};
use loadgen::compare::{self, Comparison, Match};
use loadgen::report::{self, comparison, curves, plot};
use loadgen::{demo, drain, floor, standalone};
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
            Task::VersusFloor(match_) => Ok(measure_in_turns(&match_, arguments.json)?.proven),
        },
        Command::Compare(arguments) => compare_relays(arguments),
        Command::Drain(arguments) => drain(arguments),
        Command::Plot(arguments) => {
            let measured = curves::Measured::read(&arguments.measured)?;
            report::write_file(&arguments.svg, &curves::svg(&measured, arguments.figure))?;
            Ok(true)
        }
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

fn compare_relays(arguments: &CompareArguments) -> Result<bool> {
    let match_ = arguments.check()?;
    let compared = measure_in_turns(&match_, arguments.json_instead())?;
    if let Some(path) = arguments.json_file() {
        report::write_json(path, &compared)?;
    }
    if let Some(path) = &arguments.svg {
        let title = comparison::headings(&match_);
        let title = title.lines().next().unwrap_or_default();
        report::write_file(path, &plot::svg(title, &compared))?;
    }
    Ok(compared.proven)
}

fn drain(arguments: &DrainArguments) -> Result<bool> {
    let drained = drain::run(&arguments.check()?)?;
    if arguments.json {
        report::print_json(&drained)?;
    } else {
        report::print(&report::drained(&drained))?;
    }
    Ok(drained.lines_dropped.is_none_or(|lines| lines == 0))
}

fn measure_in_turns(match_: &Match, json: bool) -> Result<Comparison> {
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
    Ok(compared)
}

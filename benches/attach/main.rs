//! What one attach and one detach cost as whole processes: netcord, the manual steps, the floor.
//!
//! The three take turns in one run, so that a noisy machine is noisy for all of them: trust the
//! ratios more than the milliseconds. Everything happens in a throwaway host ([`throwaway`]), without
//! root, and touches nothing outside.
//!
//! * [`contender`]: the three ways to do the work, and the script of the manual one
//! * [`floor`]: the same work as raw netlink, which nothing can be faster than
//! * [`host`]: fresh namespaces, the bridges and the targets in them
//! * [`measure`]: time of one process, median and spread of many
//! * [`report`]: the table, the aims, `bench/RESULTS.md`
//! * [`run`]: whose turn it is
//! * [`throwaway`]: the way into a host that nothing outside sees
//! * [`verify`]: whether the work was done at all, so that nobody measures a failing program
//!
//! `NETCORD_BENCH_BIN` names another netcord to measure, for example an older one.

#![expect(clippy::disallowed_types, reason = "whole processes are what is measured here")]

mod contender;
mod floor;
mod host;
mod measure;
mod report;
mod run;
#[path = "../support/throwaway.rs"]
mod throwaway;
mod verify;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;

/// Measure attach and detach against the manual steps and against the kernel's floor
#[derive(Parser)]
struct Args {
    /// How often each operation is measured
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,

    /// Write the results to bench/RESULTS.md
    #[arg(long)]
    write: bool,

    /// Leave netcord out: only the manual steps and the floor
    #[arg(long)]
    no_netcord: bool,

    /// The namespaces this run was started from, which it must have left
    #[arg(long, hide = true)]
    outside: Option<throwaway::Namespaces>,

    /// Given by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    // The floor is measured too: it is served before anything else is looked at.
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["floor-attach", bridge, target, address, gateway] => {
            floor::attach(bridge, target, address, gateway)
        }
        ["floor-detach"] => floor::detach(),
        _ => bench(&Args::parse()),
    }
}

fn bench(args: &Args) -> Result<()> {
    let Some(outside) = &args.outside else {
        return throwaway::enter();
    };
    throwaway::refuse_to_stay(outside)?;
    let host = host::Host::set_up()?;
    let results = run::all(&host, usize::from(args.repeats), !args.no_netcord)?;
    io::stdout().write_all(report::text(&results).as_bytes())?;
    if args.write {
        report::write(&results)?;
    }
    Ok(())
}

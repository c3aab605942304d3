//! What an overlay network costs: joining one with thousands of hosts, following the change of one of
//! them, and the throughput between endpoints next to that of the same network made by hand.
//!
//! The hosts are namespaces in a throwaway host ([`throwaway`]); it takes no root.
//! * [`hosts`]: hosts on one wire
//! * [`store`]: a real etcd with the keys of many hosts
//! * [`flat`]: what a host pays in a flat network
//! * [`growth`]: what one more host costs among N
//! * [`throughput`]: TCP between endpoints on two hosts
//! * [`backends`]: the backends next to each other
//! * [`report`], [`chart`], [`results`], [`machine`]: text and picture, and where they go
//!
//! `NETCORD_BENCH_BIN` names another netcord to measure; netcord-agent has to be next to it.

#![expect(clippy::disallowed_types, reason = "whole processes are what is measured here")]

mod backends;
#[path = "../support/chart.rs"]
mod chart;
mod flat;
mod growth;
mod hosts;
#[path = "../support/machine.rs"]
mod machine;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../support/measure.rs"]
mod measure;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/one_packet.rs"]
mod one_packet;
#[path = "../support/process.rs"]
mod process;
mod report;
#[path = "../support/results.rs"]
mod results;
mod store;
mod throughput;
#[path = "../support/throwaway.rs"]
mod throwaway;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;

use report::Results;

/// Measure an overlay network of many hosts
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Parser)]
struct Args {
    /// How often this host joins at each size, and how often each throughput is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..100))]
    repeats: u16,

    /// Few repeats and small sizes, to see that it works
    #[arg(long, conflicts_with_all = ["write", "repeats"])]
    quick: bool,

    /// Only the backends next to each other
    #[arg(long, conflicts_with = "write")]
    backends: bool,

    /// Only a flat network of many endpoints
    #[arg(long, conflicts_with_all = ["write", "backends"])]
    flat: bool,

    /// Write the results to bench/
    #[arg(long)]
    write: bool,

    /// The namespaces this run was started from, which it must have left
    #[arg(long, hide = true)]
    outside: Option<throwaway::Namespaces>,

    /// Given by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// The numbers of other hosts.
const SIZES: [u16; 4] = [2, 100, 1000, 5000];

fn main() -> ExitCode {
    match backends::carry().and_then(|()| bench(&Args::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<()> {
    let Some(outside) = &args.outside else {
        // What is started there ends with it.
        let processes = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        return throwaway::enter(&[&processes[..], throwaway::OWN_USERS].concat());
    };
    throwaway::refuse_to_stay(outside)?;
    hosts::prepare()?;
    let (repeats, sizes) = if args.quick { (1, &SIZES[..2]) } else { (args.repeats, &SIZES[..]) };
    if args.backends {
        let backends = compare(repeats)?;
        io::stdout().write_all(report::backends_text(&backends).as_bytes())?;
        return Ok(());
    }
    if args.flat {
        io::stdout().write_all(flat::text(&flat::measure(repeats)?).as_bytes())?;
        return Ok(());
    }
    let mut points = Vec::new();
    for size in sizes {
        writeln!(io::stderr(), "{size} other hosts ...")?;
        points.push(growth::measure(*size, repeats)?);
    }
    writeln!(io::stderr(), "throughput ...")?;
    let throughputs = throughput::measure(repeats)?;
    let backends = compare(repeats)?;
    let results = Results { repeats, points, throughputs, backends };
    io::stdout().write_all(report::text(&results).as_bytes())?;
    if args.write {
        report::write(&results)?;
    }
    Ok(())
}

fn compare(repeats: u16) -> Result<Vec<backends::Backend>> {
    writeln!(io::stderr(), "backends ...")?;
    backends::measure(repeats)
}

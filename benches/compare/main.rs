//! The benchmark: what netcord costs, and what others take for the same work.
//!
//! All take turns in one run, so that a noisy machine is noisy for all of them: trust the ratios
//! more than the milliseconds. Everything happens in a throwaway host ([`throwaway`]) and touches
//! nothing outside. It takes no root but for docker, which is left out without.
//!
//! * [`contender`]: who takes part, a file each
//! * [`turns`]: one endpoint more
//! * [`growth`]: the N-th endpoint, the N-th published port
//! * [`raw`]: attach as raw netlink, which nothing can be faster than
//! * [`connect`]: TCP connections from outside
//! * [`host`], [`netns`]: a host for each contender, and the way in and out
//! * [`measure`], [`process`]: the time of whole processes
//! * [`verify`]: whether the work was done at all, so that nobody measures a failing program
//! * [`report`], [`chart`], [`results`], [`machine`]: tables, aims, pictures, and where they go
//!
//! `NETCORD_BENCH_BIN` names another netcord to measure, for example an older one.

#![expect(clippy::disallowed_types, reason = "whole processes are what is measured here")]

#[path = "../support/chart.rs"]
mod chart;
mod connect;
mod contender;
mod growth;
mod host;
#[path = "../support/machine.rs"]
mod machine;
#[path = "../support/measure.rs"]
mod measure;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/process.rs"]
mod process;
mod raw;
mod report;
#[path = "../support/results.rs"]
mod results;
#[path = "../support/throwaway.rs"]
mod throwaway;
mod turns;
mod verify;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use contender::{Cni, Contender, Docker, Floor, Netavark, Netcord, NetcordCni, Publisher, Script};
use report::Results;

/// Measure netcord, and others at the same work
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Args {
    /// How often each operation is measured; the growths take a third of it at each size
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..1000))]
    repeats: u16,

    /// Few repeats and small sizes, to see that it works
    #[arg(long, conflicts_with_all = ["write", "repeats"])]
    quick: bool,

    /// Write the results to bench/ and their sum to docs/performance.md
    #[arg(long, conflicts_with = "only")]
    write: bool,

    /// Measure nothing, and draw the curves of bench/RESULTS.md anew
    #[arg(long, conflicts_with_all = ["write", "quick", "only", "repeats"])]
    redraw: bool,

    /// One part of it
    #[arg(long)]
    only: Option<Part>,

    /// The namespaces this run was started from, which it must have left
    #[arg(long, hide = true)]
    outside: Option<throwaway::Namespaces>,

    /// Given by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// One endpoint
    Endpoint,
    /// The N-th endpoint
    Endpoints,
    /// The N-th published port
    Ports,
}

/// A bridge has 1023 ports.
const ENDPOINTS: [u16; 4] = [1, 100, 500, 1000];
const PORTS: [u16; 4] = [1, 100, 1000, 10_000];

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
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Floor::serve(&words).unwrap_or_else(|| bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<()> {
    if args.redraw {
        return report::pictures::write();
    }
    let Some(outside) = &args.outside else {
        // What is started there ends with it.
        let processes = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        let users = if Docker::can_run()? { &[] } else { throwaway::OWN_USERS };
        return throwaway::enter(&[&processes[..], users].concat());
    };
    throwaway::refuse_to_stay(outside)?;
    let results = measure(args)?;
    io::stdout().write_all(report::text(&results).as_bytes())?;
    if args.write {
        report::write(&results)?;
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Results> {
    let repeats = if args.quick { 3 } else { args.repeats };
    let growth_repeats = repeats.div_ceil(3).max(3);
    let sizes = |all: [u16; 4]| if args.quick { all[..2].to_vec() } else { all.to_vec() };
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let mut results = Results {
        repeats: [repeats, growth_repeats],
        turns: None,
        endpoints: None,
        ports: None,
        missing: Vec::new(),
    };
    if wanted(Part::Endpoint) {
        say("one endpoint ...")?;
        results.turns = Some(one_endpoint(repeats)?);
        let why = "flannel's plugin (`flannel`, `bridge`, `host-local`): not measured, as Debian's \
                   containernetworking-plugins has no `flannel` any more.";
        results.missing.push(why.to_owned());
    }
    if wanted(Part::Ports) {
        say("the N-th published port ...")?;
        results.ports = Some(nth_port(&sizes(PORTS), growth_repeats, &mut results.missing)?);
    }
    // Last, as the kernel takes a while to clear thousands of namespaces away.
    if wanted(Part::Endpoints) {
        say("the N-th endpoint ...")?;
        results.endpoints = Some(nth_endpoint(&sizes(ENDPOINTS), growth_repeats)?);
        let why = "the N-th endpoint, docker: not measured, as its endpoints are containers, and a \
                   thousand of those measure other things.";
        results.missing.push(why.to_owned());
        let how = "the N-th endpoint: the others' N-1 before it are made as the floor makes its \
                   own, without IPv6, which favours the others.";
        results.missing.push(how.to_owned());
    }
    Ok(results)
}

fn one_endpoint(repeats: u16) -> Result<turns::Turns> {
    let (netcord, floor, script) = (Netcord::new(None)?, Floor::new()?, Script::new()?);
    let (cni, plain, netavark) = (Cni::new(true)?, Cni::new(false)?, Netavark::new()?);
    let (plugin, replaced) = (NetcordCni::new()?, Netavark::replaced()?);
    let mut contenders: Vec<&dyn Contender> =
        vec![&netcord, &plugin, &replaced, &floor, &script, &cni, &plain, &netavark];
    if !Docker::can_run()? {
        let mut turns = turns::all(&contenders, repeats)?;
        turns.leave_out("docker", "needs root");
        return Ok(turns);
    }
    let docker = Docker::new()?;
    contenders.push(&docker);
    turns::all(&contenders, repeats)
}

fn nth_endpoint(sizes: &[u16], repeats: u16) -> Result<growth::endpoints::Endpoints> {
    let (netcord, floor, script) = (Netcord::new(None)?, Floor::new()?, Script::new()?);
    let (cni, netavark) = (Cni::new(true)?, Netavark::new()?);
    growth::endpoints::measure(&[&netcord, &floor, &script, &cni, &netavark], sizes, repeats)
}

fn nth_port(
    sizes: &[u16],
    repeats: u16,
    missing: &mut Vec<String>,
) -> Result<growth::ports::Ports> {
    let (netcord, cni, script) = (Netcord::new(None)?, Cni::new(true)?, Script::new()?);
    let iptables =
        if Netcord::has_firewalls()? { Some(Netcord::new(Some("iptables"))?) } else { None };
    let mut publishers: Vec<&dyn Publisher> = vec![&netcord, &cni, &script];
    if let Some(iptables) = &iptables {
        publishers.insert(1, iptables);
    }
    missing.push(
        "the N-th published port, netavark and docker: not measured, as neither publishes a port \
         of an endpoint that is attached already."
            .to_owned(),
    );
    growth::ports::measure(&publishers, &Floor::new()?, sizes, repeats)
}

fn say(what: &str) -> Result<()> {
    Ok(writeln!(io::stderr(), "{what}")?)
}

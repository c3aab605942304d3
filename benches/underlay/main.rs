//! What a host loses while `underlay` moves its link into a bridge, and back: probes of a thousand
//! a second to another host and back, of both families, and a TCP connection that is never idle.
//!
//! The host and its router are throwaway namespaces ([`throwaway`]), joined by a veth pair.
//! * [`probe`]: the stream of probes, and its echo
//!
//! `NETCORD_BENCH_BIN` names another netcord to measure.

#![expect(clippy::disallowed_types, reason = "whole processes are what is measured here")]

mod probe;
#[path = "../support/throwaway.rs"]
mod throwaway;

use std::{
    env,
    io::{self, Write},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use probe::{Losses, Probes};

/// Measure what a host loses while its link moves into a bridge
#[derive(Parser)]
struct Args {
    /// How often the link moves there and back, for each value of `rp_filter`
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,

    /// The namespaces this run was started from, which it must have left
    #[arg(long, hide = true)]
    outside: Option<throwaway::Namespaces>,

    /// Given by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is aimed at: so many probes lost of each family at the most, in so many of a hundred moves.
const LOST_MAX: u32 = 2;
const MOVES_WITHIN: usize = 95;

/// Long enough for what is on its way to arrive, and for a neighbour to be asked twice.
const AFTERWARDS: Duration = Duration::from_millis(300);

const SET_UP: &str = "
mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/netns; ip link set lo up
ip netns add router; ip -n router link set lo up
ip link add eth0 type veth peer name wire netns router
ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 nodad dev eth0; ip link set eth0 up
ip -n router addr add 192.0.2.2/24 dev wire; ip -n router addr add 2001:db8::2/64 nodad dev wire
ip -n router addr add 198.51.100.1/32 dev lo; ip -n router addr add 2001:db8:9::1/128 dev lo
ip -n router link set wire up
ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2
until ping -qc1 -W1 198.51.100.1; do :; done; until ping -qc1 -W1 2001:db8:9::1; do :; done";

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
    if env::args().nth(1).as_deref() == Some(probe::ECHO) {
        return probe::echo();
    }
    let args = Args::parse();
    let Some(outside) = &args.outside else { return throwaway::enter(throwaway::OWN_USERS) };
    throwaway::refuse_to_stay(outside)?;
    sh(SET_UP)?;
    let own = env::current_exe()?;
    let mut echo = Command::new("ip")
        .args(["netns", "exec", "router"])
        .arg(own)
        .arg(probe::ECHO)
        .spawn()
        .context("cannot start the echo")?;
    let result = measure(usize::from(args.repeats));
    echo.kill()?;
    echo.wait()?;
    result
}

fn measure(repeats: usize) -> Result<()> {
    let netcord =
        env::var("NETCORD_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_netcord").to_owned());
    for rp_filter in 0..=2 {
        for conf in ["all", "eth0"] {
            sh(&format!("sysctl -qw net.ipv4.conf.{conf}.rp_filter={rp_filter}"))?;
        }
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            there.push(during(&format!("{netcord} -q underlay mydr0 --parent eth0 --takeover"))?);
            back.push(during(&format!("{netcord} -q rm mydr0"))?);
        }
        report(&format!("rp_filter {rp_filter}, underlay"), &there)?;
        report(&format!("rp_filter {rp_filter}, rm"), &back)?;
    }
    Ok(())
}

/// What is lost while a command runs.
fn during(command: &str) -> Result<Losses> {
    let probes = Probes::start()?;
    sh(command)?;
    thread::sleep(AFTERWARDS);
    probes.stop()
}

fn report(what: &str, moves: &[Losses]) -> Result<()> {
    let mut out = io::stdout();
    for (family, lost) in [
        ("IPv4", moves.iter().map(|m| m.ipv4).collect::<Vec<_>>()),
        ("IPv6", moves.iter().map(|m| m.ipv6).collect::<Vec<_>>()),
    ] {
        let within = lost.iter().filter(|lost| **lost <= LOST_MAX).count();
        let reached = within * 100 >= MOVES_WITHIN * moves.len();
        let (most, none) = (lost.iter().max(), lost.iter().filter(|lost| **lost == 0).count());
        writeln!(
            out,
            "{what}: {family}: at most {LOST_MAX} of 1000 probes a second lost in {within} of {} \
             moves, none in {none}, {} at the worst: {}",
            moves.len(),
            most.copied().unwrap_or_default(),
            if reached { "as aimed" } else { "NOT as aimed" }
        )?;
    }
    let alive = moves.iter().filter(|m| m.tcp_alive).count();
    let mut stalls: Vec<_> = moves.iter().map(|m| m.stall).collect();
    stalls.sort_unstable();
    writeln!(
        out,
        "{what}: TCP connections alive: {alive} of {}; longest silence: median {:.1} ms, worst {:.1} ms",
        moves.len(),
        milliseconds(stalls.get(stalls.len() / 2)),
        milliseconds(stalls.last())
    )?;
    Ok(())
}

fn milliseconds(time: Option<&Duration>) -> f64 {
    time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn sh(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-euc", script]).output().context("cannot start sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{script}` failed: {said}");
    Ok(())
}

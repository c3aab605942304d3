//! The verb `trace`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::trace_path::{TraceEnd, TraceTarget},
    ops::{
        Session,
        diagnose::trace::{self, Live},
    },
    output::{COLUMNS, Format, Output},
    picture,
};

/// Trace a packet's path hop by hop, with the rules that match it and where it is dropped
#[derive(clap::Args, Debug)]
#[command(
    after_help = "FROM and TO are targets, `host`, or addresses. If no link of this host has the address FROM, the packet arrives on the link that routes to it. Without a port the packet is an ICMP echo request.\n\nThe path is computed from the kernel's state: route lookups inside the namespaces, neighbour entries and who would answer ARP or NDP, bridge ports and forwarding tables (FDB), nftables rules of all families, and iptables, ebtables and arptables rules if they use the nf_tables backend. It is the path of the first packet of a new flow and of its reply; nothing is sent. Parts that cannot be judged are named: tc filters other than classic BPF, XDP programs, legacy iptables, rules that depend on things unknown before the packet is sent.\n\nWith --live netcord sends a real packet, or waits for one, and shows the kernel's own trace of it (nftrace): `iptables -j TRACE` writes the same to a log, but not for other namespaces. Only this flow is traced. The kernel removes the trace table when netcord ends, even if it is killed.\n\nExit codes: 0 the packet arrives or leaves the machine, and its reply comes back; 1 it does not; 9 it passes something that could not be judged, so the result is unknown.\n\nExamples:\n  netcord trace web db\n  netcord trace web 192.0.2.9:53/udp\n  netcord trace 192.0.2.9 host:8080\n  netcord trace --live web db:5432\n  netcord trace --live --wait 192.0.2.9 host:8080"
)]
pub(crate) struct Args {
    /// The sender
    #[arg(value_name = "FROM", add = ArgValueCompleter::new(complete::targets))]
    from: TraceEnd,
    /// The destination
    #[arg(value_name = "TO[:PORT[/PROTO]]", add = ArgValueCompleter::new(complete::targets))]
    to: TraceTarget,
    /// Send a real packet from FROM and trace it
    #[arg(long)]
    live: bool,
    /// Wait for a matching packet instead of sending one
    #[arg(long, requires = "live")]
    wait: bool,
    /// How long to wait for the packet or its reply [default: 3, or 60 with --wait]
    #[arg(long, value_name = "SECONDS", requires = "live", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<u8> {
        let Self { from, to, live, wait, timeout } = self;
        let live = live.then_some(Live { wait, timeout });
        let traced = trace::trace(session, &trace::Trace { from, to, live }).await?;
        let code = traced.way.verdict.outcome.exit_code();
        let columns = output.columns().unwrap_or(COLUMNS);
        match output.format {
            _ if output.quiet => {}
            Format::Json | Format::Jsonl | Format::Template(_) => output.result(traced, &[])?,
            _ => output.styled(&picture::trace_path::draw(&traced.way, columns))?,
        }
        Ok(code)
    }
}

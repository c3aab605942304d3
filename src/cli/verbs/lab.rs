//! The verb `lab`: its flags, its help, and what it prints.

use std::ffi::OsString;

use anyhow::Result;

use super::CommandLine;
use crate::{
    cli::Global,
    model::{LinkName, NetnsName, Target},
    ops::{
        Options, Session, Silent,
        attach::{self, Attach},
        driver::bridge::{self, Bridge},
        none::{self, Namespace},
    },
    output::Output,
    process::throwaway,
};

/// Open a throwaway host: a shell or a command where every verb works without root
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The lab has new user, mount, PID and network namespaces and a private /run. All of it is gone at exit. The shell has its own home directory, so it neither reads nor writes files in yours, and its prompt shows the host.\n\nWith --hosts, the network `wire` (10.0.0.0/24) connects the lab, which has 10.0.0.1, with host1, host2 and so on, which have the next addresses. Each host has its own links, addresses, routes, firewall and netcord networks; all share the names in /run/netns.\n\nExamples:\n  netcord lab\n  netcord lab --hosts 3\n  netcord container host2 -- bash\n  netcord lab -- sh examples/01-null-mode.sh"
)]
pub(crate) struct Args {
    /// Add this many hosts, host1 and so on, on one network
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(in crate::cli) hosts: Option<u8>,
    /// Become the first process (internal)
    #[arg(long, hide = true)]
    pub(in crate::cli) first_process: bool,
    /// A command
    #[command(flatten)]
    pub(in crate::cli) command: CommandLine,
}

/// The name of the bridge between the hosts of a lab.
const WIRE: &str = "wire";
const WIRE_SUBNET: &str = "10.0.0.0/24";

/// Starts a lab, by running this program again.
pub(crate) fn start(args: &Args, global: &Global) -> Result<u8> {
    let mut arguments: Vec<OsString> = ["lab", "--first-process"].map(Into::into).into();
    if global.quiet {
        arguments.push("--quiet".into());
    }
    if let Some(hosts) = args.hosts {
        arguments.extend(["--hosts".into(), hosts.to_string().into()]);
    }
    arguments.push("--".into());
    arguments.extend(args.command.command.iter().cloned());
    throwaway::start(&arguments)
}

/// Acts as the first process of a lab.
pub(crate) async fn first_process(args: &Args, output: &Output) -> Result<u8> {
    throwaway::become_first_process().await?;
    if let Some(hosts) = args.hosts {
        let _doing = output.doing(format!("making {hosts} hosts and their wire").into(), None);
        wire(hosts).await?;
    }
    let _theirs = output.hand_over();
    throwaway::first_process(&args.command.command)
}

/// Makes hosts, and the bridge between them.
async fn wire(hosts: u8) -> Result<()> {
    let mut session = Session::open(Options::default(), &Silent)?;
    let wire: LinkName = WIRE.parse()?;
    let subnet = vec![WIRE_SUBNET.parse().map_err(anyhow::Error::msg)?];
    bridge::bridge(&mut session, &Bridge { subnet, ..Bridge::new(wire.clone()) }).await?;
    let mut targets = Vec::new();
    for n in 1..=hosts {
        let name: NetnsName = format!("host{n}").parse()?;
        targets.push(Target::Netns(name.clone()));
        let namespace = Namespace { name, of: None, command: Vec::new() };
        none::none(&mut session, &namespace).await?;
    }
    attach::attach(&mut session, &Attach::new(wire.into(), targets)).await.map(drop)
}

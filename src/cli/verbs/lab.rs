//! The verb `lab`: its flags, its help, and what it prints.

use std::ffi::OsString;

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use super::CommandLine;
use crate::{
    cli::{Global, complete},
    model::{
        LinkName, NetnsName, Target,
        lesson::{LESSONS, Lesson},
    },
    ops::{
        Options, Session, Silent,
        attach::{self, Attach},
        diagnose::lesson::{self, Checked},
        driver::bridge::{self, Bridge},
        none::{self, Namespace},
    },
    output::{Format, Output},
    picture::{Ink, Line},
    process::throwaway,
};

/// Open a throwaway host: a shell or a command where every verb works without root
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The lab has new user, mount, PID and network namespaces and a private /run. All of it is gone at exit. The shell has its own home directory, so it neither reads nor writes files in yours, and its prompt shows the host.\n\nWith --check, no lab is opened: the present host is compared with what a lesson builds, whether it was made with netcord or by hand. What is missing is listed with commands that make it; exit code 1 if anything is. Without a lesson, those that can be checked are listed.\n\nWith --hosts, the network `wire` (10.0.0.0/24) connects the lab, which has 10.0.0.1, with host1, host2 and so on, which have the next addresses. Each host has its own links, addresses, routes, firewall and netcord networks; all share the names in /run/netns.\n\nExamples:\n  netcord lab\n  netcord lab --hosts 3\n  netcord container host2 -- bash\n  netcord lab -- sh examples/null-mode.sh\n  netcord lab --check bridge-and-nat"
)]
pub(crate) struct Args {
    /// Add this many hosts, host1 and so on, on one network
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(in crate::cli) hosts: Option<u8>,
    /// Compare this host with what a lesson builds, by its number or name [default: list them]
    #[arg(
        long,
        value_name = "LESSON",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["hosts", "command"],
        add = ArgValueCompleter::new(complete::lessons)
    )]
    pub(in crate::cli) check: Option<String>,
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

impl Args {
    /// Checks a lesson, or lists those that can be checked.
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<u8> {
        let lesson = self.check.unwrap_or_default();
        if lesson.is_empty() {
            let line = |l: &Lesson| format!("{:2}  {:22}  {}", l.number, l.name, l.builds);
            let names: Vec<_> = LESSONS.iter().map(|lesson| lesson.name).collect();
            output.result(names, &LESSONS.iter().map(line).collect::<Vec<_>>())?;
            return Ok(0);
        }
        let checked = lesson::check(session, &lesson).await?;
        let code = u8::from(!checked.complete);
        match output.format {
            Format::Table => output.styled(&text(&checked))?,
            _ => output.result(checked, &[])?,
        }
        Ok(code)
    }
}

/// Each part, and the commands for those that are missing.
fn text(checked: &Checked) -> Vec<Line> {
    let mut lines = Vec::new();
    for part in &checked.parts {
        let (ink, word) = if part.there { (Ink::Open, "yes") } else { (Ink::Bad, "no ") };
        lines.push(Line(vec![(ink, word.to_owned()), (Ink::Plain, format!("  {}", part.part))]));
        if !part.there {
            let command = |c: &String| Line(vec![(Ink::Name, format!("       $ {c}"))]);
            lines.extend(part.commands.iter().map(command));
        }
    }
    lines
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

//! The verbs: a file each, with its flags (their comments are its help) and what it prints.

pub(super) mod agent;
pub(super) mod attach;
pub(super) mod bridge;
pub(super) mod completions;
pub(super) mod confirm;
pub(super) mod container;
pub(super) mod create;
mod create_options;
pub(super) mod detach;
mod docker;
mod docker_keys;
pub(super) mod docker_plugin;
pub(super) mod doctor;
pub(super) mod exec;
pub(super) mod export;
pub(super) mod graph;
pub(super) mod help;
pub(super) mod host;
pub(super) mod inspect;
pub(super) mod lab;
pub(super) mod ls;
pub(super) mod macvlan;
pub(super) mod man;
pub(super) mod network;
pub(super) mod none;
pub(super) mod overlay;
pub(super) mod peers;
pub(super) mod port;
pub(super) mod prune;
pub(super) mod ps;
pub(super) mod publish;
pub(super) mod repair;
pub(super) mod reset;
pub(super) mod rm;
pub(super) mod run;
pub(super) mod trace;
pub(super) mod underlay;
pub(super) mod unpublish;
pub(super) mod version;
pub(super) mod wait;
pub(super) mod watch;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Subcommand, ValueHint};
use serde::Serialize;

use crate::{
    ops::{Changed, Session, WithFailure},
    output::Output,
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    None(none::Args),
    Host(host::Args),
    Container(container::Args),
    Run(run::Args),
    Bridge(bridge::Args),
    Underlay(underlay::Args),
    Confirm(confirm::Args),
    Macvlan(macvlan::Args),
    Overlay(overlay::Args),
    Create(create::Args),
    #[command(visible_alias = "connect")]
    Attach(attach::Args),
    #[command(visible_alias = "disconnect")]
    Detach(detach::Args),
    Wait(wait::Args),
    Publish(publish::Args),
    Unpublish(unpublish::Args),
    Port(port::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Ps(ps::Args),
    Peers(peers::Args),
    Inspect(inspect::Args),
    Graph(graph::Args),
    Doctor(doctor::Args),
    Repair(repair::Args),
    Watch(watch::Args),
    Export(export::Args),
    Trace(trace::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Prune(prune::Args),
    Reset(reset::Args),
    DockerPlugin(docker_plugin::Args),
    Network(network::Args),
    Exec(exec::Args),
    Lab(lab::Args),
    Help(help::Args),
    Version(version::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(flatten)]
    Agent(agent::Args),
}

/// A command after `--`.
#[derive(clap::Args, Debug)]
pub(super) struct CommandLine {
    /// A command to run, and its arguments
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// Prints the outcome of a changing verb, and returns the failure of the rest.
fn print_with_failure<T: Serialize>(
    output: &Output,
    (done, failure): WithFailure<Option<Changed<T>>>,
    lines: impl Fn(&T) -> Vec<String>,
) -> Result<()> {
    if let Some(done) = done {
        let lines = lines(&done.now);
        output.result(done, &lines)?;
    }
    failure.map_or(Ok(()), Err)
}

impl Verb {
    /// Describes what the verb does, for a user who waits for it.
    pub(super) fn doing(&self) -> &'static str {
        match self {
            Self::None(_) | Self::Host(_) | Self::Container(_) | Self::Exec(_) => {
                "finding the namespace"
            }
            Self::Run(_) => "preparing the command's namespace",
            Self::Bridge(_) | Self::Macvlan(_) | Self::Overlay(_) | Self::Create(_) => {
                "making the network"
            }
            Self::Underlay(_) | Self::Confirm(_) => "moving what is the parent's",
            Self::Attach(_) => "attaching",
            Self::Detach(_) => "detaching",
            Self::Publish(_) => "publishing",
            Self::Unpublish(_) => "taking published ports away",
            Self::Wait(_) => "waiting",
            Self::Port(_)
            | Self::Ls(_)
            | Self::Ps(_)
            | Self::Peers(_)
            | Self::Inspect(_)
            | Self::Export(_) => "reading records and kernel",
            Self::Graph(_) | Self::Doctor(_) | Self::Lab(_) => "looking at the host",
            Self::Trace(_) => "working out the way",
            Self::Rm(_) => "removing networks",
            Self::Prune(_) => "removing what is dead",
            Self::Reset(_) => "removing all that is ours",
            Self::Repair(_) => "looking for what is not as it was asked for",
            Self::Watch(_) => "following the engines",
            Self::DockerPlugin(_)
            | Self::Network(_)
            | Self::Help(_)
            | Self::Version(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Agent(_) => "working",
        }
    }

    /// Returns whether it runs in the background.
    pub(super) fn is_background(&self) -> bool {
        matches!(self, Self::Agent(_))
    }

    /// Carries out the verb, and prints its outcome. Returns the exit code.
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<u8> {
        let done = match self {
            // These may answer "no" without a failure.
            Self::Doctor(args) => return args.run(session, output).await,
            Self::Trace(args) => return args.run(session, output).await,
            Self::Repair(args) => return args.run(session, output).await,
            Self::Peers(args) => return args.run(session, output).await,
            Self::Run(args) => return args.run(session).await,
            Self::Lab(args) => return args.run(session, output).await,
            Self::None(args) => args.run(session, output).await,
            Self::Host(args) => args.run(session, output),
            Self::Container(args) => args.run(session, output).await,
            Self::Bridge(args) => args.run(session, output).await,
            Self::Macvlan(args) => args.run(session, output).await,
            Self::Overlay(args) => args.run(session, output).await,
            Self::Underlay(args) => args.run(session, output).await,
            Self::Confirm(args) => args.run(session, output).await,
            Self::Create(args) => args.run(session, output).await,
            Self::Attach(args) => args.run(session, output).await,
            Self::Detach(args) => args.run(session, output).await,
            Self::Wait(args) => args.run(session, output).await,
            Self::Publish(args) => args.run(session, output).await,
            Self::Unpublish(args) => args.run(session, output).await,
            Self::Port(args) => args.run(session, output).await,
            Self::Ls(args) => args.run(session, output).await,
            Self::Ps(args) => args.run(session, output).await,
            Self::Inspect(args) => args.run(session, output).await,
            Self::Graph(args) => args.run(session, output).await,
            Self::Rm(args) => args.run(session, output).await,
            Self::Prune(args) => args.run(session, output).await,
            Self::Export(args) => args.run(session, output).await,
            Self::Watch(args) => args.run(session, output).await,
            Self::Reset(args) => args.run(session, output).await,
            Self::Agent(args) => args.run(session, output).await,
            Self::DockerPlugin(args) => args.run(session, output).await,
            Self::Network(args) => args.run(session, output).await,
            Self::Exec(args) => args.run(session, output).await,
            Self::Help(_) | Self::Version(_) | Self::Completions(_) | Self::Man(_) => Ok(()),
        };
        done.map(|()| 0)
    }
}

//! The verb `none`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use super::CommandLine;
use crate::{
    cli::{complete, values::new_netns},
    model::{NetnsName, Target},
    ops::{Session, none},
    output::Output,
};

/// Ensure a namespace that has only lo, and print its path
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  netcord none web\n  netcord none web -- httpd -f\n  netcord none web --of 1310"
)]
pub(crate) struct Args {
    /// The namespace's name in /run/netns
    #[arg(value_name = "NAME", value_parser = new_netns)]
    name: NetnsName,
    /// Name a running target's namespace, and configure nothing else
    #[arg(long, value_name = "TARGET", conflicts_with = "command", add = ArgValueCompleter::new(complete::targets))]
    of: Option<Target>,
    /// A command
    #[command(flatten)]
    command: CommandLine,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { name, of, command: CommandLine { command } } = self;
        let request = none::Namespace { name, of, command };
        let Some(done) = none::none(session, &request).await? else { return Ok(()) };
        let lines = [done.now.path.clone()];
        output.result(done, &lines)
    }
}

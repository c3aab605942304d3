//! The verb `container`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use super::CommandLine;
use crate::{
    cli::complete,
    model::Target,
    ops::{Session, container},
    output::Output,
};

/// Print the path of a target's namespace, or run a command in it
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  netcord container web\n  netcord container 1310 -- ip addr")]
pub(crate) struct Args {
    /// The target that has the namespace
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    pub(super) target: Target,
    /// A command
    #[command(flatten)]
    pub(super) command: CommandLine,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { target, command: CommandLine { command } } = self;
        if target == Target::Host {
            return output.line(&container::host(session, &command)?);
        }
        let request = container::Container { target, command };
        let Some(done) = container::container(session, &request).await? else { return Ok(()) };
        let lines = [done.now.path.clone()];
        output.result(done, &lines)
    }
}

//! The verb `host`: its flags, its help, and what it prints.

use anyhow::Result;

use super::CommandLine;
use crate::{
    ops::{Session, container},
    output::Output,
};

/// Print the path of the host's namespace, or run a command in it
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A command
    #[command(flatten)]
    command: CommandLine,
}

impl Args {
    pub(super) fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        output.line(&container::host(session, &self.command.command)?)
    }
}

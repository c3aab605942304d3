//! The verb `inspect`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    ops::{Session, inspect},
    output::Output,
};

/// Show networks and targets as JSON
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Networks and targets [default: everything on this host]
    #[arg(value_name = "NETWORK|TARGET", add = ArgValueCompleter::new(complete::networks_and_targets))]
    names: Vec<String>,
    /// Print the commands that would make it manually
    #[arg(long)]
    commands: bool,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let request = inspect::Inspect { names: self.names };
        let failure = if self.commands {
            let (plan, failure) = inspect::inspect_plan(session, &request).await?;
            output.script(&plan, |_| false)?;
            failure
        } else {
            let (objects, failure) = inspect::inspect(session, &request).await?;
            output.objects(&objects)?;
            failure
        };
        failure.map_or(Ok(()), Err)
    }
}

//! The verb `confirm`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::LinkName,
    ops::{Session, confirm},
    output::Output,
};

/// Confirm an underlay network, so that it is not undone
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The network [default: all that wait for confirmation]
    #[arg(value_name = "NETWORK", add = ArgValueCompleter::new(complete::networks))]
    name: Option<LinkName>,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let request = confirm::Confirm { name: self.name };
        let Some(done) = confirm::confirm(session, &request).await? else { return Ok(()) };
        let lines: Vec<_> = done.now.confirmed.iter().map(ToString::to_string).collect();
        output.result(done, &lines)
    }
}

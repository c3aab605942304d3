//! The verb `unpublish`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::{PortSpec, Target},
    ops::{Session, unpublish},
    output::Output,
};

/// Unpublish ports of a target
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The target that has the ports
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    target: Target,
    /// The ports, written as they were published
    #[arg(value_name = "PORT", required_unless_present = "all", add = ArgValueCompleter::new(complete::published))]
    ports: Vec<PortSpec>,
    /// All ports of the target
    #[arg(long, conflicts_with = "ports")]
    all: bool,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { target, ports, all } = self;
        let request = unpublish::Unpublish { target, ports, all };
        let Some(done) = unpublish::unpublish(session, &request).await? else { return Ok(()) };
        output.result(done, &[])
    }
}

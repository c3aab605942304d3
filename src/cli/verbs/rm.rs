//! The verb `rm`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use super::{docker, print_with_failure};
use crate::{
    cli::complete,
    model::Removable,
    ops::{Session, rm},
    output::Output,
};

/// Remove networks without endpoints
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Networks, or namespaces made by `none`; network:NAME or netns:NAME if both have the name
    #[arg(value_name = "NETWORK", required = true, add = ArgValueCompleter::new(complete::networks))]
    names: Vec<Removable>,
    /// As docker's
    #[command(flatten)]
    _force: docker::Force,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        print_with_failure(output, rm::rm(session, &rm::Rm { names: self.names }).await?, |now| {
            now.removed.clone()
        })
    }
}

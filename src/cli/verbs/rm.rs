//! `rm`

use anyhow::Result;
use clap_complete::ArgValueCompleter;

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
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let (done, failure) = rm::rm(session, &rm::Rm { names: self.names }).await?;
        if let Some(done) = done {
            let lines = done.now.removed.clone();
            output.result(done, &lines)?;
        }
        failure.map_or(Ok(()), Err)
    }
}

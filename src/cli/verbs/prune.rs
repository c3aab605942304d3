//! `prune`

use anyhow::Result;

use crate::{
    ops::{Session, prune},
    output::Output,
};
/// Remove leftovers: stale names, leases, rules, half-made links
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let (done, failure) = prune::prune(session).await?;
        if let Some(done) = done {
            let lines = done.now.pruned.clone();
            output.result(done, &lines)?;
        }
        failure.map_or(Ok(()), Err)
    }
}

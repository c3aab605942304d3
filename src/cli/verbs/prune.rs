//! The verb `prune`: its flags, its help, and what it prints.

use anyhow::Result;

use super::{docker::Force, print_with_failure};
use crate::{
    docker,
    ops::{Session, prune},
    output::Output,
};

/// Remove leftovers: stale names, leases, rules, half-made links
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As docker's
    #[command(flatten)]
    _force: Force,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let (mut done, failure) = prune::prune(session).await?;
        let networks = docker::prune(session).await?;
        if let Some(done) = &mut done {
            done.changed |= !networks.is_empty();
            done.now.pruned.extend(networks);
        }
        print_with_failure(output, (done, failure), |now| now.pruned.clone())
    }
}

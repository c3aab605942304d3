//! The verb `prune`: its flags, its help, and what it prints.

use anyhow::Result;

use super::{docker, print_with_failure};
use crate::{
    ops::{Session, prune},
    output::Output,
};

/// Remove leftovers: stale names, leases, rules, half-made links
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As docker's
    #[command(flatten)]
    _force: docker::Force,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        print_with_failure(output, prune::prune(session).await?, |now| now.pruned.clone())
    }
}

//! The verb `detach`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use super::docker;
use crate::{
    cli::complete,
    model::{LinkName, NetworkRef, Target},
    ops::{Session, detach},
    output::Output,
};

/// Detach targets from a network
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The network, also by docker's or podman's name for it
    #[arg(add = ArgValueCompleter::new(complete::attachable_networks))]
    network: NetworkRef,
    /// The targets to detach
    #[arg(value_name = "TARGET", required = true, add = ArgValueCompleter::new(complete::targets))]
    targets: Vec<Target>,
    /// Only the endpoint with this inner link
    #[arg(long, value_name = "NAME")]
    ifname: Option<LinkName>,
    /// As docker's
    #[command(flatten)]
    _force: docker::Force,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { network, targets, ifname, .. } = self;
        let request = detach::Detach { network, targets, ifname };
        let Some(done) = detach::detach(session, &request).await? else { return Ok(()) };
        output.result(done, &[])
    }
}

//! The verb `detach`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

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
    /// Also detach what an engine attached through its plugin interface; the engine is not notified
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { network, targets, ifname, force } = self;
        let request = detach::Detach { network, targets, ifname, force };
        let Some(done) = detach::detach(session, &request).await? else { return Ok(()) };
        output.result(done, &[])
    }
}

//! The verb `keep-lease`: its flags, its help, and what it prints.

use anyhow::Result;

use crate::{
    model::{EndpointId, LinkName},
    ops::{Session, lease_renewer},
};

/// Renew an endpoint's DHCP lease (internal)
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The network
    network: LinkName,
    /// What identifies the endpoint
    endpoint: EndpointId,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<()> {
        let Self { network, endpoint } = self;
        lease_renewer::keep(session, lease_renewer::LeaseOf { network, endpoint }).await
    }
}

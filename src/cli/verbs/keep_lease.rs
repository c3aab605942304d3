//! `keep-lease`

use anyhow::Result;

use crate::{
    model::LinkName,
    ops::{Session, keep_lease},
};
/// Renew an endpoint's DHCP lease (internal)
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The network
    network: LinkName,
    /// The endpoint's outer link
    host_ifname: LinkName,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<()> {
        let Self { network, host_ifname } = self;
        keep_lease::keep(session, keep_lease::LeaseOf { network, host_ifname }).await
    }
}

//! Checks that everything that moved has arrived on the bridge.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;

use super::network::driver_of;
use crate::{
    error::{Error, Kind},
    kernel::Link,
    model::{Network, Underlay},
    ops::Session,
};

/// The conditions after the move.
pub(super) struct Check<'a> {
    pub(super) network: &'a Network,
    /// Gateways that answered before the move.
    pub(super) answering: BTreeSet<IpAddr>,
}

impl Check<'_> {
    /// Checks that the whole configuration has arrived.
    pub(super) async fn all_arrived(&self, host: &Session<'_>) -> Result<()> {
        let network = self.network;
        let Underlay { parent, moving: Some(moving), .. } = driver_of(network)? else {
            return Ok(());
        };
        let found = host.kernel.link_config(&bridge(host, network).await?).await?;
        match moving.link_config.moved(&parent.link, &network.name).lacking_in(&found) {
            None => Ok(()),
            Some(lacking) => {
                let message = format!(
                    "{lacking} did not arrive on `{}`: everything is as it was before",
                    network.name
                );
                Err(Error::new(Kind::Failed, message)
                    .hint(format!("does something else manage `{}`?", parent.link))
                    .into())
            }
        }
    }

    /// Checks that gateways that answered before answer the bridge, too. A switch in between may
    /// block its frames.
    pub(super) async fn gateways_answer(&self, host: &Session<'_>) -> Result<()> {
        let bridge = bridge(host, self.network).await?;
        let _doing = host.events.doing("asking the wire whether the gateways still answer");
        let heard = host.kernel.who_has(&bridge, &self.answering)?;
        match self.answering.iter().find(|gateway| !heard.contains_key(gateway)) {
            None => Ok(()),
            Some(silent) => {
                let message = format!(
                    "gateway {silent} does not answer `{}`: everything is as it was before",
                    bridge.name
                );
                Err(Error::new(Kind::Failed, message)
                    .hint("what filters bridged frames: `nft list tables bridge`, the switch?")
                    .into())
            }
        }
    }
}

async fn bridge(host: &Session<'_>, network: &Network) -> Result<Link> {
    let name = &network.name;
    let link = host.kernel.link(name.as_str()).await?;
    link.ok_or_else(|| Error::conflict(format!("bridge `{name}` is gone")).into())
}

//! Finds the bridge or the parent that a network's endpoints need.

use anyhow::Result;

use crate::{
    error::Error,
    kernel::{Kernel, Link, LinkKind},
    model::{LinkName, LowerLink, Network, Parent},
};

/// Returns the bridge or the parent, which must exist.
pub(in crate::ops) async fn required(kernel: &Kernel, network: &Network) -> Result<Link> {
    match network.lower_link() {
        LowerLink::Bridge(bridge) => self::bridge(kernel, network, bridge).await,
        LowerLink::Parent(parent) => self::parent(kernel, network, parent).await,
    }
}

/// Returns the bridge, which must exist.
async fn bridge(kernel: &Kernel, network: &Network, name: &LinkName) -> Result<Link> {
    match kernel.link(name.as_str()).await? {
        Some(link) if link.kind == LinkKind::Bridge => Ok(link),
        there => {
            let why = if there.is_some() { "is another link now" } else { "is gone" };
            let hint = if network.driver.is_foreign() {
                "who made the bridge makes it again, and `netcord repair` plugs in what was \
                 attached; until then it can only be detached"
                    .to_owned()
            } else {
                "make it again with `netcord repair`".to_owned()
            };
            let message = format!("network `{name}` is on record, and its bridge {why}");
            Err(Error::conflict(message).hint(hint).into())
        }
    }
}

/// Returns the parent, which must exist.
async fn parent(kernel: &Kernel, network: &Network, parent: &Parent) -> Result<Link> {
    let (name, link) = (&network.name, &parent.link);
    kernel.link(link.as_str()).await?.ok_or_else(|| {
        let again = format!("make it again with `netcord macvlan {name} --parent {link}`");
        let hint = if parent.vlan.is_some() { again } else { "it comes back with its link".into() };
        Error::conflict(format!("network `{name}` is on record, and its parent `{link}` is gone"))
            .hint(hint)
            .into()
    })
}

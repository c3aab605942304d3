//! Whether an endpoint lives that has no host end to tell: a macvlan, which is inside only.

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link, Netns},
    model::{Endpoint, LinkName, Network},
};

/// The link of a macvlan endpoint, in its namespace; `None` if either is gone: the namespace can no
/// longer be entered by its name, or the name has come to mean another.
pub(super) async fn inner(
    kernel: &Kernel,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Option<Link>> {
    let Some((parent, _)) = network.macvlan() else { return Ok(None) };
    let Some(parent) = kernel.link(LinkName::as_str(&parent.link)).await? else { return Ok(None) };
    let Some(netns) = Netns::of_name(&endpoint.netns)? else { return Ok(None) };
    if netns.cookie() != endpoint.cookie {
        return Ok(None);
    }
    let links = netns.links().await?.into_values();
    Ok(links.into_iter().find(|l| l.is_macvlan_on(&parent) && is_it(l, endpoint)))
}

/// Its name may be another by now, its MAC too; not both, or nothing tells it any more.
fn is_it(link: &Link, endpoint: &Endpoint) -> bool {
    link.name == endpoint.ifname.as_str() || link.mac == Some(endpoint.mac)
}

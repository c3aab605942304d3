//! Finds out whether endpoints live: a macvlan has its only link inside its target.

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link, Netns},
    model::{Endpoint, Network},
    plan,
};

/// Returns the link of a macvlan endpoint in its namespace, or on the host where it waits to be moved;
/// `None` if either is gone: the name leads to no namespace, or to another one.
pub(in crate::ops) async fn inner(
    kernel: &Kernel,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Option<Link>> {
    let Some(made) = plan::macvlan_of(network, endpoint) else { return Ok(None) };
    let Some(parent) = kernel.link(made.parent.as_str()).await? else { return Ok(None) };
    if endpoint.is_unmoved() {
        let waiting = kernel.link(made.name.as_str()).await?;
        if let Some(link) = waiting.filter(|link| link.is_macvlan_on(&parent)) {
            return Ok(Some(link));
        }
        // Its engine may have moved it just now.
        return Ok(moved(network, endpoint, &parent).await?.map(|(_, link)| link));
    }
    let Some(netns) = Netns::of_name(&endpoint.netns)? else { return Ok(None) };
    if netns.cookie() != endpoint.cookie {
        return Ok(None);
    }
    netns.macvlan(&parent, &made.id()).await
}

/// Returns the macvlan of an endpoint that was handed over, if it is behind the endpoint's name by now.
pub(in crate::ops) async fn moved(
    network: &Network,
    endpoint: &Endpoint,
    parent: &Link,
) -> Result<Option<(Netns, Link)>> {
    let Ok(Some(netns)) = Netns::of_name(&endpoint.netns) else { return Ok(None) };
    let inside = Endpoint { cookie: netns.cookie(), ..endpoint.clone() };
    let Some(made) = plan::macvlan_of(network, &inside) else { return Ok(None) };
    let link = netns.macvlan(parent, &made.id()).await?;
    Ok(link.map(|link| (netns, link)))
}

/// Returns whether an endpoint's name leads to its namespace.
pub(in crate::ops) fn lives(endpoint: &Endpoint) -> bool {
    let there = Netns::of_name(&endpoint.netns);
    there.is_ok_and(|there| there.is_some_and(|netns| netns.cookie() == endpoint.cookie))
}

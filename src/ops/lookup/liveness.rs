//! Finds out whether endpoints live: a macvlan has its only link inside its target.

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link, Netns},
    model::{Endpoint, Network},
    plan,
};

/// Returns the link of a macvlan endpoint in its namespace; `None` if either is gone: the name
/// leads to no namespace, or to another one.
pub(in crate::ops) async fn inner(
    kernel: &Kernel,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Option<Link>> {
    let Some(made) = plan::macvlan_of(network, endpoint) else { return Ok(None) };
    let Some(parent) = kernel.link(made.parent.as_str()).await? else { return Ok(None) };
    let Some(netns) = Netns::of_name(&endpoint.netns)? else { return Ok(None) };
    if netns.cookie() != endpoint.cookie {
        return Ok(None);
    }
    netns.macvlan(&parent, &made.id()).await
}

/// Returns whether an endpoint's name leads to its namespace.
pub(in crate::ops) fn lives(endpoint: &Endpoint) -> bool {
    let there = Netns::of_name(&endpoint.netns);
    there.is_ok_and(|there| there.is_some_and(|netns| netns.cookie() == endpoint.cookie))
}

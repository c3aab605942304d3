//! What firewalls of others drop of a network's traffic: where it is let by, and what is said where
//! it cannot be.

use anyhow::Result;

use crate::{
    kernel::{ForwardBlockers, Kernel},
    model::{AcceptPoint, Family, ForwardAccept, Network},
    ops::Session,
    plan::{Plan, Record, Resource, Step, remove_accepts},
};

/// The network with the accept rules that it needs now; reports drops that no accept rule can prevent.
pub(in crate::ops) fn of_now(host: &Session<'_>, network: &Network) -> Result<Network> {
    let ForwardBlockers { forward_accepts, others } = obstacles(&host.kernel, network)?;
    for chain in &others {
        host.events.warn(&format!(
            "nftables' chain `{chain}` drops what it does not accept, also of `{name}`: \
             let it accept `iifname {name}`, and `oifname {name}` with \
             `ct state established,related` or `ct status dnat`",
            name = network.name
        ));
    }
    Ok(network.with_forward_accepts(forward_accepts))
}

/// The network with the accept rules that it has most likely, if its record is lost.
pub(in crate::ops) fn rebuilt(kernel: &Kernel, network: &Network) -> Network {
    let found = obstacles(kernel, network).unwrap_or_default();
    network.with_forward_accepts(found.forward_accepts)
}

fn obstacles(kernel: &Kernel, network: &Network) -> Result<ForwardBlockers> {
    let families: Vec<_> = network.subnets.iter().map(|s| Family::of(s.cidr.network())).collect();
    let mut found = kernel.obstacles(network.firewall, &families)?;
    // Who made a foreign bridge tells firewalld of it.
    found.forward_accepts.retain(|accept| {
        !network.driver.is_foreign() || accept.place != AcceptPoint::FirewalldZone
    });
    Ok(found)
}

/// The same, with the plan that closes those that it had and needs no more.
pub(in crate::ops) fn renewed(host: &Session<'_>, had: &Network) -> Result<(Network, Plan)> {
    let now = of_now(host, had)?;
    let is_former = |accept: &&ForwardAccept| !now.forward_accepts.contains(accept);
    let former: Vec<_> = had.forward_accepts.iter().filter(is_former).copied().collect();
    let closing = remove_accepts(had, &former);
    Ok((now, closing))
}

/// Writes down a network with its accept rules.
pub(in crate::ops) fn remember(network: &Network) -> Step {
    Step::create(
        "record in which other firewalls this network is accepted",
        Resource::Record(Record::Network(network.clone())),
    )
}

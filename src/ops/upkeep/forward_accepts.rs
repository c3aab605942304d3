//! Accept rules for a network in other firewalls that drop its packets, and warnings where none is
//! possible.

use anyhow::Result;

use crate::{
    kernel::{ForwardBlockers, Kernel},
    model::{AcceptPoint, Family, ForwardAccept, Network},
    ops::Session,
    plan::{Plan, Record, Resource, Step, remove_accepts},
};

/// Returns a network with the accept rules that it needs now; warns of drops that no accept rule
/// can prevent.
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

/// Returns a network without a record with the accept rules that it most likely has.
pub(in crate::ops) fn rebuilt(kernel: &Kernel, network: &Network) -> Network {
    let found = obstacles(kernel, network).unwrap_or_default();
    network.with_forward_accepts(found.forward_accepts)
}

fn obstacles(kernel: &Kernel, network: &Network) -> Result<ForwardBlockers> {
    let families: Vec<_> = if network.is_without_subnet() {
        Family::BOTH.into()
    } else {
        network.subnets.iter().map(|s| Family::of(s.cidr.network())).collect()
    };
    let mut found = kernel.obstacles(network.firewall, &families)?;
    // The program that made a foreign bridge configures firewalld for it.
    found.forward_accepts.retain(|accept| {
        !network.driver.is_foreign() || accept.place != AcceptPoint::FirewalldZone
    });
    Ok(found)
}

/// Returns a network with the accept rules that it needs now, and the plan that removes the others.
pub(in crate::ops) fn renewed(host: &Session<'_>, had: &Network) -> Result<(Network, Plan)> {
    let now = of_now(host, had)?;
    let is_former = |accept: &&ForwardAccept| !now.forward_accepts.contains(accept);
    let former: Vec<_> = had.forward_accepts.iter().filter(is_former).copied().collect();
    let closing = remove_accepts(had, &former);
    Ok((now, closing))
}

/// The step that writes a network with its accept rules to the record.
pub(in crate::ops) fn remember(network: &Network) -> Step {
    Step::create(
        "record in which other firewalls this network is accepted",
        Resource::Record(Record::Network(network.clone())),
    )
}

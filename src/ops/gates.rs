//! What firewalls of others drop of a network's traffic: where it is let by, and what is said where
//! it cannot be.

use anyhow::Result;

use super::Session;
use crate::{
    kernel::{Kernel, Obstacles},
    model::{Gate, GatePlace, Network},
    plan::{Family, Plan, Record, Resource, Step, close},
};

/// The network with the gates that it needs now; says what no gate helps against.
pub(super) fn of_now(host: &Session<'_>, network: &Network) -> Result<Network> {
    let Obstacles { gates, others } = obstacles(&host.kernel, network)?;
    for chain in &others {
        host.events.warn(&format!(
            "nftables' chain `{chain}` drops what it does not accept, also of `{name}`: \
             let it accept `iifname {name}`, and `oifname {name}` with \
             `ct state established,related` or `ct status dnat`",
            name = network.name
        ));
    }
    Ok(network.with_gates(gates))
}

/// The network with the gates that it has most likely, if its record is lost.
pub(super) fn rebuilt(kernel: &Kernel, network: &Network) -> Network {
    let found = obstacles(kernel, network).unwrap_or_default();
    network.with_gates(found.gates)
}

fn obstacles(kernel: &Kernel, network: &Network) -> Result<Obstacles> {
    let families: Vec<_> = network.subnets.iter().map(|s| Family::of(s.cidr.network())).collect();
    let mut found = kernel.obstacles(network.firewall, &families)?;
    // Who made a foreign bridge tells firewalld of it.
    found.gates.retain(|gate| network.is_private() || gate.place != GatePlace::FirewalldZone);
    Ok(found)
}

/// The same, with the plan that closes those that it had and needs no more.
pub(super) fn renewed(host: &Session<'_>, had: &Network) -> Result<(Network, Plan)> {
    let now = of_now(host, had)?;
    let is_former = |gate: &&Gate| !now.gates.contains(gate);
    let former: Vec<_> = had.gates.iter().filter(is_former).copied().collect();
    let closing = close(had, &former);
    Ok((now, closing))
}

/// Writes down a network with its gates.
pub(super) fn remember(network: &Network) -> Step {
    Step::create(
        "record in which other firewalls this network is accepted",
        Resource::Record(Record::Network(network.clone())),
    )
}

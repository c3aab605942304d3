//! Finds an endpoint that another program made, such as docker for a container of its own. netcord
//! publishes ports of it, and changes nothing else.

use std::collections::HashMap;

use anyhow::Result;

use crate::{
    error::{Error, Kind},
    kernel::{Kernel, Link, Netns, TableRoute},
    model::{Attachment, Endpoint, Family, Flag, NetnsName, Network, natural_order},
    ops::lookup::find,
    state::State,
};

/// Returns the endpoint, with its network; `None` if no link of the namespace leads to a bridge that
/// can publish.
///
/// # Errors
/// If its answers could not leave.
pub(in crate::ops) async fn endpoint(
    kernel: &Kernel,
    state: &State,
    name: &NetnsName,
    netns: &Netns,
) -> Result<Option<(Network, Endpoint)>> {
    let mut wires = wires(kernel, netns).await?;
    wires.sort_by(|a, b| natural_order(&a.inner.name, &b.inner.name));
    let (routes, mut stuck) = (netns.routes().await?, None);
    for Wire { host, bridge, inner } in wires {
        let Ok(bridge) = bridge.parse() else { continue };
        let network = match find::network(kernel, state, &bridge).await {
            // The port of something else, such as a bond.
            Err(error) if Kind::of(&error) == Kind::NotFound => continue,
            found => found?.network.clone(),
        };
        if !network.driver.forwards() || network.has(Flag::Internal) {
            continue;
        }
        let mut addresses = netns.addresses(&inner).await?;
        addresses.retain(|a| network.subnet_of(a.ip()).is_some());
        addresses.sort();
        addresses.dedup_by_key(|a| a.is_ipv4());
        addresses.retain(|a| has_way_out(&routes, &inner, Family::of(a.ip())));
        if addresses.is_empty() {
            stuck = Some(inner.name);
            continue;
        }
        let endpoint = Endpoint {
            target: name.to_string(),
            netns: name.clone(),
            cookie: netns.cookie(),
            ifname: inner.name.parse()?,
            attachment: Attachment::Veth { host_ifname: host.name.parse()? },
            mac: inner.mac.unwrap_or(network.mac),
            mtu: inner.mtu,
            addresses,
            gateways: Vec::new(),
            metric: 0,
            routes: Vec::new(),
            replaced: Vec::new(),
            raises_lo: false,
            lease: None,
            hairpin: false,
            container: None,
            owner: None,
            handed_over: None,
            foreign: true,
            ports: Vec::new(),
        };
        return Ok(Some((network, endpoint)));
    }
    match stuck {
        None => Ok(None),
        Some(ifname) => Err(Error::conflict(format!(
            "no default route of `{name}` leads through `{ifname}`, so answers could not leave by it"
        ))
        .hint(format!("attach it to a network of its own: `netcord attach NETWORK {name}`"))
        .into()),
    }
}

/// A veth pair between a bridge and a namespace.
struct Wire {
    host: Link,
    bridge: String,
    inner: Link,
}

/// Returns the veth pairs of others between the host's bridges and a namespace.
async fn wires(kernel: &Kernel, netns: &Netns) -> Result<Vec<Wire>> {
    let host: HashMap<u32, Link> = kernel.links().await?;
    let inside = netns.links().await?;
    let between = kernel.between(netns).await?;
    let ports = host.values().filter(|link| !link.is_ours());
    let wire = |port: &Link| {
        let bridge = host.get(&port.master?)?;
        let inner = inside.values().find(|inner| inner.up && between.is_pair(port, inner))?;
        let (inner, bridge) = (inner.clone(), bridge.name.clone());
        Some(Wire { host: port.clone(), bridge, inner })
    };
    Ok(ports.filter_map(wire).collect())
}

fn has_way_out(routes: &[TableRoute], inner: &Link, family: Family) -> bool {
    routes.iter().any(|route| {
        route.destination.prefix() == 0
            && Family::of(route.destination.ip()) == family
            && inner.carries(route)
    })
}

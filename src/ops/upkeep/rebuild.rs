//! Rebuilds records from the kernel's marks: aliases name the owner of a link, comments the
//! published ports. The valid parts of a damaged record add the rest, where they agree with the
//! marks.

use std::{collections::BTreeSet, mem::discriminant, net::Ipv4Addr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    agents::Agent,
    kernel::{Kernel, Link, Netns, Published, TableRoute},
    model::{
        Attachment, Endpoint, Filter, Firewall, Interface, Lease, LinkName, Mac, NetnsName,
        Network, Owner, waiting_name,
    },
    ops::{
        driver,
        lookup::{
            inside::Inside,
            namespaces::{self, Handle},
        },
        upkeep::forward_accepts,
    },
    plan::{self, Mark},
    process::clock,
    state::{Spare, State},
};

/// Rebuilds a network from its bridge.
pub(in crate::ops) async fn network(
    kernel: &Kernel,
    state: &State,
    name: &LinkName,
    bridge: &Link,
) -> Result<Network> {
    let network = known(state.spare(), driver::of_bridge(kernel, name, bridge).await?);
    let is_filtered = network.driver.filter() == Filter::Traffic;
    Ok(if is_filtered { forward_accepts::rebuilt(kernel, &network) } else { network })
}

/// Rebuilds a network whose links are inside its targets only, from its endpoints; returns `None`
/// if they do not reveal its parent.
pub(in crate::ops) async fn network_inside(
    kernel: &Kernel,
    state: &State,
    name: &LinkName,
    endpoints: &[Inside],
) -> Result<Option<Network>> {
    let rebuilt = driver::of_inside(kernel, name, endpoints).await?;
    Ok(rebuilt.map(|rebuilt| known(state.spare(), rebuilt)))
}

/// Returns the valid part of a network's record, if it agrees with the marks.
fn known(spare: &Spare, rebuilt: Network) -> Network {
    let Some(left) = spare.network(&rebuilt.name) else { return rebuilt };
    let cidrs = |network: &Network| network.subnets.iter().map(|s| s.cidr).collect::<Vec<_>>();
    let link = |network: &Network| network.driver.parent().map(|parent| parent.link.clone());
    let says = |n: &Network| (discriminant(&n.driver), n.flags, cidrs(n), link(n));
    let is_settled = left.driver.moving().is_none();
    if is_settled && says(left) == says(&rebuilt) { left.clone() } else { rebuilt }
}

/// Rebuilds the endpoint of a host end with our mark; returns `None` if it leads nowhere and its
/// alias is gone. If its namespace may not be entered, the address is derived from the host end's
/// MAC: enough to keep the address reserved, and to detach the endpoint.
pub(in crate::ops) async fn endpoint(
    kernel: &Kernel,
    spare: &Spare,
    network: &Network,
    port: &Link,
) -> Result<Option<Endpoint>> {
    let Ok(host_ifname) = port.name.parse() else { return Ok(None) };
    let mark = port.alias.as_deref().and_then(Mark::read);
    let marked = mark.and_then(|mark| mark.target?.parse::<NetnsName>().ok());
    let inside = behind(kernel, marked.as_ref(), port).await;
    let Some(netns) = marked.or_else(|| inside.as_ref().map(|(name, ..)| name.clone())) else {
        return Ok(None);
    };
    let derived = port.mac.and_then(Mac::derived_from);
    let lease = derived.and_then(|ip| {
        let subnet = network.subnet_of(ip)?;
        IpNetwork::new(ip, subnet.cidr.prefix()).ok()
    });
    let mac = derived.map(Mac::of).or(port.mac).unwrap_or(network.mac);
    let attachment = Attachment::Veth { host_ifname };
    let mut endpoint = bare(&netns, "eth0".parse()?, attachment, mac, port.mtu);
    endpoint.addresses.extend(lease);
    endpoint.owner = mark.and_then(owner);
    if endpoint.owner.as_ref().is_some_and(|owner| owner.interface == Interface::Docker) {
        endpoint.handed_over = endpoint.host_ifname().map(waiting_name);
    }
    if let Some((_, open, inner)) = inside {
        look_inside(&mut endpoint, &open, &inner).await?;
        if port.mac != Some(endpoint.host_mac()) {
            add_lease(&mut endpoint, network, port);
        }
    }
    let left = spare.endpoint(&endpoint.id());
    let says_so = |left: &&Endpoint| {
        left.netns == endpoint.netns
            && port.mac == Some(left.host_mac())
            && (endpoint.cookie == 0 || is_same(left, &endpoint))
    };
    Ok(Some(left.filter(says_so).cloned().unwrap_or(endpoint)))
}

/// The engine that asked for an endpoint: all but its name for the container.
fn owner(mark: Mark<'_>) -> Option<Box<Owner>> {
    mark.values("owner").next()?.parse().ok().map(Box::new)
}

fn is_same(left: &Endpoint, rebuilt: &Endpoint) -> bool {
    // The kernel may list addresses in another order.
    let addresses =
        |endpoint: &Endpoint| endpoint.addresses.iter().copied().collect::<BTreeSet<_>>();
    left.cookie == rebuilt.cookie
        && left.ifname == rebuilt.ifname
        && addresses(left) == addresses(rebuilt)
}

/// Returns the name of a host end's namespace, and its peer there. If the alias does not lead to
/// it, all namespaces are searched.
async fn behind(
    kernel: &Kernel,
    marked: Option<&NetnsName>,
    port: &Link,
) -> Option<(NetnsName, Netns, Link)> {
    if let Some(name) = marked
        && let Ok(Some(open)) = Netns::of_name(name)
        && let Some(inner) = other_end(kernel, &open, port).await
    {
        return Some((name.clone(), open, inner));
    }
    for (handle, open) in namespaces::all(kernel).flatten() {
        if let Some(inner) = other_end(kernel, &open, port).await {
            let name = match handle {
                Handle::Name(name) => name,
                Handle::Process(pid) => pid.to_string().parse().ok()?,
            };
            return Some((name, open, inner));
        }
    }
    None
}

/// Returns the peer of a host end, if it is in this namespace.
pub(in crate::ops) async fn other_end(kernel: &Kernel, open: &Netns, port: &Link) -> Option<Link> {
    let links = open.links().await.ok()?;
    let between = kernel.between(open).await.ok()?;
    links.into_values().find(|inner| between.is_pair(port, inner))
}

/// A host end whose MAC is not derived from the address has a leased address: its lease renewer, if
/// it still runs, knows the rest, and records it at the next renewal.
fn add_lease(endpoint: &mut Endpoint, network: &Network, port: &Link) {
    let now = clock::since_boot().as_secs();
    let id = endpoint.id();
    let renewer = Agent::LeaseRenewer { network: &network.name, endpoint: &id };
    let router = endpoint.gateways.iter().find_map(|gateway| match gateway {
        std::net::IpAddr::V4(gateway) => Some(*gateway),
        std::net::IpAddr::V6(_) => None,
    });
    endpoint.lease = Some(Box::new(Lease {
        server: Ipv4Addr::UNSPECIFIED,
        router,
        routed: router.is_some(),
        acquired: now,
        renews: now,
        expires: now,
        renewer: renewer.running(),
    }));
    if port.mac != Some(endpoint.host_mac()) {
        endpoint.lease = None;
    }
}

/// Rebuilds the endpoint of a macvlan inside a target.
pub(in crate::ops) async fn endpoint_inside(
    found: &Inside,
    spare: &Spare,
    network: &Network,
) -> Result<Endpoint> {
    let (open, inner) = (&found.netns, &found.link);
    let ifname = found.ifname.clone().map_or_else(|| inner.name.parse(), Ok)?;
    let mac = inner.mac.unwrap_or(network.mac);
    let mut endpoint = bare(&found.name, ifname.clone(), Attachment::Macvlan, mac, inner.mtu);
    look_inside(&mut endpoint, open, inner).await?;
    endpoint.ifname = ifname;
    endpoint.owner = inner.alias.as_deref().and_then(Mark::read).and_then(owner);
    let left = spare.endpoint(&endpoint.id()).filter(|left| is_same(left, &endpoint));
    Ok(left.cloned().unwrap_or(endpoint))
}

/// Published ports in the firewalls, read when they are first needed.
#[derive(Default)]
pub(in crate::ops) struct Ports(Option<Vec<Published>>);

impl Ports {
    /// Adds to an endpoint its published ports.
    pub(in crate::ops) fn give(
        &mut self,
        kernel: &Kernel,
        network: &Network,
        endpoint: &mut Endpoint,
    ) {
        let all = self.0.get_or_insert_with(|| {
            Firewall::ALL
                .into_iter()
                .flat_map(|firewall| kernel.published(firewall).to_vec())
                .collect()
        });
        let owner = plan::owner(&network.name, &endpoint.netns);
        for Published { port, .. } in all.iter().filter(|p| p.owner == owner) {
            if endpoint.ports.iter().all(|known| !known.is_as(port)) {
                endpoint.ports.push(port.clone());
            }
        }
    }
}

/// Returns an endpoint of which only the link is known.
fn bare(
    netns: &NetnsName,
    ifname: LinkName,
    attachment: Attachment,
    mac: Mac,
    mtu: u32,
) -> Endpoint {
    Endpoint {
        target: netns.to_string(),
        netns: netns.clone(),
        cookie: 0,
        ifname,
        attachment,
        mac,
        mtu,
        addresses: Vec::new(),
        gateways: Vec::new(),
        metric: 0,
        routes: Vec::new(),
        replaced: Vec::new(),
        raises_lo: false,
        lease: None,
        hairpin: false,
        foreign: false,
        container: None,
        owner: None,
        handed_over: None,
        ports: Vec::new(),
    }
}

/// Adds what the inner link of an endpoint shows.
async fn look_inside(endpoint: &mut Endpoint, open: &Netns, inner: &Link) -> Result<()> {
    endpoint.cookie = open.cookie();
    endpoint.addresses = open.addresses(inner).await?;
    endpoint.mac = inner.mac.unwrap_or(endpoint.mac);
    if let Ok(name) = inner.name.parse() {
        endpoint.ifname = name;
    }
    // A route that leads nowhere is of no link: it is an endpoint's if no other one has it on record.
    let is_its = |r: &TableRoute| r.is_ours() && (inner.carries(r) || r.kind.refuses());
    let ours = open.all_routes().await?.into_iter().filter(is_its);
    let (defaults, others): (Vec<_>, Vec<_>) = ours
        .map(|route| route.by(&endpoint.ifname))
        .partition(|route| route.destination.prefix() == 0 && route.gateway.is_some());
    // Further ones were given with --route.
    endpoint.metric = defaults.iter().map(|route| route.metric).min().unwrap_or_default();
    for route in defaults {
        match route.gateway.filter(|_| route.metric == endpoint.metric) {
            Some(gateway) => endpoint.gateways.push(gateway),
            None => endpoint.routes.push(route),
        }
    }
    endpoint.routes.extend(others);
    Ok(())
}

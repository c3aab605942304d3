//! Parts of records made anew from the kernel's marks: aliases say whose a link is, comments which
//! ports are published. What is left of a damaged record says the rest, where it says the same.

use std::{collections::BTreeMap, mem::discriminant, net::Ipv4Addr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    agents::Agent,
    kernel::{Kernel, Link, LinkKind, Netns, Published},
    model::{
        Attachment, Endpoint, EndpointId, Filter, Firewall, Lease, LinkName, Mac, NetnsName,
        Network,
    },
    ops::{
        driver, lease_renewer,
        lookup::namespaces::{self, Handle},
        upkeep::forward_accepts,
    },
    plan::{self, Mark},
    state::{Spare, State},
};

/// A network, as far as its bridge tells.
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

/// A network that lives inside its targets only, as far as its endpoints tell; `None` if they do not
/// tell its parent.
pub(in crate::ops) async fn network_inside(
    kernel: &Kernel,
    state: &State,
    name: &LinkName,
    endpoints: &[Inside],
) -> Result<Option<Network>> {
    let rebuilt = driver::of_inside(kernel, name, endpoints).await?;
    Ok(rebuilt.map(|rebuilt| known(state.spare(), rebuilt)))
}

/// What is left of a network's record, if that says what the marks do.
fn known(spare: &Spare, rebuilt: Network) -> Network {
    let Some(left) = spare.network(&rebuilt.name) else { return rebuilt };
    let cidrs = |network: &Network| network.subnets.iter().map(|s| s.cidr).collect::<Vec<_>>();
    let link = |network: &Network| network.driver.parent().map(|parent| parent.link.clone());
    let says = |n: &Network| (discriminant(&n.driver), n.flags, cidrs(n), link(n));
    let is_settled = left.driver.moving().is_none();
    if is_settled && says(left) == says(&rebuilt) { left.clone() } else { rebuilt }
}

/// Which addresses are netcord's to give, as an alias says.
pub(in crate::ops) fn add_ranges(network: &mut Network, mark: Mark<'_>) {
    for range in mark.values("range").filter_map(|range| range.parse::<IpNetwork>().ok()) {
        let subnet = network.subnets.iter_mut().find(|s| s.contains(range.ip()));
        if let Some(subnet) = subnet {
            subnet.ip_range = Some(range);
        }
    }
}

/// The endpoint of a host end that carries our mark; `None` if it leads nowhere and does not say
/// whose it is. Where its namespace cannot be entered, its address is what the host end's MAC was
/// made of: enough to keep the lease, and to detach it.
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

fn is_same(left: &Endpoint, rebuilt: &Endpoint) -> bool {
    left.cookie == rebuilt.cookie
        && (&left.ifname, &left.addresses) == (&rebuilt.ifname, &rebuilt.addresses)
}

/// What is behind a host end: the name of its namespace, and its other end in there. It is looked
/// for everywhere where its alias does not lead there.
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

async fn other_end(kernel: &Kernel, open: &Netns, port: &Link) -> Option<Link> {
    let links = open.links().await.ok()?;
    let between = kernel.between(open).await.ok()?;
    links.into_values().find(|inner| between.is_pair(port, inner))
}

/// A host end whose MAC is not made of the address is that of an address which is leased: its
/// lease renewer, if it still runs, knows the rest, and writes it down as it renews the lease.
fn add_lease(endpoint: &mut Endpoint, network: &Network, port: &Link) {
    let now = lease_renewer::now();
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

/// A macvlan of ours inside a target, which has no mark on the host.
pub(in crate::ops) struct Inside {
    /// Of which network its alias says that it is.
    pub(in crate::ops) network: LinkName,
    /// The name by which it was found.
    name: NetnsName,
    /// The name by which it was attached.
    target: NetnsName,
    /// What it was called as it was made, if the alias says that.
    ifname: Option<LinkName>,
    pub(in crate::ops) netns: Netns,
    pub(in crate::ops) link: Link,
}

/// The macvlans of ours inside the namespaces of these names. What cannot be entered cannot have
/// been made by us either, or is about to be gone.
pub(in crate::ops) async fn inside(
    kernel: &Kernel,
    names: impl Iterator<Item = NetnsName>,
) -> Vec<Inside> {
    let mut all: BTreeMap<(u64, u32), Inside> = BTreeMap::new();
    for name in names {
        let Ok(Some(open)) = Netns::of_name(&name) else { continue };
        if open.cookie() == kernel.cookie() {
            continue;
        }
        let Ok(links) = open.links().await else { continue };
        let ours = links
            .into_values()
            .filter(|l| l.kind == LinkKind::Macvlan && l.is_ours() && l.leads_into().is_some());
        for link in ours {
            let Ok(Some(netns)) = Netns::of_name(&name) else { continue };
            let Some(found) = Inside::new(&name, netns, link) else { continue };
            let key = (found.netns.cookie(), found.link.index());
            // Of several names of a namespace the one that it was attached by.
            let is_better = found.name == found.target;
            if is_better || !all.contains_key(&key) {
                all.insert(key, found);
            }
        }
    }
    all.into_values().collect()
}

impl Inside {
    fn new(name: &NetnsName, netns: Netns, link: Link) -> Option<Self> {
        let mark = Mark::read(link.alias.as_deref()?)?;
        let (network, target) = (mark.network.parse().ok()?, mark.target?.parse().ok()?);
        let ifname = mark.values("link").next().and_then(|name| name.parse().ok());
        Some(Self { network, name: name.clone(), target, ifname, netns, link })
    }

    /// Whether it is the same as one that was found before.
    pub(in crate::ops) fn is(&self, other: &Self) -> bool {
        (self.netns.cookie(), self.link.index()) == (other.netns.cookie(), other.link.index())
    }

    pub(in crate::ops) fn is_on_record(&self, state: &State) -> bool {
        let cookie = self.netns.cookie();
        let mut own = state
            .summaries()
            .filter(|(network, o)| network.name == self.network && o.cookie == cookie);
        match &self.ifname {
            Some(ifname) => {
                let id = EndpointId::Inside { cookie, ifname: ifname.clone() };
                own.any(|(_, summary)| summary.is(&id))
            }
            // It may have been given another name since.
            None => own.next().is_some(),
        }
    }

    /// The endpoint that it is.
    pub(in crate::ops) async fn endpoint(
        &self,
        spare: &Spare,
        network: &Network,
    ) -> Result<Endpoint> {
        let (open, inner) = (&self.netns, &self.link);
        let ifname = self.ifname.clone().map_or_else(|| inner.name.parse(), Ok)?;
        let mac = inner.mac.unwrap_or(network.mac);
        let mut endpoint = bare(&self.name, ifname.clone(), Attachment::Macvlan, mac, inner.mtu);
        look_inside(&mut endpoint, open, inner).await?;
        endpoint.ifname = ifname;
        let left = spare.endpoint(&endpoint.id()).filter(|left| is_same(left, &endpoint));
        Ok(left.cloned().unwrap_or(endpoint))
    }
}

/// Published ports that are in the firewalls, read once they are asked for.
#[derive(Default)]
pub(in crate::ops) struct Ports(Option<Vec<Published>>);

impl Ports {
    /// Gives an endpoint those that are its own.
    pub(in crate::ops) fn give(
        &mut self,
        kernel: &Kernel,
        network: &Network,
        endpoint: &mut Endpoint,
    ) {
        let all = self.0.get_or_insert_with(|| {
            Firewall::ALL.into_iter().flat_map(|firewall| kernel.published(firewall)).collect()
        });
        let owner = plan::owner(&network.name, &endpoint.netns);
        for Published { port, .. } in all.iter().filter(|p| p.owner == owner) {
            if endpoint.ports.iter().all(|known| !known.is_as(port)) {
                endpoint.ports.push(port.clone());
            }
        }
    }
}

/// An endpoint of which no more is known than its link.
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
        routes: Vec::new(),
        replaced: Vec::new(),
        raises_lo: false,
        lease: None,
        ports: Vec::new(),
    }
}

/// What the inner link of an endpoint tells of it.
async fn look_inside(endpoint: &mut Endpoint, open: &Netns, inner: &Link) -> Result<()> {
    endpoint.cookie = open.cookie();
    endpoint.addresses = open.addresses(inner).await?;
    endpoint.mac = inner.mac.unwrap_or(endpoint.mac);
    if let Ok(name) = inner.name.parse() {
        endpoint.ifname = name;
    }
    let ours = open.routes().await?.into_iter().filter(|r| inner.carries(r) && r.is_ours());
    for route in ours {
        if route.destination.prefix() == 0 {
            endpoint.gateways.extend(route.gateway);
        } else {
            endpoint.routes.push(route.by(&endpoint.ifname));
        }
    }
    Ok(())
}

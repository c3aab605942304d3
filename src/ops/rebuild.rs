//! Parts of records made anew from the kernel's marks: aliases say whose a link is, comments which
//! ports are published. What is left of a damaged record says the rest, where it says the same.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{
    find, firewall, gates, keeper,
    namespaces::{self, Handle},
    parent, underlay,
};
use crate::{
    agents::Agent,
    kernel::{Kernel, Link, LinkKind, Netns, Published},
    model::{
        Endpoint, Firewall, Lease, LinkName, Mac, Macvlan, Mode, NetnsName, Network, Parent,
        Subnet, Vlan, host_name, network_of,
    },
    plan::{self, Mark},
    state::{Spare, State},
};

/// A network, as far as its bridge tells.
pub(super) async fn network(
    kernel: &Kernel,
    state: &State,
    name: &LinkName,
    bridge: &Link,
) -> Result<Network> {
    let firewall = firewall::of_marks(kernel);
    let rebuilt = if bridge.is_ours() {
        own(kernel, name, bridge, firewall).await?
    } else {
        find::foreign(kernel, name, bridge, firewall).await?
    };
    let network = known(state.spare(), rebuilt);
    Ok(if network.is_private() { gates::rebuilt(kernel, &network) } else { network })
}

/// What is left of a network's record, if that says what the marks do.
fn known(spare: &Spare, rebuilt: Network) -> Network {
    let Some(left) = spare.network(&rebuilt.name) else { return rebuilt };
    let cidrs = |network: &Network| network.subnets.iter().map(|s| s.cidr).collect::<Vec<_>>();
    let link = |network: &Network| network.parent.as_ref().map(|parent| parent.link.clone());
    let says = |n: &Network| {
        (n.mode, n.foreign, n.internal, n.isolate, n.masquerade, n.no_spoof, cidrs(n), link(n))
    };
    let is_settled = left.moving().is_none();
    if is_settled && says(left) == says(&rebuilt) { left.clone() } else { rebuilt }
}

async fn own(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    firewall: Firewall,
) -> Result<Network> {
    let mark = bridge.alias.as_deref().and_then(Mark::read);
    let is_set = |word: &str| mark.is_some_and(|mark| mark.says(word));
    let parent = mark.and_then(|mark| mark.values("parent").next());
    let mut network = if let Some(link) = parent.and_then(|name| name.parse().ok()) {
        let set = (is_set("isolate"), is_set("no-spoof"));
        underlay::rebuilt(kernel, name, bridge, link, set).await?
    } else {
        let looks = find::foreign(kernel, name, bridge, firewall).await?;
        Network {
            foreign: false,
            internal: is_set("internal"),
            isolate: is_set("isolate"),
            masquerade: !is_set("no-masquerade"),
            no_spoof: is_set("no-spoof"),
            ..looks
        }
    };
    add_subnets(&mut network, mark);
    add_ranges(&mut network, mark);
    Ok(network)
}

/// Subnets of which the bridge has lost its address.
fn add_subnets(network: &mut Network, mark: Option<Mark<'_>>) {
    let Some(mark) = mark else { return };
    for gateway in mark.values("subnet").filter_map(|gateway| gateway.parse().ok()) {
        let subnet = Subnet::of_bridge_address(gateway);
        if network.subnets.iter().all(|s| s.cidr.is_ipv4() != subnet.cidr.is_ipv4()) {
            network.subnets.push(subnet);
        }
    }
    network.subnets.sort_by_key(|s| s.cidr.is_ipv6());
}

/// Which addresses are netcord's to give, as an alias says.
fn add_ranges(network: &mut Network, mark: Option<Mark<'_>>) {
    let Some(mark) = mark else { return };
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
pub(super) async fn endpoint(
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
    let mut endpoint = bare(&netns, "eth0".parse()?, host_ifname, mac, port.mtu);
    endpoint.addresses.extend(lease);
    if let Some((_, open, inner)) = inside {
        look_inside(&mut endpoint, &open, &inner).await?;
        if port.mac != Some(endpoint.host_mac()) {
            add_lease(&mut endpoint, network, port);
        }
    }
    let left = spare.endpoint(&endpoint.host_ifname);
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
/// keeper, if it still runs, knows the rest, and writes it down as it renews the lease.
fn add_lease(endpoint: &mut Endpoint, network: &Network, port: &Link) {
    let now = keeper::now();
    let renewer =
        Agent::LeaseRenewer { network: &network.name, host_ifname: &endpoint.host_ifname };
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
        keeper: renewer.running(),
    }));
    if port.mac != Some(endpoint.host_mac()) {
        endpoint.lease = None;
    }
}

/// A macvlan of ours inside a target, which has no mark on the host.
pub(super) struct Inside {
    /// Of which network its alias says that it is.
    pub(super) network: LinkName,
    /// The name by which it was found.
    name: NetnsName,
    /// The name by which it was attached.
    target: NetnsName,
    /// What it was called as it was made, if the alias says that.
    ifname: Option<LinkName>,
    netns: Netns,
    link: Link,
}

/// The macvlans of ours inside the namespaces of these names. What cannot be entered cannot have
/// been made by us either, or is about to be gone.
pub(super) async fn inside(kernel: &Kernel, names: impl Iterator<Item = NetnsName>) -> Vec<Inside> {
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
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.netns.cookie(), self.link.index()) == (other.netns.cookie(), other.link.index())
    }

    pub(super) fn is_on_record(&self, state: &State) -> bool {
        let cookie = self.netns.cookie();
        let mut own = state
            .outlines()
            .filter(|(network, o)| network.name == self.network && o.cookie == cookie);
        match &self.ifname {
            Some(ifname) => {
                let derived = host_name(&self.network, cookie, ifname, 0);
                own.any(|(_, outline)| outline.host_ifname == derived.as_str())
            }
            // It may have been given another name since.
            None => own.next().is_some(),
        }
    }

    /// The endpoint that it is.
    pub(super) async fn endpoint(&self, spare: &Spare, network: &Network) -> Result<Endpoint> {
        let (open, inner) = (&self.netns, &self.link);
        let ifname = self.ifname.clone().map_or_else(|| inner.name.parse(), Ok)?;
        let host_ifname = host_name(&self.network, open.cookie(), &ifname, 0);
        let mac = inner.mac.unwrap_or(network.mac);
        let mut endpoint = bare(&self.name, ifname.clone(), host_ifname, mac, inner.mtu);
        look_inside(&mut endpoint, open, inner).await?;
        endpoint.ifname = ifname;
        let left = spare.endpoint(&endpoint.host_ifname).filter(|left| is_same(left, &endpoint));
        Ok(left.cloned().unwrap_or(endpoint))
    }
}

/// A macvlan network, as far as its endpoints tell; `None` if its parent cannot be told.
pub(super) async fn macvlan(
    kernel: &Kernel,
    state: &State,
    name: &LinkName,
    endpoints: &[Inside],
) -> Result<Option<Network>> {
    let Some(first) = endpoints.first() else { return Ok(None) };
    let between = kernel.between(&first.netns).await?;
    let links = kernel.links().await?;
    let lower = links.values().find(|lower| between.is_on(&first.link, lower));
    let (Some(lower), Some(mode)) = (lower, first.link.macvlan_mode()) else { return Ok(None) };
    let looks = find::foreign(kernel, name, lower, Firewall::default()).await?;
    let subnets = subnets(kernel, lower, endpoints).await?;
    let is_own = |l: &&Link| l.kind == LinkKind::Macvlan && l.is_ours() && l.name == name.as_str();
    let host_access = match links.values().find(is_own) {
        Some(_) => parent::own_addresses(kernel, lower, &subnets).await?,
        None => Vec::new(),
    };
    let wiring = Parent {
        link: lower.name.parse()?,
        vlan: own_vlan(lower, &links.values().collect::<Vec<_>>()),
        macvlan: Some(Macvlan { mode, host_access }),
        filtered: false,
        moving: None,
    };
    let mut network = Network {
        mode: Mode::Macvlan,
        foreign: false,
        mac: Mac::of_own_link(looks.mac, name.as_str()),
        subnets,
        parent: Some(wiring),
        ..looks
    };
    add_ranges(&mut network, first.link.alias.as_deref().and_then(Mark::read));
    Ok(Some(known(state.spare(), network)))
}

/// The VLAN that a parent of ours is.
fn own_vlan(lower: &Link, links: &[&Link]) -> Option<Vlan> {
    let trunk = links.iter().find(|trunk| lower.is_upper_of(trunk))?;
    let is_ours = lower.kind == LinkKind::Vlan && lower.is_ours();
    is_ours.then_some(Vlan { trunk: trunk.name.parse().ok()?, id: lower.vlan_id()? })
}

/// The subnets of the parent's addresses, and of those that endpoints have besides.
async fn subnets(kernel: &Kernel, lower: &Link, endpoints: &[Inside]) -> Result<Vec<Subnet>> {
    let own = kernel.addresses_of(lower).await?;
    let mut theirs = Vec::new();
    for endpoint in endpoints {
        theirs.extend(endpoint.netns.addresses(&endpoint.link).await?);
    }
    let mut cidrs: Vec<IpNetwork> = Vec::new();
    // What an endpoint has it was given: the parent's own may be another.
    for address in theirs.iter().chain(&own) {
        if cidrs.iter().all(|cidr| cidr.is_ipv4() != address.is_ipv4()) {
            cidrs.push(network_of(*address));
        }
    }
    cidrs.sort_by_key(IpNetwork::is_ipv6);
    parent::known_subnets(kernel, lower, &cidrs).await
}

/// Published ports that are in the firewalls, read once they are asked for.
#[derive(Default)]
pub(super) struct Ports(Option<Vec<Published>>);

impl Ports {
    /// Gives an endpoint those that are its own.
    pub(super) fn give(&mut self, kernel: &Kernel, network: &Network, endpoint: &mut Endpoint) {
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
    host_ifname: LinkName,
    mac: Mac,
    mtu: u32,
) -> Endpoint {
    Endpoint {
        target: netns.to_string(),
        netns: netns.clone(),
        cookie: 0,
        ifname,
        host_ifname,
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

//! Records made anew from the kernel's marks, when files are lost: aliases say whose a link is,
//! comments which ports are published.

use std::collections::BTreeMap;

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{Host, find, firewall, gates, underlay};
use crate::{
    kernel::{Kernel, Link, LinkKind, Netns},
    model::{
        Endpoint, Firewall, LinkName, Mac, Mode, NetnsName, Network, NetworkRecord, Subnet,
        host_name,
    },
    plan::ALIAS_PREFIX,
    state::{State, Wanted},
};

impl Host<'_, '_> {
    /// The records, with those that were lost made anew.
    pub(super) async fn state_with_rebuilt(&self) -> Result<State> {
        self.state_of(Wanted::All).await
    }

    /// The same, of some endpoints; of the others as much as these have to know.
    pub(super) async fn state_of(&self, wanted: Wanted<'_>) -> Result<State> {
        let mut state = self.state(wanted)?;
        self.rebuild(&mut state).await?;
        Ok(state)
    }

    /// Adds to the records what was not asked for.
    pub(super) async fn complete(&self, state: &mut State) -> Result<()> {
        if state.is_partial() {
            let told = state.warnings().len();
            state.complete();
            for warning in &state.warnings()[told..] {
                self.output.warn(warning);
            }
            self.rebuild(state).await?;
        }
        Ok(())
    }

    pub(super) async fn rebuild(&self, state: &mut State) -> Result<()> {
        if state.networks().is_empty() || !state.warnings().is_empty() {
            all(&self.kernel, state).await?;
        }
        Ok(())
    }
}

pub(super) async fn all(kernel: &Kernel, state: &mut State) -> Result<()> {
    let links = kernel.links().await?;
    let masters = |link: &Link| links.values().find(|bridge| link.is_port_of(bridge)).cloned();
    let mut bridges: BTreeMap<String, Link> = BTreeMap::new();
    for link in links.values().filter(|l| l.is_ours()) {
        let bridge = match link.kind {
            LinkKind::Bridge => Some(link.clone()),
            // A port of ours on a foreign bridge.
            LinkKind::Veth if link.alias.is_some() => masters(link),
            _ => None,
        };
        bridges.extend(bridge.map(|b| (b.name.clone(), b)));
    }
    for (name, bridge) in bridges {
        if let Ok(name) = name.parse()
            && !state.networks().contains_key(&name)
        {
            state.adopt(network(kernel, &name, &bridge).await?)?;
        }
    }
    Ok(())
}

/// The record of a network, as far as its bridge and its ports tell.
pub(super) async fn network(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
) -> Result<NetworkRecord> {
    let firewall = firewall::of_marks(kernel);
    let network = if bridge.is_ours() {
        own(kernel, name, bridge, firewall).await?
    } else {
        find::foreign(kernel, name, bridge, firewall).await?
    };
    let published = kernel.published(firewall);
    let mut endpoints = Vec::new();
    for port in kernel.ports(bridge).await? {
        if let Some(mut endpoint) = endpoint(&network, &port).await? {
            let owner = format!("{name}/{}", endpoint.netns);
            let own = published.iter().filter(|p| p.owner == owner);
            endpoint.ports = own.map(|p| p.port.clone()).collect();
            endpoints.push(endpoint);
        }
    }
    endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    let has_rules = network.is_private() || endpoints.iter().any(|e| !e.ports.is_empty());
    let network = if has_rules { gates::rebuilt(kernel, &network) } else { network };
    Ok(NetworkRecord { network, endpoints })
}

async fn own(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    firewall: Firewall,
) -> Result<Network> {
    let alias = bridge.alias.as_deref().unwrap_or_default();
    let is_set = |word: &str| alias.split(' ').skip(1).any(|w| w == word);
    let parent = alias.split(' ').find_map(|word| word.strip_prefix("parent="));
    if let Some(link) = parent.and_then(|name| name.parse().ok()) {
        let set = (is_set("isolate"), is_set("no-spoof"));
        return underlay::rebuilt(kernel, name, bridge, link, set).await;
    }
    let addresses = kernel.addresses_of(bridge).await?;
    Ok(Network {
        name: name.clone(),
        mode: Mode::Bridge,
        foreign: false,
        mac: bridge.mac.unwrap_or_else(|| Mac::of([0, 0, 0, 0].into())),
        mtu: bridge.mtu,
        subnets: addresses.into_iter().map(Subnet::of_bridge_address).collect(),
        internal: is_set("internal"),
        isolate: is_set("isolate"),
        masquerade: !is_set("no-masquerade"),
        no_spoof: is_set("no-spoof"),
        firewall,
        gates: Vec::new(),
        parent: None,
        labels: BTreeMap::new(),
    })
}

/// The endpoint of a bridge port that carries our mark. Where its namespace can no longer be
/// entered by its name, its address is what the host end's MAC was made of: enough to keep the
/// lease, and to detach it.
async fn endpoint(network: &Network, port: &Link) -> Result<Option<Endpoint>> {
    let alias = port.alias.as_deref().unwrap_or_default();
    let (Some((_, target)), Ok(host_ifname)) =
        (alias.strip_prefix(ALIAS_PREFIX).and_then(|a| a.split_once('/')), port.name.parse())
    else {
        return Ok(None);
    };
    let Ok(netns) = target.parse::<NetnsName>() else { return Ok(None) };
    let derived = port.mac.and_then(Mac::derived_from);
    let lease = derived.and_then(|ip| {
        let subnet = network.subnet_of(ip)?;
        IpNetwork::new(ip, subnet.cidr.prefix()).ok()
    });
    let mac = derived.map(Mac::of).or(port.mac).unwrap_or(network.mac);
    let mut endpoint = bare(&netns, "eth0".parse()?, host_ifname, mac, port.mtu);
    endpoint.addresses.extend(lease);
    let Ok(Some(open)) = Netns::of_name(&netns) else { return Ok(Some(endpoint)) };
    let links = open.links().await?;
    let Some(inner) = links.values().find(|l| l.is_peer_of(port)) else {
        return Ok(Some(endpoint));
    };
    look_inside(&mut endpoint, &open, inner).await?;
    Ok(Some(endpoint))
}

/// The endpoints of a macvlan network whose record was lost, as far as the names in `/run/netns`
/// lead to them: they have no mark on the host. So they are not found until the network is asked
/// for again, but then their addresses are not given out twice.
pub(super) async fn inside(kernel: &Kernel, network: &Network) -> Result<Vec<Endpoint>> {
    let Some((parent, _)) = network.macvlan() else { return Ok(Vec::new()) };
    let Some(parent) = kernel.link(parent.link.as_str()).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for netns in kernel.netns_names() {
        // What cannot be entered cannot have been made by us either, or is about to be gone.
        let Ok(Some(open)) = Netns::of_name(&netns) else { continue };
        let links = open.links().await?;
        // Of several names of a namespace the one that it was attached by.
        let mark = format!("{ALIAS_PREFIX}{}/{netns}", network.name);
        let is_it = |l: &&Link| l.is_macvlan_on(&parent) && l.alias.as_ref() == Some(&mark);
        for inner in links.values().filter(is_it) {
            let Ok(ifname) = inner.name.parse() else { continue };
            let host_ifname = host_name(&network.name, open.cookie(), &ifname, 0);
            let mac = inner.mac.unwrap_or(network.mac);
            let mut endpoint = bare(&netns, ifname, host_ifname, mac, inner.mtu);
            look_inside(&mut endpoint, &open, inner).await?;
            found.push(endpoint);
        }
    }
    found.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    Ok(found)
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

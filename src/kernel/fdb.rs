//! The forwarding table (FDB) of a VXLAN link, which maps MACs to hosts; and all entries for other
//! hosts with our mark.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::{
    Kernel, Link, Netns,
    address::routes,
    link,
    neighbour::{self, Neighbour},
    rtnl::Rtnl,
};
use crate::{
    model::{LinkName, Mac, Network, Overlay, Route},
    plan::{Entry, Resource},
};

/// `NUD_NOARP | NUD_REACHABLE`, which `bridge fdb` calls static: the entry stays until it is deleted. A
/// bridge takes a permanent one for a MAC of its own.
const STATIC: u16 = 0x42;
/// `NUD_NOARP`: the kernel does not age the entry.
const NOARP: u16 = 0x40;

/// Returns the message of an entry that stays until it is deleted. Equivalent to `bridge fdb replace MAC
/// dev LINK dst HOST self permanent`, or `self master static`.
pub(super) fn lasting(index: u32, mac: Mac, host: IpAddr, on_bridge: bool) -> NeighbourMessage {
    let mut message = message(index, mac, host, on_bridge);
    message.header.state =
        if on_bridge { NeighbourState::Other(STATIC) } else { NeighbourState::Permanent };
    message
}

/// Returns whether an FDB entry exists. Equivalent to `bridge fdb show dev LINK`.
pub(super) async fn has(rtnl: &Rtnl, resource: &Resource) -> Result<bool> {
    let Some(entry) = Entry::of(resource) else { return Ok(false) };
    let Some(link) = entry.link() else { return Ok(false) };
    let Some(there) = link::get(rtnl, link.as_str()).await? else { return Ok(false) };
    let table = Table::read(rtnl, there.index()).await?;
    Ok(match entry {
        Entry::Fdb { mac, host, on_bridge, .. } => table.has(mac, host, on_bridge),
        Entry::Replica { host, .. } => table.replicas.contains(&host),
        Entry::Route(_) | Entry::Neighbour { .. } => false,
    })
}

/// The lasting entries of a VXLAN link, and of its bridge for it.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) hosts: HashMap<Mac, IpAddr>,
    /// The MACs for which the bridge sends frames to the link.
    pub(super) bridged: HashSet<Mac>,
    /// The hosts that get a copy of frames without an entry.
    pub(super) replicas: HashSet<IpAddr>,
}

impl Table {
    /// Equivalent to `bridge fdb show dev LINK`.
    pub(super) async fn read(rtnl: &Rtnl, index: u32) -> Result<Self> {
        let mut table = Self::default();
        for entry in permanent_of(rtnl, AddressFamily::Bridge, index).await? {
            match (entry.mac, entry.host) {
                (Some(Mac::ZERO), Some(host)) => drop(table.replicas.insert(host)),
                (Some(mac), Some(host)) => drop(table.hosts.insert(mac, host)),
                (Some(mac), None) if !entry.of_link => drop(table.bridged.insert(mac)),
                _ => {}
            }
        }
        Ok(table)
    }

    pub(super) fn has(&self, mac: Mac, host: IpAddr, on_bridge: bool) -> bool {
        self.hosts.get(&mac) == Some(&host) && (!on_bridge || self.bridged.contains(&mac))
    }
}

/// Returns the host of a lasting entry.
pub(super) async fn lasting_host(rtnl: &Rtnl, index: u32, mac: Mac) -> Result<Option<IpAddr>> {
    let entry = entry(rtnl, index, mac).await?.filter(is_lasting);
    Ok(entry.and_then(|entry| entry.host))
}

async fn entry(rtnl: &Rtnl, index: u32, mac: Mac) -> Result<Option<Neighbour>> {
    let mut look = NeighbourMessage::default();
    look.header.family = AddressFamily::Bridge;
    look.header.ifindex = index;
    look.header.flags = NeighbourFlags::Own;
    look.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    neighbour::get(rtnl, look).await
}

/// Returns whether an entry stays until it is deleted.
fn is_lasting(entry: &Neighbour) -> bool {
    let permanent = u16::from(NeighbourState::Permanent);
    u16::from(entry.state) & (permanent | NOARP) != 0
}

/// Returns the message that names a MAC of a VXLAN link, and its host.
pub(super) fn message(index: u32, mac: Mac, host: IpAddr, on_bridge: bool) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    let own = NeighbourFlags::Own;
    message.header.flags = if on_bridge { own | NeighbourFlags::Controller } else { own };
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    let host = match host {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Other(host)));
    message
}

/// Returns the permanent entries of a link, of one family; those of forwarding tables may be static.
pub(super) async fn permanent_of(
    rtnl: &Rtnl,
    family: AddressFamily,
    index: u32,
) -> Result<Vec<Neighbour>> {
    let mut look = NeighbourMessage::default();
    look.header.family = family;
    look.attributes.push(NeighbourAttribute::IfIndex(index));
    let mut found = neighbour::read(rtnl, look).await?;
    let is_bridge = family == AddressFamily::Bridge;
    let lasts = |entry: &Neighbour| {
        entry.state == NeighbourState::Permanent || is_bridge && is_lasting(entry)
    };
    found.retain(|entry| entry.index == index && lasts(entry));
    Ok(found)
}

impl Netns {
    /// Returns the host to which a VXLAN link sends frames for a MAC.
    pub async fn host_of(&self, link: &Link, mac: Mac) -> Result<Option<IpAddr>> {
        let entry = entry(self.rtnl(), link.index(), mac).await?;
        Ok(entry.and_then(|entry| entry.host))
    }
}

impl Kernel {
    /// Returns the entries for other hosts of an overlay network with our mark: the protocol of
    /// routes and neighbours, and for FDB entries a MAC that is derived from the host's address or
    /// was given. A VTEP whose hosts come from a store has no entries but ours.
    pub async fn ways(&self, network: &Network) -> Result<Vec<Resource>> {
        let Some(overlay) = network.driver.overlay() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut leading: HashMap<u32, &LinkName> = HashMap::new();
        for name in network.tunnels() {
            let Some(link) = link::get(&self.rtnl, name.as_str()).await? else { continue };
            found.extend(self.neighbours_of(name, &link).await?);
            found.extend(self.entries_of(name, &link, overlay).await?);
            leading.insert(link.index(), name);
        }
        if let Some(parent) = link::get(&self.rtnl, overlay.parent.as_str()).await? {
            leading.insert(parent.index(), &overlay.parent);
        }
        let is_of = |route: &super::TableRoute| {
            let cluster = overlay.cluster_of(route.destination.is_ipv4());
            route.is_ours()
                && route.gateway.is_some()
                && cluster.is_some_and(|block| block.contains(route.destination.ip()))
        };
        for route in routes(&self.rtnl).await?.into_iter().filter(is_of) {
            let Some(link) = route.index.and_then(|index| leading.get(&index)) else { continue };
            let onlink = *link != &overlay.parent;
            let route = Route { onlink, ..route.by(link) };
            found.push(Resource::Route { netns: None, route });
        }
        Ok(found)
    }

    async fn neighbours_of(&self, name: &LinkName, link: &Link) -> Result<Vec<Resource>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let ours = permanent_of(&self.rtnl, family, link.index()).await?.into_iter();
            let ours = ours.filter(|n| n.protocol == Some(Route::PROTOCOL));
            found.extend(ours.filter_map(|n| {
                let (address, mac) = n.address.zip(n.mac)?;
                Some(Resource::Neighbour { netns: None, link: name.clone(), address, mac })
            }));
        }
        Ok(found)
    }

    async fn entries_of(
        &self,
        name: &LinkName,
        link: &Link,
        overlay: &Overlay,
    ) -> Result<Vec<Resource>> {
        let named = |mac| overlay.peers.values().any(|peer| peer.macs.contains(&mac));
        let is_ours =
            |mac, host| overlay.store.is_some() || mac == Mac::of_tunnel_end(host) || named(mac);
        let table = Table::read(&self.rtnl, link.index()).await?;
        let replica = |host: &IpAddr| Resource::Replica { link: name.clone(), host: *host };
        let replicas = table.replicas.iter().map(replica);
        let entries = table.hosts.iter().filter(|(mac, host)| is_ours(**mac, **host));
        let entries = entries.map(|(mac, host)| Resource::FdbEntry {
            link: name.clone(),
            mac: *mac,
            host: *host,
            on_bridge: table.bridged.contains(mac),
        });
        Ok(entries.chain(replicas).collect())
    }
}

//! The forwarding table (FDB) of a VXLAN link, which maps MACs to hosts; and all entries for other
//! hosts with our mark.

use std::{collections::HashMap, net::IpAddr};

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
    plan::Resource,
};

/// Returns the message of a permanent entry. Equivalent to `bridge fdb replace MAC dev LINK dst HOST
/// self permanent`.
pub(super) fn permanent(index: u32, mac: Mac, host: IpAddr) -> NeighbourMessage {
    let mut message = message(index, mac, host);
    message.header.state = NeighbourState::Permanent;
    message
}

/// Returns whether an FDB entry exists. Equivalent to `bridge fdb get MAC dev LINK self`.
pub(super) async fn has(rtnl: &Rtnl, link: &LinkName, mac: Mac, host: IpAddr) -> Result<bool> {
    let Some(there) = link::get(rtnl, link.as_str()).await? else { return Ok(false) };
    Ok(permanent_host(rtnl, there.index(), mac).await? == Some(host))
}

/// Returns the host of a permanent entry.
pub(super) async fn permanent_host(rtnl: &Rtnl, index: u32, mac: Mac) -> Result<Option<IpAddr>> {
    let entry = entry(rtnl, index, mac).await?.filter(is_permanent);
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

/// Returns whether an entry is permanent; `bridge fdb` adds another bit to the state (`NUD_NOARP`).
fn is_permanent(entry: &Neighbour) -> bool {
    let permanent = u16::from(NeighbourState::Permanent);
    u16::from(entry.state) & permanent != 0
}

/// Returns the message that names a MAC of a VXLAN link, and its host.
pub(super) fn message(index: u32, mac: Mac, host: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    let host = match host {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Other(host)));
    message
}

/// Returns the permanent entries of a link, of one family.
pub(super) async fn permanent_of(
    rtnl: &Rtnl,
    family: AddressFamily,
    index: u32,
) -> Result<Vec<Neighbour>> {
    let mut look = NeighbourMessage::default();
    look.header.family = family;
    look.attributes.push(NeighbourAttribute::IfIndex(index));
    let mut found = neighbour::read(rtnl, look).await?;
    found.retain(|entry| entry.index == index && is_permanent(entry));
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
        let entries =
            permanent_of(&self.rtnl, AddressFamily::Bridge, link.index()).await?.into_iter();
        Ok(entries
            .filter_map(|entry| {
                let (mac, host) = entry.mac.zip(entry.host)?;
                is_ours(mac, host).then(|| Resource::FdbEntry { link: name.clone(), mac, host })
            })
            .collect())
    }
}

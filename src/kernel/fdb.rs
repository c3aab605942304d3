//! The forwarding table (FDB) of a VXLAN link, which maps MACs to hosts; and all entries for other
//! hosts with our mark.

use std::{collections::HashMap, net::IpAddr};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
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

/// The metric of an IPv6 route that was added without one (`IP6_RT_PRIO_USER`).
const METRIC_OF_IPV6: u32 = 1024;

/// Adds an FDB entry; returns `false` if it exists. Equivalent to `bridge fdb replace MAC dev LINK
/// dst HOST self permanent`.
pub(super) async fn create(rtnl: &Rtnl, link: &LinkName, mac: Mac, host: IpAddr) -> Result<bool> {
    if has(rtnl, link, mac, host).await? {
        return Ok(false);
    }
    let mut message = message(link::index(rtnl, link.as_str()).await?, mac, host);
    message.header.state = NeighbourState::Permanent;
    rtnl.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
        .await
        .with_context(|| format!("cannot tell `{link}` that {mac} is at host {host}"))?;
    Ok(true)
}

/// Deletes an FDB entry, if it did not go with its link. Equivalent to `bridge fdb del MAC dev LINK
/// dst HOST self`.
pub(super) async fn delete(rtnl: &Rtnl, link: &LinkName, mac: Mac, host: IpAddr) -> Result<bool> {
    let Some(there) = link::get(rtnl, link.as_str()).await? else { return Ok(false) };
    match rtnl.change(RouteNetlinkMessage::DelNeighbour(message(there.index(), mac, host)), 0).await
    {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
        Err(e) => {
            Err(e).with_context(|| format!("cannot make `{link}` forget that {mac} is at {host}"))
        }
    }
}

/// Returns whether an FDB entry exists. Equivalent to `bridge fdb get MAC dev LINK self`.
pub(super) async fn has(rtnl: &Rtnl, link: &LinkName, mac: Mac, host: IpAddr) -> Result<bool> {
    let Some(there) = link::get(rtnl, link.as_str()).await? else { return Ok(false) };
    let entry = entry(rtnl, there.index(), mac).await?;
    Ok(entry.is_some_and(|entry| is_permanent(&entry) && entry.host == Some(host)))
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

fn message(index: u32, mac: Mac, host: IpAddr) -> NeighbourMessage {
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
            let is_default = route.destination.is_ipv6() && route.metric == METRIC_OF_IPV6;
            let metric = if is_default { 0 } else { route.metric };
            let route = Route { onlink, metric, ..route.by(link) };
            found.push(Resource::Route { netns: None, route });
        }
        Ok(found)
    }

    async fn neighbours_of(&self, name: &LinkName, link: &Link) -> Result<Vec<Resource>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let ours = self.permanent(family, link).await?.into_iter();
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
        let entries = self.permanent(AddressFamily::Bridge, link).await?.into_iter();
        Ok(entries
            .filter_map(|entry| {
                let (mac, host) = entry.mac.zip(entry.host)?;
                is_ours(mac, host).then(|| Resource::FdbEntry { link: name.clone(), mac, host })
            })
            .collect())
    }

    async fn permanent(&self, family: AddressFamily, link: &Link) -> Result<Vec<Neighbour>> {
        let mut look = NeighbourMessage::default();
        look.header.family = family;
        look.attributes.push(NeighbourAttribute::IfIndex(link.index()));
        let mut found = neighbour::read(&self.rtnl, look).await?;
        found.retain(|entry| entry.index == link.index() && is_permanent(entry));
        Ok(found)
    }
}

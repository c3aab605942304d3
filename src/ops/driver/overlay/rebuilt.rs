//! Rebuilds an overlay network without a record from its marks: the alias of its bridge, its VXLAN
//! link, and the entries for other hosts.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::super::bridge;
use crate::{
    kernel::{Kernel, Link, LinkKind, VxlanAttrs},
    model::{
        self, Backend, BackendKind, Driver, Firewall, Flat, LinkName, Mac, Network, Peer, Store,
        Udp, Vxlan,
    },
    plan::{Mark, Resource},
};

/// The settings of an overlay network in the alias of its bridge.
pub(in crate::ops::driver) struct Marks {
    cluster: Vec<IpNetwork>,
    direct_routing: bool,
    flat: Option<Flat>,
    backend: Option<BackendKind>,
    /// The parent and this host's address, without a tunnel.
    outside: Option<Outside>,
    /// The store, if it is reached without files.
    store: Option<Store>,
}

impl Marks {
    /// Parses them; returns `None` for the bridge of another driver.
    pub(in crate::ops::driver) fn read(mark: Mark<'_>) -> Option<Self> {
        let word = mark.values("overlay").next()?;
        Some(Self {
            backend: BackendKind::ALL.into_iter().find(|kind| kind.as_str() == word),
            cluster: mark.values("cluster").filter_map(|block| block.parse().ok()).collect(),
            direct_routing: mark.says("direct-routing"),
            flat: mark.says("flat").then(|| Flat { multicast: mark.says("multicast") }),
            outside: Outside::read(mark),
            store: store(mark),
        })
    }
}

/// The link and the address by which this host reaches the others.
struct Outside {
    parent: LinkName,
    host: IpAddr,
}

impl Outside {
    fn read(mark: Mark<'_>) -> Option<Self> {
        Some(Self { parent: mark.value("via")?, host: mark.value("host")? })
    }
}

fn store(mark: Mark<'_>) -> Option<Store> {
    let (endpoints, prefix) = mark.values("store").next().zip(mark.values("prefix").next())?;
    Some(Store {
        endpoints: endpoints.split(',').map(str::to_owned).collect(),
        prefix: prefix.to_owned(),
        ca: None,
        identity: None,
        user: None,
        ttl: Store::TTL,
        subnet_file: None,
    })
}

/// Rebuilds the network. Without the link of its tunnel it is a bridge network until the command that made
/// it is run again.
pub(in crate::ops::driver) async fn rebuilt(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    firewall: Firewall,
    marks: Marks,
) -> Result<Network> {
    let looks = bridge::rebuilt(kernel, name, bridge, firewall).await?;
    let links = kernel.links().await?;
    let mut ends = links.values().filter_map(|link| end(link, name)).collect::<Vec<_>>();
    ends.sort_by_key(|(device, attrs)| (attrs.host.is_none_or(|host| host.is_ipv6()), *device));
    let second = ends.get(1).map(|(device, attrs)| (device.parse(), attrs.host));
    let found = match marks.backend {
        Some(BackendKind::Vxlan) => ends.first().and_then(|(device, attrs)| {
            let parent = attrs.parent().and_then(|index| links.get(&index))?;
            let vxlan = Vxlan {
                device: device.parse().ok()?,
                second_device: second.as_ref().and_then(|(device, _)| device.clone().ok()),
                vni: attrs.vni,
                port: attrs.port,
                direct_routing: marks.direct_routing,
            };
            let outside = Outside { parent: parent.name.parse().ok()?, host: attrs.host? };
            Some((Backend::Vxlan(vxlan), outside))
        }),
        Some(BackendKind::HostGw) => marks.outside.map(|outside| (Backend::HostGw, outside)),
        Some(BackendKind::Udp) => links.values().find_map(|link| tun(link, name)),
        None => None,
    };
    let Some((backend, Outside { parent, host })) = found else { return Ok(looks) };
    let cluster = marks.cluster;
    let driver = model::Overlay {
        backend,
        cluster,
        parent,
        host,
        second: second.and_then(|(_, host)| host),
        peers: BTreeMap::new(),
        flat: marks.flat,
        store: marks.store,
    };
    let network = Network { driver: Driver::Overlay(Box::new(driver.clone())), ..looks };
    if driver.flat.is_some() {
        return Ok(network);
    }
    let peers = peers(&kernel.ways(&network).await?, driver.backend.vxlan().is_some());
    Ok(Network { driver: Driver::Overlay(Box::new(model::Overlay { peers, ..driver })), ..network })
}

/// Returns the name and the attributes of a VXLAN link of a network.
fn end<'l>(link: &'l Link, network: &LinkName) -> Option<(&'l str, &'l VxlanAttrs)> {
    let mark = link.alias.as_deref().and_then(Mark::read)?;
    let attrs = link.vxlan.as_deref().filter(|_| mark.network == network.as_str())?;
    Some((&link.name, attrs))
}

/// Returns the backend of the TUN link of a network, and what its alias tells.
fn tun(link: &Link, network: &LinkName) -> Option<(Backend, Outside)> {
    let mark = link.alias.as_deref().and_then(Mark::read)?;
    if link.kind != LinkKind::Tun || mark.network != network.as_str() {
        return None;
    }
    let udp = Udp { device: link.name.parse().ok()?, port: mark.value("port")? };
    Some((Backend::Udp(udp), Outside::read(mark)?))
}

/// Returns the other hosts for which there are entries. A host that is the next hop of both
/// families by two addresses becomes two hosts, since no mark connects the addresses.
fn peers(ways: &[Resource], has_vteps: bool) -> BTreeMap<IpAddr, Peer> {
    let mut peers: BTreeMap<IpAddr, Peer> = BTreeMap::new();
    for way in ways {
        let Resource::Route { route, .. } = way else { continue };
        let Some(gateway) = route.gateway else { continue };
        let is_vtep = has_vteps && route.onlink;
        let host = if is_vtep { at(ways, gateway) } else { Some(gateway) };
        let Some(host) = host else { continue };
        let new =
            || Peer { subnets: Vec::new(), second: None, next_hops: Vec::new(), macs: Vec::new() };
        let peer = peers.entry(host).or_insert_with(new);
        peer.subnets.push(route.destination);
        peer.subnets.sort_by_key(IpNetwork::is_ipv6);
        if !route.onlink {
            peer.next_hops.push(gateway);
        }
    }
    peers
}

/// Returns the MAC of the VTEP that has an address.
fn mac_of(ways: &[Resource], next_hop: IpAddr) -> Option<Mac> {
    ways.iter().find_map(|way| match way {
        Resource::Neighbour { address, mac, .. } if *address == next_hop => Some(*mac),
        _ => None,
    })
}

/// Returns the host whose VTEP has an address.
fn at(ways: &[Resource], next_hop: IpAddr) -> Option<IpAddr> {
    let mac = mac_of(ways, next_hop)?;
    ways.iter().find_map(|way| match way {
        Resource::FdbEntry { mac: of, host, .. } if *of == mac => Some(*host),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Route;

    #[test]
    fn a_host_is_told_by_its_route_its_neighbour_entry_and_its_fdb_entry() {
        let tunnel: LinkName = "vx-pods".parse().unwrap();
        let host: IpAddr = [192, 0, 2, 2].into();
        let mac = Mac::of_tunnel_end(host);
        let way = |gateway: &str, onlink, subnet: &str| {
            let to = Route::on(tunnel.clone(), subnet.parse().unwrap());
            let route = Route { gateway: Some(gateway.parse().unwrap()), onlink, ..to };
            Resource::Route { netns: None, route }
        };
        let neighbour = |address: &str| Resource::Neighbour {
            netns: None,
            link: tunnel.clone(),
            address: address.parse().unwrap(),
            mac,
        };
        let ways = [
            neighbour("10.5.2.0"),
            neighbour("fd00:5:0:2::"),
            Resource::FdbEntry { link: tunnel.clone(), mac, host, on_bridge: false },
            way("fd00:5:0:2::", true, "fd00:5:0:2::/64"),
            way("10.5.2.0", true, "10.5.2.0/24"),
            way("192.0.2.3", false, "10.5.3.0/24"),
            // There is no entry for this VTEP.
            way("10.5.4.0", true, "10.5.4.0/24"),
        ];
        let found = peers(&ways, true);
        let subnets = |host: IpAddr| -> Vec<_> {
            found[&host].subnets.iter().map(ToString::to_string).collect()
        };
        assert_eq!(found.len(), 2);
        assert_eq!(subnets(host), ["10.5.2.0/24", "fd00:5:0:2::/64"]);
        assert_eq!(subnets([192, 0, 2, 3].into()), ["10.5.3.0/24"]);
        assert_eq!(found[&IpAddr::from([192, 0, 2, 3])].next_hops, [IpAddr::from([192, 0, 2, 3])]);
        assert!(found[&host].next_hops.is_empty());
        // A TUN link has no VTEPs: its route names the host.
        let found = peers(&[way("192.0.2.2", true, "10.5.2.0/24")], false);
        assert!(found[&host].next_hops.is_empty());
    }
}

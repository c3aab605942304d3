//! The plan of an overlay network: a bridge for this host's endpoints, as in a bridge network, and
//! the routes to the endpoints of other hosts.
//!
//! Nothing is learned, and no requests are sent: for each other host the plan has a permanent
//! neighbour entry, an entry in the forwarding table (FDB) and a route, in this order, so that no
//! route has an unknown next hop.

use std::{collections::HashSet, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{
    bridge::{self, Uplinks},
    flat,
};
use crate::{
    model::{
        Family, LinkName, Mac, Network, Overlay, Peer, Route, RouteKind, Subnet, Udp, Vtep, Vxlan,
    },
    plan::{Change, Entry, Plan, Resource, Step, SysctlKey, Tunnel, alias, forward_accept},
};

/// Makes the bridge, the tunnel if there is one, and the entries for other hosts.
pub(super) fn network(network: &Network, driver: &Overlay, uplinks: &Uplinks) -> Plan {
    if driver.flat.is_some() {
        let tunnel = tunnels_of(network).into_iter().next();
        return flat::network(network, driver, tunnel, uplinks);
    }
    let mut plan = bridge::segment(network, uplinks);
    plan.extend(refusals(network, driver));
    plan.extend(driver.own_vteps().flat_map(|end| vxlan(network, driver, end)));
    plan.extend(driver.backend.udp().into_iter().flat_map(|udp| tun(network, driver, udp)));
    plan.extend(ways(network, driver));
    plan.extend(forward_accept::install_accepts(network));
    plan
}

/// Makes the part that needs no other host: the bridge, and its rules.
pub fn own_part(network: &Network, uplinks: &Uplinks) -> Plan {
    let mut plan = bridge::segment(network, uplinks);
    plan.extend(network.driver.overlay().into_iter().flat_map(|d| refusals(network, d)));
    plan.extend(forward_accept::install_accepts(network));
    plan
}

/// The metric of the routes to a network's blocks: any other route to one of them wins.
const LAST: u32 = 65_535;

/// Refuses packets to the subnets of no host. By the default route they would leave the host, and come
/// back where a router sends the block to this host: a loop.
fn refusals(network: &Network, driver: &Overlay) -> Plan {
    let refusal = |block: &IpNetwork| Route {
        kind: RouteKind::Unreachable,
        metric: LAST,
        ..Route::on(network.name.clone(), *block)
    };
    let route = |block| Resource::Route { netns: None, route: refusal(block) };
    let why = "no host has the rest of the network's block: without this route, packets to it would \
               leave by the default route";
    driver.cluster.iter().map(|block| Step::create(why, route(block))).collect()
}

/// Returns the changes that make the kernel's entries those that a plan creates; `found` are the kernel's
/// with our mark.
pub fn entry_changes(mut wanted: Plan, found: &[Resource]) -> Plan {
    let mut plan = without(&wanted, found);
    let known: HashSet<_> = found.iter().filter_map(Entry::of).collect();
    lacking(&mut wanted, |entry| known.contains(entry));
    plan.extend(wanted);
    plan
}

/// Deletes entries that do not belong to the network any more; `found` are the kernel's entries
/// with our mark.
pub fn stale(network: &Network, driver: &Overlay, found: &[Resource]) -> Plan {
    without(&ways(network, driver), found)
}

/// Leaves out of a plan the entries that are there already.
pub fn lacking(plan: &mut Plan, found: impl Fn(&Entry<'_>) -> bool) {
    let is_there = |step: &Step| match &step.change {
        Change::Create(resource) => Entry::of(resource).is_some_and(|e| found(&e)),
        Change::Delete(_) | Change::DeleteLink(_) => false,
    };
    plan.retain(|step| !is_there(step));
}

/// The plan of a network less the plan of the same network with other hosts: it has the entries of
/// those hosts only that differ.
pub fn changed(former: &Network, network: &Network) -> Plan {
    let of = |own: &Network, other: &Network| {
        let Some(driver) = own.driver.overlay() else { return Plan::new() };
        let known = other.driver.overlay().map(|other| &other.peers);
        let differs = |host, peer| known.is_none_or(|known| known.get(host) != Some(peer));
        let peers = driver.peers.iter().filter(|(host, peer)| differs(*host, *peer));
        peers.flat_map(|(host, peer)| way(own, driver, *host, peer)).collect()
    };
    let had: Vec<_> =
        of(former, network).iter().filter_map(|step| step.change.resource().cloned()).collect();
    let mut plan = vec![bridge::record(network)];
    plan.extend(entry_changes(of(network, former), &had));
    plan
}

/// Deletes what was found and no step creates. Routes are deleted first, in the reverse order of
/// creation.
fn without(wanted: &[Step], found: &[Resource]) -> Plan {
    let wanted = wanted.iter().filter_map(|step| Entry::of(step.change.resource()?));
    let wanted: HashSet<_> = wanted.map(Key::of).collect();
    let keyed = found.iter().filter_map(|found| Some((Key::of(Entry::of(found)?), found)));
    let mut gone: Vec<_> = keyed.filter(|(key, _)| !wanted.contains(key)).collect();
    gone.sort_by_key(|(key, _)| key.turn());
    let why = "the network no longer has a host that this leads to";
    gone.into_iter().map(|(_, resource)| Step::delete(why, resource.clone())).collect()
}

/// The identity by which the kernel replaces an entry with a new one.
#[derive(PartialEq, Eq, Hash)]
enum Key<'r> {
    Route(&'r Route),
    FdbEntry(&'r LinkName, Mac),
    Replica(&'r LinkName, IpAddr),
    Neighbour(&'r LinkName, IpAddr),
}

impl<'r> Key<'r> {
    fn of(entry: Entry<'r>) -> Self {
        match entry {
            Entry::Route(route) => Self::Route(route),
            Entry::Fdb { link, mac, .. } => Self::FdbEntry(link, mac),
            Entry::Replica { link, host } => Self::Replica(link, host),
            Entry::Neighbour { link, address, .. } => Self::Neighbour(link, address),
        }
    }

    /// Returns the position among deletions: a route is deleted before the entries that it needs.
    fn turn(&self) -> u8 {
        match self {
            Self::Route(_) => 0,
            Self::FdbEntry(..) | Self::Replica(..) => 1,
            Self::Neighbour(..) => 2,
        }
    }
}

/// Returns this host's ends of a network's tunnels.
pub fn tunnels_of(network: &Network) -> Vec<Tunnel> {
    let Some(driver) = network.driver.overlay() else { return Vec::new() };
    driver.own_vteps().filter_map(|end| tunnel_of(network, driver, end)).collect()
}

fn tunnel_of(network: &Network, driver: &Overlay, end: Vtep<'_>) -> Option<Tunnel> {
    let Vxlan { vni, port, .. } = driver.backend.vxlan()?;
    Some(Tunnel {
        name: end.link.clone(),
        parent: driver.parent.clone(),
        host: end.host,
        vni: *vni,
        port: *port,
        mac: end.mac,
        mtu: network.mtu,
        bridge: driver.flat.map(|_| network.name.clone()),
    })
}

/// Makes an end of a tunnel on this host, and sets it up.
fn vxlan(network: &Network, driver: &Overlay, end: Vtep<'_>) -> Plan {
    let Some(made) = tunnel_of(network, driver, end) else { return Plan::new() };
    let carried = |is_ipv4| driver.own_vtep(is_ipv4) == Some(end);
    let subnets: Vec<_> =
        network.subnets.iter().filter(|subnet| carried(subnet.cidr.is_ipv4())).collect();
    let mut plan = vec![Step::create(
        "the VXLAN link (VTEP): it sends frames to other hosts in UDP packets",
        Resource::Vxlan(made),
    )];
    plan.extend(set_up(network, end.link, alias::of_link(&network.name), &subnets));
    plan
}

/// Makes the TUN link that netcord-agent's relay reads and writes, and sets it up.
fn tun(network: &Network, driver: &Overlay, Udp { device, port }: &Udp) -> Plan {
    let subnets: Vec<_> = network.subnets.iter().collect();
    let mut plan = vec![
        Step::create(
            "the TUN link: a process (the relay) reads packets from it, and sends them to other \
             hosts in UDP packets",
            Resource::Tun { name: device.clone() },
        ),
        Step::create(
            "the MTU leaves room for the outer IP and UDP headers",
            Resource::Mtu { link: device.clone(), mtu: network.mtu },
        ),
    ];
    let alias = alias::of_tun(&network.name, driver, *port);
    plan.extend(set_up(network, device, alias, &subnets));
    plan
}

/// Marks the link of a tunnel, which carries packets for these subnets, and sets it up.
fn set_up(network: &Network, device: &LinkName, alias: String, subnets: &[&Subnet]) -> Plan {
    let mut plan = vec![Step::create(
        "the alias marks the link as netcord's and names its owner",
        Resource::Alias { netns: None, link: device.clone(), alias },
    )];
    plan.extend(bridge::no_router(network, device));
    if network.has_ipv6() {
        let why = "no link-local address: this link sends no packets of its own";
        plan.push(no_link_local(why, device));
    }
    if network.driver.overlay().is_some_and(|overlay| overlay.backend.vxlan().is_some()) {
        let why = "rp_filter=2 (loose): a host that routes directly replies by another link";
        plan.push(switch(why, device, Family::V4, "rp_filter", "2"));
    }
    for subnet in subnets {
        let why = "forwarding is also set per link: the host forwards what the tunnel delivers";
        plan.push(bridge::forwarding_of(why, device, Family::of(subnet.cidr.network())));
    }
    for subnet in subnets {
        let address = IpNetwork::from(subnet.cidr.network());
        plan.push(Step::create(
            "the address that this host's own packets to other hosts' endpoints come from",
            Resource::Address { netns: None, link: device.clone(), address },
        ));
    }
    plan.push(Step::create(
        "a link carries no frames until it is up",
        Resource::Up { netns: None, link: device.clone() },
    ));
    plan
}

/// Makes the entries for all other hosts.
fn ways(network: &Network, driver: &Overlay) -> Plan {
    driver.peers.iter().flat_map(|(host, peer)| way(network, driver, *host, peer)).collect()
}

/// Makes the entries for one other host.
pub fn way(network: &Network, driver: &Overlay, host: IpAddr, peer: &Peer) -> Plan {
    if let Some(Udp { device, .. }) = driver.backend.udp() {
        return peer.subnets.iter().map(|subnet| relayed(device, host, *subnet)).collect();
    }
    let mut plan = Plan::new();
    let route = |route| Resource::Route { netns: None, route };
    let end_for = |subnet: &IpNetwork| driver.vtep(host, peer, subnet.is_ipv4());
    let mut ends: Vec<Vtep<'_>> = Vec::new();
    for subnet in peer.tunnelled() {
        let Some(end) = end_for(subnet) else { continue };
        plan.push(Step::create(
            "the MAC of the other host's VTEP: a permanent entry, so that nobody is asked (ARP, NDP)",
            Resource::Neighbour {
                netns: None,
                link: end.link.clone(),
                address: subnet.network(),
                mac: end.mac,
            },
        ));
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    for Vtep { link, mac, host } in ends {
        plan.push(Step::create(
            "the FDB entry: frames for this VTEP go to this host, in UDP packets",
            Resource::FdbEntry { link: link.clone(), mac, host, on_bridge: false },
        ));
    }
    for subnet in peer.tunnelled() {
        let Some(end) = end_for(subnet) else { continue };
        let to = Route::on(end.link.clone(), *subnet);
        plan.push(Step::create(
            "the route to the other host's endpoints, through its VTEP",
            route(Route { gateway: Some(subnet.network()), onlink: true, ..to }),
        ));
    }
    for subnet in &peer.subnets {
        let Some(next_hop) = peer.next_hop(subnet) else { continue };
        let to = Route::on(driver.parent.clone(), *subnet);
        // The host's own packets need a source address that other hosts accept as the network's.
        let own = network.subnets.iter().find(|own| own.cidr.is_ipv4() == subnet.is_ipv4());
        let source = own.and_then(|own| own.gateway);
        plan.push(Step::create(
            "the route to the other host's endpoints: that host is the next hop",
            route(Route { gateway: Some(next_hop), source, ..to }),
        ));
    }
    plan
}

/// Makes the route to another host's subnet by a TUN link. The kernel gives all packets for it to the
/// relay, which sends them to the host that the route names.
fn relayed(device: &LinkName, host: IpAddr, subnet: IpNetwork) -> Step {
    let to = Route::on(device.clone(), subnet);
    Step::create(
        "the route to the other host's endpoints: the relay sends their packets to that host",
        Resource::Route { netns: None, route: Route { gateway: Some(host), onlink: true, ..to } },
    )
}

/// Keeps a link from getting a link-local address.
pub(super) fn no_link_local(why: &'static str, link: &LinkName) -> Step {
    switch(why, link, Family::V6, "addr_gen_mode", "1")
}

fn switch(
    why: &'static str,
    link: &LinkName,
    family: Family,
    option: &'static str,
    value: &'static str,
) -> Step {
    let key = SysctlKey::of_link(family, link, option);
    Step::create(why, Resource::Sysctl { netns: None, key, value: value.into(), reset: None })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        model::{Backend, Driver, Firewall, Flags, Subnet},
        plan::command,
    };

    fn overlay(backend: Backend, peers: &[(&str, &[&str], &[&str])]) -> Overlay {
        let peer = |(host, subnets, next_hops): &(&str, &[&str], &[&str])| {
            let peer = Peer {
                subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
                second: None,
                next_hops: next_hops.iter().map(|hop| hop.parse().unwrap()).collect(),
                macs: Vec::new(),
            };
            (host.parse().unwrap(), peer)
        };
        Overlay {
            backend,
            cluster: vec!["10.5.0.0/16".parse().unwrap()],
            parent: "eth0".parse().unwrap(),
            host: "192.0.2.1".parse().unwrap(),
            second: None,
            peers: peers.iter().map(peer).collect(),
            flat: None,
            store: None,
        }
    }

    fn vxlan() -> Backend {
        Backend::Vxlan(Vxlan {
            device: "vx-pods".parse().unwrap(),
            second_device: None,
            vni: 1,
            port: 8472,
            direct_routing: false,
        })
    }

    /// This host's side of such a network.
    fn network(driver: &Overlay) -> Network {
        let subnet = |cidr: &str| Subnet::new(cidr.parse().unwrap(), None, None).unwrap();
        Network {
            name: "pods".parse().unwrap(),
            driver: Driver::Overlay(Box::new(driver.clone())),
            mac: Mac::of([10, 5, 1, 1].into()),
            mtu: 1450,
            subnets: vec![subnet("10.5.1.0/24"), subnet("fd00:5:0:1::/64")],
            flags: Flags::default(),
            firewall: Firewall::Nftables,
            forward_accepts: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    fn all(driver: &Overlay) -> Plan {
        ways(&network(driver), driver)
    }

    fn gone(driver: &Overlay, found: &[Resource]) -> Plan {
        stale(&network(driver), driver, found)
    }

    fn commands(plan: &[Step]) -> Vec<String> {
        plan.iter().filter_map(command).collect()
    }

    fn resources(plan: Plan) -> Vec<Resource> {
        plan.into_iter().filter_map(|step| step.change.resource().cloned()).collect()
    }

    #[test]
    fn a_way_is_known_before_it_is_taken() {
        let driver = overlay(vxlan(), &[("192.0.2.2", &["10.5.2.0/24", "fd00:5:0:2::/64"], &[])]);
        assert_eq!(
            commands(&all(&driver)),
            [
                "ip neigh replace 10.5.2.0 lladdr 02:76:c0:00:02:02 dev vx-pods nud permanent protocol 110",
                "ip neigh replace fd00:5:0:2:: lladdr 02:76:c0:00:02:02 dev vx-pods nud permanent protocol 110",
                "bridge fdb replace 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self permanent",
                "ip route add 10.5.2.0/24 via 10.5.2.0 dev vx-pods onlink proto 110",
                "ip -6 route add fd00:5:0:2::/64 via fd00:5:0:2:: dev vx-pods onlink proto 110",
            ]
        );
    }

    #[test]
    fn what_can_be_the_next_hop_needs_no_tunnel() {
        let peers: [(&str, &[&str], &[&str]); 1] =
            [("192.0.2.2", &["10.5.2.0/24", "fd00:5:0:2::/64"], &["192.0.2.2"])];
        assert_eq!(
            commands(&all(&overlay(vxlan(), &peers))),
            [
                "ip neigh replace fd00:5:0:2:: lladdr 02:76:c0:00:02:02 dev vx-pods nud permanent protocol 110",
                "bridge fdb replace 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self permanent",
                "ip -6 route add fd00:5:0:2::/64 via fd00:5:0:2:: dev vx-pods onlink proto 110",
                "ip route add 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.1 proto 110",
            ]
        );
        let peers: [(&str, &[&str], &[&str]); 1] =
            [("192.0.2.2", &["10.5.2.0/24"], &["192.0.2.2"])];
        assert_eq!(
            commands(&all(&overlay(Backend::HostGw, &peers))),
            ["ip route add 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.1 proto 110"]
        );
    }

    #[test]
    fn only_what_leads_to_a_host_that_is_gone_is_stale() {
        let before = overlay(
            vxlan(),
            &[("192.0.2.2", &["10.5.2.0/24"], &[]), ("192.0.2.3", &["10.5.3.0/24"], &[])],
        );
        let found = resources(all(&before));
        assert_eq!(gone(&before, &found), Plan::new());
        let now = overlay(vxlan(), &[("192.0.2.3", &["10.5.3.0/24"], &[])]);
        assert_eq!(
            commands(&gone(&now, &found)),
            [
                "ip route del 10.5.2.0/24 via 10.5.2.0 dev vx-pods onlink proto 110",
                "bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self",
                "ip neigh del 10.5.2.0 dev vx-pods",
            ]
        );
    }

    #[test]
    fn a_subnet_that_another_host_has_now_keeps_its_route_and_loses_the_former_host() {
        let before = overlay(vxlan(), &[("192.0.2.2", &["10.5.2.0/24"], &[])]);
        let now = overlay(vxlan(), &[("192.0.2.3", &["10.5.2.0/24"], &[])]);
        assert_eq!(
            commands(&gone(&now, &resources(all(&before)))),
            ["bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self"]
        );
        let direct = overlay(vxlan(), &[("192.0.2.2", &["10.5.2.0/24"], &["192.0.2.2"])]);
        assert_eq!(gone(&direct, &resources(all(&before))).len(), 3, "and the other way round");
        assert_eq!(
            commands(&gone(&before, &resources(all(&direct)))),
            ["ip route del 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.1 proto 110"]
        );
    }

    #[test]
    fn the_change_of_one_host_is_the_plan_of_that_host() {
        let others =
            |second: &[(&'static str, &'static [&'static str], &'static [&'static str])]| {
                let first: (_, &[&str], &[&str]) = ("192.0.2.9", &["10.5.9.0/24"], &[]);
                network(&overlay(vxlan(), &[&[first], second].concat()))
            };
        let (none, there) = (others(&[]), others(&[("192.0.2.2", &["10.5.2.0/24"], &[])]));
        let moved = others(&[("192.0.2.3", &["10.5.2.0/24"], &[])]);
        let commands = |from: &Network, to: &Network| commands(&changed(from, to));
        let new = [
            "ip neigh replace 10.5.2.0 lladdr 02:76:c0:00:02:02 dev vx-pods nud permanent protocol 110",
            "bridge fdb replace 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self permanent",
            "ip route add 10.5.2.0/24 via 10.5.2.0 dev vx-pods onlink proto 110",
        ];
        assert_eq!(commands(&none, &there), new);
        assert_eq!(
            commands(&there, &moved),
            [
                "bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self",
                "ip neigh replace 10.5.2.0 lladdr 02:76:c0:00:02:03 dev vx-pods nud permanent protocol 110",
                "bridge fdb replace 02:76:c0:00:02:03 dev vx-pods dst 192.0.2.3 self permanent",
            ],
            "the route stays"
        );
        assert_eq!(commands(&there, &none).len(), 3);
        assert_eq!(commands(&there, &there), [""; 0]);
        let record = &changed(&there, &none)[0].change;
        assert!(matches!(record.facts().class, crate::plan::Class::Record(_)), "it comes first");
    }

    #[test]
    fn a_stale_resource_is_only_ever_deleted() {
        let before = overlay(vxlan(), &[("192.0.2.2", &["10.5.2.0/24"], &[])]);
        let none = overlay(vxlan(), &[]);
        let plan = gone(&none, &resources(all(&before)));
        assert!(plan.iter().all(|step| matches!(step.change, Change::Delete(_))));
        assert_eq!(plan.len(), 3);
    }
}

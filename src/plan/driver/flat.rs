//! The plan of a flat overlay network: a bridge for this host's endpoints, as in a bridge network, and
//! the VXLAN link as a port of it, by which frames reach the endpoints of other hosts.
//!
//! Nothing is learned and nothing is flooded. For each address of another host the plan has a permanent
//! neighbour entry, from which the VXLAN link answers ARP and NDP requests, and an entry in the
//! forwarding tables (FDB) of the bridge and of the VXLAN link. Other requests end at the VXLAN link.
//! So nobody hears the gateway of another host: each host's bridge has the gateway's address and MAC.

use std::collections::BTreeSet;

use super::bridge::{self, Uplinks};
use crate::{
    model::{Elsewhere, LinkName, Network, Overlay, Remote},
    plan::{Plan, PortFlag, Resource, Step, Tunnel, alias, forward_accept},
};

/// Makes the bridge and the VXLAN link.
pub(super) fn network(
    network: &Network,
    driver: &Overlay,
    tunnel: Option<Tunnel>,
    uplinks: &Uplinks,
) -> Plan {
    let mut plan = bridge::segment(network, uplinks);
    plan.extend(tunnel.into_iter().flat_map(|tunnel| port(network, driver, tunnel)));
    plan.extend(forward_accept::install_accepts(network));
    plan
}

fn port(network: &Network, driver: &Overlay, tunnel: Tunnel) -> Plan {
    let link = tunnel.name.clone();
    let flag = |why, flag| Step::create(why, Resource::Port { link: link.clone(), flag });
    let has_copies = driver.flat.is_some_and(|flat| flat.multicast);
    let mut plan = vec![
        Step::create(
            "the VXLAN link (VTEP), a port of the bridge: it sends frames to other hosts in UDP \
             packets, and answers ARP and NDP requests for their endpoints",
            Resource::Vxlan(tunnel),
        ),
        Step::create(
            "the alias marks the link as netcord's and names its owner",
            Resource::Alias {
                netns: None,
                link: link.clone(),
                alias: alias::of_link(&network.name),
            },
        ),
        flag(
            "the bridge learns no MACs from other hosts: the store says where they are",
            PortFlag::NoLearning,
        ),
        flag("frames for unknown MACs do not leave this host", PortFlag::NoFlood),
    ];
    if has_copies {
        plan.push(flag(
            "all multicasts go to the other hosts, whatever groups their endpoints have joined",
            PortFlag::MulticastRouter,
        ));
    }
    plan.extend(bridge::no_router(network, &link));
    if network.has_ipv6() {
        let why = "no link-local address: this link sends no packets of its own";
        plan.push(super::overlay::no_link_local(why, &link));
    }
    plan.push(Step::create(
        "a link carries no frames until it is up",
        Resource::Up { netns: None, link },
    ));
    plan
}

/// Makes the entries for the endpoints of other hosts, and for the hosts themselves if they get copies
/// of broadcasts and multicasts.
pub fn elsewhere(network: &Network, driver: &Overlay, others: &Elsewhere) -> Plan {
    let Some(link) = driver.tunnels().next() else { return Plan::new() };
    let mut macs = BTreeSet::new();
    let mut plan = Plan::new();
    for (address, Remote { mac, host }) in &others.endpoints {
        if network.subnet_of(*address).is_none() {
            continue;
        }
        plan.push(Step::create(
            "the MAC of an endpoint on another host: a permanent entry, from which requests are answered",
            Resource::Neighbour { netns: None, link: link.clone(), address: *address, mac: *mac },
        ));
        if macs.insert(*mac) {
            plan.push(Step::create(
                "the FDB entry: frames for this endpoint go to its host, in UDP packets",
                Resource::FdbEntry { link: link.clone(), mac: *mac, host: *host, on_bridge: true },
            ));
        }
    }
    if driver.flat.is_some_and(|flat| flat.multicast) {
        plan.extend(others.hosts.keys().map(|host| copies(link, *host)));
    }
    plan
}

fn copies(link: &LinkName, host: std::net::IpAddr) -> Step {
    Step::create(
        "broadcasts and multicasts also go to this host (head-end replication)",
        Resource::Replica { link: link.clone(), host },
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::IpAddr};

    use super::*;
    use crate::{
        model::{Backend, Driver, Firewall, Flags, Flat, Mac, Subnet, Vxlan},
        plan::{command, entry_changes},
    };

    fn network(multicast: bool) -> Network {
        let vxlan = Vxlan {
            device: "vx-pods".parse().unwrap(),
            second_device: None,
            vni: 4096,
            port: 8472,
            direct_routing: false,
        };
        let driver = Overlay {
            backend: Backend::Vxlan(vxlan),
            cluster: Vec::new(),
            parent: "eth0".parse().unwrap(),
            host: "192.0.2.1".parse().unwrap(),
            second: None,
            peers: BTreeMap::new(),
            flat: Some(Flat { multicast }),
            store: None,
        };
        Network {
            name: "pods".parse().unwrap(),
            driver: Driver::Overlay(Box::new(driver)),
            mac: Mac::of([10, 5, 0, 1].into()),
            mtu: 1450,
            subnets: vec![Subnet::new("10.5.0.0/16".parse().unwrap(), None, None).unwrap()],
            flags: Flags::default(),
            firewall: Firewall::Nftables,
            forward_accepts: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    fn others(endpoints: &[(&str, &str)]) -> Elsewhere {
        let of = |(address, host): &(&str, &str)| {
            let address: IpAddr = address.parse().unwrap();
            (address, Remote { mac: Mac::of(address), host: host.parse().unwrap() })
        };
        let endpoints: BTreeMap<_, _> = endpoints.iter().map(of).collect();
        let hosts = endpoints.values().map(|at: &Remote| (at.host, String::new())).collect();
        Elsewhere { endpoints, hosts }
    }

    fn entries(network: &Network, others: &Elsewhere) -> Plan {
        elsewhere(network, network.driver.overlay().unwrap(), others)
    }

    fn commands(plan: &[Step]) -> Vec<String> {
        plan.iter().filter_map(command).collect()
    }

    #[test]
    fn an_endpoint_of_another_host_is_one_neighbour_and_one_fdb_entry() {
        let network = network(false);
        let plan =
            entries(&network, &others(&[("10.5.0.2", "192.0.2.2"), ("10.6.0.2", "192.0.2.2")]));
        assert_eq!(
            commands(&plan),
            [
                "ip neigh replace 10.5.0.2 lladdr 02:42:0a:05:00:02 dev vx-pods nud permanent protocol 110",
                "bridge fdb replace 02:42:0a:05:00:02 dev vx-pods dst 192.0.2.2 self master static",
            ],
            "an address outside of the network is nobody's"
        );
    }

    #[test]
    fn an_endpoint_that_moves_changes_one_entry() {
        let network = network(false);
        let of = |host| entries(&network, &others(&[("10.5.0.2", host)]));
        let had: Vec<_> =
            of("192.0.2.2").into_iter().filter_map(|s| s.change.resource().cloned()).collect();
        assert_eq!(
            commands(&entry_changes(of("192.0.2.3"), &had)),
            ["bridge fdb replace 02:42:0a:05:00:02 dev vx-pods dst 192.0.2.3 self master static"]
        );
        assert_eq!(
            commands(&entry_changes(Plan::new(), &had)),
            [
                "bridge fdb del 02:42:0a:05:00:02 dev vx-pods dst 192.0.2.2 self master",
                "ip neigh del 10.5.0.2 dev vx-pods",
            ]
        );
        assert_eq!(entry_changes(of("192.0.2.2"), &had), Plan::new());
    }

    #[test]
    fn copies_of_multicasts_go_to_each_host_only_where_they_are_wanted() {
        let both = others(&[("10.5.0.2", "192.0.2.2"), ("10.5.0.3", "192.0.2.3")]);
        let last = commands(&entries(&network(true), &both)).split_off(4);
        assert_eq!(
            last,
            [
                "bridge fdb append 00:00:00:00:00:00 dev vx-pods dst 192.0.2.2 self permanent",
                "bridge fdb append 00:00:00:00:00:00 dev vx-pods dst 192.0.2.3 self permanent",
            ]
        );
        assert_eq!(entries(&network(false), &both).len(), 4);
    }
}

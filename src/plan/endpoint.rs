//! The plan of an endpoint: the notes' steps 7 to 9.

use super::{
    ALIAS_PREFIX, Place, Plan, PortFlag, Record, Resource, Step, Veth, netns::lo_up,
    publish::publish,
};
use crate::model::{Endpoint, LinkName, Network, Route};

/// Attaches a target, whose name in `/run/netns` exists, to a network, with its published ports.
pub fn attach(network: &Network, endpoint: &Endpoint, hairpin: bool) -> Plan {
    let inside = Some(endpoint.netns.clone());
    let recorded = Endpoint { ports: Vec::new(), ..endpoint.clone() };
    let mut plan = vec![
        Step::create(
            "write down the endpoint: its address is taken from now on",
            Resource::Record(Record::Endpoint {
                network: network.name.clone(),
                endpoint: recorded,
            }),
        ),
        Step::create(
            "a veth pair is a cable: one end in the bridge, the other inside the target",
            Resource::Veth(Veth {
                host: endpoint.host_ifname.clone(),
                host_mac: endpoint.host_mac(),
                bridge: network.name.clone(),
                netns: endpoint.netns.clone(),
                peer: endpoint.ifname.clone(),
                mac: endpoint.mac,
                mtu: endpoint.mtu,
            }),
        ),
        Step::create(
            "the alias says whose link it is",
            Resource::Alias {
                link: endpoint.host_ifname.clone(),
                alias: format!("{ALIAS_PREFIX}{}/{}", network.name, endpoint.netns),
            },
        ),
        sysctl(
            "a bridge port needs no addresses of its own",
            None,
            &endpoint.host_ifname,
            "disable_ipv6",
            "1",
        ),
    ];
    if network.isolate {
        plan.push(Step::create(
            "an isolated port speaks to the bridge only, not to other endpoints",
            Resource::Port { link: endpoint.host_ifname.clone(), flag: PortFlag::Isolated },
        ));
    }
    plan.extend(ipv6_inside(endpoint, &inside));
    if endpoint.raises_lo {
        plan.extend(lo_up(&inside));
    }
    for address in &endpoint.addresses {
        plan.push(Step::create(
            "the endpoint's address",
            Resource::Address {
                netns: inside.clone(),
                link: endpoint.ifname.clone(),
                address: *address,
            },
        ));
    }
    plan.push(Step::create(
        "the inner end goes up last: now the cable has carrier",
        Resource::Up { netns: inside.clone(), link: endpoint.ifname.clone() },
    ));
    plan.extend(routes(endpoint, &inside));
    for port in &endpoint.ports {
        plan.extend(publish(network, endpoint, port, hairpin));
    }
    plan
}

fn ipv6_inside(endpoint: &Endpoint, inside: &Place) -> Plan {
    if endpoint.has_ipv6() {
        vec![
            sysctl(
                "the network has an IPv6 subnet",
                inside.clone(),
                &endpoint.ifname,
                "disable_ipv6",
                "0",
            ),
            sysctl(
                "addresses are given, not announced by whoever speaks first",
                inside.clone(),
                &endpoint.ifname,
                "accept_ra",
                "0",
            ),
        ]
    } else {
        vec![sysctl(
            "an IPv4 network needs no IPv6, and its neighbour discovery would be flooded to all ports",
            inside.clone(),
            &endpoint.ifname,
            "disable_ipv6",
            "1",
        )]
    }
}

fn sysctl(
    why: &'static str,
    netns: Place,
    link: &LinkName,
    key: &str,
    value: &'static str,
) -> Step {
    let key = format!("net/ipv6/conf/{link}/{key}");
    Step::create(why, Resource::Sysctl { netns, key, value: value.into(), reset: None })
}

fn routes(endpoint: &Endpoint, inside: &Place) -> Plan {
    let route = |route: Route| Resource::Route { netns: inside.clone(), route };
    let mut plan: Plan = endpoint
        .replaced
        .iter()
        .map(|old| Step::delete("the former default route gives way", route(old.clone())))
        .collect();
    for gateway in &endpoint.gateways {
        plan.push(Step::create(
            "everything else is reached by way of the gateway",
            route(Route::default_by(*gateway, endpoint.ifname.clone())),
        ));
    }
    for more in &endpoint.routes {
        plan.push(Step::create("a route that was asked for", route(more.clone())));
    }
    plan
}

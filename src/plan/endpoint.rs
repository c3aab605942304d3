//! The plan of an endpoint: the notes' steps 7 to 9.

use ipnetwork::IpNetwork;

use super::{
    Place, Plan, Record, Resource, Step, SysctlKey, driver,
    netns::lo_up,
    publish::{BridgedFrames, publish},
};
use crate::model::{Attachment, Endpoint, Family, LinkName, Network, Route};

/// Attaches a target, whose name in `/run/netns` exists, to a network, with its published ports. Of an
/// endpoint that another program made, there are only the ports.
pub fn attach(network: &Network, endpoint: &Endpoint, frames: BridgedFrames) -> Plan {
    let recorded = Endpoint { ports: Vec::new(), ..endpoint.clone() };
    let mut plan = vec![Step::create(
        "record the endpoint: this reserves its address",
        Resource::Record(Record::Endpoint { network: network.name.clone(), endpoint: recorded }),
    )];
    if !endpoint.foreign {
        plan.extend(wiring(network, endpoint));
    }
    plan.extend(publish(network, endpoint, &endpoint.ports, frames));
    plan
}

/// Makes the link of an endpoint, and configures it.
fn wiring(network: &Network, endpoint: &Endpoint) -> Plan {
    let inside = Some(endpoint.netns.clone());
    let mut plan = driver::link(network, endpoint);
    if endpoint.handed_over.is_some() {
        return plan;
    }
    plan.extend(ipv6_inside(endpoint, &inside));
    if network.is_shared() {
        plan.extend(speaking(endpoint, &inside));
    }
    if endpoint.raises_lo {
        plan.extend(lo_up(&inside));
    }
    // The kernel lists the newest IPv6 address first, and takes it as source.
    let (v4, v6): (Vec<IpNetwork>, Vec<IpNetwork>) =
        endpoint.addresses.iter().partition(|a| a.is_ipv4());
    for address in v4.into_iter().chain(v6.into_iter().rev()) {
        plan.push(Step::create(
            "the endpoint's IP address",
            Resource::Address { netns: inside.clone(), link: endpoint.ifname.clone(), address },
        ));
    }
    plan.push(Step::create(
        match endpoint.attachment {
            Attachment::Macvlan => {
                "the link goes up last, fully configured: now it can send and receive"
            }
            Attachment::Veth { .. } => {
                "the inner end goes up last: with both ends up, the veth pair has carrier"
            }
        },
        Resource::Up { netns: inside.clone(), link: endpoint.ifname.clone() },
    ));
    plan.extend(routes(network, endpoint, &inside));
    plan.extend(driver::introduction(network, endpoint));
    plan
}

/// Makes the inner end announce its addresses. On a shared network, neighbours may remember a
/// former owner of an address; on a network of this host an address always has the same MAC.
fn speaking(endpoint: &Endpoint, inside: &Place) -> Plan {
    let switches = [(Family::V4, "arp_notify"), (Family::V6, "ndisc_notify")];
    let has = |family: Family| endpoint.address(family).is_some();
    let wanted = switches.into_iter().filter(|(family, _)| has(*family));
    wanted
        .map(|(family, name)| {
            let key = SysctlKey::of_link(family, &endpoint.ifname, name);
            let (netns, value) = (inside.clone(), "1".into());
            Step::create(
                "the kernel announces addresses when the link goes up (gratuitous ARP, unsolicited NA)",
                Resource::Sysctl { netns, key, value, reset: None },
            )
        })
        .collect()
}

fn ipv6_inside(endpoint: &Endpoint, inside: &Place) -> Plan {
    if endpoint.addresses.is_empty() {
        // Programs inside assign them, of either family.
        return Vec::new();
    }
    if endpoint.has_ipv6() {
        vec![
            sysctl(
                "the network has an IPv6 subnet, so the link needs IPv6",
                inside.clone(),
                &endpoint.ifname,
                "disable_ipv6",
                "0",
            ),
            sysctl(
                "netcord assigns the addresses: ignore router advertisements (no SLAAC)",
                inside.clone(),
                &endpoint.ifname,
                "accept_ra",
                "0",
            ),
        ]
    } else {
        vec![sysctl(
            "no IPv6 subnet: with IPv6 off, no neighbour discovery floods the bridge's ports",
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
    key: &'static str,
    value: &'static str,
) -> Step {
    let key = SysctlKey::of_link(Family::V6, link, key);
    Step::create(why, Resource::Sysctl { netns, key, value: value.into(), reset: None })
}

fn routes(network: &Network, endpoint: &Endpoint, inside: &Place) -> Plan {
    let route = |route: Route| Resource::Route { netns: inside.clone(), route };
    let mut plan: Plan = endpoint
        .replaced
        .iter()
        .map(|old| Step::delete("the new default route replaces this one", route(old.clone())))
        .collect();
    for default in endpoint.default_routes() {
        plan.push(Step::create(
            "the default route: all other destinations are reached through the gateway",
            route(default),
        ));
    }
    for more in &endpoint.routes {
        let is_to_others = network.cluster(more.destination.is_ipv4()) == Some(more.destination);
        let why = if is_to_others {
            "the route to the endpoints on other hosts, through the gateway"
        } else {
            "a route given with --route"
        };
        plan.push(Step::create(why, route(more.clone())));
    }
    plan
}

//! The plan of a bridge network.

use std::borrow::Cow;

use crate::{
    model::{Endpoint, Family, LinkName, Network},
    plan::{
        Plan, Record, Resource, Scope, SpoofFilter, Step, SysctlKey, alias, cable::cable, firewall,
        forward_accept,
    },
};

/// The host's links to the outside that a network needs changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplinks {
    /// Links that have a default route from a router advertisement. Once forwarding is on, the
    /// kernel ignores router advertisements unless `accept_ra` is 2, and the host would lose its
    /// IPv6 route.
    pub advertised: Vec<LinkName>,
    /// Links on which IPv4 forwarding was switched off, so that no reply would get in.
    pub closed: Vec<LinkName>,
}

/// Makes a bridge whose address is the gateway, its firewall rules, and forwarding.
pub(super) fn network(network: &Network, uplinks: &Uplinks) -> Plan {
    let mut plan = segment(network, uplinks);
    plan.extend(forward_accept::install_accepts(network));
    plan
}

/// The same, without what lets it by in other firewalls. Protections come before the bridge goes up,
/// and before forwarding is turned on.
pub(super) fn segment(network: &Network, uplinks: &Uplinks) -> Plan {
    let name = &network.name;
    let mut plan = vec![record(network)];
    plan.extend(link("the bridge: the Ethernet switch that all endpoints plug into", network));
    plan.extend(no_router(network, name));
    plan.extend(firewall::network(network));
    for subnet in &network.subnets {
        if let Some(gateway) = subnet.gateway
            && let Ok(address) = ipnetwork::IpNetwork::new(gateway, subnet.cidr.prefix())
        {
            plan.push(Step::create(
                "the bridge's address: the default gateway of the endpoints",
                Resource::Address { netns: None, link: name.clone(), address },
            ));
        }
    }
    if network.is_routed() {
        for family in network.families() {
            if family == Family::V6 {
                plan.extend(keep_router_advertisements(&uplinks.advertised));
            }
            plan.push(forwarding(family));
            let why =
                "forwarding is also set per link: the host forwards what arrives from this bridge";
            plan.push(forwarding_of(why, name, family));
            if family == Family::V4 {
                plan.extend(uplinks.closed.iter().map(opened));
            }
        }
    }
    plan.push(Step::create(
        "a link carries no frames until it is up",
        Resource::Up { netns: None, link: name.clone() },
    ));
    plan
}

/// Writes a network to the record.
pub(super) fn record(network: &Network) -> Step {
    Step::create(
        "record the request first, so that a later run can finish or undo it",
        Resource::Record(Record::Network(network.clone())),
    )
}

/// Makes an endpoint a port of the bridge.
pub(super) fn port(network: &Network, endpoint: &Endpoint) -> Plan {
    cable(network, endpoint, SpoofFilter::against_spoofing(network, endpoint))
}

/// Makes the bridge itself, with our alias.
///
/// The kernel takes an MTU as set by the user only if it was another before (`dev_set_mtu_ext`);
/// the MTU at creation does not count. So the bridge is created with another MTU first.
pub(super) fn link(why: &'static str, network: &Network) -> Plan {
    let (name, mac, mtu) = (&network.name, network.mac, network.mtu);
    vec![
        Step::create(why, Resource::Bridge { name: name.clone(), mac, mtu: mtu ^ 1 }),
        Step::create(
            "the alias marks the link as netcord's and names its owner",
            Resource::Alias { netns: None, link: name.clone(), alias: alias::of_network(network) },
        ),
        Step::create(
            "an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports",
            Resource::Mtu { link: name.clone(), mtu },
        ),
    ]
}

/// What keeps the host from taking configuration that others send by a link of a network.
pub(super) fn no_router(network: &Network, link: &LinkName) -> Plan {
    let ipv6 = |why, key, value| {
        Step::create(
            why,
            Resource::Sysctl {
                netns: None,
                key: SysctlKey::of_link(Family::V6, link, key),
                value: Cow::Borrowed(value),
                reset: None,
            },
        )
    };
    if network.has_ipv6() {
        vec![
            ipv6(
                "the host ignores router advertisements (RA) that endpoints send",
                "accept_ra",
                "0",
            ),
            ipv6("the host ignores ICMPv6 redirects that endpoints send", "accept_redirects", "0"),
            ipv6("the network has an IPv6 subnet, so the link needs IPv6", "disable_ipv6", "0"),
        ]
    } else {
        vec![ipv6(
            "no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface",
            "disable_ipv6",
            "1",
        )]
    }
}

/// Makes links accept router advertisements on a host that is about to forward.
fn keep_router_advertisements(links: &[LinkName]) -> Plan {
    let why = "accept_ra=2: a forwarding host accepts router advertisements only with this value";
    let key = |link| SysctlKey::of_link(Family::V6, link, "accept_ra");
    links.iter().map(|link| switch(why, key(link), "2")).collect()
}

/// Turns on forwarding of a family.
pub(in crate::plan) fn forwarding(family: Family) -> Step {
    let why = match family {
        Family::V4 => "the host forwards IPv4 packets between the bridge and its other links",
        Family::V6 => "the host forwards IPv6 packets between the bridge and its other links",
    };
    switch(why, SysctlKey::forwarding(family), "1")
}

/// A new link takes the value of `default`, and writing `all` sets every link. So the value of this
/// link matters only if it was changed since.
pub(super) fn forwarding_of(why: &'static str, link: &LinkName, family: Family) -> Step {
    let key = SysctlKey::of_link(family, link, "forwarding");
    Step::create(why, Resource::Sysctl { netns: None, key, value: "1".into(), reset: None })
}

fn opened(uplink: &LinkName) -> Step {
    let why = "replies arrive on this link, and its forwarding sysctl is off";
    switch(why, SysctlKey::of_link(Family::V4, uplink, "forwarding"), "1")
}

fn switch(why: &'static str, key: SysctlKey, value: &'static str) -> Step {
    Step::create(why, Resource::Sysctl { netns: None, key, value: value.into(), reset: None })
        .until(Scope::Host)
}

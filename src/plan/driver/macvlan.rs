//! The plan of a macvlan network: each endpoint is a link with a MAC of its own on top of a link of
//! the host, which does not change.

use ipnetwork::IpNetwork;

use crate::{
    model::{self, Endpoint, Family, LinkName, MacvlanMode, Network, Parent, Route},
    plan::{Macvlan, Plan, Record, Resource, Scope, Step, SysctlKey, alias},
};

/// Makes a macvlan network. It needs nothing on the host, except for the parent if that is a
/// missing VLAN, and a macvlan of the host's own if endpoints are to reach the host.
pub(super) fn network(network: &Network, driver: &model::Macvlan) -> Plan {
    let mut plan = vec![Step::create(
        "record the request first, so that a later run can finish or undo it",
        Resource::Record(Record::Network(network.clone())),
    )];
    plan.extend(vlan(&driver.parent));
    if !driver.host_access.is_empty() {
        plan.extend(own_link(network, &driver.parent));
    }
    plan
}

/// Makes the parent if it is a VLAN that is missing.
pub(super) fn vlan(parent: &Parent) -> Plan {
    let Some(vlan) = &parent.vlan else { return Plan::new() };
    let why = "the endpoints use this VLAN, the host does not: no IPv6 on the VLAN link";
    vec![
        Step::create(
            "a VLAN link (802.1Q): it sends and receives the frames with this VLAN ID",
            Resource::Vlan { name: parent.link.clone(), vlan: vlan.clone() },
        )
        .until(Scope::Parent),
        whose(&parent.link, alias::of_link(&parent.link)),
        sysctl(why, Family::V6, &parent.link, "disable_ipv6", "1"),
        up(&parent.link),
    ]
}

/// Makes the host's own macvlan. The kernel passes no frames between a parent and its macvlans, but
/// it does between two macvlans.
///
/// The host's macvlan has no address and sends nothing to the wire: if the host's address had two
/// MACs, neighbours would send to either, and `rp_filter` would drop what arrives at the wrong one.
/// So host and endpoint get each other's MAC as a permanent neighbour, see [`host_access`], and
/// never send ARP requests.
fn own_link(network: &Network, parent: &Parent) -> Plan {
    let name = &network.name;
    let mut plan = vec![
        Step::create(
            "the host cannot reach macvlans through their parent: it needs a macvlan of its own",
            Resource::Macvlan(Macvlan {
                netns: None,
                network: name.clone(),
                name: name.clone(),
                parent: parent.link.clone(),
                mac: network.mac,
                mtu: network.mtu,
                mode: MacvlanMode::Bridge,
            }),
        ),
        whose(name, alias::of_link(name)),
        sysctl(
            "arp_ignore: the parent answers ARP for the host's address, this link must not",
            Family::V4,
            name,
            "arp_ignore",
            "8",
        ),
    ];
    if network.has_ipv6() {
        let why = "the host's macvlan gets no IPv6 address, router advertisement or redirect";
        for (key, value) in [("accept_ra", "0"), ("accept_redirects", "0"), ("addr_gen_mode", "1")]
        {
            plan.push(sysctl(why, Family::V6, name, key, value));
        }
    } else {
        let why = "no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface";
        plan.push(sysctl(why, Family::V6, name, "disable_ipv6", "1"));
    }
    plan.push(up(name));
    plan
}

/// Returns the link of an endpoint of a macvlan network.
pub fn macvlan_of(network: &Network, endpoint: &Endpoint) -> Option<Macvlan> {
    network.driver.macvlan().map(|driver| of(network, driver, endpoint))
}

fn of(network: &Network, driver: &model::Macvlan, endpoint: &Endpoint) -> Macvlan {
    let (netns, name) = endpoint.inner_end();
    Macvlan {
        netns: netns.cloned(),
        network: network.name.clone(),
        name: name.clone(),
        parent: driver.parent.link.clone(),
        mac: endpoint.mac,
        mtu: endpoint.mtu,
        mode: driver.mode,
    }
}

/// Makes the link of an endpoint, born inside the target, or on the host for an engine that moves it.
pub(super) fn link(network: &Network, driver: &model::Macvlan, endpoint: &Endpoint) -> Plan {
    let (netns, link) = endpoint.inner_end();
    vec![
        Step::create(
            "a macvlan: a link with its own MAC that sends and receives through its parent",
            Resource::Macvlan(of(network, driver, endpoint)),
        ),
        Step::create(
            "the alias marks the link as netcord's and names its owner",
            Resource::Alias {
                netns: netns.cloned(),
                link: link.clone(),
                alias: alias::of_endpoint(network, endpoint),
            },
        ),
    ]
}

/// Lets host and endpoint reach each other: each gets a route and a neighbour entry for the other.
pub(super) fn host_access(network: &Network, driver: &model::Macvlan, endpoint: &Endpoint) -> Plan {
    let mut plan = Plan::new();
    for host in &driver.host_access {
        let mut addresses = endpoint.addresses_of(Family::of(*host)).peekable();
        if addresses.peek().is_none() {
            continue;
        }
        plan.push(Step::create(
            "a permanent neighbour entry: the host's macvlan does not answer ARP or NDP",
            Resource::Neighbour {
                netns: Some(endpoint.netns.clone()),
                link: endpoint.ifname.clone(),
                address: *host,
                mac: network.mac,
            },
        ));
        let why = "the host reaches the endpoint through its own macvlan, not through the parent";
        for address in addresses {
            plan.push(Step::create(
                why,
                Resource::Neighbour {
                    netns: None,
                    link: network.name.clone(),
                    address,
                    mac: endpoint.mac,
                },
            ));
            let to = Route::on(network.name.clone(), IpNetwork::from(address));
            plan.push(Step::create(
                why,
                Resource::Route { netns: None, route: Route { source: Some(*host), ..to } },
            ));
        }
    }
    plan
}

fn whose(link: &LinkName, alias: String) -> Step {
    let why = "the alias marks the link as netcord's and names its owner";
    Step::create(why, Resource::Alias { netns: None, link: link.clone(), alias })
}

fn up(link: &LinkName) -> Step {
    let why = "a link carries no frames until it is up";
    Step::create(why, Resource::Up { netns: None, link: link.clone() })
}

fn sysctl(
    why: &'static str,
    family: Family,
    link: &LinkName,
    key: &'static str,
    value: &'static str,
) -> Step {
    let key = SysctlKey::of_link(family, link, key);
    Step::create(why, Resource::Sysctl { netns: None, key, value: value.into(), reset: None })
}

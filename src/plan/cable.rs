//! The veth pair of an endpoint: one end is a port of its network's bridge, the other is inside.

use super::{Plan, PortFlag, Resource, SpoofFilter, Step, SysctlKey, Veth, alias};
use crate::model::{Endpoint, Family, Flag, LinkName, Network};

/// Makes the pair for an endpoint that has one. The host end goes up once its protections are in
/// place.
pub(super) fn cable(network: &Network, endpoint: &Endpoint, guard: Option<SpoofFilter>) -> Plan {
    let isolate = network.has(Flag::Isolate);
    let is_protected = guard.is_some() || isolate;
    let Some(port) = endpoint.host_ifname() else { return Plan::new() };
    let (netns, peer) = endpoint.inner_end();
    let mut plan = vec![
        Step::create(
            "a veth pair is a virtual cable: one end in the bridge, the other inside the target",
            Resource::Veth(Veth {
                host: port.clone(),
                host_mac: endpoint.host_mac(),
                bridge: network.name.clone(),
                netns: netns.cloned(),
                peer: peer.clone(),
                mac: endpoint.mac,
                mtu: endpoint.mtu,
                up: !is_protected,
            }),
        ),
        Step::create(
            "the alias marks the link as netcord's and names its owner",
            Resource::Alias {
                netns: None,
                link: port.clone(),
                alias: alias::of_endpoint(network, endpoint),
            },
        ),
        Step::create(
            "a bridge port needs no IP addresses of its own",
            Resource::Sysctl {
                netns: None,
                key: SysctlKey::of_link(Family::V6, port, "disable_ipv6"),
                value: "1".into(),
                reset: None,
            },
        ),
    ];
    if isolate {
        plan.push(Step::create(
            "an isolated bridge port cannot send frames to other isolated ports",
            Resource::Port { link: port.clone(), flag: PortFlag::Isolated },
        ));
    }
    if endpoint.hairpin {
        plan.push(Step::create(
            "hairpin mode: the bridge sends a frame back through the port that it came from",
            Resource::Port { link: port.clone(), flag: PortFlag::Hairpin },
        ));
    }
    if let Some(guard) = guard {
        plan.extend(guarded(port, guard));
    }
    if is_protected {
        plan.push(Step::create(
            "the port's protections are in place, so it may go up",
            Resource::Up { netns: None, link: port.clone() },
        ));
    }
    plan
}

fn guarded(link: &LinkName, guard: SpoofFilter) -> Plan {
    let why = match guard {
        SpoofFilter::Routers => {
            "RA guard: drop router advertisements and ICMPv6 redirects from the endpoint"
        }
        SpoofFilter::Spoofing { .. } => {
            "anti-spoofing filter: drop frames with another source MAC or IP address"
        }
    };
    vec![
        Step::create(
            "the clsact qdisc: where tc filters on incoming frames are attached",
            Resource::Clsact { link: link.clone() },
        ),
        Step::create(why, Resource::TcFilter { link: link.clone(), guard }),
    ]
}

//! The plan of published ports.

use super::{
    Change, Class, Flows, Plan, PortFlag, Record, Resource, Scope, Step, SysctlKey,
    driver::bridge::forwarding, firewall, forward_accept, once,
};
use crate::model::{Endpoint, Family, Filter, Network, Protocol, PublishedPort};

/// What this host does with frames that only cross a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgedFrames {
    /// Iptables does not see them.
    PassBy,
    /// Iptables sees them (`br_netfilter`), so the reply to a container that calls its own published
    /// port leaves by the bridge port that the request came from.
    MeetIptables,
}

/// Publishes ports of an endpoint on the host. They go on record together and open together, so
/// that many ports cost as few transactions as one.
pub fn publish(
    network: &Network,
    endpoint: &Endpoint,
    ports: &[PublishedPort],
    frames: BridgedFrames,
) -> Plan {
    let mut plan = once(ports.iter().flat_map(|p| one(network, endpoint, p, frames)).collect());
    plan.sort_by_key(|step| match (&step.change, step.change.facts().class) {
        (Change::Create(_), Class::Record(_)) => 0,
        (Change::Create(_), Class::Firewall(element)) if element.is_port => 2,
        (Change::Create(_), _) => 1,
        (Change::Delete(_) | Change::DeleteLink(_), _) => 3,
    });
    plan
}

fn one(
    network: &Network,
    endpoint: &Endpoint,
    port: &PublishedPort,
    frames: BridgedFrames,
) -> Plan {
    let family = Family::of(port.host_ip);
    let mut plan = vec![Step::create(
        "record the published port: this reserves it",
        Resource::Record(Record::Port {
            network: network.name.clone(),
            endpoint: endpoint.id(),
            port: port.clone(),
        }),
    )];
    if network.driver.filter() == Filter::Ports {
        // For IPv6 the host's administrator decides, since forwarding may cost the host its routes
        // from router advertisements.
        if family == Family::V4 {
            plan.push(forwarding(family));
        }
        plan.extend(firewall::foreign(network, port));
        plan.extend(forward_accept::install_accepts(network));
    } else if port.reaches_loopback() {
        plan.push(
            Step::create(
                "route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge",
                Resource::Sysctl {
                    netns: None,
                    key: SysctlKey::of_link(family, &network.name, "route_localnet"),
                    value: "1".into(),
                    reset: Some("0"),
                },
            )
            .until(Scope::LoopbackPorts),
        );
    }
    // A port of another program stays as that program made it.
    if frames == BridgedFrames::MeetIptables
        && !endpoint.foreign
        && !endpoint.hairpin
        && let Some(link) = endpoint.host_ifname()
    {
        plan.push(
            Step::create(
                "hairpin mode: with br_netfilter, an endpoint can reach its own published port",
                Resource::Port { link: link.clone(), flag: PortFlag::Hairpin },
            )
            .until(Scope::EndpointPorts),
        );
    }
    plan.push(Step::create(
        "DNAT: packets to the host's port go to the endpoint's address and port",
        firewall::port(network.firewall, &firewall::owner(&network.name, &endpoint.netns), port),
    ));
    if port.protocol == Protocol::Udp {
        plan.push(Step::delete(
            "conntrack entries of earlier UDP flows would bypass the new rule",
            Resource::Flows(Flows::towards(port)),
        ));
    }
    plan
}

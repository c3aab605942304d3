//! Checks the firewalls at both ends: the host's INPUT and OUTPUT, and those inside targets.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{
    judged::Flow,
    namespace_view::Inside,
    snapshot::{End, Segment, Snapshot},
};
use crate::{
    kernel::Link,
    model::{Endpoint, Family, Finding, PortRange, Protocol, ruleset::Met},
    picture,
};

/// Services of the host that endpoints use: DNS and DHCP.
const SERVICES: [(u16, Protocol); 3] =
    [(53, Protocol::Udp), (53, Protocol::Tcp), (67, Protocol::Udp)];

/// Finds rules of the host that drop packets from endpoints to the host itself.
pub(super) fn input(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (segment, bridge, own, endpoint) in pairs(snapshot) {
        let flow =
            |port| Flow { from: endpoint, to: own, port, incoming: Some(bridge), outgoing: None };
        let is_served = |(port, protocol): &(u16, Protocol)| {
            snapshot.sockets.listening(own, PortRange::single(*port), *protocol).next().is_some()
        };
        let services = SERVICES.into_iter().filter(is_served).map(Some);
        for flow in services.chain([None]).map(flow) {
            let Some(met) = snapshot.rules.all.as_ref().and_then(|rules| flow.dropped(rules))
            else {
                continue;
            };
            let what = format!(
                "the host's firewall drops packets from `{}` to the host itself: {}",
                segment.name(),
                flow.words()
            );
            found.push(
                Finding::warning(segment.name(), what)
                    .shown_by(picture::trace_path::rule(&met))
                    .mended_by(flow.let_by("", &met)),
            );
        }
    }
    found
}

/// Finds rules of the host that drop packets from the host itself to endpoints.
pub(super) fn output(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (segment, bridge, own, endpoint) in pairs(snapshot) {
        let published = snapshot.ends_on(segment).filter(|end| end.examined);
        let published = published.filter_map(|end| end.endpoint.as_ref()).flat_map(|e| &e.ports);
        let to_ports = published
            .filter(|port| port.address.is_ipv4() == own.is_ipv4())
            .map(|port| (port.address, Some((port.container.first, port.protocol))));
        for (to, port) in to_ports.chain([(endpoint, None)]) {
            let flow = Flow { from: own, to, port, incoming: None, outgoing: Some(bridge) };
            let Some(met) = snapshot.rules.all.as_ref().and_then(|rules| flow.dropped(rules))
            else {
                continue;
            };
            let what = format!(
                "the host's firewall drops packets from the host itself to `{}`",
                segment.name()
            );
            found.push(
                Finding::warning(segment.name(), what)
                    .shown_by(picture::trace_path::rule(&met))
                    .mended_by(flow.let_by("", &met)),
            );
        }
    }
    found
}

/// For each network and IP version: the bridge, the host's address on it, and that of an endpoint.
fn pairs<'s>(snapshot: &'s Snapshot<'_>) -> Vec<(&'s Segment, &'s Link, IpAddr, IpAddr)> {
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        let Some(bridge) = segment.bridge.as_ref().filter(|bridge| bridge.up) else { continue };
        for own in snapshot.host.addresses_of(bridge) {
            let ends = snapshot.ends_on(segment).filter_map(|end| end.endpoint.as_ref());
            let mut theirs = ends.flat_map(|endpoint| &endpoint.addresses).map(IpNetwork::ip);
            if let Some(endpoint) = theirs.find(|ip| own.contains(*ip)) {
                found.push((segment, bridge, own.ip(), endpoint));
            }
        }
    }
    found
}

/// Finds firewalls inside targets that drop packets to published ports, packets that the target
/// sends, or those that it should forward.
pub(super) fn inside(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        let Some(endpoint) = &end.endpoint else { continue };
        let calls = for_ports(endpoint, link);
        found.extend(calls.filter_map(|flow| {
            let what = format!("its own firewall drops packets to its port {}", flow.words());
            dropped(snapshot, end, inside, flow, what)
        }));
        found.extend(pings(snapshot, end, link).filter_map(|flow| {
            let what =
                "its own firewall drops ICMP echo requests: it does not answer a ping".to_owned();
            dropped(snapshot, end, inside, flow, what)
        }));
        found.extend(sent(snapshot, end, inside, link));
        found.extend(passed_on(snapshot, end, inside, link));
    }
    found
}

fn dropped(
    snapshot: &Snapshot<'_>,
    end: &End,
    inside: &Inside,
    flow: Flow<'_>,
    what: String,
) -> Option<Finding> {
    let met = flow.dropped(inside.ruleset.as_ref()?)?;
    Some(
        Finding::warning(snapshot.place(end), what)
            .shown_by(format!("in {}: {}", inside.target, picture::trace_path::rule(&met)))
            .mended_by(flow.let_by(&inside.enter, &met)),
    )
}

/// An arbitrary address (RFC 5737, RFC 3849).
fn somebody(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([203, 0, 113, 1]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1]),
    }
}

/// The first packets to published ports.
fn for_ports<'s>(endpoint: &'s Endpoint, link: &'s Link) -> impl Iterator<Item = Flow<'s>> {
    endpoint.ports.iter().map(|port| Flow {
        from: somebody(Family::of(port.address)),
        to: port.address,
        port: Some((port.container.first, port.protocol)),
        incoming: Some(link),
        outgoing: None,
    })
}

/// A ping from the host to an endpoint.
fn pings<'s>(
    snapshot: &Snapshot<'_>,
    end: &'s End,
    link: &'s Link,
) -> impl Iterator<Item = Flow<'s>> {
    let bridge = snapshot.segment_of(end).and_then(|segment| segment.bridge.as_ref());
    let own = bridge.map(|bridge| snapshot.host.addresses_of(bridge)).unwrap_or_default();
    let addresses = end.endpoint.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses.filter_map(move |address| {
        let from = own.iter().map(IpNetwork::ip).find(|ip| address.contains(*ip))?;
        Some(Flow { from, to: address.ip(), port: None, incoming: Some(link), outgoing: None })
    })
}

/// Finds a firewall that drops everything that a target would send.
fn sent(snapshot: &Snapshot<'_>, end: &End, inside: &Inside, link: &Link) -> Option<Finding> {
    let ruleset = inside.ruleset.as_ref()?;
    let addresses = &end.endpoint.as_ref()?.addresses;
    for address in addresses {
        let flow = |port| Flow {
            from: address.ip(),
            to: somebody(Family::of(address.ip())),
            port,
            incoming: None,
            outgoing: Some(link),
        };
        let usual = [
            None,
            Some((80, Protocol::Tcp)),
            Some((443, Protocol::Tcp)),
            Some((53, Protocol::Udp)),
        ];
        let flows = usual.map(flow);
        let met: Vec<_> = flows.iter().filter_map(|flow| flow.dropped(ruleset)).collect();
        // A policy that drops, with rules that accept, is intended: replies may pass.
        let is_thought = |met: &Met| {
            met.handle.is_none()
                && ruleset.chain(&met.table, &met.chain).is_some_and(|c| !c.rules.is_empty())
        };
        if met.len() == flows.len() && !is_thought(&met[0]) {
            let what = "its own firewall drops the packets that it sends".to_owned();
            return dropped(snapshot, end, inside, flows[0], what);
        }
    }
    None
}

/// Finds a firewall that drops what a target that routes should forward, from this link to its
/// others.
fn passed_on(snapshot: &Snapshot<'_>, end: &End, inside: &Inside, link: &Link) -> Option<Finding> {
    let from = end.endpoint.as_ref()?.addresses.iter();
    for address in from.filter(|address| inside.forwards.contains(&Family::of(address.ip()))) {
        let others =
            inside.view.links.iter().filter(|l| l.up && l.name != "lo" && l.name != link.name);
        for (other, to) in
            others.flat_map(|l| inside.view.addresses_of(l).into_iter().map(move |a| (l, a)))
        {
            if to.is_ipv4() != address.is_ipv4() {
                continue;
            }
            let flow = Flow {
                from: somebody(Family::of(address.ip())),
                // An arbitrary address there.
                to: to.network(),
                port: None,
                incoming: Some(link),
                outgoing: Some(other),
            };
            let what = format!(
                "it forwards packets, and its own firewall drops those from `{}` to `{}`",
                link.name, other.name
            );
            if let Some(finding) = dropped(snapshot, end, inside, flow, what) {
                return Some(finding);
            }
        }
    }
    None
}

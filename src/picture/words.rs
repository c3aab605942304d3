//! The descriptions of things in pictures.

use std::net::IpAddr;

use crate::model::{
    EndpointState, PublishedPort,
    graph::{End, Forwarding, Graph, HostLink, Inside, OtherHost, Port, Segment},
    visible,
};

/// Returns a name from outside, safe for a terminal and for XML.
pub(super) fn plain(name: &str) -> String {
    visible(name).into_owned()
}

pub(super) fn forwarding(forwarding: Forwarding) -> &'static str {
    match (forwarding.ipv4, forwarding.ipv6) {
        (true, true) => "forwards IPv4 and IPv6",
        (true, false) => "forwards IPv4",
        (false, true) => "forwards IPv6",
        (false, false) => "does not forward",
    }
}

/// `bridge`, `bridge (foreign)`, `bridge (docker:shop_default)`, `macvlan (private) on eth0`
pub(super) fn mode(segment: &Segment) -> String {
    let mut words = segment.mode.to_owned();
    match &segment.engine_network {
        Some(name) => words = format!("{words} ({})", plain(name)),
        None if segment.foreign => words.push_str(" (foreign)"),
        None => {}
    }
    if let Some(mode) = segment.macvlan {
        words = format!("{words} ({})", mode.as_str());
    }
    if let Some(parent) = &segment.parent {
        words = format!("{words} on {}", plain(parent));
    }
    words
}

/// The properties of a segment that differ from the default.
pub(super) fn properties(segment: &Segment) -> Vec<String> {
    let mut found = Vec::new();
    if segment.masquerade {
        let by: Vec<_> = segment.masquerade_by.iter().map(|name| plain(name)).collect();
        found.push(match by.as_slice() {
            [] => "masquerade (no default route)".to_owned(),
            by => format!("masquerade by {}", by.join(", ")),
        });
    }
    let switches = [
        (segment.internal, "internal"),
        (segment.isolate, "isolated endpoints"),
        (segment.no_spoof, "no spoofing"),
        (segment.open, "open to open networks"),
        (segment.host_access, "host access"),
        (segment.macvlan.is_some() && !segment.host_access, "no host access"),
    ];
    found.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()));
    found
}

/// `veth`, `vlan on eth0`, `in bond0`; nothing for hardware.
pub(super) fn kind(link: &HostLink) -> String {
    let mut words = vec![plain(&link.kind)];
    if let Some(lower) = &link.lower {
        let how = if link.kind == "veth" { "to" } else { "on" };
        words.extend([how.to_owned(), plain(lower)]);
    }
    if let Some(master) = &link.master {
        words.extend(["in".to_owned(), plain(master)]);
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// The owner of a namespace.
pub(super) fn who(inside: &Inside) -> String {
    match (&inside.target, inside.nsid) {
        (Some(target), _) => plain(target),
        (None, Some(id)) => format!("no name (netns id {id})"),
        (None, None) => "no name".into(),
    }
}

/// Returns the link of the host that is the port.
pub(super) fn port_name(port: &Port) -> Option<String> {
    port.link.as_deref().map(plain)
}

/// Returns the description of a port's other side, if that is not a namespace.
pub(super) fn beyond(end: &End) -> Option<String> {
    match end {
        End::Inside(_) => None,
        End::Host { link } => Some(format!("{}, also the host's", plain(link))),
        End::Wire { link_kind } if link_kind.is_empty() => Some("the wire".into()),
        End::Wire { link_kind } => Some(plain(link_kind)),
    }
}

/// `host 192.0.2.2`
pub(super) fn other_host(other: &OtherHost) -> String {
    format!("host {}", other.host)
}

/// `by vx-pods`: the link to another host.
pub(super) fn by(other: &OtherHost) -> Option<String> {
    let links: Vec<_> = other.via.iter().map(|link| plain(link)).collect();
    (!links.is_empty()).then(|| format!("by {}", links.join(", ")))
}

/// `via A, B`
pub(super) fn via(gateways: &[IpAddr]) -> Option<String> {
    let gateways: Vec<_> = gateways.iter().map(ToString::to_string).collect();
    (!gateways.is_empty()).then(|| format!("via {}", gateways.join(", ")))
}

/// `0.0.0.0:8080 -> 80/tcp`: the endpoint's address is in the same row.
pub(super) fn published(port: &PublishedPort) -> String {
    format!("{} -> {}", port.host_side(), inner_port(port))
}

/// `80/tcp`: what a published port leads to is the endpoint's own address.
pub(super) fn inner_port(port: &PublishedPort) -> String {
    format!("{}/{}", port.container, port.protocol)
}

/// Returns the state of a port, if it is not up.
pub(super) fn trouble(state: EndpointState) -> Option<&'static str> {
    match state {
        EndpointState::Up => None,
        EndpointState::Down => Some("down"),
        EndpointState::Dead => Some("gone"),
        EndpointState::Stopped => Some("stopped"),
        EndpointState::Unknown => Some("unknown"),
    }
}

/// Returns the picture in a sentence, for people who cannot see it.
pub(super) fn summary(graph: &Graph) -> String {
    let count =
        |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let segments = count(graph.segments.len(), "network");
    let endpoints = count(graph.insides().count(), "endpoint");
    let published = count(graph.insides().map(|i| i.published.len()).sum(), "published port");
    let others: usize = graph.segments.iter().map(|segment| segment.peers.len()).sum();
    let others = match others {
        0 => String::new(),
        others => format!(" Endpoints on {} are reached.", count(others, "other host")),
    };
    format!(
        "The host {}. It has {segments} with {endpoints} and {published}.{others}",
        forwarding(graph.forwarding)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_what_it_is_and_hangs_where_it_hangs() {
        let link = |kind: &str, lower: Option<&str>, master: Option<&str>| HostLink {
            kind: kind.into(),
            lower: lower.map(Into::into),
            master: master.map(Into::into),
            ..HostLink::default()
        };
        assert_eq!(kind(&link("", None, None)), "");
        assert_eq!(kind(&link("", None, Some("bond0"))), "in bond0");
        assert_eq!(kind(&link("veth", Some("a"), None)), "veth to a");
        assert_eq!(kind(&link("vlan", Some("eth0"), Some("bond0"))), "vlan on eth0 in bond0");
    }
}

//! Checks addresses and routes: whether they exist, and lead to the right place.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{
    namespace_view::Inside,
    remedy,
    snapshot::{End, Segment, Snapshot},
};
use crate::{
    kernel::{Link, LinkKind},
    model::{Family, Finding, Flag, LinkName, overlap},
    ops::driver,
};

/// Finds addresses that networks and endpoints should have, but lack. A link that goes down loses
/// its IPv6 addresses.
pub(super) fn missing(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in snapshot.segments.iter().filter(|s| s.is_gateway()) {
        let Some(bridge) = segment.bridge.as_ref().filter(|bridge| bridge.up) else { continue };
        let there = snapshot.host.addresses_of(bridge);
        let gateways = segment.network().subnets.iter().filter_map(|subnet| subnet.gateway);
        for gateway in gateways.filter(|g| !there.iter().any(|a| a.ip() == *g)) {
            let name = segment.name();
            let what = format!("`{name}` does not have the gateway's address {gateway}");
            found.push(
                Finding::error(name, what)
                    .shown_by(format!("addresses of {name}: {}", listed(&there)))
                    .mended_by(driver::again(segment.network())),
            );
        }
    }
    for (end, inside, link) in snapshot.entered() {
        let Some(endpoint) = end.endpoint.as_ref().filter(|_| link.up) else { continue };
        let there = inside.view.addresses_of(link);
        for address in endpoint.addresses.iter().filter(|a| !there.contains(a)) {
            let what = format!("`{}` does not have its address {address}", link.name);
            found.push(
                Finding::error(snapshot.place(end), what)
                    .shown_by(format!("addresses of {}: {}", link.name, listed(&there)))
                    .mended_by(added(inside, *address, link)),
            );
        }
    }
    found
}

/// The endpoint had the address before, so nobody else has it, and duplicate address detection can
/// be skipped.
fn added(inside: &Inside, address: IpNetwork, link: &Link) -> String {
    let nodad = if address.is_ipv6() { " nodad" } else { "" };
    format!("{} addr add {address} dev {}{nodad}", inside.ip, link.name)
}

fn listed<T: ToString>(all: &[T]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Finds duplicate addresses, and subnets that the host reaches by another link.
pub(super) fn clashes(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        found.extend(of_segment(snapshot, segment));
        if let Some(bridge) = &segment.bridge
            && segment.is_gateway()
        {
            found.extend(elsewhere(snapshot, segment, bridge));
        }
    }
    found
}

/// Returns each owner of each address of a network, with the command that removes it: first the
/// bridge, then the owners on record.
fn owners<'s>(
    snapshot: &'s Snapshot<'_>,
    segment: &'s Segment,
) -> BTreeMap<IpAddr, Vec<(String, Option<String>)>> {
    let mut owners: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for address in segment.bridge.iter().flat_map(|b| snapshot.host.addresses_of(b)) {
        let who = (format!("{address} dev {}", segment.name()), None);
        owners.entry(address.ip()).or_default().push(who);
    }
    let mut ends: Vec<_> = snapshot.ends_on(segment).collect();
    let is_own = |end: &End, ip: IpAddr| {
        end.endpoint.as_ref().is_some_and(|e| e.addresses.iter().any(|a| a.ip() == ip))
    };
    ends.sort_by_key(|end| end.endpoint.is_none());
    for by_record in [true, false] {
        for end in &ends {
            let Some(inner) = &end.inner else { continue };
            let inside = &snapshot.insides[inner.inside];
            for address in inside.view.addresses_of(&inner.link) {
                if is_own(end, address.ip()) == by_record {
                    let (target, link) = (&inside.target, &inner.link.name);
                    let command = format!("{} addr del {address} dev {link}", inside.ip);
                    let who = (format!("{address} dev {link} in {target}"), Some(command));
                    owners.entry(address.ip()).or_default().push(who);
                }
            }
        }
    }
    owners
}

fn of_segment<'s>(
    snapshot: &'s Snapshot<'_>,
    segment: &'s Segment,
) -> impl Iterator<Item = Finding> + 's {
    owners(snapshot, segment).into_iter().filter(|(_, who)| who.len() > 1).map(|(ip, who)| {
        let what = format!("two endpoints have the address {ip}: packets reach either of them");
        let last = who.last().and_then(|(_, command)| command.clone());
        let finding = who
            .into_iter()
            .fold(Finding::error(segment.name(), what), |f, (words, _)| f.shown_by(words));
        match last {
            Some(command) => finding.mended_by(command),
            None => finding,
        }
    })
}

/// Returns other links of the host by which a part of the subnet is reached.
fn elsewhere(snapshot: &Snapshot<'_>, segment: &Segment, bridge: &Link) -> Vec<Finding> {
    let mut found = Vec::new();
    let name = segment.name();
    for subnet in &segment.network().subnets {
        // The VXLAN links of an overlay network have addresses of the network itself.
        let tunnels = segment.network().tunnels().map(LinkName::as_str);
        let own: Vec<_> = std::iter::once(&bridge.name[..]).chain(tunnels).collect();
        let others = snapshot.host.links.iter().filter(|link| !own.contains(&link.name.as_str()));
        for other in others.clone() {
            let addresses = snapshot.host.addresses_of(other);
            for address in addresses.into_iter().filter(|a| overlap(*a, subnet.cidr)) {
                let is_way_out = Family::BOTH.into_iter().any(|family| {
                    snapshot.host.default_route(family).is_some_and(|route| other.carries(route))
                });
                // Removing an address of the uplink may cut the user off.
                let command = if is_way_out || other.kind == LinkKind::Other {
                    remedy::elsewhere(&segment.record)
                } else {
                    format!("ip addr del {address} dev {}", other.name)
                };
                let what = format!(
                    "the subnet {} is also that of `{}`: packets go to either of them",
                    subnet.cidr, other.name
                );
                found.push(
                    Finding::error(name, what)
                        .shown_by(format!("{address} dev {}", other.name))
                        .mended_by(command),
                );
            }
        }
        for other in others {
            let has_address = snapshot.host.addresses_of(other);
            let is_more_specific = |r: &&crate::kernel::TableRoute| {
                other.carries(r)
                    && r.destination.prefix() >= subnet.cidr.prefix()
                    && overlap(r.destination, subnet.cidr)
                    && !has_address.iter().any(|a| overlap(*a, r.destination))
            };
            for route in snapshot.host.routes.iter().filter(is_more_specific) {
                let via = route.gateway.map(|g| format!(" via {g}")).unwrap_or_default();
                let words = format!("{}{via} dev {}", route.destination, other.name);
                let what = format!("a route leads packets for the network to `{}`", other.name);
                found.push(
                    Finding::error(name, what)
                        .shown_by(words.clone())
                        .mended_by(format!("ip route del {words}")),
                );
            }
        }
    }
    found
}

/// Finds default routes that are missing, or whose gateway does not exist.
pub(super) fn default_route(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        for family in Family::BOTH {
            found.extend(default_of(snapshot, end, inside, link, family));
        }
    }
    found
}

fn default_of(
    snapshot: &Snapshot<'_>,
    end: &End,
    inside: &Inside,
    link: &Link,
    family: Family,
) -> Option<Finding> {
    // A link that is down has no routes.
    let segment = snapshot.segment_of(end).filter(|_| link.up)?;
    let wanted = wanted_gateway(snapshot, end, inside, link, segment, family);
    let place = snapshot.place(end);
    let command = |gateway: IpAddr| {
        format!("{} route replace default via {gateway} dev {}", inside.ip, link.name)
    };
    let Some(route) = inside.view.default_route(family) else {
        let gateway = wanted?;
        let what = format!("it has no {family} default route: it reaches only its own network");
        let mut routes: Vec<_> = inside
            .view
            .routes
            .iter()
            .filter(|r| Family::of(r.destination.ip()) == family)
            .map(|r| r.destination.to_string())
            .collect();
        routes.sort();
        return Some(
            Finding::error(place, what)
                .shown_by(format!("routes inside: {}", listed(&routes)))
                .mended_by(command(gateway)),
        );
    };
    let gateway = route.gateway.filter(|_| link.carries(route))?;
    if wanted == Some(gateway) || !is_known_whole(snapshot, segment) {
        return None;
    }
    let is_in_subnet = |s: &crate::model::Subnet| s.contains(gateway);
    if !segment.network().subnets.iter().any(is_in_subnet)
        || owners(snapshot, segment).contains_key(&gateway)
    {
        return None;
    }
    let what =
        format!("its {family} default route uses the gateway {gateway}, which does not exist");
    let finding =
        Finding::error(place, what).shown_by(format!("default via {gateway} dev {}", link.name));
    Some(match wanted {
        Some(wanted) => finding.mended_by(command(wanted)),
        None => finding,
    })
}

/// Returns the gateway by which an endpoint should reach the outside.
fn wanted_gateway(
    snapshot: &Snapshot<'_>,
    end: &End,
    inside: &Inside,
    link: &Link,
    segment: &Segment,
    family: Family,
) -> Option<IpAddr> {
    if let Some(endpoint) = &end.endpoint {
        return endpoint.gateways.iter().copied().find(|g| Family::of(*g) == family);
    }
    // A foreign network has no gateway on record: use the bridge's own address, if it has one.
    let bridge = segment.bridge.as_ref()?;
    let own = inside.view.addresses_of(link).into_iter().find(|a| Family::of(a.ip()) == family)?;
    let gateways = snapshot.host.addresses_of(bridge).into_iter().map(|a| a.ip());
    gateways
        .filter(|_| !segment.network().has(Flag::Internal))
        .find(|gateway| own.contains(*gateway))
}

/// Returns whether everything on a bridge is known: none of its ports leads to a physical network.
fn is_known_whole(snapshot: &Snapshot<'_>, segment: &Segment) -> bool {
    let Some(bridge) = &segment.bridge else { return false };
    let is_seen = |port: &Link| {
        snapshot
            .ends_on(segment)
            .any(|e| e.inner.is_some() && e.outer.as_ref().is_some_and(|o| o.name == port.name))
    };
    snapshot.host.ports_of(bridge).all(is_seen)
}

/// Finds targets that drop packets from outside, as the reply would leave by another link
/// (`rp_filter`).
pub(super) fn reverse_path(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        let has_ports = end
            .endpoint
            .as_ref()
            .is_some_and(|e| e.ports.iter().any(|port| port.host_ip.is_ipv4()));
        let Some((_, key)) = inside.strict.iter().find(|(name, _)| *name == link.name) else {
            continue;
        };
        let Some(other) =
            inside.view.default_route(Family::V4).and_then(|r| inside.view.link_of(r))
        else {
            continue;
        };
        if !has_ports || other.name == link.name {
            continue;
        }
        let what = format!(
            "packets from outside to its published ports are dropped: they come in by `{}`, and the \
             reply would leave by `{}` (rp_filter)",
            link.name, other.name
        );
        let loose = format!("net.ipv4.conf.{}.rp_filter=2", link.name);
        found.push(
            Finding::error(snapshot.place(end), what)
                .shown_by(format!("{key} = 1"))
                .shown_by(format!("default dev {}", other.name))
                .mended_by(format!("{} sysctl -w {loose}", inside.enter)),
        );
    }
    found
}

//! What frames are made of: MACs and sizes.

use std::collections::BTreeMap;

use super::{
    namespace_view::Inside,
    remedy,
    snapshot::{End, Segment, Snapshot},
};
use crate::{
    kernel::{Link, LinkKind},
    model::{Family, Finding, LinkName, Mac},
    ops::lookup::managers,
};

/// MACs that two have on one network.
pub(super) fn duplicate_macs(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        let mut owners: BTreeMap<String, Vec<Owner>> = BTreeMap::new();
        if let Some(bridge) = &segment.bridge
            && let Some(mac) = bridge.mac
        {
            let words = format!("link/ether {mac} dev {}", bridge.name);
            owners.entry(mac.to_string()).or_default().push(Owner { words, mended_by: None });
        }
        let mut ends: Vec<_> = snapshot.ends_on(segment).collect();
        ends.sort_by_key(|end| !has_own_mac(end));
        for end in ends {
            let Some(inner) = &end.inner else { continue };
            let (inside, link) = (&snapshot.insides[inner.inside], &inner.link);
            let Some(mac) = link.mac else { continue };
            let words = format!("link/ether {mac} dev {} in {}", link.name, inside.target);
            let mended_by = Some(with_mac(inside, link, proper_mac(end, inside, link)));
            owners.entry(mac.to_string()).or_default().push(Owner { words, mended_by });
        }
        for (mac, owners) in owners.into_iter().filter(|(_, owners)| owners.len() > 1) {
            let what = format!(
                "two endpoints have the MAC {mac}: the bridge sends frames to either of them"
            );
            let mut finding = Finding::error(segment.name(), what);
            for owner in owners {
                finding = finding.shown_by(owner.words);
                finding.command = owner.mended_by.or(finding.command);
            }
            found.push(finding);
        }
    }
    found
}

struct Owner {
    words: String,
    mended_by: Option<String>,
}

fn has_own_mac(end: &End) -> bool {
    let inner = end.inner.as_ref().and_then(|inner| inner.link.mac);
    end.endpoint.as_ref().is_some_and(|e| Some(e.mac) == inner)
}

/// The MAC that an attachment was given, or that its address would make.
fn proper_mac(end: &End, inside: &Inside, link: &Link) -> Mac {
    let of_address = || {
        let address = inside.view.addresses_of(link).first().map(|a| Mac::of(a.ip()));
        address.unwrap_or(Mac::PLACEHOLDER)
    };
    end.endpoint.as_ref().map_or_else(of_address, |e| e.mac)
}

fn with_mac(inside: &Inside, link: &Link, mac: Mac) -> String {
    format!("{} link set {} address {mac}", inside.ip, link.name)
}

/// MACs that are not as they were given: neighbours remember the old one.
pub(super) fn changed_macs(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in snapshot.segments.iter().filter(|s| s.is_gateway()) {
        if let Some(bridge) = &segment.bridge
            && bridge.mac != Some(segment.network().mac)
        {
            let (name, mac) = (segment.name(), segment.network().mac);
            let command = format!("ip link set {name} address {mac}");
            found.push(changed(name.to_owned(), bridge, mac, managers::udev(name), command));
        }
    }
    for (end, inside, link) in snapshot.entered() {
        let Some(endpoint) = &end.endpoint else { continue };
        let is_shared = snapshot.segment_of(end).is_some_and(|s| s.network().driver.is_passthru());
        // Another check reports duplicate MACs.
        let is_anothers = |mac| {
            let has_it = |other: &End| {
                other.inner.as_ref().is_some_and(|i| i.link.mac == mac) && !std::ptr::eq(other, end)
            };
            let segment = snapshot.segment_of(end);
            let bridge = segment.and_then(|s| s.bridge.as_ref());
            bridge.is_some_and(|bridge| bridge.mac == mac)
                || segment.is_some_and(|s| snapshot.ends_on(s).any(has_it))
        };
        if link.mac != Some(endpoint.mac) && !is_shared && !is_anothers(link.mac) {
            let command = with_mac(inside, link, endpoint.mac);
            found.push(changed(snapshot.place(end), link, endpoint.mac, None, command));
        }
    }
    found
}

fn changed(
    place: String,
    link: &Link,
    given: Mac,
    udev: Option<String>,
    command: String,
) -> Finding {
    let what = format!(
        "the MAC of `{}` was changed from {given}, to which neighbours still send",
        link.name
    );
    let mac = link.mac.map_or("none".to_owned(), |mac| mac.to_string());
    let mut finding =
        Finding::warning(place, what).shown_by(format!("link/ether {mac} dev {}", link.name));
    if let Some(file) = udev {
        finding = finding.shown_by(format!("udev configured it by {file}"));
    }
    finding.mended_by(command)
}

/// Links of one way that do not take packets of one size.
pub(super) fn mtus(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        let bridge = snapshot.segment_of(end).and_then(|s| s.bridge.as_ref());
        if let Some(outer) = &end.outer {
            found.extend(of_pair(snapshot, end, inside, link, outer, bridge));
        }
    }
    for segment in snapshot.segments.iter().filter(|s| s.is_routed() && s.is_gateway()) {
        found.extend(to_hosts(snapshot, segment).or_else(|| way_out(snapshot, segment)));
    }
    for segment in &snapshot.segments {
        let tunnels = segment.network().tunnels();
        found.extend(tunnels.filter_map(|tunnel| of_tunnel(snapshot, segment, tunnel)));
    }
    found
}

/// The link of an overlay network's tunnel takes less than its bridge.
fn of_tunnel(snapshot: &Snapshot<'_>, segment: &Segment, tunnel: &LinkName) -> Option<Finding> {
    let tunnel = snapshot.host.link(tunnel.as_str())?;
    let bridge = segment.bridge.as_ref().filter(|bridge| tunnel.mtu < bridge.mtu)?;
    let what = "packets to other hosts that are larger than the MTU of the tunnel's link are dropped or \
                fragmented";
    Some(
        Finding::error(segment.name(), what)
            .shown_by(format!("{} mtu {}", tunnel.name, tunnel.mtu))
            .shown_by(format!("{} mtu {}", bridge.name, bridge.mtu))
            .mended_by(format!("ip link set {} mtu {}", tunnel.name, segment.network().mtu)),
    )
}

/// The link to the other hosts takes less than the packets of an overlay network, with what the tunnel
/// adds.
fn to_hosts(snapshot: &Snapshot<'_>, segment: &Segment) -> Option<Finding> {
    let overlay = segment.network().driver.overlay()?;
    let parent = snapshot.host.link(overlay.parent.as_str())?;
    let bridge = segment.bridge.as_ref()?;
    let needed = bridge.mtu + overlay.overhead();
    (parent.mtu < needed).then(|| {
        let what = "packets to other hosts are larger than the MTU of the link that leads there: they are \
                    dropped or fragmented";
        Finding::error(segment.name(), what)
            .shown_by(format!("{} mtu {}", parent.name, parent.mtu))
            .shown_by(format!("{} mtu {}, {needed} with the tunnel", bridge.name, bridge.mtu))
            .mended_by(format!("ip link set {} mtu {needed}", parent.name))
    })
}

fn of_pair(
    snapshot: &Snapshot<'_>,
    end: &End,
    inside: &Inside,
    inner: &Link,
    outer: &Link,
    bridge: Option<&Link>,
) -> Option<Finding> {
    let wire = bridge.map_or(outer.mtu, |bridge| bridge.mtu);
    if inner.mtu == outer.mtu && inner.mtu <= wire {
        return None;
    }
    let given = end.endpoint.as_ref().map_or(wire, |e| e.mtu);
    let mut commands = Vec::new();
    for (link, ip) in [(inner, inside.ip.as_str()), (outer, "ip")] {
        if link.mtu != given {
            commands.push(format!("{ip} link set {} mtu {given}", link.name));
        }
    }
    if let Some(bridge) = bridge.filter(|bridge| bridge.mtu < given) {
        commands.push(format!("ip link set {} mtu {given}", bridge.name));
    }
    let what = "packets larger than the smallest MTU on the path are silently dropped: \
                connections begin, and then hang";
    let mut finding = Finding::error(snapshot.place(end), what)
        .shown_by(format!("{} mtu {} in {}", inner.name, inner.mtu, inside.target))
        .shown_by(format!("{} mtu {}", outer.name, outer.mtu));
    if let Some(bridge) = bridge {
        finding = finding.shown_by(format!("{} mtu {}", bridge.name, bridge.mtu));
    }
    Some(finding.mended_by(commands.join(" && ")))
}

/// The link to the outside takes less than endpoints send.
fn way_out(snapshot: &Snapshot<'_>, segment: &Segment) -> Option<Finding> {
    let route = snapshot
        .host
        .default_route(Family::V4)
        .or_else(|| snapshot.host.default_route(Family::V6))?;
    let out = snapshot.host.link_of(route)?;
    let bridge = segment.bridge.as_ref()?;
    if out.kind == LinkKind::Bridge && out.name == bridge.name || out.mtu >= bridge.mtu {
        return None;
    }
    let inner = snapshot.ends_on(segment).filter_map(|end| end.inner.as_ref());
    let largest = inner.map(|inner| inner.link.mtu).max()?;
    let what = "endpoints send and announce (MSS) larger packets than the uplink's MTU: if no router \
                reports that by ICMP, connections begin and then hang";
    (largest > out.mtu).then(|| {
        let finding = Finding::warning(segment.name(), what)
            .shown_by(format!("{} mtu {}, endpoints up to {largest}", bridge.name, bridge.mtu))
            .shown_by(format!("{} mtu {}", out.name, out.mtu));
        match segment.network().driver.overlay() {
            // To make it again with another MTU takes all of its hosts.
            Some(_) => finding,
            None => finding.mended_by(remedy::with_mtu(&segment.record, out.mtu)),
        }
    })
}

//! Checks links: whether they exist, are up, have carrier, and are ports of their bridge; which
//! other programs manage them.

use super::{
    remedy,
    snapshot::{Segment, Snapshot},
};
use crate::{
    kernel::{BRIDGE_PORTS_MAX, Link, LinkKind},
    model::{Endpoint, Family, Finding, Parent, is_link_local},
    ops::{
        driver::{
            self,
            underlay::{self, Uplink},
        },
        lookup::managers,
    },
    plan::{Mark, quote},
};

/// Returns a link in the form of `ip link`, with the parts that matter here.
fn words(link: &Link) -> String {
    let state = match (link.up, link.carrier) {
        (false, _) => "state DOWN",
        (true, false) => "<NO-CARRIER,UP>",
        (true, true) => "<UP,LOWER_UP>",
    };
    format!("{}: {state} mtu {}", link.name, link.mtu)
}

/// Finds bridges that are on record and do not exist.
pub(super) fn missing(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let is_gone = |s: &&Segment| s.network().bridge().is_some() && s.bridge.is_none();
    let of = |segment: &Segment| {
        let name = segment.name();
        let mut finding = Finding::error(name, format!("the bridge `{name}` is gone"))
            .shown_by(format!("Device \"{name}\" does not exist."));
        let ends: Vec<_> = snapshot.ends_on(segment).collect();
        for port in ends.iter().filter_map(|end| end.outer.as_ref()).filter(|p| p.master.is_none())
        {
            finding = finding.shown_by(format!("{}: no master", port.name));
        }
        let endpoints = ends.iter().filter_map(|end| end.endpoint.as_ref());
        let network = segment.network();
        let commands: Vec<_> = if segment.is_gateway() {
            let again = endpoints.map(|endpoint| remedy::endpoint(&network.name, endpoint));
            [driver::again(network)].into_iter().chain(again).collect()
        } else {
            // The program that made a foreign bridge has to make it again.
            let detach =
                |e: &Endpoint| format!("netcord detach {name} {}", quote(e.netns.as_str()));
            endpoints.filter(|_| network.driver.is_foreign()).map(detach).collect()
        };
        if commands.is_empty() { finding } else { finding.mended_by(commands.join(" && ")) }
    };
    snapshot.segments.iter().filter(is_gone).map(of).chain(orphans(snapshot)).collect()
}

/// Finds host ends whose network has neither a record nor a bridge.
fn orphans(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    // Only then all records were read.
    let is_host = snapshot.names.is_some();
    let of = |link: &Link| {
        let mark = link.alias.as_deref().filter(|_| link.is_ours()).and_then(Mark::read)?;
        let (network, target) = (mark.network, mark.target?);
        if snapshot.segments.iter().any(|segment| segment.name() == network) {
            return None;
        }
        let what =
            format!("network `{network}` has neither a record nor a bridge: nothing reaches it");
        let finding = Finding::error(format!("{network}/{target}"), what);
        let shown = finding.shown_by(format!("{}: no master", link.name));
        Some(shown.mended_by("netcord prune"))
    };
    snapshot.host.links.iter().filter(|_| is_host).filter_map(of).collect()
}

/// Finds parents that are gone.
pub(super) fn parents(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        let Some(parent) = segment.parent() else { continue };
        let shown = format!("Device \"{parent}\" does not exist.");
        let Some(Parent { vlan, .. }) = segment.network().driver.parent() else {
            if snapshot.host.link(parent.as_str()).is_none() {
                let what = format!("the link `{parent}`, which leads to the other hosts, is gone");
                found.push(Finding::error(segment.name(), what).shown_by(shown));
            }
            continue;
        };
        match snapshot.uplink(segment, parent) {
            Uplink::Gone => {
                let what = format!(
                    "its uplink `{parent}` is gone: it was pulled \
                     out, renamed, or its driver unloaded"
                );
                let finding = Finding::error(segment.name(), what).shown_by(shown);
                // netcord makes a VLAN again, but not hardware.
                found.push(match vlan {
                    Some(_) => finding.mended_by("netcord repair"),
                    None => finding,
                });
            }
            Uplink::Renamed(link) => {
                let what = format!("its uplink `{parent}` has another name now: `{}`", link.name);
                found.push(
                    Finding::warning(segment.name(), what)
                        .shown_by(shown)
                        .shown_by(format!("{}: master {}", link.name, segment.name()))
                        .mended_by(format!("ip link set {} name {parent}", quote(&link.name))),
                );
            }
            Uplink::Port(_) | Uplink::Out(_) => {}
        }
    }
    found
}

/// Finds parents that are no longer a port of their bridge.
fn parents_out(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // A move that is not finished is the watchdog's to undo.
    let is_settled = |s: &&Segment| s.network().driver.moving().is_none();
    for segment in snapshot.segments.iter().filter(is_settled) {
        let Some(Parent { link: parent, .. }) = segment.network().driver.uplink() else { continue };
        let Uplink::Out(link) = snapshot.uplink(segment, parent) else { continue };
        let name = segment.name();
        let what = format!(
            "`{parent}` is no port of `{name}`: the host and the endpoints reach nothing of the \
             physical network through it"
        );
        let has_addresses =
            snapshot.host.addresses.iter().any(|a| link.has(a) && !is_link_local(a.address.ip()));
        let command = if link.master.is_some() {
            format!("ip link set {parent} master {name}")
        } else if has_addresses {
            underlay::again(segment.network(), parent)
        } else {
            "netcord repair".to_owned()
        };
        found.push(Finding::error(name, what).shown_by(master(snapshot, link)).mended_by(command));
    }
    found
}

fn master(snapshot: &Snapshot<'_>, link: &Link) -> String {
    match snapshot.host.bridge_of(link) {
        Some(other) => format!("{}: master {}", link.name, other.name),
        None => format!("{}: no master", link.name),
    }
}

/// Finds links that are down.
pub(super) fn down(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut check = |place: &str, link: &Link, command: String| {
        if !link.up {
            let what = format!("`{}` is down", link.name);
            found.push(Finding::error(place, what).shown_by(words(link)).mended_by(command));
        }
    };
    let up = |ip: &str, link: &Link| format!("{ip} link set {} up", link.name);
    for segment in &snapshot.segments {
        if let Some(bridge) = &segment.bridge {
            // Its addresses and routes may have gone when it went down.
            let command = if segment.is_gateway() {
                driver::again(segment.network())
            } else {
                up("ip", bridge)
            };
            check(segment.name(), bridge, command);
        }
        if let Some(parent) =
            segment.parent().and_then(|parent| snapshot.host.link(parent.as_str()))
        {
            check(segment.name(), parent, up("ip", parent));
        }
    }
    for end in snapshot.examined() {
        let place = snapshot.place(end);
        if let Some(outer) = &end.outer {
            check(&place, outer, up("ip", outer));
        }
        if let Some(inner) = &end.inner {
            let command = match end.network.as_ref().zip(end.endpoint.as_ref()) {
                Some((network, endpoint)) => {
                    let (ip, name) = (&snapshot.insides[inner.inside].ip, &inner.link.name);
                    let again = remedy::endpoint(network, endpoint);
                    match endpoint.ifname.as_str() {
                        own if own == name => again,
                        own => format!("{ip} link set {} name {own} && {again}", quote(name)),
                    }
                }
                None => up(&snapshot.insides[inner.inside].ip, &inner.link),
            };
            check(&place, &inner.link, command);
        }
    }
    found
}

/// Finds uplinks without carrier.
pub(super) fn carrier(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for segment in &snapshot.segments {
        let mut ways = Vec::new();
        ways.extend(segment.parent().and_then(|parent| snapshot.host.link(parent.as_str())));
        if segment.is_routed() {
            for family in Family::BOTH {
                let route = snapshot.host.default_route(family);
                let is_it = |link: &&Link| route.is_some_and(|route| link.carries(route));
                ways.extend(snapshot.host.links.iter().filter(is_it));
            }
        }
        for link in ways.into_iter().filter(|l| l.up && !l.carrier && l.kind != LinkKind::Bridge) {
            let what = format!(
                "the uplink `{}` is up but has no carrier: no cable, or the \
                 other end is down",
                link.name
            );
            let finding = Finding::error("host", what).shown_by(words(link));
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    found
}

/// Finds host ends that are not ports of their bridge.
pub(super) fn in_bridge(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = parents_out(snapshot);
    for end in snapshot.examined() {
        let (Some(endpoint), Some(outer)) = (&end.endpoint, &end.outer) else { continue };
        let Some(segment) = snapshot.segment_of(end) else { continue };
        let Some(bridge) = &segment.bridge else { continue };
        if outer.is_port_of(bridge) {
            continue;
        }
        let what = format!("`{}` is no port of `{}`", outer.name, bridge.name);
        found.push(
            Finding::error(snapshot.place(end), what)
                .shown_by(master(snapshot, outer))
                .mended_by(remedy::endpoint(&segment.network().name, endpoint)),
        );
    }
    found
}

/// Finds bridges that cannot have more ports.
pub(super) fn full(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        let Some(bridge) = &segment.bridge else { continue };
        let ports = snapshot.host.ports_of(bridge).count();
        if ports >= BRIDGE_PORTS_MAX {
            let name = segment.name();
            let what = format!("`{name}` is full: no more endpoints can be attached");
            found.push(
                Finding::warning(name, what)
                    .shown_by(format!("{ports} ports; a Linux bridge takes {BRIDGE_PORTS_MAX}"))
                    .mended_by(format!("netcord bridge {}", beside(name))),
            );
        }
    }
    found
}

/// Returns a name for another network.
fn beside(name: &str) -> String {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: u32 = name[stem.len()..].parse().unwrap_or(1);
    format!("{stem}{}", number.saturating_add(1))
}

/// Finds namespaces whose loopback is down.
pub(super) fn loopback(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for (_, inside, _) in snapshot.entered() {
        let lo = inside.view.link("lo");
        if let Some(lo) = lo.filter(|lo| !lo.up) {
            let what = "`lo` is down: programs inside do not reach their own 127.0.0.1";
            let finding = Finding::warning(&inside.target, what)
                .shown_by(words(lo))
                .mended_by(format!("{} link set lo up", inside.ip));
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    found
}

/// Finds targets that the user named, and that have no link.
pub(super) fn attached(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let asked =
        snapshot.insides.iter().filter(|i| i.asked && i.view.links.iter().all(|l| l.name == "lo"));
    let found = asked.map(|inside| {
        let bridges =
            snapshot.host.links.iter().filter(|l| l.kind == LinkKind::Bridge && l.is_ours());
        let mut names: Vec<_> = bridges.map(|bridge| bridge.name.as_str()).collect();
        names.sort_unstable();
        let attach = |network: &str| format!("netcord attach {network} {}", inside.target);
        let command = match names.first() {
            Some(network) => attach(network),
            None => format!("netcord bridge lab0 && {}", attach("lab0")),
        };
        let links: Vec<_> = inside.view.links.iter().map(|link| link.name.as_str()).collect();
        Finding::error(&inside.target, "it is attached to nothing")
            .shown_by(format!("links inside: {}", links.join(", ")))
            .mended_by(command)
    });
    found.collect()
}

/// Finds links of a network that another program manages.
pub(super) fn managed(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut links: Vec<(String, &str)> = Vec::new();
    for segment in snapshot.segments.iter().filter(|s| !s.network().driver.is_foreign()) {
        let name = segment.name();
        links.extend(segment.bridge.iter().map(|l| (name.to_owned(), l.name.as_str())));
        let uplink = segment.network().driver.uplink();
        links.extend(uplink.map(|parent| (name.to_owned(), parent.link.as_str())));
    }
    for end in snapshot.examined().filter(|end| end.endpoint.is_some()) {
        links.extend(end.outer.iter().map(|l| (snapshot.place(end), l.name.as_str())));
    }
    let mut found = Vec::new();
    for (place, link) in links {
        let what = |who: &str| {
            format!(
                "{who} manages `{link}`: it may add addresses, set the link down or remove it from its bridge"
            )
        };
        if let Some(file) = managers::network_manager(link) {
            found.push(
                Finding::warning(&place, what("NetworkManager"))
                    .shown_by(format!("{file}: managed=true"))
                    .mended_by(format!("nmcli device set {link} managed no")),
            );
        }
        if let Some(managers::Networkd { file, state, network_file }) = managers::networkd(link) {
            let by = network_file.map(|file| format!(", by {file}")).unwrap_or_default();
            let unit = format!("/etc/systemd/network/00-netcord-{link}.network");
            found.push(
                Finding::warning(&place, what("systemd-networkd"))
                    .shown_by(format!("{file}: ADMIN_STATE={state}{by}"))
                    .mended_by(format!(
                        "printf '[Match]\\nName={link}\\n[Link]\\nUnmanaged=yes\\n' > {unit} && \
                         networkctl reload"
                    )),
            );
        }
    }
    found
}

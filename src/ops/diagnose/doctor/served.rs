//! Checks that a program inside listens on a published port, and that the host still has the
//! address that the port is published on.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    remedy::port as typed,
    snapshot::{End, Snapshot},
};
use crate::{
    kernel::{
        Link, Netns, Socket, Sockets,
        route::{Query, Way},
    },
    model::{Endpoint, Finding, PublishedPort},
    plan::quote,
};

/// Returns the published ports of an endpoint by their `-p` syntax, which joins IPv4 and IPv6.
fn published(endpoint: &Endpoint) -> BTreeMap<String, Vec<&PublishedPort>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for port in &endpoint.ports {
        found.entry(typed(port)).or_default().push(port);
    }
    found
}

/// Finds published ports on which no program listens.
pub(super) fn unserved(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        let (Some(endpoint), Some(sockets)) = (&end.endpoint, &inside.sockets) else { continue };
        // If the link is down, no connection can arrive anyway.
        for (typed, ports) in published(endpoint).into_iter().filter(|_| link.up) {
            let nobody = ports.iter().all(|port| anywhere(sockets, port).next().is_none());
            if nobody {
                let port = ports[0];
                let what = format!(
                    "no program in it listens on port {}, which is published: connections are refused; \
                     start the server, or give the port up: `{}`",
                    port.container,
                    unpublish(endpoint, &typed)
                );
                found.push(Finding::warning(snapshot.place(end), what).shown_by(format!(
                    "no socket has {}:{}",
                    port.address,
                    in_words(port)
                )));
            }
        }
    }
    found
}

/// Finds published ports whose server listens on an address that packets from outside do not reach,
/// usually its own loopback.
pub(super) fn unheard(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        let (Some(endpoint), Some(sockets)) = (&end.endpoint, &inside.sockets) else { continue };
        for (typed, ports) in published(endpoint).into_iter().filter(|_| link.up) {
            let elsewhere: Vec<_> = ports.iter().flat_map(|port| anywhere(sockets, port)).collect();
            if elsewhere.is_empty() || ports.iter().any(|port| hears(sockets, port, link)) {
                continue;
            }
            let port = ports[0];
            let mut places: Vec<_> =
                elsewhere.iter().map(|s| in_place(s, &inside.view.links)).collect();
            places.sort();
            places.dedup();
            let what = format!(
                "its server listens on port {} of {} only, and packets to the published port are \
                 refused: start it with {} or with all addresses, or give the port up: `{}`",
                port.container,
                places.join(" and "),
                port.address,
                unpublish(endpoint, &typed)
            );
            found.push(
                places.iter().fold(Finding::error(snapshot.place(end), what), |f, place| {
                    f.shown_by(format!("listening: {place}:{}", in_words(port)))
                }),
            );
        }
    }
    found
}

/// Returns the sockets inside that listen on a published port, on any address of its IP version.
fn anywhere<'s>(
    sockets: &'s Sockets,
    port: &PublishedPort,
) -> impl Iterator<Item = &'s Socket> + use<'s> {
    let any = match port.address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    sockets.serving(any, port.container, port.protocol)
}

/// Returns whether a socket receives packets to a published port that come in by this link.
fn hears(sockets: &Sockets, port: &PublishedPort, link: &Link) -> bool {
    sockets
        .serving(port.address, port.container, port.protocol)
        .any(|socket| socket.hears(link.index()))
}

fn in_words(port: &PublishedPort) -> String {
    format!("{}/{}", port.container, port.protocol)
}

/// Describes where a socket listens: its address, or the link that it is bound to.
fn in_place(socket: &Socket, links: &[Link]) -> String {
    match links.iter().find(|link| link.index() == socket.link) {
        Some(link) => format!("{}%{}", socket.address, link.name),
        None => socket.address.to_string(),
    }
}

fn unpublish(endpoint: &Endpoint, typed: &str) -> String {
    format!("netcord unpublish {} {typed}", quote(endpoint.netns.as_str()))
}

/// Returns addresses of published ports that the host no longer has.
pub(super) async fn lost_addresses<'e>(
    own: &Netns,
    endpoints: impl Iterator<Item = &'e Endpoint>,
) -> anyhow::Result<Vec<IpAddr>> {
    let ports = endpoints.flat_map(|endpoint| &endpoint.ports);
    let mut asked: Vec<_> =
        ports.map(|port| port.host_ip).filter(|ip| !ip.is_unspecified()).collect();
    asked.sort_unstable();
    asked.dedup();
    let mut lost = Vec::new();
    for address in asked {
        if !matches!(own.way(Query::to(address)).await?, Way::Here { .. }) {
            lost.push(address);
        }
    }
    Ok(lost)
}

/// Finds ports that are published on an address that the host no longer has.
pub(super) fn addressless(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for end in snapshot.examined() {
        let Some(endpoint) = &end.endpoint else { continue };
        for port in endpoint.ports.iter().filter(|p| snapshot.lost_addresses.contains(&p.host_ip)) {
            let address = port.host_ip;
            if let Some(finding) = tentative(snapshot, end, address) {
                found.push(finding);
                continue;
            }
            let what = format!(
                "its port is published on {address}, an address that this host does not have"
            );
            let near = near(snapshot, address);
            let shown = match &near {
                Some((link, own)) => format!("addresses of {}: {own}", link.name),
                None => format!("no link has an address in a subnet with {address}"),
            };
            let command = match near {
                Some((link, own)) => {
                    format!("ip addr add {address}/{} dev {}", own.prefix(), link.name)
                }
                None => unpublish(endpoint, &typed(port)),
            };
            found
                .push(Finding::error(snapshot.place(end), what).shown_by(shown).mended_by(command));
        }
    }
    found
}

/// Describes a port whose address the host does not use yet, or not at all if another host has it.
fn tentative(snapshot: &Snapshot<'_>, end: &End, address: IpAddr) -> Option<Finding> {
    let host = &snapshot.host;
    let own = host.addresses.iter().find(|a| a.address.ip() == address && !a.usable)?;
    let link = host.links.iter().find(|link| link.has(own))?;
    let what = format!(
        "its port is published on {address}, an address of {} that the host does not use until \
         duplicate address detection (DAD) is over and has found no other host with it",
        link.name
    );
    let shown = format!("{}: {} is tentative", link.name, own.address);
    Some(Finding::error(snapshot.place(end), what).shown_by(shown))
}

/// Returns the host's link in whose subnet an address is, with the link's own address.
fn near<'s>(
    snapshot: &'s Snapshot<'_>,
    address: IpAddr,
) -> Option<(&'s Link, ipnetwork::IpNetwork)> {
    let mut all =
        snapshot.host.links.iter().flat_map(|link| {
            snapshot.host.addresses_of(link).into_iter().map(move |own| (link, own))
        });
    all.find(|(_, own)| own.contains(address) && own.prefix() > 0)
}

//! Checks the routes that the kernel adds with each address: without the local route, packets to
//! the address are not accepted; without the subnet route, neighbours cannot be reached.

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::snapshot::{Segment, Snapshot};
use crate::{
    kernel::{
        Link, Netns, TableRoute, global_addresses,
        route::{Query, Way},
    },
    model::Finding,
    ops::diagnose::view::View,
};

/// An address whose routes are missing.
pub(super) struct Unrouted {
    link: String,
    address: IpNetwork,
    /// Whether the local route is missing; otherwise the subnet route.
    local: bool,
}

/// Checks the routes of links' addresses with the kernel's own lookup.
pub(super) async fn read(
    netns: &Netns,
    links: impl Iterator<Item = &Link>,
    view: &View,
) -> Result<Vec<Unrouted>> {
    let mut found = Vec::new();
    // An address has no routes during duplicate address detection.
    let usable: Vec<_> = view.addresses.iter().filter(|a| a.usable).cloned().collect();
    // A link that is down, or without carrier, lacks some routes.
    for link in links.filter(|link| link.is_running()) {
        for address in global_addresses(&usable, link) {
            let unrouted = |local| Unrouted { link: link.name.clone(), address, local };
            if !matches!(netns.way(Query::to(address.ip())).await?, Way::Here { .. }) {
                found.push(unrouted(true));
            }
            if let Some(other) = neighbour(address)
                && !view.routes.iter().any(|route| is_direct(route, link, address))
                && !matches!(
                    netns.way(Query::to(other)).await?,
                    Way::Here { .. } | Way::By { gateway: None, .. }
                )
            {
                found.push(unrouted(false));
            }
        }
    }
    Ok(found)
}

fn is_direct(route: &TableRoute, link: &Link, address: IpNetwork) -> bool {
    link.carries(route)
        && route.gateway.is_none()
        && route.destination.prefix() > 0
        && route.destination.contains(address.network())
}

/// Returns another address of the subnet, if it has one.
pub(super) fn neighbour(address: IpNetwork) -> Option<std::net::IpAddr> {
    let hosts = if address.is_ipv4() { 32 } else { 128 } - address.prefix();
    let mut others = address.iter().skip(1).take(2).filter(|ip| *ip != address.ip());
    others.next().filter(|_| hosts > 1)
}

/// Finds addresses whose routes are missing, inside targets and on the host's bridges.
pub(super) fn unrouted(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, inside, link) in snapshot.entered() {
        for unrouted in inside.unrouted.iter().filter(|u| u.link == link.name) {
            found.push(unrouted.told(&snapshot.place(end), &inside.ip));
        }
    }
    for unrouted in &snapshot.unrouted {
        let of = |s: &&Segment| s.name() == unrouted.link && s.is_gateway();
        found.extend(snapshot.segments.iter().find(of).map(|s| unrouted.told(s.name(), "ip")));
    }
    found
}

impl Unrouted {
    fn told(&self, place: &str, ip: &str) -> Finding {
        let Self { link, address, local } = self;
        let (own, subnet) = (address.ip(), IpNetwork::new(address.network(), address.prefix()));
        let subnet = subnet.map_or_else(|_| address.to_string(), |subnet| subnet.to_string());
        let (what, shown, route) = if *local {
            let what = format!(
                "`{link}` has {own}, but does not accept packets to it: the local route is gone"
            );
            let route = match address {
                IpNetwork::V4(_) => {
                    format!("local {own} dev {link} table local proto kernel scope host src {own}")
                }
                IpNetwork::V6(_) => format!("local {own} dev {link} table local proto kernel"),
            };
            (what, format!("no route: local {own} dev {link} table local"), route)
        } else {
            let what =
                format!("the route to its own subnet {subnet} is gone: it reaches no neighbour");
            let route = match address {
                IpNetwork::V4(_) => {
                    format!("{subnet} dev {link} proto kernel scope link src {own}")
                }
                IpNetwork::V6(_) => format!("{subnet} dev {link} proto kernel metric 256"),
            };
            (what, format!("no route: {subnet} dev {link}"), route)
        };
        Finding::error(place, what).shown_by(shown).mended_by(format!("{ip} route add {route}"))
    }
}

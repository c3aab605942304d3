//! What is outside of the host: the links that lead there, and addresses as examples.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::{
    routing::neighbour,
    snapshot::{FAMILIES, Segment},
};
use crate::{kernel::Link, model::Family, ops::diagnose::view::View};

/// Documentation addresses (RFC 5737, RFC 3849), none of which anybody has.
const EXAMPLES: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 1)),
];

/// What is outside, by IP version.
pub(super) struct Outside {
    sides: Vec<Side>,
    /// The host's links that lead outside, with their addresses.
    links: Vec<(u32, IpNetwork)>,
    /// The host's addresses on the bridges of networks.
    inside: Vec<IpAddr>,
}

/// The world for one IP version.
struct Side {
    /// Somebody in the world.
    somebody: Option<IpAddr>,
    /// The link of the host's default route, and its gateway.
    uplink: Option<(u32, Option<IpAddr>)>,
    /// The host's address for others.
    own: Option<IpAddr>,
}

impl Outside {
    /// Reads it from the host's links, addresses and routes.
    pub(super) fn of(host: &View, segments: &[Segment]) -> Self {
        let is_of_network = |link: &&Link| {
            let is_its = |segment: &Segment| segment.name() == link.name;
            segments.iter().any(|s| s.network().driver.forwards() && is_its(s))
        };
        let (within, others): (Vec<_>, Vec<_>) = host.links.iter().partition(is_of_network);
        let inside = within.into_iter().flat_map(|link| host.addresses_of(link));
        let links = others.into_iter().filter(|link| link.name != "lo" && link.is_running());
        let links: Vec<_> = links
            .flat_map(|link| host.addresses_of(link).into_iter().map(|a| (link.index(), a)))
            .collect();
        let sides = FAMILIES.iter().map(|family| Side::of(host, &links, *family)).collect();
        Self { sides, links, inside: inside.map(|address| address.ip()).collect() }
    }

    fn side(&self, like: IpAddr) -> &Side {
        &self.sides[usize::from(like.is_ipv6())]
    }

    /// Returns an address in the world for an endpoint with such a gateway. If the host forwards, it
    /// needs a way there.
    pub(super) fn world(&self, gateway: IpAddr, forwards: bool) -> Option<IpAddr> {
        let side = self.side(gateway);
        side.somebody.filter(|_| !forwards || side.uplink.is_some())
    }

    /// Returns the address at which others find a published port.
    pub(super) fn published_at(&self, host_ip: IpAddr) -> Option<IpAddr> {
        if host_ip.is_unspecified() { self.side(host_ip).own } else { Some(host_ip) }
    }

    /// Returns senders outside of packets to an address of the host, each with the link by which its
    /// packets come in.
    pub(super) fn senders_to(&self, to: IpAddr) -> Vec<(u32, IpAddr)> {
        let side = self.side(to);
        let of = self.links.iter().find(|(_, own)| own.ip() == to);
        let uplink = side.uplink.filter(|(link, _)| of.is_none_or(|(of, _)| of == link));
        if to.is_loopback() || self.inside.contains(&to) {
            return Vec::new();
        }
        let world = uplink.and_then(|(link, _)| Some((link, side.somebody?)));
        let gateway = uplink.and_then(|(link, gateway)| Some((link, gateway?)));
        let near = of.and_then(|(link, own)| Some((*link, neighbour(*own)?)));
        [world, gateway, near].into_iter().flatten().collect()
    }
}

impl Side {
    fn of(host: &View, links: &[(u32, IpNetwork)], family: Family) -> Self {
        let route = host.default_route(family);
        let uplink = route.and_then(|route| {
            let link = host.link_of(route).filter(|link| link.is_running())?;
            Some((link.index(), route.gateway.filter(|ip| Family::of(*ip) == family)))
        });
        let is_of_family = |ip: &IpAddr| Family::of(*ip) == family;
        let is_near = |ip: IpAddr| {
            let routes = host.routes.iter().map(|route| route.destination);
            let addresses = host.addresses.iter().map(|address| address.address);
            routes.chain(addresses).any(|subnet| subnet.prefix() > 0 && subnet.contains(ip))
        };
        let own = || links.iter().filter(|(_, own)| is_of_family(&own.ip()));
        let of_uplink = own().find(|(link, _)| uplink.is_some_and(|(uplink, _)| uplink == *link));
        Self {
            somebody: EXAMPLES.into_iter().filter(is_of_family).find(|ip| !is_near(*ip)),
            uplink,
            own: of_uplink.or_else(|| own().next()).map(|(_, own)| own.ip()),
        }
    }
}

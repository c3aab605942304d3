//! The subnets of an underlay network: those of the link's own addresses.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    model::{Belongings, HostAddress, LinkName, Subnet},
};

/// One subnet of each family, with the gateway by which the host itself reaches the outside.
pub(super) fn of(
    parent: &LinkName,
    gateways: &[IpAddr],
    ranges: &[IpNetwork],
    belongings: &Belongings,
) -> Result<Vec<Subnet>> {
    let mut subnets = Vec::new();
    for is_ipv4 in [true, false] {
        let asked = gateways.iter().copied().find(|g| g.is_ipv4() == is_ipv4);
        let range = ranges.iter().copied().find(|r| r.is_ipv4() == is_ipv4);
        // Of several subnets the one that is spoken of, or that the host's own way out is in.
        let of_family = |a: &&HostAddress| a.address.is_ipv4() == is_ipv4 && is_of_subnet(a);
        let rank = |a: &&HostAddress| {
            let has = |ip: Option<IpAddr>| ip.is_some_and(|ip| a.address.contains(ip));
            let spoken_of = has(range.map(|r| r.ip())) || has(asked);
            let way_out = has(default_gateway(belongings, a.address));
            (!spoken_of, !way_out, a.scope)
        };
        let Some(own) = belongings.addresses.iter().filter(of_family).min_by_key(rank) else {
            continue;
        };
        let cidr = IpNetwork::new(own.address.network(), own.address.prefix())?;
        let gateway = asked.or_else(|| default_gateway(belongings, cidr));
        subnets.push(Subnet::physical(cidr, gateway, range)?);
    }
    let orphans = gateways.iter().map(|ip| ("gateway", *ip));
    let orphans = orphans.chain(ranges.iter().map(|r| ("ip-range", r.ip())));
    for (what, ip) in orphans {
        if !subnets.iter().any(|s| s.cidr.is_ipv4() == ip.is_ipv4()) {
            let message = format!("{what} {ip}: `{parent}` has no address of that family");
            return Err(Error::usage(message)
                .hint(format!("see what it has with `ip addr show dev {parent}`"))
                .into());
        }
    }
    Ok(subnets)
}

/// An address that says in which subnet the link is.
fn is_of_subnet(address: &HostAddress) -> bool {
    let single = if address.address.is_ipv4() { 32 } else { 128 };
    let link_local = match address.address.ip() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && address.peer.is_none() && address.address.prefix() < single
}

fn default_gateway(belongings: &Belongings, cidr: IpNetwork) -> Option<IpAddr> {
    let defaults = belongings.routes.iter().filter(|route| route.destination.prefix() == 0);
    let mut hops: Vec<_> = defaults.flat_map(|r| r.hops.iter().map(|h| (r.metric, h))).collect();
    hops.sort_by_key(|(metric, _)| *metric);
    // Of IPv6 a router is known by its link-local address, which endpoints reach as well.
    let is_near = |gateway: &IpAddr| match gateway {
        IpAddr::V6(v6) if cidr.is_ipv6() => v6.is_unicast_link_local() || cidr.contains(*gateway),
        _ => cidr.contains(*gateway),
    };
    hops.into_iter().filter_map(|(_, hop)| hop.gateway).find(is_near)
}

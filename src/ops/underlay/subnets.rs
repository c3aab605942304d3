//! The subnets of an underlay network: those of the link's own addresses.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    cli,
    error::Error,
    model::{Belongings, HostAddress, Subnet},
};

/// One subnet of each family, with the gateway by which the host itself reaches the outside.
pub(super) fn of(args: &cli::Underlay, belongings: &Belongings) -> Result<Vec<Subnet>> {
    let mut subnets = Vec::new();
    for is_ipv4 in [true, false] {
        let of_family = |a: &&HostAddress| a.address.is_ipv4() == is_ipv4 && is_of_subnet(a);
        let Some(own) = belongings.addresses.iter().find(of_family) else { continue };
        let cidr = IpNetwork::new(own.address.network(), own.address.prefix())?;
        let asked = args.gateway.iter().copied().find(|g| g.is_ipv4() == is_ipv4);
        let gateway = asked.or_else(|| default_gateway(belongings, cidr));
        let range = args.ip_range.iter().map(|r| r.0).find(|r| r.is_ipv4() == is_ipv4);
        subnets.push(Subnet::physical(cidr, gateway, range)?);
    }
    let orphans = args.gateway.iter().map(|ip| ("gateway", *ip));
    let orphans = orphans.chain(args.ip_range.iter().map(|r| ("ip-range", r.0.ip())));
    for (what, ip) in orphans {
        if !subnets.iter().any(|s| s.cidr.is_ipv4() == ip.is_ipv4()) {
            let message = format!("{what} {ip}: `{}` has no address of that family", args.parent);
            return Err(Error::usage(message)
                .hint(format!("see what it has with `ip addr show dev {}`", args.parent))
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

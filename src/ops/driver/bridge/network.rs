//! A bridge network: made from a request, rebuilt from its bridge, and as a command.

use anyhow::Result;

use super::{Bridge, outbound};
use crate::{
    error::{Error, Kind},
    kernel::{Kernel, Link, TableRoute},
    model::{Driver, Family, Firewall, Flag, Flags, LinkName, Mac, Network, Subnet},
    ops::{
        Session,
        driver::{foreign, marks, used::Used},
        request::{subnets::check_mtu, words::Words},
        upkeep::firewall,
    },
    plan::{Mark, Uplinks},
    state::State,
};

/// The MTU if there is no default route.
const MTU: u32 = 1500;

/// Makes the network of a request.
pub(super) async fn new_network(
    host: &Session<'_>,
    state: &State,
    args: &Bridge,
    mut subnets: Vec<Subnet>,
) -> Result<Network> {
    let kernel = &host.kernel;
    if kernel.link(args.name.as_str()).await?.is_some() {
        return Err(Error::conflict(format!("a link `{}` exists and is not netcord's", args.name))
            .hint("choose another name; a foreign bridge needs no `bridge`, only `attach`")
            .into());
    }
    let wants_ipv6 = args.ipv6 || subnets.iter().any(|s| s.cidr.is_ipv6());
    if wants_ipv6 && kernel.sysctl("net/ipv6/conf/all/forwarding")?.is_none() {
        return Err(Error::new(Kind::Missing, "the kernel has no IPv6")
            .hint("leave out `--ipv6` and IPv6 subnets")
            .into());
    }
    let used = Used::read(kernel, state).await?;
    for subnet in &subnets {
        used.check(host, "subnet", subnet.cidr)?;
    }
    if subnets.is_empty() && !args.no_subnet {
        subnets.push(args.new_subnet()(used.free(Family::V4, |_| true)?, None, None)?);
    }
    if args.ipv6 && !subnets.iter().any(|s| s.cidr.is_ipv6()) {
        subnets.push(args.new_subnet()(used.free(Family::V6, |_| true)?, None, None)?);
    }
    outbound::set(&mut subnets, &args.outbound_addr)?;
    let mtu = match args.mtu {
        Some(mtu) => mtu,
        None => default_mtu(kernel).await?,
    };
    check_mtu(mtu, wants_ipv6)?;
    Ok(Network {
        name: args.name.clone(),
        driver: Driver::Bridge,
        mac: Mac::of_bridge(args.name.as_str(), &subnets),
        mtu,
        subnets,
        flags: args.flags,
        firewall: firewall::of_host(host, state),
        forward_accepts: Vec::new(),
        labels: args.label.iter().cloned().collect(),
    })
}

async fn default_mtu(kernel: &Kernel) -> Result<u32> {
    let routes = kernel.routes().await?;
    let default = routes.iter().filter(|r| r.destination.prefix() == 0).min_by_key(|r| r.metric);
    Ok(match default {
        Some(route) => kernel.link_of(route).await?.map_or(MTU, |link| link.mtu),
        None => MTU,
    })
}

/// Returns what has to change on the host's uplinks, so that this network reaches the outside.
pub(in crate::ops::driver) async fn uplinks(kernel: &Kernel, network: &Network) -> Result<Uplinks> {
    if network.has(Flag::Internal) {
        return Ok(Uplinks::default());
    }
    let routes = kernel.routes().await?;
    let is_default = |r: &&TableRoute| r.destination.prefix() == 0;
    let defaults: Vec<_> = routes.iter().filter(is_default).collect();
    if defaults.is_empty() {
        return Ok(Uplinks::default());
    }
    let links = kernel.links().await?;
    let named = |leads: &dyn Fn(&TableRoute) -> bool| -> Vec<LinkName> {
        let is_one = |l: &&Link| defaults.iter().any(|r| l.carries(r) && leads(r));
        links.values().filter(is_one).filter_map(|l| l.name.parse().ok()).collect()
    };
    let mut uplinks = Uplinks::default();
    if network.has_ipv6() {
        uplinks.advertised = named(&|route| route.is_by_router_advertisement());
    }
    // If forwarding is off for all links, it will be turned on for all.
    if kernel.sysctl("net/ipv4/ip_forward")?.as_deref() == Some("1") {
        for link in named(&|route| route.destination.is_ipv4()) {
            let value = kernel.sysctl(&format!("net/ipv4/conf/{link}/forwarding"))?;
            if value.as_deref() == Some("0") {
                uplinks.closed.push(link);
            }
        }
    }
    Ok(uplinks)
}

/// Rebuilds a network without a record from its bridge.
pub(in crate::ops::driver) async fn rebuilt(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    firewall: Firewall,
) -> Result<Network> {
    let mark = bridge.alias.as_deref().and_then(Mark::read);
    let looks = foreign::network(kernel, name, bridge, firewall).await?;
    let flags = Flags::of(|flag| mark.is_some_and(|mark| mark.says(flag.word())));
    let mut network = Network { driver: Driver::Bridge, flags, ..looks };
    if let Some(mark) = mark {
        add_subnets(&mut network, mark);
        marks::add_ranges(&mut network, mark);
        marks::add_outbound(&mut network, mark);
    }
    Ok(network)
}

/// Adds subnets whose address the bridge has lost, and those of a family that has several. Of these, the
/// mark has the order, which decides about default routes.
fn add_subnets(network: &mut Network, mark: Mark<'_>) {
    let marked = mark.values("subnet").filter_map(|gateway| gateway.parse().ok());
    let marked: Vec<_> = marked.map(Subnet::of_mark).collect();
    for is_ipv4 in [true, false] {
        let is_of = |subnet: &&Subnet| subnet.cidr.is_ipv4() == is_ipv4;
        let of_family: Vec<_> = marked.iter().filter(is_of).cloned().collect();
        if of_family.len() > 1 || !network.subnets.iter().any(|s| is_of(&s)) {
            network.subnets.retain(|s| !is_of(&s));
            network.subnets.extend(of_family);
        }
    }
    network.subnets.sort_by_key(|s| s.cidr.is_ipv6());
}

/// Returns the command that restores the missing parts of a network.
pub(in crate::ops::driver) fn again(network: &Network) -> Words {
    Words::new(["bridge", network.name.as_str()]).flags_of(network)
}

/// Returns the command that makes a network.
pub(in crate::ops::driver) fn command(network: &Network) -> Words {
    Words::new(["--firewall", &network.firewall.to_string(), "bridge", network.name.as_str()])
        .subnets_of(network)
        .rest_of(network)
}

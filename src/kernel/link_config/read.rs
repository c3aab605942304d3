//! Reads the configuration of a link.

use std::{collections::HashMap, net::IpAddr};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{
        RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol,
        RouteType, RouteVia,
    },
    rule::{RuleAttribute, RuleFlags, RuleMessage},
};

use super::super::{
    Link,
    address::{ip, is_errno},
    neighbour::{self, is_somebody},
    rtnl::Rtnl,
};
use crate::{
    error::Error,
    model::{
        Family, Hop, Lifetime, LinkConfig, LinkName, Neighbour, PolicyRule, SavedAddress,
        SavedRoute,
    },
};

/// The kernel counts a route's remaining lifetime in hundredths of a second (`USER_HZ`).
const TICKS: u32 = 100;

/// Reads the configuration of a link. Equivalent to `ip addr show dev LINK`, `ip route show table
/// all`, `ip rule`, `ip neigh show dev LINK`, without what belongs to other links.
///
/// # Errors If it contains something that netcord does not know, and so could not restore.
pub(in crate::kernel) async fn read(
    rtnl: &Rtnl,
    link: &Link,
    links: &HashMap<u32, Link>,
) -> Result<LinkConfig> {
    let addresses = addresses(rtnl, link).await?;
    let (routes, subnet_routes) = routes(rtnl, link, links, &addresses).await?;
    Ok(LinkConfig {
        routes,
        subnet_routes,
        rules: rules(rtnl, link).await?,
        neighbours: neighbours(rtnl, link).await?,
        addresses,
    })
}

async fn addresses(rtnl: &Rtnl, link: &Link) -> Result<Vec<SavedAddress>> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let replies = rtnl.dump(request).await.context("cannot read addresses")?;
    let mut found = Vec::new();
    for reply in replies {
        if let RouteNetlinkMessage::NewAddress(message) = reply
            && message.header.index == link.index
        {
            found.extend(address(link, &message)?);
        }
    }
    Ok(found)
}

fn address(link: &Link, message: &AddressMessage) -> Result<Option<SavedAddress>> {
    let (mut local, mut remote, mut flags) = (None, None, AddressFlags::empty());
    let (mut broadcast, mut label, mut metric, mut lifetime, mut protocol) =
        (None, None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => remote = Some(*ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(*ip),
            AddressAttribute::Label(text) => label = Some(text.clone()).filter(|l| *l != link.name),
            AddressAttribute::Flags(found) => flags = *found,
            AddressAttribute::RoutePriority(priority) => metric = Some(*priority),
            AddressAttribute::CacheInfo(CacheInfo { ifa_valid, ifa_preferred, .. }) => {
                lifetime = Some(Lifetime { valid: *ifa_valid, preferred: *ifa_preferred });
            }
            AddressAttribute::Protocol(by) => protocol = Some(*by),
            other => return Err(unknown(&format!("an address of `{}`", link.name), other)),
        }
    }
    let Some(ip) = local.or(remote) else { return Ok(None) };
    if flags.contains(AddressFlags::Dadfailed) || is_made_by_itself(link, ip, protocol) {
        return Ok(None);
    }
    Ok(Some(SavedAddress {
        address: IpNetwork::new(ip, message.header.prefix_len)?,
        peer: remote.filter(|r| *r != ip),
        broadcast,
        label,
        scope: message.header.scope.into(),
        flags: (flags & settable(ip)).bits(),
        metric,
        // An address from a router advertisement may have an infinite lifetime without being
        // permanent.
        lifetime: lifetime.filter(|_| !flags.contains(AddressFlags::Permanent)),
        protocol: protocol.map(u8::from).filter(|p| *p != 0),
    }))
}

/// Returns the flags that can be set; the kernel sets the others.
fn settable(ip: IpAddr) -> AddressFlags {
    use AddressFlags as F;
    match ip {
        IpAddr::V4(_) => F::Noprefixroute | F::Mcautojoin,
        IpAddr::V6(_) => {
            F::Nodad | F::Homeaddress | F::Managetempaddr | F::Noprefixroute | F::Mcautojoin
        }
    }
}

/// Returns whether it is the link-local address that the kernel gives each link. Kernels before
/// 5.18 do not mark it; it is recognized by its form (RFC 4291, appendix A).
fn is_made_by_itself(link: &Link, ip: IpAddr, protocol: Option<AddressProtocol>) -> bool {
    let IpAddr::V6(v6) = ip else { return false };
    let derived = || link.mac.is_some_and(|mac| mac.link_local() == v6);
    v6.is_unicast_link_local() && (protocol == Some(AddressProtocol::LinkLocal) || derived())
}

async fn routes(
    rtnl: &Rtnl,
    link: &Link,
    links: &HashMap<u32, Link>,
    addresses: &[SavedAddress],
) -> Result<(Vec<SavedRoute>, Vec<SavedRoute>)> {
    let (mut found, mut subnets) = (Vec::new(), Vec::new());
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let replies = match rtnl.dump(RouteNetlinkMessage::GetRoute(request)).await {
            Err(e) if is_errno(&e, &[libc::ENOENT, libc::EAFNOSUPPORT, libc::EOPNOTSUPP]) => {
                continue;
            }
            replies => replies.context("cannot read routes")?,
        };
        for reply in replies {
            if let RouteNetlinkMessage::NewRoute(message) = reply
                && concerns(&message, link, addresses)
            {
                match origin(&message, addresses) {
                    Origin::Own => found.push(route(&message, links)?),
                    Origin::Subnet if family == AddressFamily::Inet6 => {
                        subnets.push(route(&message, links)?);
                    }
                    Origin::Subnet | Origin::Kernel => {}
                }
            }
        }
    }
    Ok((found, subnets))
}

/// Returns whether a route uses the link, or is deleted with one of its addresses because that is
/// its source.
fn concerns(message: &RouteMessage, link: &Link, addresses: &[SavedAddress]) -> bool {
    if message.header.flags.contains(RouteFlags::Cloned) {
        return false;
    }
    message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(oif) => *oif == link.index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|h| h.interface_index == link.index),
        RouteAttribute::PrefSource(source) => {
            addresses.iter().any(|a| ip(source) == Some(a.address.ip()))
        }
        _ => false,
    })
}

/// The origin of a route.
enum Origin {
    /// A user or a program.
    Own,
    /// The kernel, with an address, for its subnet.
    Subnet,
    /// The kernel, for the host's own addresses and for the link.
    Kernel,
}

fn origin(message: &RouteMessage, addresses: &[SavedAddress]) -> Origin {
    let Ok(to) = destination(message) else { return Origin::Own };
    if message.header.protocol != RouteProtocol::Kernel {
        return Origin::Own;
    }
    let is_subnet = |a: &SavedAddress| {
        let shown = IpNetwork::new(a.peer.unwrap_or(a.address.ip()), a.address.prefix());
        shown.is_ok_and(|n| n.network() == to.ip() && n.prefix() == to.prefix())
    };
    let link_local = matches!(to.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local());
    if message.header.kind != RouteType::Unicast || link_local {
        Origin::Kernel
    } else if addresses.iter().any(is_subnet) {
        Origin::Subnet
    } else {
        Origin::Own
    }
}

fn destination(message: &RouteMessage) -> Result<IpNetwork> {
    let to = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(to) => ip(to),
        _ => None,
    });
    let any = any_of(message.header.address_family);
    Ok(IpNetwork::new(to.unwrap_or(any), message.header.destination_prefix_length)?)
}

fn any_of(family: AddressFamily) -> IpAddr {
    match family {
        AddressFamily::Inet => IpAddr::from([0, 0, 0, 0]),
        _ => IpAddr::from([0_u16; 8]),
    }
}

fn route(message: &RouteMessage, links: &HashMap<u32, Link>) -> Result<SavedRoute> {
    let header = &message.header;
    let destination = destination(message)?;
    let mut route = SavedRoute {
        destination,
        source: None,
        tos: header.tos,
        table: header.table.into(),
        kind: header.kind.into(),
        scope: header.scope.into(),
        protocol: header.protocol.into(),
        metric: 0,
        preferred_source: None,
        hops: Vec::new(),
        metrics: Vec::new(),
        preference: None,
        expires: None,
    };
    let what = || format!("the route to {destination}");
    let (mut gateway, mut oif) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(_) => {}
            RouteAttribute::Source(from) => {
                let from = ip(from).unwrap_or_else(|| any_of(header.address_family));
                route.source = Some(IpNetwork::new(from, header.source_prefix_length)?);
            }
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(priority) => route.metric = *priority,
            RouteAttribute::PrefSource(source) => route.preferred_source = ip(source),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = hop_gateway(attribute),
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::MultiPath(hops) => {
                for one in hops {
                    route.hops.push(hop(one, links, &what())?);
                }
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    let value = super::metric(metric).ok_or_else(|| unknown(&what(), metric))?;
                    route.metrics.push(value);
                }
            }
            RouteAttribute::Preference(preference) => {
                route.preference = Some(u8::from(*preference)).filter(|p| *p != 0);
            }
            // A signed number; negative if in the past.
            RouteAttribute::CacheInfo(info) => {
                let left = info.expires.cast_signed();
                route.expires = (left > 0).then(|| info.expires.div_ceil(TICKS));
            }
            other => return Err(unknown(&what(), other)),
        }
    }
    if let Some(index) = oif {
        let onlink = header.flags.contains(RouteFlags::Onlink);
        route.hops.push(Hop { gateway, link: name(links, index)?, weight: 0, onlink });
    }
    Ok(route)
}

fn hop(hop: &RouteNextHop, links: &HashMap<u32, Link>, what: &str) -> Result<Hop> {
    for attribute in &hop.attributes {
        if !matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)) {
            return Err(unknown(what, attribute));
        }
    }
    Ok(Hop {
        gateway: hop.attributes.iter().find_map(hop_gateway),
        link: name(links, hop.interface_index)?,
        weight: hop.hops,
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
    })
}

fn hop_gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(gateway) => ip(gateway),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    }
}

async fn rules(rtnl: &Rtnl, link: &Link) -> Result<Vec<PolicyRule>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        let replies = match rtnl.dump(RouteNetlinkMessage::GetRule(request)).await {
            Err(e) if is_errno(&e, &[libc::EAFNOSUPPORT, libc::EOPNOTSUPP]) => continue,
            replies => replies.context("cannot read policy rules")?,
        };
        for reply in replies {
            if let RouteNetlinkMessage::NewRule(message) = reply
                && message.attributes.iter().any(|a| match a {
                    RuleAttribute::Iifname(n) | RuleAttribute::Oifname(n) => *n == link.name,
                    _ => false,
                })
            {
                found.push(rule(&message)?);
            }
        }
    }
    Ok(found)
}

fn rule(message: &RuleMessage) -> Result<PolicyRule> {
    let header = &message.header;
    let mut rule = PolicyRule {
        family: if header.family == AddressFamily::Inet6 { Family::V6 } else { Family::V4 },
        priority: 0,
        not: header.flags.contains(RuleFlags::Invert),
        source: None,
        destination: None,
        tos: header.tos,
        iif: None,
        oif: None,
        mark: None,
        users: None,
        ip_protocol: None,
        source_ports: None,
        destination_ports: None,
        action: header.action.into(),
        table: header.table.into(),
        suppress_prefix_length: None,
        protocol: 0,
    };
    let (mut mark, mut which_bits) = (None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(ip) => rule.source = Some(IpNetwork::new(*ip, header.src_len)?),
            RuleAttribute::Destination(ip) => {
                rule.destination = Some(IpNetwork::new(*ip, header.dst_len)?);
            }
            RuleAttribute::Iifname(name) => rule.iif = Some(name.parse()?),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.parse()?),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => which_bits = *value,
            RuleAttribute::UidRange(range) => rule.users = Some((range.start, range.end)),
            RuleAttribute::IpProtocol(protocol) => {
                rule.ip_protocol = Some(i32::from(*protocol).try_into()?);
            }
            RuleAttribute::SourcePortRange(r) => rule.source_ports = Some((r.start, r.end)),
            RuleAttribute::DestinationPortRange(r) => {
                rule.destination_ports = Some((r.start, r.end));
            }
            RuleAttribute::Table(table) => rule.table = *table,
            // "None" is encoded as all ones.
            RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress_prefix_length = Some(*length),
            RuleAttribute::Protocol(by) => rule.protocol = (*by).into(),
            other => {
                return Err(unknown(&format!("the policy rule {}", rule.priority), other));
            }
        }
    }
    rule.mark = mark.map(|mark| (mark, which_bits));
    Ok(rule)
}

async fn neighbours(rtnl: &Rtnl, link: &Link) -> Result<Vec<Neighbour>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for flags in [NeighbourFlags::empty(), NeighbourFlags::Proxy] {
            let mut request = NeighbourMessage::default();
            request.header.family = family;
            request.header.flags = flags;
            request.attributes.push(NeighbourAttribute::IfIndex(link.index));
            let there = neighbour::read(rtnl, request).await?;
            found.extend(there.iter().filter(|n| n.index == link.index).filter_map(neighbour));
        }
    }
    Ok(found)
}

fn neighbour(there: &neighbour::Neighbour) -> Option<Neighbour> {
    let is_known = is_somebody(there.state) && there.mac.is_some();
    (there.proxy || is_known).then_some(Neighbour {
        address: there.address?,
        mac: there.mac.filter(|_| !there.proxy),
        permanent: there.proxy || there.state == NeighbourState::Permanent,
    })
}

fn name(links: &HashMap<u32, Link>, index: u32) -> Result<LinkName> {
    let link = links.get(&index).context("a link came or went meanwhile: try again")?;
    Ok(link.name.parse()?)
}

fn unknown(what: &str, attribute: &impl std::fmt::Debug) -> anyhow::Error {
    Error::conflict(format!("{what} has something that netcord does not know: {attribute:?}"))
        .hint("netcord moves only what it can restore exactly: remove this first")
        .into()
}

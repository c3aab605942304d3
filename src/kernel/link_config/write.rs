//! Moves the configuration of a link to another one: many changes in one message, so that they take
//! a fraction of a millisecond, and killing netcord cannot interrupt them.

use std::{collections::HashMap, io};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
    link::{LinkAttribute, LinkMessage},
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{
        RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
        RouteVia,
    },
    rule::{RuleAttribute, RuleFlags, RuleMessage, RulePortRange, RuleUidRange},
};

use super::{
    super::{address::family, datagram, link, rtnl::Rtnl},
    present::{self, Present},
};
use crate::{
    model::{Family, Hop, LinkName, Neighbour, PolicyRule, SavedAddress, SavedRoute},
    plan::{Change, Class, Moved},
};

/// `rtm_table` if the number does not fit, and an attribute has it.
const TABLE_COMPAT: u8 = 252;

/// Makes changes in one message; returns which of them changed anything. If one fails, undoes the
/// others, in one message too.
pub(in crate::kernel) async fn write(rtnl: &Rtnl, changes: &[&Change]) -> Result<Vec<bool>> {
    let indexes = indexes(rtnl, changes).await?;
    // So many may fail that answers are lost: then compare the state before and after.
    let is_much = changes.len() > datagram::FEW;
    let before = if is_much { Present::read(rtnl, changes).await.ok() } else { None };
    let mut done = Vec::with_capacity(changes.len());
    let mut failure = None;
    let answers = send_all(rtnl, &indexes, changes, before.as_ref()).await?;
    for (change, answer) in changes.iter().zip(answers) {
        match answer {
            Ok(news) => done.push(news),
            Err(error) => {
                let what = describe(change);
                done.push(false);
                failure.get_or_insert(anyhow::Error::from(error).context(what));
            }
        }
    }
    let Some(failure) = failure else { return Ok(done) };
    let back: Vec<_> = changes
        .iter()
        .zip(&done)
        .rev()
        .filter(|(_, news)| **news)
        .filter_map(|(change, _)| (*change).clone().reversed())
        .collect();
    for answer in send_all(rtnl, &indexes, &back.iter().collect::<Vec<_>>(), None).await? {
        answer.with_context(|| format!("{failure:#}; and the rollback failed"))?;
    }
    Err(failure)
}

type Indexes = HashMap<LinkName, u32>;

async fn indexes(rtnl: &Rtnl, changes: &[&Change]) -> Result<Indexes> {
    let mut indexes = Indexes::new();
    for change in changes {
        let Class::Moved(moved) = change.facts().class else { continue };
        for name in moved.links() {
            if !indexes.contains_key(name) {
                indexes.insert(name.clone(), link::index(rtnl, name.as_str()).await?);
            }
        }
    }
    Ok(indexes)
}

fn describe(change: &Change) -> String {
    let verb = if matches!(change, Change::Create(_)) { "make" } else { "take away" };
    match change.facts().class {
        Class::Moved(Moved::Port { link, bridge }) => {
            format!("cannot {verb} `{link}` as a port of `{bridge}`")
        }
        Class::Moved(Moved::Address { link, address }) => {
            format!("cannot {verb} the address {} of `{link}`", address.address)
        }
        Class::Moved(Moved::Route(route)) => {
            format!("cannot {verb} the route to {}", route.destination)
        }
        Class::Moved(Moved::Rule(rule)) => {
            format!("cannot {verb} the policy rule {}", rule.priority)
        }
        Class::Moved(Moved::Neighbour { neighbour, .. }) => {
            format!("cannot {verb} the neighbour {}", neighbour.address)
        }
        _ => format!("cannot {verb} it"),
    }
}

/// Sends all changes in one system call; returns for each whether it changed anything, or its error.
async fn send_all(
    rtnl: &Rtnl,
    indexes: &Indexes,
    changes: &[&Change],
    before: Option<&Present>,
) -> Result<Vec<io::Result<bool>>> {
    // A change may need more than one message.
    let messages: Vec<_> = changes.iter().map(|change| messages(indexes, change)).collect();
    let Some(failures) = datagram::send_all(&messages.concat())? else {
        let what = "the kernel's answers were lost, and its state cannot be read";
        let after = Present::read(rtnl, changes).await.context(what)?;
        let lost = || io::Error::other("the change was not made, and the kernel's error was lost");
        let outcomes = present::outcomes(changes, before, &after).into_iter();
        return Ok(outcomes.map(|outcome| outcome.ok_or_else(lost)).collect());
    };
    let mut failures = failures.into_iter();
    let answer = |messages: Vec<(RouteNetlinkMessage, u16)>| {
        let mut answer = Ok(true);
        for ((message, _), failure) in messages.iter().zip(failures.by_ref()) {
            match failure {
                None => {}
                Some(errno) if has_nothing_to_do(message, errno) => answer = answer.map(|_| false),
                Some(errno) => answer = Err(io::Error::from_raw_os_error(errno)),
            }
        }
        answer
    };
    Ok(messages.into_iter().map(answer).collect())
}

/// An object that exists cannot be created, and one that is gone cannot be deleted.
fn has_nothing_to_do(message: &RouteNetlinkMessage, errno: i32) -> bool {
    match message {
        RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::DelRoute(_)
        | RouteNetlinkMessage::DelRule(_)
        | RouteNetlinkMessage::DelNeighbour(_) => {
            matches!(errno, libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL)
        }
        _ => errno == libc::EEXIST,
    }
}

fn messages(indexes: &Indexes, change: &Change) -> Vec<(RouteNetlinkMessage, u16)> {
    use RouteNetlinkMessage as M;
    const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
    let Class::Moved(moved) = change.facts().class else { return Vec::new() };
    let create = matches!(change, Change::Create(_));
    let index = |name: &LinkName| indexes.get(name).copied().unwrap_or_default();
    match moved {
        Moved::Port { link, bridge } => {
            let mut message = LinkMessage::default();
            message.header.index = index(link);
            let master = if create { index(bridge) } else { 0 };
            message.attributes.push(LinkAttribute::Controller(master));
            vec![(M::SetLink(message), 0)]
        }
        Moved::Address { link, address } if create => {
            let mut messages = Vec::new();
            let message = address_message(index(link), address);
            if address.address.is_ipv6() && address.flags & AddressFlags::Nodad.bits() == 0 {
                // The address only moves from another link, so skip duplicate address detection,
                // which takes a second. Then restore its flags.
                let hurried = SavedAddress {
                    flags: address.flags | AddressFlags::Nodad.bits(),
                    ..(**address).clone()
                };
                messages.push((M::NewAddress(address_message(index(link), &hurried)), NEW));
                messages.push((M::NewAddress(message), NLM_F_REPLACE));
            } else {
                messages.push((M::NewAddress(message), NEW));
            }
            messages
        }
        Moved::Address { link, address } => {
            vec![(M::DelAddress(address_message(index(link), address)), 0)]
        }
        Moved::Route(route) => {
            let message = route_message(&index, route);
            if create { vec![(M::NewRoute(message), NEW)] } else { vec![(M::DelRoute(message), 0)] }
        }
        Moved::Rule(rule) => {
            let message = rule_message(rule);
            if create { vec![(M::NewRule(message), NEW)] } else { vec![(M::DelRule(message), 0)] }
        }
        Moved::Neighbour { link, neighbour } => {
            let message = neighbour_message(index(link), neighbour);
            if create {
                vec![(M::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)]
            } else {
                vec![(M::DelNeighbour(message), 0)]
            }
        }
    }
}

fn address_message(index: u32, address: &SavedAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    let ip = address.address.ip();
    message.header.family = family(ip);
    message.header.prefix_len = address.address.prefix();
    message.header.scope = address.scope.into();
    message.header.index = index;
    let attributes = &mut message.attributes;
    attributes.push(AddressAttribute::Local(ip));
    attributes.push(AddressAttribute::Address(address.peer.unwrap_or(ip)));
    attributes.extend(address.broadcast.map(AddressAttribute::Broadcast));
    attributes.extend(address.label.clone().map(AddressAttribute::Label));
    attributes.push(AddressAttribute::Flags(AddressFlags::from_bits_retain(address.flags)));
    attributes.extend(address.metric.map(AddressAttribute::RoutePriority));
    attributes.extend(address.protocol.map(|p| AddressAttribute::Protocol(p.into())));
    if let Some(lifetime) = address.lifetime {
        let mut info = CacheInfo::default();
        (info.ifa_valid, info.ifa_preferred) = (lifetime.valid, lifetime.preferred);
        attributes.push(AddressAttribute::CacheInfo(info));
    }
    message
}

fn route_message(index: &impl Fn(&LinkName) -> u32, route: &SavedRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(route.destination.ip());
    header.destination_prefix_length = route.destination.prefix();
    header.source_prefix_length = route.source.map_or(0, |s| s.prefix());
    header.tos = route.tos;
    header.table = u8::try_from(route.table).unwrap_or(TABLE_COMPAT);
    header.protocol = route.protocol.into();
    header.scope = route.scope.into();
    header.kind = route.kind.into();
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if route.destination.prefix() > 0 {
        attributes.push(RouteAttribute::Destination(route.destination.ip().into()));
    }
    attributes.extend(route.source.map(|s| RouteAttribute::Source(s.ip().into())));
    if route.metric > 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    attributes.extend(route.preferred_source.map(|s| RouteAttribute::PrefSource(s.into())));
    if !route.metrics.is_empty() {
        let metrics = route.metrics.iter().map(|(kind, value)| metric(*kind, *value));
        attributes.push(RouteAttribute::Metrics(metrics.collect()));
    }
    attributes.extend(route.preference.map(|p| RouteAttribute::Preference(p.into())));
    attributes.extend(route.expires.map(RouteAttribute::Expires));
    match route.hops.as_slice() {
        [one] => {
            attributes.extend(gateway(route.destination, one));
            attributes.push(RouteAttribute::Oif(index(&one.link)));
            if one.onlink {
                message.header.flags |= RouteFlags::Onlink;
            }
        }
        [] => {}
        several => {
            let hops = several.iter().map(|hop| {
                let mut next = RouteNextHop::default();
                next.interface_index = index(&hop.link);
                next.hops = hop.weight;
                if hop.onlink {
                    next.flags = RouteNextHopFlags::Onlink;
                }
                next.attributes = gateway(route.destination, hop).into_iter().collect();
                next
            });
            attributes.push(RouteAttribute::MultiPath(hops.collect()));
        }
    }
    message
}

/// A gateway of the other family has its own attribute (RFC 5549).
fn gateway(destination: IpNetwork, hop: &Hop) -> Option<RouteAttribute> {
    let gateway = hop.gateway?;
    if gateway.is_ipv4() == destination.is_ipv4() {
        return Some(RouteAttribute::Gateway(gateway.into()));
    }
    Some(RouteAttribute::Via(match gateway {
        std::net::IpAddr::V4(v4) => RouteVia::Inet(v4),
        std::net::IpAddr::V6(v6) => RouteVia::Inet6(v6),
    }))
}

fn metric(kind: u16, value: u32) -> RouteMetric {
    use netlink_packet_core::DefaultNla;
    RouteMetric::Other(DefaultNla::new(kind, value.to_ne_bytes().to_vec()))
}

fn rule_message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let header = &mut message.header;
    header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    header.src_len = rule.source.map_or(0, |s| s.prefix());
    header.dst_len = rule.destination.map_or(0, |d| d.prefix());
    header.tos = rule.tos;
    header.table = u8::try_from(rule.table).unwrap_or(TABLE_COMPAT);
    header.action = rule.action.into();
    if rule.not {
        header.flags = RuleFlags::Invert;
    }
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.extend(rule.source.map(|s| RuleAttribute::Source(s.ip())));
    attributes.extend(rule.destination.map(|d| RuleAttribute::Destination(d.ip())));
    attributes.extend(rule.iif.as_ref().map(|l| RuleAttribute::Iifname(l.to_string())));
    attributes.extend(rule.oif.as_ref().map(|l| RuleAttribute::Oifname(l.to_string())));
    if let Some((mark, mask)) = rule.mark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    attributes.extend(
        rule.users.map(|(start, end)| RuleAttribute::UidRange(RuleUidRange { start, end })),
    );
    attributes.extend(rule.ip_protocol.map(|p| RuleAttribute::IpProtocol(i32::from(p).into())));
    let range = |(start, end)| RulePortRange { start, end };
    attributes.extend(rule.source_ports.map(|r| RuleAttribute::SourcePortRange(range(r))));
    attributes
        .extend(rule.destination_ports.map(|r| RuleAttribute::DestinationPortRange(range(r))));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.extend(rule.suppress_prefix_length.map(RuleAttribute::SuppressPrefixLen));
    attributes.push(RuleAttribute::Protocol(rule.protocol.into()));
    message
}

fn neighbour_message(index: u32, neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(neighbour.address);
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(neighbour.address.into()));
    let Some(mac) = neighbour.mac else {
        message.header.flags = NeighbourFlags::Proxy;
        return message;
    };
    message.header.state = if neighbour.permanent {
        NeighbourState::Permanent
    } else {
        // Used at once, and verified soon.
        NeighbourState::Stale
    };
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    message
}

//! Addresses and routes, of both families at once.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType,
    },
};

use super::{Kernel, Link, Netns, link, rtnl::Rtnl};
use crate::model::{LinkName, Route, RouteKind, is_link_local};

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// Whether it is usable: duplicate address detection is over, and found nobody.
    pub usable: bool,
    pub(super) index: u32,
}

/// A route of the main table, with the attributes that netcord needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRoute {
    /// The destination.
    pub destination: IpNetwork,
    /// What becomes of packets that take it.
    pub kind: RouteKind,
    /// The gateway; `None`: on-link.
    pub gateway: Option<IpAddr>,
    /// The preferred source address, if set.
    pub source: Option<IpAddr>,
    /// The metric: lower wins.
    pub metric: u32,
    /// rtnetlink's `rtm_protocol`.
    pub protocol: u8,
    pub(super) index: Option<u32>,
}

impl TableRoute {
    /// Returns whether netcord made it.
    pub fn is_ours(&self) -> bool {
        self.protocol == Route::PROTOCOL
    }

    /// Returns it as a plan's route, by this link.
    pub fn by(self, link: &LinkName) -> Route {
        let Self { destination, kind, gateway, source, metric, protocol, .. } = self;
        let to = Route { kind, gateway, source, protocol, ..Route::on(link.clone(), destination) };
        to.with_metric(metric)
    }

    /// Returns whether it leads the same way as a plan's route by the link with this index.
    pub(super) fn is_like(&self, route: &Route, index: u32) -> bool {
        self.key() == RouteKey::of(route, index)
    }

    pub(super) fn key(&self) -> RouteKey {
        let Self { destination, kind, gateway, metric, index, .. } = *self;
        let index = index.filter(|_| kind == RouteKind::Unicast);
        RouteKey { destination, kind, gateway, metric, index }
    }

    /// Returns whether it comes from a router advertisement.
    pub fn is_by_router_advertisement(&self) -> bool {
        self.protocol == u8::from(RouteProtocol::Ra)
    }
}

/// What distinguishes one route from others: netcord's routes and those of others that lead the same
/// way have the same.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct RouteKey {
    destination: IpNetwork,
    kind: RouteKind,
    gateway: Option<IpAddr>,
    metric: u32,
    index: Option<u32>,
}

impl RouteKey {
    /// Returns that of a plan's route by the link with this index.
    pub(super) fn of(route: &Route, index: u32) -> Self {
        let Route { destination, kind, gateway, .. } = *route;
        let index = route.out_link().map(|_| index);
        Self { destination, kind, gateway, metric: route.kernel_metric(), index }
    }
}

/// Returns all addresses. Equivalent to `ip addr show`.
pub(super) async fn all(rtnl: &Rtnl) -> Result<Vec<LinkAddress>> {
    dump(rtnl, AddressMessage::default()).await
}

/// Returns all addresses in the namespace that has this number in the socket's.
pub(super) async fn in_netns(rtnl: &Rtnl, netns: Option<i32>) -> Result<Vec<LinkAddress>> {
    let mut message = AddressMessage::default();
    message.attributes.extend(netns.map(AddressAttribute::TargetNetNsId));
    dump(rtnl, message).await
}

async fn dump(rtnl: &Rtnl, message: AddressMessage) -> Result<Vec<LinkAddress>> {
    let request = RouteNetlinkMessage::GetAddress(message);
    let replies = rtnl.dump(request).await.context("cannot read addresses")?;
    Ok(replies
        .into_iter()
        .filter_map(|reply| {
            let RouteNetlinkMessage::NewAddress(message) = reply else { return None };
            let ip = message.attributes.iter().fold(None, |found, a| match a {
                // On a point-to-point link, the attribute "address" is the peer's.
                AddressAttribute::Local(ip) => Some(*ip),
                AddressAttribute::Address(ip) => found.or(Some(*ip)),
                _ => found,
            })?;
            let address = IpNetwork::new(ip, message.header.prefix_len).ok()?;
            let doubtful = AddressFlags::Tentative | AddressFlags::Dadfailed;
            let usable = !message
                .attributes
                .iter()
                .any(|a| matches!(a, AddressAttribute::Flags(flags) if flags.intersects(doubtful)));
            Some(LinkAddress { address, usable, index: message.header.index })
        })
        .collect())
}

/// Adds an address to a link; returns `false` if the link has it. Equivalent to `ip addr add
/// ADDRESS/LEN brd + dev LINK`, or with `nodad` for IPv6.
pub(super) async fn create(rtnl: &Rtnl, name: &LinkName, address: IpNetwork) -> Result<bool> {
    let mut message = message(rtnl, name, address).await?;
    match address {
        IpNetwork::V4(v4) if v4.ip().is_loopback() => {}
        IpNetwork::V4(v4) if v4.prefix() < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        IpNetwork::V4(_) => {}
        // We chose the address, so skip duplicate address detection, which takes a second.
        IpNetwork::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    let request = RouteNetlinkMessage::NewAddress(message);
    match rtnl.change(request, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => Err(e).with_context(|| format!("cannot give `{name}` the address {address}")),
    }
}

/// Equivalent to `ip addr del ADDRESS/LEN dev LINK`.
pub(super) async fn delete(rtnl: &Rtnl, name: &LinkName, address: IpNetwork) -> Result<bool> {
    let request = RouteNetlinkMessage::DelAddress(message(rtnl, name, address).await?);
    match rtnl.change(request, 0).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(false),
        Err(e) => {
            Err(e).with_context(|| format!("cannot take the address {address} from `{name}`"))
        }
    }
}

async fn message(rtnl: &Rtnl, name: &LinkName, address: IpNetwork) -> Result<AddressMessage> {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.scope =
        if address.ip().is_loopback() { AddressScope::Host } else { AddressScope::Universe };
    message.header.index = link::index(rtnl, name.as_str()).await?;
    message.attributes.push(AddressAttribute::Local(address.ip()));
    message.attributes.push(AddressAttribute::Address(address.ip()));
    Ok(message)
}

/// Returns the unicast routes of the main table.
pub(super) async fn routes(rtnl: &Rtnl) -> Result<Vec<TableRoute>> {
    let mut routes = all_routes(rtnl).await?;
    routes.retain(|route| route.kind == RouteKind::Unicast);
    Ok(routes)
}

/// Returns the routes of the main table. Equivalent to `ip route show; ip -6 route show`.
pub(super) async fn all_routes(rtnl: &Rtnl) -> Result<Vec<TableRoute>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        let replies = match rtnl.dump(RouteNetlinkMessage::GetRoute(message)).await {
            // The IPv6 table is still empty, or there is no IPv6.
            Err(e) if is_errno(&e, &[libc::ENOENT, libc::EAFNOSUPPORT, libc::EOPNOTSUPP]) => {
                continue;
            }
            replies => replies.context("cannot read routes")?,
        };
        found.extend(replies.into_iter().filter_map(parse_route));
    }
    Ok(found)
}

/// Returns the message of a route by the link with this index. Equivalent to `ip route add [TYPE]
/// DESTINATION [via GATEWAY] dev LINK [onlink] [src SOURCE] [metric METRIC] proto PROTOCOL`.
pub(super) fn route(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.ip());
    message.header.destination_prefix_length = route.destination.prefix();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.header.kind = route_type(route.kind);
    message.header.scope = match (route.out_link(), route.gateway) {
        (Some(_), None) if route.destination.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    if route.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    if route.destination.prefix() > 0 {
        attributes.push(RouteAttribute::Destination(route.destination.ip().into()));
    }
    attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    attributes.extend(route.out_link().map(|_| RouteAttribute::Oif(index)));
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    if route.metric > 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn route_type(kind: RouteKind) -> RouteType {
    match kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    }
}

fn parse_route(reply: RouteNetlinkMessage) -> Option<TableRoute> {
    let RouteNetlinkMessage::NewRoute(message) = reply else { return None };
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let kind = RouteKind::ALL.into_iter().find(|kind| route_type(*kind) == header.kind)?;
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::from([0_u16; 8]),
    };
    let (mut to, mut gateway, mut source, mut index, mut metric) = (any, None, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let destination = IpNetwork::new(to, header.destination_prefix_length).ok()?;
    let protocol = header.protocol.into();
    Some(TableRoute { destination, kind, gateway, source, metric, protocol, index })
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

pub(super) fn is_errno(error: &anyhow::Error, wanted: &[i32]) -> bool {
    error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error)
        .is_some_and(|errno| wanted.contains(&errno))
}

/// Returns the addresses of a link that are not link-local, IPv4 first.
pub fn global_addresses(all: &[LinkAddress], link: &Link) -> Vec<IpNetwork> {
    let mut found: Vec<_> = all
        .iter()
        .filter(|a| link.has(a))
        .map(|a| a.address)
        .filter(|a| !is_link_local(a.ip()))
        .collect();
    found.sort_by_key(IpNetwork::is_ipv6);
    found
}

impl Kernel {
    /// Returns all addresses of the host.
    pub async fn addresses(&self) -> Result<Vec<LinkAddress>> {
        all(&self.rtnl).await
    }

    /// Returns the global addresses of a link of the host.
    pub async fn addresses_of(&self, link: &Link) -> Result<Vec<IpNetwork>> {
        Ok(global_addresses(&self.addresses().await?, link))
    }

    /// Returns the unicast routes of the host's main table.
    pub async fn routes(&self) -> Result<Vec<TableRoute>> {
        routes(&self.rtnl).await
    }

    /// Returns the outgoing link of a route of the host.
    pub async fn link_of(&self, route: &TableRoute) -> Result<Option<Link>> {
        let Some(index) = route.index else { return Ok(None) };
        Ok(self.links().await?.remove(&index))
    }
}

impl Netns {
    /// Returns the global addresses of one of its links, IPv4 first.
    pub async fn addresses(&self, link: &Link) -> Result<Vec<IpNetwork>> {
        Ok(global_addresses(&all(self.rtnl()).await?, link))
    }

    /// Returns the addresses of all its links.
    pub async fn all_addresses(&self) -> Result<Vec<LinkAddress>> {
        all(self.rtnl()).await
    }

    /// Returns the unicast routes of its main table.
    pub async fn routes(&self) -> Result<Vec<TableRoute>> {
        routes(self.rtnl()).await
    }

    /// Returns the routes of its main table, also those that lead nowhere.
    pub async fn all_routes(&self) -> Result<Vec<TableRoute>> {
        all_routes(self.rtnl()).await
    }

    /// Returns all addresses in the namespace of a veth's peer, read from this namespace.
    pub async fn peer_addresses(&self, link: &Link) -> Result<Vec<LinkAddress>> {
        in_netns(self.rtnl(), link.peer_nsid).await
    }
}

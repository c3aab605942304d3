//! Which way a packet would take, as the kernel answers it. Equivalent to
//! `ip route get TO from SOURCE [iif LINK]`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use nix::errno::Errno;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{
    address::{family, ip},
    rtnl::Rtnl,
};

/// The kernel's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is for this namespace itself.
    Here {
        /// The address it would come from, if that was not said.
        source: Option<IpAddr>,
    },
    /// By a link.
    By {
        /// Which.
        index: u32,
        /// By whom; `None`: whom it is for is on the link.
        gateway: Option<IpAddr>,
        /// The address it would come from, if that was not said.
        source: Option<IpAddr>,
    },
    /// By none.
    None(Refusal),
}

/// Why there is no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No route leads there.
    NoRoute,
    /// The host is not there, or packets are not passed on.
    Unreachable,
    /// A route says that nothing passes.
    Prohibited,
    /// Answers would leave by another link (`rp_filter`).
    OtherLink,
    /// Such addresses have no business on this link.
    Martian,
}

pub(super) async fn lookup(
    rtnl: &Rtnl,
    to: IpAddr,
    from: Option<IpAddr>,
    incoming: Option<u32>,
) -> Result<Way> {
    let mut message = RouteMessage::default();
    let length = if to.is_ipv4() { 32 } else { 128 };
    message.header.address_family = family(to);
    message.header.destination_prefix_length = length;
    message.attributes.push(RouteAttribute::Destination(to.into()));
    if let Some(from) = from {
        message.header.source_prefix_length = length;
        message.attributes.push(RouteAttribute::Source(from.into()));
    }
    message.attributes.extend(incoming.map(RouteAttribute::Iif));
    ask(rtnl, message, to).await
}

/// The way of a TCP connection's answers, from an address of this namespace's to whom it comes from.
/// Equivalent to `ip route get PEER from OWN ipproto tcp sport PORT dport PORT`.
pub(super) async fn of_answers(
    rtnl: &Rtnl,
    peer: SocketAddr,
    own: Option<SocketAddr>,
) -> Result<Way> {
    let mut message = RouteMessage::default();
    let length = if peer.is_ipv4() { 32 } else { 128 };
    message.header.address_family = family(peer.ip());
    message.header.destination_prefix_length = length;
    message.attributes.push(RouteAttribute::Destination(peer.ip().into()));
    if let Some(own) = own.filter(|own| own.is_ipv4() == peer.is_ipv4()) {
        message.header.source_prefix_length = length;
        message.attributes.push(RouteAttribute::Source(own.ip().into()));
        message.attributes.push(RouteAttribute::IpProto(TCP));
        message.attributes.push(RouteAttribute::Sport(own.port()));
        message.attributes.push(RouteAttribute::Dport(peer.port()));
    }
    ask(rtnl, message, peer.ip()).await
}

const TCP: u8 = 6;

async fn ask(rtnl: &Rtnl, message: RouteMessage, to: IpAddr) -> Result<Way> {
    let replies = match rtnl.get(RouteNetlinkMessage::GetRoute(message)).await {
        Err(error) => match refusal(&error) {
            Some(why) => return Ok(Way::None(why)),
            None => return Err(error).with_context(|| format!("cannot look up the route to {to}")),
        },
        Ok(replies) => replies,
    };
    let found = replies.into_iter().find_map(|reply| match reply {
        RouteNetlinkMessage::NewRoute(message) => Some(message),
        _ => None,
    });
    Ok(found.map_or(Way::None(Refusal::NoRoute), |message| parse(&message)))
}

fn refusal(error: &io::Error) -> Option<Refusal> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::ENETUNREACH => Some(Refusal::NoRoute),
        Errno::EHOSTUNREACH => Some(Refusal::Unreachable),
        Errno::EACCES => Some(Refusal::Prohibited),
        Errno::EXDEV => Some(Refusal::OtherLink),
        Errno::EINVAL => Some(Refusal::Martian),
        _ => None,
    }
}

fn parse(message: &RouteMessage) -> Way {
    let (mut index, mut gateway, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    match (message.header.kind, index) {
        (RouteType::Local, _) => Way::Here { source },
        (RouteType::Unicast, Some(index)) => Way::By { index, gateway, source },
        (RouteType::Prohibit, _) => Way::None(Refusal::Prohibited),
        (RouteType::Unreachable, _) => Way::None(Refusal::Unreachable),
        _ => Way::None(Refusal::NoRoute),
    }
}

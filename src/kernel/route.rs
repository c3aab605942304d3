//! Routing decisions of the kernel. Equivalent to `ip route get TO from SOURCE [iif LINK]`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use nix::errno::Errno;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{
    Kernel, Netns,
    address::{family, ip},
    rtnl::Rtnl,
};

/// A routing decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Deliver to this namespace itself.
    Here {
        /// The source address, if the packet has none yet.
        source: Option<IpAddr>,
    },
    /// Send by a link.
    By {
        /// The link's index.
        index: u32,
        /// The gateway; `None`: on-link.
        gateway: Option<IpAddr>,
        /// The source address, if the packet has none yet.
        source: Option<IpAddr>,
    },
    /// Refuse.
    None(Refusal),
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no route, or a policy rule says `unreachable`.
    NoRoute,
    /// A route says `unreachable`, or forwarding is off.
    Unreachable,
    /// A route or policy rule says `prohibit`.
    Prohibited,
    /// Replies would leave by another link (`rp_filter`).
    OtherLink,
    /// A route or policy rule says `blackhole`, or the addresses are invalid on this link
    /// (martian).
    Invalid,
}

/// The properties of a packet that decide its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The destination.
    pub to: IpAddr,
    /// The source, if it is set.
    pub from: Option<IpAddr>,
    /// The incoming link; `None`: the packet is sent here.
    pub incoming: Option<u32>,
    /// The mark.
    pub mark: u32,
}

impl Query {
    /// A packet that is sent here to an address.
    pub fn to(to: IpAddr) -> Self {
        Self { to, from: None, incoming: None, mark: 0 }
    }
}

pub(super) async fn lookup(rtnl: &Rtnl, query: Query) -> Result<Way> {
    let Query { to, from, incoming, mark } = query;
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
    message.attributes.extend((mark != 0).then_some(RouteAttribute::Mark(mark)));
    ask(rtnl, message, to).await
}

/// Returns the route of a TCP connection's replies, from an address of this namespace to the peer.
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
        Errno::EINVAL => Some(Refusal::Invalid),
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
        (RouteType::Local | RouteType::Anycast, _) => Way::Here { source },
        (RouteType::Unicast, Some(index)) => Way::By { index, gateway, source },
        (RouteType::Prohibit, _) => Way::None(Refusal::Prohibited),
        (RouteType::Unreachable, _) => Way::None(Refusal::Unreachable),
        (RouteType::BlackHole, _) => Way::None(Refusal::Invalid),
        _ => Way::None(Refusal::NoRoute),
    }
}

/// Returns the nearest route or the first policy rule that says `blackhole`, `unreachable` or
/// `prohibit` for such packets, as `ip` prints it. Equivalent to `ip rule show; ip route show table
/// all`.
pub(super) async fn denial(rtnl: &Rtnl, query: Query) -> Result<Option<String>> {
    let mut message = RuleMessage::default();
    message.header.family = family(query.to);
    let rules = rtnl
        .dump(RouteNetlinkMessage::GetRule(message))
        .await
        .context("cannot read policy rules")?;
    if let Some(text) = rules.into_iter().find_map(|reply| denying_rule(reply, query)) {
        return Ok(Some(text));
    }
    let mut message = RouteMessage::default();
    message.header.address_family = family(query.to);
    let routes =
        rtnl.dump(RouteNetlinkMessage::GetRoute(message)).await.context("cannot read routes")?;
    let found = routes.into_iter().filter_map(|reply| denying_route(reply, query.to));
    Ok(found.max_by_key(|(length, _)| *length).map(|(_, text)| text))
}

fn denying_rule(reply: RouteNetlinkMessage, query: Query) -> Option<String> {
    let RouteNetlinkMessage::NewRule(message) = reply else { return None };
    let word = match message.header.action {
        RuleAction::Blackhole => "blackhole",
        RuleAction::Unreachable => "unreachable",
        RuleAction::Prohibit => "prohibit",
        _ => return None,
    };
    let (mut priority, mut text) = (0, String::new());
    for attribute in &message.attributes {
        let (name, ip, length, of) = match attribute {
            RuleAttribute::Source(ip) => ("from", ip, message.header.src_len, query.from),
            RuleAttribute::Destination(ip) => ("to", ip, message.header.dst_len, Some(query.to)),
            RuleAttribute::Priority(number) => {
                priority = *number;
                continue;
            }
            _ => continue,
        };
        let network = IpNetwork::new(*ip, length).ok()?;
        if !of.is_some_and(|of| network.contains(of)) {
            return None;
        }
        text = format!("{text} {name} {network}");
    }
    Some(format!("ip rule {priority}:{text} {word}"))
}

fn denying_route(reply: RouteNetlinkMessage, to: IpAddr) -> Option<(u8, String)> {
    let RouteNetlinkMessage::NewRoute(message) = reply else { return None };
    let word = match message.header.kind {
        RouteType::BlackHole => "blackhole",
        RouteType::Unreachable => "unreachable",
        RouteType::Prohibit => "prohibit",
        RouteType::Throw => "throw",
        _ => return None,
    };
    let length = message.header.destination_prefix_length;
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let network = IpNetwork::new(destination.unwrap_or(any), length).ok()?;
    // The kernel's own route for destinations without another one (IPv6).
    let is_written = message.header.protocol != RouteProtocol::Kernel;
    let name = if length == 0 { "default".to_owned() } else { network.to_string() };
    (is_written && network.contains(to)).then(|| (length, format!("ip route {word} {name}")))
}

impl Kernel {
    /// Returns the route that a packet of the host's own would take.
    pub async fn way(&self, query: Query) -> Result<Way> {
        lookup(&self.rtnl, query).await
    }

    /// Returns the index of the host's link by which the replies of a TCP connection leave.
    pub async fn answers_leave_by(
        &self,
        peer: SocketAddr,
        own: Option<SocketAddr>,
    ) -> Result<Option<u32>> {
        Ok(match of_answers(&self.rtnl, peer, own).await? {
            Way::By { index, .. } => Some(index),
            Way::Here { .. } | Way::None(_) => None,
        })
    }
}

impl Netns {
    /// Returns the routing decision for a packet that is sent here, or comes in by a link.
    pub async fn way(&self, query: Query) -> Result<Way> {
        lookup(self.rtnl(), query).await
    }

    /// Returns the route or policy rule that refuses such packets, as `ip` prints it.
    pub async fn denial(&self, query: Query) -> Result<Option<String>> {
        denial(self.rtnl(), query).await
    }
}

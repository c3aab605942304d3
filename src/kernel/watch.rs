//! Waits for notifications of the kernel: the end of a link, or any change of a namespace.

use anyhow::{Context, Result};
use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
        route::RouteProtocol,
    },
    sys::SocketAddr,
};

use super::{Kernel, Link, Netns};
use crate::model::{LinkName, Route};

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Receives every change of this host's links.
#[derive(Debug)]
pub struct LinkWatch {
    messages: Messages,
}

impl LinkWatch {
    /// Begins to receive. Equivalent to `ip monitor link`.
    pub fn new() -> Result<Self> {
        let (connection, _, messages) = new_multicast_connection(&[MulticastGroup::Link])
            .context("cannot listen to what happens to links")?;
        drop(tokio::spawn(connection));
        Ok(Self { messages })
    }

    /// Waits until a link no longer exists.
    pub async fn end_of(&mut self, kernel: &Kernel, link: &Link) -> Result<()> {
        loop {
            // Checked first: the link may have gone before the socket was open.
            if !kernel.has(link).await? {
                return Ok(());
            }
            self.removal(Some(link.index)).await?;
        }
    }

    /// Waits until a link is removed, or notifications were lost.
    pub async fn any_removal(&mut self) -> Result<()> {
        self.removal(None).await
    }

    /// Waits until the kernel reports a removal, or notifications were lost. It also reports a
    /// removal when a link leaves a bridge.
    async fn removal(&mut self, of: Option<u32>) -> Result<()> {
        loop {
            let (message, _) = self.messages.next().await.context("the netlink socket closed")?;
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(gone))
                    if of.is_none_or(|index| gone.header.index == index) =>
                {
                    return Ok(());
                }
                NetlinkPayload::Overrun(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Receives every change of a namespace's links, addresses and routes.
#[derive(Debug)]
pub struct NetnsWatch {
    messages: Messages,
}

impl NetnsWatch {
    /// Begins to receive. Equivalent to `ip -n NAME monitor link address route`.
    pub fn new(netns: &Netns) -> Result<Self> {
        use MulticastGroup as G;
        let groups = [G::Link, G::Ipv4Ifaddr, G::Ipv6Ifaddr, G::Ipv4Route, G::Ipv6Route];
        let opened = netns.within(|| new_multicast_connection(&groups)).and_then(|opened| opened);
        let (connection, _, messages) = opened.context("cannot listen to what happens inside")?;
        drop(tokio::spawn(connection));
        Ok(Self { messages })
    }

    /// Waits until something has changed, or notifications were lost.
    pub async fn change(&mut self) -> Result<()> {
        self.messages.next().await.context("the netlink socket closed").map(drop)
    }
}

/// Receives the changes of this host's links, addresses, routes and neighbours.
#[derive(Debug)]
pub struct HostWatch {
    messages: Messages,
}

impl HostWatch {
    /// Begins to receive. Equivalent to `ip monitor link address route neigh`.
    pub fn new() -> Result<Self> {
        use MulticastGroup as G;
        let groups = [G::Link, G::Ipv4Ifaddr, G::Ipv6Ifaddr, G::Ipv4Route, G::Ipv6Route, G::Neigh];
        let (connection, _, messages) = new_multicast_connection(&groups)
            .context("cannot listen to what happens on this host")?;
        drop(tokio::spawn(connection));
        Ok(Self { messages })
    }

    /// Waits until one of these links changes, or something with our mark may have been removed.
    /// Additions are not reported: the kernel may have them from us.
    pub async fn loss(&mut self, links: &[LinkName]) -> Result<()> {
        loop {
            let (message, _) = self.messages.next().await.context("the netlink socket closed")?;
            match message.payload {
                NetlinkPayload::InnerMessage(message) if is_loss(&message, links) => return Ok(()),
                NetlinkPayload::Overrun(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

fn is_loss(message: &RouteNetlinkMessage, links: &[LinkName]) -> bool {
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            name_of(link).is_some_and(|name| links.iter().any(|ours| ours.as_str() == name))
        }
        RouteNetlinkMessage::DelAddress(_) => true,
        RouteNetlinkMessage::DelRoute(route) => {
            route.header.protocol == RouteProtocol::from(Route::PROTOCOL)
        }
        // Entries of the forwarding table have no mark.
        RouteNetlinkMessage::DelNeighbour(entry) => {
            entry.header.family == AddressFamily::Bridge || super::neighbour::is_ours(entry)
        }
        _ => false,
    }
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

//! Waits for notifications of the kernel: the end of a link, or any change of a namespace.

use anyhow::{Context, Result};
use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    MulticastGroup, new_multicast_connection, packet_route::RouteNetlinkMessage, sys::SocketAddr,
};

use super::{Kernel, Link, Netns};

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
            self.removal(link.index).await?;
        }
    }

    /// Waits until the kernel reports a removal, or notifications were lost. It also reports a
    /// removal when a link leaves a bridge.
    async fn removal(&mut self, index: u32) -> Result<()> {
        loop {
            let (message, _) = self.messages.next().await.context("the netlink socket closed")?;
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(gone))
                    if gone.header.index == index =>
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

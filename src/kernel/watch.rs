//! Waiting for the end of a link.

use anyhow::{Context, Result};
use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    MulticastGroup, new_multicast_connection, packet_route::RouteNetlinkMessage, sys::SocketAddr,
};

use super::{Kernel, Link};

/// Hears of every change of this host's links.
#[derive(Debug)]
pub struct LinkWatch {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl LinkWatch {
    /// Begins to listen. Equivalent to `ip monitor link`.
    pub fn new() -> Result<Self> {
        let (connection, _, messages) = new_multicast_connection(&[MulticastGroup::Link])
            .context("cannot listen to what happens to links")?;
        drop(tokio::spawn(connection));
        Ok(Self { messages })
    }

    /// Returns when a link is no more.
    pub async fn end_of(&mut self, kernel: &Kernel, link: &Link) -> Result<()> {
        loop {
            // Looked at first: it may have gone before anybody listened.
            if !kernel.has(link).await? {
                return Ok(());
            }
            self.removal(link.index).await?;
        }
    }

    /// Waits until a removal is told of, or news were lost. Leaving a bridge is told of as a
    /// removal too.
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

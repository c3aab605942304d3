//! The peers are what the kernel's routes by the device say: a subnet and the host as its gateway.
//!
//! Whatever changes, the whole is read again, so that no notification matters by itself.

use std::{io, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result};
use futures::{FutureExt, StreamExt, channel::mpsc::UnboundedReceiver};
use ipnetwork::Ipv4Network;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    Handle, MulticastGroup, new_connection_with_strict_check, new_multicast_connection,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{LinkFlags, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
    sys::SocketAddr,
};

use super::peers::Peers;

/// The kernel sets this flag on a dump that changed while it was made.
/// <https://docs.kernel.org/userspace-api/netlink/intro.html#dump-consistency>
const NLM_F_DUMP_INTR: u16 = 0x10;

const DUMP: u16 = NLM_F_REQUEST | NLM_F_DUMP;

/// The time between two attempts to read tables that change.
const PAUSE: Duration = Duration::from_millis(10);

/// The routes and addresses of a device.
#[derive(Debug)]
pub(super) struct Routes {
    index: u32,
    subnet: Ipv4Network,
    handle: Handle,
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Routes {
    /// Begins to follow. `subnet` is this host's part of the network.
    pub(super) fn follow(index: u32, subnet: Ipv4Network) -> Result<Self> {
        use MulticastGroup as G;
        let (following, _, messages) =
            new_multicast_connection(&[G::Link, G::Ipv4Ifaddr, G::Ipv4Route])
                .context("cannot follow the routes of this host")?;
        let (mut asking, handle, _) = new_connection_with_strict_check()?;
        asking.set_forward_done(true);
        drop(tokio::spawn(following));
        drop(tokio::spawn(asking));
        Ok(Self { index, subnet, handle, messages })
    }

    /// Waits until the link sends packets: the kernel begins some time after a process has attached.
    /// It does not while the link is down.
    pub(super) async fn carried(&mut self) -> Result<()> {
        while !self.is_carried().await? {
            self.change().await?;
        }
        Ok(())
    }

    async fn is_carried(&self) -> Result<bool> {
        let mut request = LinkMessage::default();
        request.header.index = self.index;
        let mut flags = LinkFlags::empty();
        let request = RouteNetlinkMessage::GetLink(request);
        self.request(request, NLM_F_REQUEST, |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                flags = link.header.flags;
            }
        })
        .await?;
        Ok(!flags.contains(LinkFlags::Up) || flags.contains(LinkFlags::Running))
    }

    /// Waits until something has changed that matters, or notifications were lost.
    pub(super) async fn change(&mut self) -> Result<()> {
        loop {
            let (message, _) = self.messages.next().await.context("the netlink socket closed")?;
            if self.matters(&message.payload) {
                // One answer for all that has happened.
                while self.messages.next().now_or_never().flatten().is_some() {}
                return Ok(());
            }
        }
    }

    fn matters(&self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
        use RouteNetlinkMessage as M;
        match payload {
            NetlinkPayload::InnerMessage(M::NewRoute(route) | M::DelRoute(route)) => {
                self.leads(route)
            }
            NetlinkPayload::InnerMessage(M::NewAddress(address) | M::DelAddress(address)) => {
                address.header.index == self.index
            }
            // Routes go without notifications when a link goes down.
            NetlinkPayload::InnerMessage(M::NewLink(link) | M::DelLink(link)) => {
                link.header.index == self.index
            }
            NetlinkPayload::Overrun(_) => true,
            _ => false,
        }
    }

    /// Reads the peers.
    pub(super) async fn read(&self) -> Result<Peers> {
        loop {
            match self.read_once().await? {
                Some(peers) => return Ok(peers),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn read_once(&self) -> Result<Option<Peers>> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.attributes.push(RouteAttribute::Oif(self.index));
        let mut routes = Vec::new();
        let is_whole = self
            .request(RouteNetlinkMessage::GetRoute(request), DUMP, |message| {
                if let RouteNetlinkMessage::NewRoute(route) = message
                    && self.leads(&route)
                {
                    routes.extend(peer(&route));
                }
            })
            .await?;
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        request.header.index = self.index;
        let mut own = vec![self.subnet];
        let are_all = self
            .request(RouteNetlinkMessage::GetAddress(request), DUMP, |message| {
                if let RouteNetlinkMessage::NewAddress(address) = message
                    && address.header.index == self.index
                {
                    own.extend(local(&address));
                }
            })
            .await?;
        Ok((is_whole && are_all).then(|| Peers::new(&routes, own)))
    }

    /// Returns whether the answer is of one moment.
    async fn request(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> Result<bool> {
        let mut request = NetlinkMessage::from(request);
        request.header.flags = flags;
        let mut handle = self.handle.clone();
        let mut replies = handle.request(request)?;
        let (mut is_whole, mut is_answered) = (true, false);
        while let Some(reply) = replies.next().await {
            is_answered = true;
            is_whole &= reply.header.flags & NLM_F_DUMP_INTR == 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(message) => each(message),
                NetlinkPayload::Error(error) => {
                    if let Some(code) = error.code {
                        return Err(failed(code.get()));
                    }
                }
                NetlinkPayload::Done(done) if done.code < 0 => return Err(failed(done.code)),
                _ => {}
            }
        }
        anyhow::ensure!(is_answered, "the netlink socket closed");
        Ok(is_whole)
    }

    fn leads(&self, route: &RouteMessage) -> bool {
        route.attributes.contains(&RouteAttribute::Oif(self.index))
    }
}

fn failed(code: i32) -> anyhow::Error {
    let error = io::Error::from_raw_os_error(-code);
    anyhow::Error::from(error).context("cannot read the routes of this host")
}

/// Returns the subnet and the host of a route that names a gateway.
fn peer(route: &RouteMessage) -> Option<(Ipv4Network, Ipv4Addr)> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut destination, mut gateway) = (Ipv4Addr::UNSPECIFIED, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            _ => {}
        }
    }
    let subnet = Ipv4Network::new(destination, route.header.destination_prefix_length).ok()?;
    Some((subnet, gateway?))
}

fn local(address: &AddressMessage) -> Option<Ipv4Network> {
    address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(std::net::IpAddr::V4(address)) => Some(Ipv4Network::from(*address)),
        _ => None,
    })
}

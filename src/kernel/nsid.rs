//! The numbers by which the links of one namespace refer to other namespaces (`link-netnsid`).
//!
//! Each namespace has its own numbers for others. The kernel assigns one when a link first leads into
//! the other namespace, so a namespace without a number is one that no link leads to.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::{Kernel, Link, Netns, NetnsFile, netns, rtnl::Rtnl};

/// Returns the number of another namespace in the socket's. Equivalent to `ip netns list-id`.
pub(super) async fn of(rtnl: &Rtnl, netns: &OwnedFd) -> Result<Option<i32>> {
    let mut message = NsidMessage::default();
    let file = u32::try_from(netns.as_raw_fd()).context("a closed file is no namespace")?;
    message.attributes.push(NsidAttribute::Fd(file));
    let replies = rtnl
        .get(RouteNetlinkMessage::GetNsId(message))
        .await
        .context("cannot read the number of a namespace")?;
    let attributes = replies.into_iter().filter_map(|reply| match reply {
        RouteNetlinkMessage::NewNsId(message) => Some(message.attributes),
        _ => None,
    });
    Ok(attributes.flatten().find_map(|attribute| match attribute {
        NsidAttribute::Id(id) if id >= 0 => Some(id),
        _ => None,
    }))
}

/// The numbers that the host and a namespace have for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// The host's number for the namespace.
    pub there: Option<i32>,
    here: Option<i32>,
}

impl Between {
    /// Returns whether a link inside is the peer of this link of the host.
    pub fn is_pair(&self, host: &Link, inside: &Link) -> bool {
        self.there.is_some()
            && host.peer_nsid == self.there
            && (host.peer, inside.peer) == (Some(inside.index), Some(host.index))
    }

    /// Returns whether a link inside is on top of this link of the host.
    pub fn is_on(&self, inside: &Link, host: &Link) -> bool {
        self.here.is_some() && inside.peer_nsid == self.here && inside.is_upper_of(host)
    }
}

impl Kernel {
    /// The numbers by which the links of the host and those of a namespace refer to each other's
    /// namespace. Reads links first, since the kernel numbers their peers' namespaces then.
    pub async fn between(&self, netns: &Netns) -> Result<Between> {
        let host = netns::here().context("cannot open the host's namespace")?;
        let there = of(&self.rtnl, netns.file()).await?;
        let here = of(netns.rtnl(), &host).await?;
        Ok(Between { there, here })
    }
}

impl Netns {
    /// Returns the number of another namespace in this one.
    pub async fn number_of(&self, other: &NetnsFile) -> Result<Option<i32>> {
        of(self.rtnl(), other.file()).await
    }

    /// The same for one that was entered.
    pub async fn number_of_entered(&self, other: &Self) -> Result<Option<i32>> {
        of(self.rtnl(), other.file()).await
    }
}

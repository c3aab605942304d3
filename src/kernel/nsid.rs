//! The numbers by which the links of one namespace tell of other namespaces.
//!
//! A number is one namespace's own for another. The kernel gives it when a link of the one first
//! leads into the other, so what has none is led to by no link.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::rtnl::Rtnl;

/// The number that the socket's namespace has for another. Equivalent to `ip netns list-id`.
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

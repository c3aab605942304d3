//! Waits until a link is usable.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    route::{RouteAttribute, RouteMessage, RouteType},
};
use tokio::time::{Instant, sleep};

use super::super::{
    address::{ip, is_errno},
    link,
    rtnl::Rtnl,
};
use crate::{
    error::{Error, Kind},
    model::LinkName,
};

/// The kernel reports carrier once a second, or sooner; duplicate address detection takes one to two
/// seconds.
const PATIENCE: Duration = Duration::from_secs(4);
const INTERVAL: Duration = Duration::from_millis(1);

/// Waits until a link has carrier, and each of its IPv6 addresses is valid and has its local route,
/// without which the host does not answer for it.
///
/// # Errors
/// [`Kind::Timeout`] if that takes too long.
pub(in crate::kernel) async fn ready(rtnl: &Rtnl, name: &LinkName) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let link = link::get(rtnl, name.as_str()).await?;
        let link = link.with_context(|| format!("link `{name}` is gone"))?;
        let missing = if link.carrier {
            silent(rtnl, link.index).await?.map(|ip| format!("its address {ip} is not valid"))
        } else {
            Some("no carrier".to_owned())
        };
        let Some(missing) = missing else { return Ok(()) };
        if Instant::now() >= until {
            let message = format!("link `{name}` is not ready: {missing}");
            return Err(Error::new(Kind::Timeout, message).into());
        }
        sleep(INTERVAL).await;
    }
}

/// Returns an IPv6 address of a link that is not usable yet.
async fn silent(rtnl: &Rtnl, index: u32) -> Result<Option<IpAddr>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet6;
    request.header.index = index;
    let replies = match rtnl.dump(RouteNetlinkMessage::GetAddress(request)).await {
        Err(e) if is_errno(&e, &[libc::EAFNOSUPPORT, libc::EOPNOTSUPP]) => return Ok(None),
        replies => replies.context("cannot read addresses")?,
    };
    let mut addresses = Vec::new();
    for reply in replies {
        let RouteNetlinkMessage::NewAddress(message) = reply else { continue };
        let mut address = None;
        let mut flags = AddressFlags::empty();
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(found) => flags = *found,
                _ => {}
            }
        }
        if flags.contains(AddressFlags::Tentative) {
            return Ok(address);
        }
        addresses.extend(address.filter(|_| !flags.contains(AddressFlags::Dadfailed)));
    }
    if addresses.is_empty() {
        return Ok(None);
    }
    let local = local_addresses(rtnl, index).await?;
    Ok(addresses.into_iter().find(|address| !local.contains(address)))
}

/// Returns the addresses that the host answers for on a link, from the local routing table.
async fn local_addresses(rtnl: &Rtnl, index: u32) -> Result<HashSet<IpAddr>> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet6;
    request.header.kind = RouteType::Local;
    request.attributes.push(RouteAttribute::Table(u32::from(libc::RT_TABLE_LOCAL)));
    request.attributes.push(RouteAttribute::Oif(index));
    let replies = match rtnl.dump(RouteNetlinkMessage::GetRoute(request)).await {
        Err(e) if is_errno(&e, &[libc::ENOENT]) => return Ok(HashSet::new()),
        replies => replies.context("cannot read local routes")?,
    };
    let destination = |reply| {
        let RouteNetlinkMessage::NewRoute(message) = reply else { return None };
        message.attributes.iter().find_map(|a| match a {
            RouteAttribute::Destination(to) => ip(to),
            _ => None,
        })
    };
    Ok(replies.into_iter().filter_map(destination).collect())
}

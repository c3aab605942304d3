//! Deletes links, one or many.

use std::collections::HashMap;

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use super::{Link, all, foreign, get, message};
use crate::{
    kernel::{datagram, rtnl::Rtnl},
    model::LinkName,
    plan::LINK_GROUP,
};

/// Deletes a link of ours; returns `false` if there is none. Equivalent to `ip link del NAME`.
pub(in crate::kernel) async fn delete(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    let Some(link) = get(rtnl, name.as_str()).await? else { return Ok(false) };
    if !link.is_ours() {
        return Err(foreign(name));
    }
    delete_this(rtnl, &link).await
}

/// Deletes a link that is known to be ours.
pub(in crate::kernel) async fn delete_this(rtnl: &Rtnl, link: &Link) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    match rtnl.change(RouteNetlinkMessage::DelLink(message), 0).await {
        Ok(()) => Ok(true),
        // It was deleted with its peer meanwhile.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(e) => Err(e).with_context(|| format!("cannot delete link `{}`", link.name)),
    }
}

/// The device group for links of ours that are deleted together.
const DOOMED_GROUP: u32 = LINK_GROUP + 1;

/// Deletes links of ours; returns for each whether it existed. Equivalent to `ip link set dev NAME
/// group DOOMED` for each, and `ip link del group DOOMED`.
///
/// Each single deletion would wait for an RCU grace period; a group waits once. One datagram puts
/// the links into the group and deletes it, so a kill leaves no link in it.
pub(in crate::kernel) async fn delete_all(rtnl: &Rtnl, names: &[LinkName]) -> Result<Vec<bool>> {
    let links: HashMap<String, Link> =
        all(rtnl, None).await?.into_values().map(|l| (l.name.clone(), l)).collect();
    let found: Vec<_> = names.iter().map(|name| links.get(name.as_str())).collect();
    if let Some((name, _)) =
        names.iter().zip(&found).find(|(_, l)| l.is_some_and(|link| !link.is_ours()))
    {
        return Err(foreign(name));
    }
    let doomed: Vec<&Link> = found.iter().copied().flatten().collect();
    // Another program's links, or those left by a deletion that failed, may be in the group.
    let is_free = links.values().all(|l| l.group != DOOMED_GROUP || doomed.contains(&l));
    let left: Vec<&Link> =
        if is_free && doomed.len() > 1 { delete_group(rtnl, &doomed).await? } else { doomed };
    for link in left {
        delete_this(rtnl, link).await?;
    }
    Ok(found.iter().map(Option::is_some).collect())
}

/// Deletes links together; returns those that have to be deleted one by one.
async fn delete_group<'l>(rtnl: &Rtnl, links: &[&'l Link]) -> Result<Vec<&'l Link>> {
    let into = |link: &Link, group| {
        let mut message = message([LinkAttribute::Group(group)]);
        message.header.index = link.index;
        (RouteNetlinkMessage::SetLink(message), 0)
    };
    let mut requests: Vec<_> = links.iter().map(|link| into(link, DOOMED_GROUP)).collect();
    let deletion = message([LinkAttribute::Group(DOOMED_GROUP)]);
    requests.push((RouteNetlinkMessage::DelLink(deletion), 0));
    let Some(mut failures) = datagram::send_all(&requests)? else {
        let there = all(rtnl, None).await?;
        return Ok(links.iter().copied().filter(|l| there.contains_key(&l.index)).collect());
    };
    // All were deleted with their peers meanwhile.
    let is_gone = |failure: &Option<i32>| matches!(failure, None | Some(libc::ENODEV));
    if failures.pop().is_some_and(|deletion| is_gone(&deletion)) {
        let left = links.iter().zip(failures).filter(|(_, failure)| !is_gone(failure));
        return Ok(left.map(|(link, _)| *link).collect());
    }
    let back: Vec<_> = links.iter().map(|link| into(link, LINK_GROUP)).collect();
    datagram::send_all(&back)?;
    Ok(links.to_vec())
}
